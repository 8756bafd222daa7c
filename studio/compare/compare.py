"""Comparing methods: trains what is missing, resumes what is half done, and sums up what the runs have measured.

Everything is under one folder: `OUT/ROW-seedN` are the runs, `OUT/logs/` what their trainings said, `OUT/probes/` what was
measured by another protocol than the runs' own, and `OUT/compare.md`, `.csv` and `.json` the result.
"""

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from studio.atomic import write_json
from studio.build import build_method
from studio.compare.launch import Job, Launcher, claimed, run_jobs
from studio.compare.summary import notes, standing
from studio.compare.sweep import Variant
from studio.distributed.launcher import usable_processors
from studio.errors import StudioError
from studio.evaluate.disentanglement.model_centrality import centrality
from studio.evaluate.measure import measure
from studio.runs import checkpoint
from studio.runs.folder import find_folder
from studio.runs.run import Run

__all__ = ["Member", "compare", "members", "plan"]

State = Literal["missing", "half", "done", "submitted", "stopped", "failed"]
INTERRUPTED = (
    130,
    143,
    -2,
    -15,
)  # exit codes of a training that was asked to stop, or died of it before it began


@dataclass
class Member:
    """One training of a comparison.

    Attributes:
        variant: the row that it belongs to.
        seed: of the training.
        run: its folder.
        state: `missing`, `half` (resumed next), `done`, `submitted` (to a scheduler, not complete), `stopped`, `failed`.
        images_seen: of its newest whole checkpoint.
        manifest: of that checkpoint.
        error: why it failed.
    """

    variant: Variant
    seed: int
    run: Path
    state: State = "missing"
    images_seen: int = 0
    manifest: dict[str, Any] = field(default_factory=dict, repr=False)
    error: str = ""

    @property
    def title(self) -> str:
        """What to call it in messages."""
        return f"{self.variant.label}, seed {self.seed}"

    def describe(self) -> dict[str, Any]:
        """Returns the training as JSON has it."""
        return {
            "row": self.variant.label,
            "seed": self.seed,
            "run": str(self.run),
            "state": self.state,
            "images_seen": self.images_seen,
            "images": self.variant.config.train.images,
            "error": self.error or None,
        }


def plan(variants: Sequence[Variant], out: Path) -> list[Member]:
    """Looks at what stands in the folder; writes nothing.

    Args:
        variants: the rows.
        out: the comparison's folder.

    Returns:
        a member per row and seed, in the order of training: first every row's first seed.
    """
    submitted = _submitted(out)
    most = max(variant.seeds for variant in variants)
    found = [
        Member(variant, seed, out / f"{variant.folder}-seed{seed}")
        for seed in range(most)
        for variant in variants
        if seed < variant.seeds
    ]
    for member in found:
        _look(member)
        if member.state != "done" and member.run.name in submitted:
            member.state = "submitted"
    return found


def members(result: dict[str, Any], state: State) -> list[dict[str, Any]]:
    """Returns the runs of a result that are in a state."""
    return [run for row in result["rows"] for run in row["runs"] if run["state"] == state]


