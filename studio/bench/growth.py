"""How the cost of an image grows with a field of the config, such as the batch or the side.

Every value is measured by `studio bench` in a process of its own, because the largest memory of a
process never falls.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

from studio.errors import StudioError

__all__ = ["measure_growth"]

START = (sys.executable, "-c", "from studio.cli import main; main()", "bench")


def measure_growth(
    cfg: str,
    settings: Sequence[str],
    field: str,
    values: Sequence[Any],
    iterations: int,
    report: Callable[[str], None] = lambda line: None,
) -> list[dict[str, Any]]:
    """Measures the cost of a training iteration for several values of a field.

    Args:
        cfg: the config, by path or name.
        settings: further assignments `a.b=value`.
        field: the field that changes.
        values: its values, at least two.
        iterations: the number of timed iterations for each value.
        report: called with a line before each measurement.

    Returns:
        for each value `value`, `seconds_per_image`, `gflop_per_image`, `bytes` (the largest memory
        of the process or device), `expected` (the seconds of the first value times the ratio of
        operations), and `clean` (see `bench`).

    Raises:
        StudioError: fewer than two values are given, or a measurement failed.
    """
    if len(values) < 2:
        raise StudioError(
            f"--growth {field}: found {len(values)} value, expected at least two: "
            f"{field}=VALUE,VALUE"
        )
    rows: list[dict[str, Any]] = []
    for value in values:
        report(f"{field} = {value}")
        result = _bench(cfg, [*settings, f"{field}={json.dumps(value)}"], iterations)
        cost = result["ours"]
        row = {
            "value": value,
            "seconds_per_image": cost["seconds"] / result["batch"],
            "gflop_per_image": cost["gflop_per_image"],
            "bytes": result["peak_bytes"],
            "clean": result["clean"],
        }
        first = rows[0] if rows else row
        ratio = row["gflop_per_image"] / first["gflop_per_image"]
        rows.append({**row, "expected": first["seconds_per_image"] * ratio})
    return rows


def _bench(cfg: str, settings: Sequence[str], iterations: int) -> dict[str, Any]:
    assignments = [word for setting in settings for word in ("--set", setting)]
    command = [*START, "--cfg", cfg, *assignments, "--no-naive", "--json"]
    command += ["--iterations", str(iterations)]
    ended = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
    if ended.returncode:
        last = (ended.stderr.strip().splitlines() or ["no message"])[-1]
        raise StudioError(f"--growth {settings[-1]}: {last.removeprefix('error: ').strip()}")
    return json.loads(ended.stdout)
