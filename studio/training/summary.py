"""The end of a training: its probe table, pictures and report."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from studio.atomic import write_file, write_json
from studio.errors import StudioError, warn
from studio.evaluate.measure import measure
from studio.evaluate.probe_table import show_probe
from studio.progress import show_steps
from studio.runs.data_file import read_data_file
from studio.training.session import TrainingSession

if TYPE_CHECKING:
    from studio.report import Facts

__all__ = ["finish"]


def finish(session: TrainingSession, report: bool = True) -> None:
    """Writes `probe.json`, `grids/KIND.png`, `grids/training.webp` and `report.html`.

    Without `report` it writes `probe.json` alone. It also prints the probe table. The order
    matters, because a later failure must not lose an earlier measurement. Therefore nothing that
    draws is imported before `probe.json` is written.
    """
    method, seen, config = session.engine.ema.method, session.engine.images_seen, session.config
    head = {
        "run": str(session.folder),
        "method": config.method.name,
        "dataset": config.data.name,
        "images_seen": seen,
        "data_sha256": _data_sha256(session),
    }
    session.logger.end_bar()
    with show_steps("probe"):
        result = {**head, **measure(method, session.dataset)}
    write_json(session.folder / "probe.json", result)
    page = None
    try:
        if report:
            with show_steps("report"):
                page = _draw(session)
    finally:  # a full disk does not hide the table
        session.logger.close()
        show_probe(result, stderr=True)
    if session.engine.watch.ended:
        print(f"ended by {session.engine.watch.describe()}", file=sys.stderr)
    if not report:
        print(f"no report: studio report {session.folder} writes it", file=sys.stderr)
        return
    print(f"pictures: {session.folder / 'grids'}", file=sys.stderr)
    if page:
        print(f"report: {page}", file=sys.stderr)


def _draw(session: TrainingSession) -> Path | None:
    """Writes the pictures and the report, and returns the report's path."""
    from studio.render.registry import draw_pictures

    method, seen = session.engine.ema.method, session.engine.images_seen
    pictures: dict[str, Image.Image] = {}
    for kind, picture in draw_pictures(method, session.dataset, session.config.seed):
        pictures[kind] = picture
        session.logger.picture(seen, kind, picture)
    return _report(session, pictures)


def _data_sha256(session: TrainingSession) -> str | None:
    """Returns the hash of the data with which the run's other verbs compare theirs."""
    stored = read_data_file(session.folder)
    fingerprint = None if stored is None else stored.fingerprint
    return None if fingerprint is None else fingerprint.sha256


def _report(session: TrainingSession, pictures: dict[str, Image.Image]) -> Path | None:
    """Writes the animation, the curves and the report, and returns the report's path.

    A failure is only a warning, because everything else has been written by now.
    """
    from studio.report import collect, write_report

    path, grids = session.folder / "report.html", session.folder / "grids"
    engine = session.engine
    try:
        facts = collect(
            session.folder,
            session.config,
            engine.ema.method,
            session.dataset,
            engine.images_seen,
            pictures=pictures,
        )
        _write_pictures(facts, grids)
        write_report([facts], path)
    except (StudioError, OSError) as error:
        warn(f"no report: {error}; studio report {session.folder} writes it")
        return None
    return path


def _write_pictures(facts: "Facts", grids: Path) -> None:
    if facts.animation is not None:
        encoded = facts.animation.to_webp()
        write_file(grids / "training.webp", lambda partial: partial.write_bytes(encoded))
    if "curves" in facts.pictures:
        write_file(grids / "curves.png", lambda partial: facts.pictures["curves"].save(partial))