def compare(
    variants: Sequence[Variant],
    out: Path,
    launcher: Launcher | None = None,
    at_once: int = 1,
    resubmit: bool = False,
    protocol: str | None = None,
    regime: str | None = None,
    central: bool = False,
    tell: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Trains what is missing and sums up what there is.

    Args:
        variants: the rows.
        out: the comparison's folder.
        launcher: what starts a training; this Python when None.
        at_once: trainings at a time; they share the processors.
        resubmit: launch again what was submitted and is not complete.
        protocol: probe the runs anew by this protocol; their own probe.json when both this and `regime` are None.
        regime: of the probe, `clean` or `authors`.
        central: also find each row's most central training, without labels.
        tell: takes lines for the person who waits.

    Returns:
        what `compare --json` prints: `rows` with their `numbers` and `runs`, and `stopped`, the signal that ended it or "".

    Raises:
        StudioError: the folder is in use or cannot be written. What is wrong with one run is in the result instead.
    """
    plans = plan(variants, out)
    _forget(out, [member.run.name for member in plans if member.state == "done"])
    todo = [
        m for m in plans if m.state in ("missing", "half") or (m.state == "submitted" and resubmit)
    ]
    stopped = ""
    if todo:
        with claimed(out) as keep:
            stopped = _train(todo, out, launcher or Launcher(), at_once, tell, keep)
    anew = (
        None if protocol is None and regime is None else (protocol or "held-out", regime or "clean")
    )
    rows = []
    for variant in variants:
        own = [member for member in plans if member.variant is variant]
        probes = {m.seed: found for m in own if (found := _probed(m, out, anew, tell, not stopped))}
        row = standing(variant, [m.describe() for m in own], probes, _cost(own))
        rows.append(row | ({"centrality": _central(own, tell)} if central and not stopped else {}))
    result = {
        "name": out.name,
        "out": str(out),
        "protocol": anew[0] if anew else "held-out",
        "eval": anew[1] if anew else "clean",
        "stopped": stopped,
        "rows": rows,
    }
    return {**result, "notes": notes(result)}


def _look(member: Member) -> None:
    """Finds out how far a training is, and whether its folder holds this training at all."""
    member.state, member.error = "missing", ""
    if not member.run.exists() or (member.run.is_dir() and not any(member.run.iterdir())):
        return
    config = member.variant.at(member.seed)
    try:
        find_folder(config, member.run, resume=True)
        newest = checkpoint.newest(member.run)
    except StudioError as error:
        member.state, member.error = (
            "failed",
            "; ".join(line.strip() for line in str(error).splitlines()),
        )
        return
    member.state = "half"
    if newest is not None:
        member.images_seen, member.manifest = newest.images_seen, newest.verify()
        if newest.images_seen >= config.train.images and _own_probe(member) is not None:
            member.state = "done"


def _own_probe(member: Member) -> dict[str, Any] | None:
    """Reads the probe.json that belongs to the newest checkpoint, if there is one."""
    try:
        result = json.loads((member.run / "probe.json").read_text(encoding="utf-8"))
        return (
            result
            if result["rows"] is not None and result["images_seen"] == member.images_seen
            else None
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _train(
    todo: Sequence[Member],
    out: Path,
    launcher: Launcher,
    at_once: int,
    tell: Callable[[str], None],
    keep: Sequence[int],
) -> str:
    """Trains, and brings the members up to date; returns the signal that stopped it all, or nothing."""
    jobs = [_job(member, out, at_once if not launcher.words else 1) for member in todo]
    _forget(out, [member.run.name for member in todo])
    endings, stopped = run_jobs(jobs, launcher, at_once, tell, keep)
    for member in todo:
        ending = endings.get(member.run.name)
        _look(member)
        if ending is None or member.state in ("done", "failed"):
            continue
        if ending.code in INTERRUPTED or (stopped and ending.code):
            member.state = "stopped"
        elif ending.code == 0 and launcher.words:
            member.state = "submitted"
            _remember(out, member.run.name, launcher.command(_job(member, out, 1)))
        else:
            member.state, member.error = "failed", ending.said
    return stopped


def _job(member: Member, out: Path, share: int) -> Job:
    """Describes a training for the launcher; `share` trainings share this machine's processors."""
    settings = [*member.variant.assignments, f"seed={member.seed}"]
    if share > 1 and member.variant.config.train.threads == "auto":
        settings.append(f"train.threads={max(1, usable_processors() // share)}")
    words = [
        "--cfg",
        member.variant.cfg,
        *(word for setting in settings for word in ("--set", setting)),
    ]
    resume = ["--resume"] if (member.run / "config.yaml").is_file() else []
    log = out / "logs" / f"{member.run.name}.log"
    return Job(
        member.run.name, member.title, member.run, [*words, "--run", str(member.run), *resume], log
    )


def _submitted(out: Path) -> dict[str, Any]:
    try:
        found = json.loads((out / "submitted.json").read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else {}
    except (OSError, ValueError):
        return {}


def _remember(out: Path, name: str, command: Sequence[str]) -> None:
    write_json(out / "submitted.json", {**_submitted(out), name: list(command)})


def _forget(out: Path, names: Sequence[str]) -> None:
    known = _submitted(out)
    if any(name in known for name in names):
        write_json(
            out / "submitted.json",
            {name: command for name, command in known.items() if name not in names},
        )


def _probed(
    member: Member,
    out: Path,
    anew: tuple[str, str] | None,
    tell: Callable[[str], None],
    may_measure: bool,
) -> dict[str, Any] | None:
    """Returns what was measured on a complete run: its own probe.json, or by another protocol, measured once."""
    if member.state != "done":
        return None
    if anew is None or anew == ("held-out", "clean"):
        return _own_probe(member)
    weights = member.manifest["files"]["ema.safetensors"][
        :12
    ]  # a run that was trained anew is measured anew
    cache = out / "probes" / f"{member.run.name}-{weights}-{anew[0]}-{anew[1]}.json"
    try:
        return json.loads(cache.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        if not may_measure:
            return None
    try:
        tell(f"{member.title}: probing by {anew[0]}, {anew[1]}")
        opened = Run.open(member.run)
        result = {
            **opened.describe(),
            **measure(opened.method, opened.data, anew[0], regime=anew[1]),
        }  # type: ignore[arg-type]
    except StudioError as error:
        member.state, member.error = "failed", str(error)
        return None
    cache.parent.mkdir(parents=True, exist_ok=True)
    write_json(cache, result)
    return result


def _central(own: Sequence[Member], tell: Callable[[str], None]) -> dict[str, Any]:
    """Compares a row's complete trainings with each other by ModelCentrality; where that cannot be, a note says why."""
    done = [member for member in own if member.state == "done"]
    try:
        tell(f"{own[0].variant.label}: which of {len(done)} trainings is the most central")
        found = centrality({f"seed {member.seed}": Run.open(member.run).method for member in done})
    except StudioError as error:
        return {"note": str(error)}
    return {"winner": found["winner"], "scores": found["scores"], "chance": found["chance"]}


def _cost(own: Sequence[Member]) -> dict[str, Any]:
    """Returns a row's parameters and the median rate that its trainings logged, in images per second."""
    rates = [
        rate
        for member in own
        if member.state == "done"
        for rate in _rates(member.run / "log.jsonl")
    ]
    done = next((member for member in own if member.state == "done"), None)
    return {
        "parameters": None if done is None else _parameters(done),
        "images_per_second": round(statistics.median(rates), 1) if rates else None,
    }


def _parameters(member: Member) -> int:
    method = build_method(member.variant.config, tuple(member.manifest["shape"]))
    return sum(parameter.numel() for parameter in method.parameters())


def _rates(log: Path) -> list[float]:
    rates = []
    for line in log.read_text(encoding="utf-8").splitlines() if log.is_file() else []:
        try:
            rates.append(float(json.loads(line)["images_per_second"]))
        except (ValueError, KeyError, TypeError):
            continue
    return rates
