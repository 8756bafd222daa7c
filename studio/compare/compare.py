"""Comparison of methods: trains missing runs, resumes incomplete ones and summarises all of them.

A comparison lives in one folder. `OUT/ROW-seedN` are the runs, `OUT/logs/` the output of their
trainings, `OUT/probes/` the results of a protocol other than that of the runs, and
`OUT/compare.md`, `.csv` and `.json` the result.
"""

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from studio.atomic import write_json
from studio.build import build_method
from studio.compare.launch import LaunchTemplate, TrainingJob, lock_folder, run_jobs
from studio.compare.present_data import DataCheck, PresentData
from studio.compare.summary import notes, summarise
from studio.compare.variant import Variant
from studio.data.folders_config import FoldersConfig
from studio.data.io.files import FilesConfig
from studio.distributed.processors import usable_cores
from studio.errors import StudioError
from studio.evaluate.disentanglement.model_centrality import centrality
from studio.evaluate.measure import measure
from studio.evaluate.probes import DEFAULTS, ProbeOptions
from studio.runs import checkpoint
from studio.runs.data_file import read_data_file
from studio.runs.folder import find_folder
from studio.runs.log import read_log
from studio.runs.probe_file import read_probe
from studio.runs.run import Run
from studio.runs.run_data import absolute_paths

__all__ = ["Member", "compare", "members", "plan"]

State = Literal["missing", "half", "done", "submitted", "stopped", "failed"]
# Exit codes of a training that stopped on request, or that a signal killed before it began.
INTERRUPTED = (130, 143, -2, -15)
Log = Callable[[str], None]


@dataclass
class Member:
    """One training of a comparison.

    Attributes:
        variant: the row that it belongs to.
        seed: of the training.
        run: its folder.
        state: `missing`, `half` (will be resumed), `done`, `submitted` (to a scheduler and not
            complete), `stopped` or `failed`.
        images_seen: by its newest intact checkpoint.
        manifest: of that checkpoint.
        error: reason of a failure.
        data_note: differences of the present data from those of the training, or the reason why
            they are unknown, or "".
        data_sha256: hash of the present data, or None if it is unknown.
    """

    variant: Variant
    seed: int
    run: Path
    state: State = "missing"
    images_seen: int = 0
    manifest: dict[str, Any] = field(default_factory=dict, repr=False)
    error: str = ""
    data_note: str = ""
    data_sha256: str | None = None

    @property
    def title(self) -> str:
        """The name of the training in messages."""
        return f"{self.variant.label}, seed {self.seed}"

    def describe(self) -> dict[str, Any]:
        """Returns the entry of the training in the JSON result."""
        return {
            "row": self.variant.label,
            "seed": self.seed,
            "run": str(self.run),
            "state": self.state,
            "images_seen": self.images_seen,
            "images": self.variant.config.train.images,
            "error": self.error or None,
            "data_note": self.data_note or None,
        }


def plan(variants: Sequence[Variant], out: Path) -> list[Member]:
    """Determines the state of every training. Writes nothing.

    Args:
        variants: the rows.
        out: folder of the comparison.

    Returns:
        a member per row and seed, in the order of training: the first seeds of all rows first.
    """
    submitted = _read_submitted(out)
    most = max(variant.seeds for variant in variants)
    found = [
        Member(variant, seed, out / f"{variant.folder}-seed{seed}")
        for seed in range(most)
        for variant in variants
        if seed < variant.seeds
    ]
    for member in found:
        _update(member)
        if member.state != "done" and member.run.name in submitted:
            member.state = "submitted"
    return found


def members(result: dict[str, Any], state: State) -> list[dict[str, Any]]:
    """Returns the runs of a result that are in a state."""
    return [run for row in result["rows"] for run in row["runs"] if run["state"] == state]


def compare(
    variants: Sequence[Variant],
    out: Path,
    template: LaunchTemplate | None = None,
    at_once: int = 1,
    resubmit: bool = False,
    options: ProbeOptions | None = None,
    central: bool = False,
    log: Log = print,
    report: bool = True,
) -> dict[str, Any]:
    """Trains missing runs, resumes incomplete ones and summarises the complete ones.

    Args:
        variants: the rows.
        out: folder of the comparison.
        template: command that starts a training. None starts it with this Python.
        at_once: number of simultaneous trainings. They share the processors.
        resubmit: launch incomplete runs again that were submitted to a scheduler.
        options: probe the complete runs with these. None takes the probe.json of each run.
        central: also find the most central training of each row, without labels.
        log: receives progress messages.
        report: whether trainings write their pictures and their report.

    Returns:
        the object that `compare --json` prints: `rows` with their `numbers` and `runs`, and
        `stopped`, the signal that ended the comparison, or "".

    Raises:
        StudioError: the folder is in use or cannot be written. The failure of a single run is part
            of the result instead.
    """
    plans = plan(variants, out)
    _forget_submitted(out, [member.run.name for member in plans if member.state == "done"])
    todo = [
        m for m in plans if m.state in ("missing", "half") or (m.state == "submitted" and resubmit)
    ]
    stopped = ""
    if todo:
        with lock_folder(out) as descriptors:
            words = () if report else ("--no-report",)
            start = template or LaunchTemplate()
            stopped = _train(todo, out, start, at_once, log, descriptors, words)
    rows, present = [], PresentData()
    for variant in variants:
        own = [member for member in plans if member.variant is variant]
        for member in own:
            _check_data(member, present)
        probes = {
            m.seed: found for m in own if (found := _probe(m, out, options, log, not stopped))
        }
        row = summarise(variant, [m.describe() for m in own], probes, _cost(own))
        rows.append(
            row | ({"centrality": _find_central(own, log)} if central and not stopped else {})
        )
    shown = options or DEFAULTS
    result = {
        "name": out.name,
        "out": str(out),
        "protocol": shown.protocol,
        "eval": shown.eval_mode,
        "stopped": stopped,
        "rows": rows,
    }
    return {**result, "notes": notes(result)}


def _update(member: Member) -> None:
    """Reads the progress of a training from its folder. Fails if the folder holds another run."""
    member.state, member.error = "missing", ""
    if not member.run.exists() or (member.run.is_dir() and not any(member.run.iterdir())):
        return
    config = member.variant.at(member.seed)
    try:
        find_folder(config, member.run, resume=True)
        newest = checkpoint.newest(member.run)
    except StudioError as error:
        reason = "; ".join(line.strip() for line in str(error).splitlines())
        member.state, member.error = "failed", reason
        return
    member.state = "half"
    if newest is not None:
        member.images_seen, member.manifest = newest.images_seen, newest.verify()
        complete = newest.images_seen >= config.train.images or _has_ended(member)
        if complete and _own_probe(member) is not None:
            member.state = "done"


def _has_ended(member: Member) -> bool:
    """Returns whether the `train.stop_when` of the config has ended the training."""
    ended, section = member.manifest.get("ended"), member.variant.config.train.stop_when
    return (
        ended is not None
        and section is not None
        and section.model_dump(mode="json").items() <= ended.items()
    )


def _own_probe(member: Member) -> dict[str, Any] | None:
    """Returns the probe.json of the newest checkpoint and the present data, if it is that."""
    return read_probe(member.run, member.images_seen, member.data_sha256)


def _check_data(member: Member, present: PresentData) -> None:
    """Notes whether the data of a complete run are still those of its training."""
    if member.state != "done":
        return
    config = member.variant.at(member.seed)
    try:
        found = present.check(config, read_data_file(member.run))
    except StudioError as error:
        found = DataCheck(problem=str(error))
    member.data_sha256 = found.sha256
    if found.changes:
        member.data_note = f"trained on other data, measured on the present ones: {found.changes}"
    elif found.problem:
        member.data_note = f"whether the data are those of the training is unknown: {found.problem}"


def _train(
    todo: Sequence[Member],
    out: Path,
    template: LaunchTemplate,
    at_once: int,
    log: Log,
    descriptors: Sequence[int],
    words: Sequence[str],
) -> str:
    """Trains and updates the members. Returns the signal that stopped the comparison, or "".

    `words` are further arguments of `studio train`.
    """
    jobs = [_job(member, out, at_once if not template.words else 1, words) for member in todo]
    _forget_submitted(out, [member.run.name for member in todo])
    endings, stopped = run_jobs(jobs, template, at_once, log, descriptors)
    for member in todo:
        ending = endings.get(member.run.name)
        _update(member)
        if ending is None or member.state in ("done", "failed"):
            continue
        if ending.code in INTERRUPTED or (stopped and ending.code):
            member.state = "stopped"
        elif ending.code == 0 and template.words:
            member.state = "submitted"
            _add_submitted(out, member.run.name, template.command(_job(member, out, 1, words)))
        else:
            member.state, member.error = "failed", ending.message
    return stopped


def _job(member: Member, out: Path, share: int, further: Sequence[str]) -> TrainingJob:
    """Describes a training. `share` trainings share the processors of this machine."""
    settings = member.variant.settings(member.seed)
    if share > 1 and member.variant.config.train.threads == "auto":
        settings.append(f"train.threads={max(1, usable_cores() // share)}")
    words = [
        "--cfg",
        member.variant.cfg,
        *(word for setting in settings for word in ("--set", setting)),
        "--run",
        str(member.run),
        *further,
    ]
    if (member.run / "config.yaml").is_file():
        words.append("--resume")
    log = out / "logs" / f"{member.run.name}.log"
    return TrainingJob(member.run.name, member.title, member.run, words, log)


def _read_submitted(out: Path) -> dict[str, Any]:
    """Returns run -> command of the trainings that were submitted to a scheduler."""
    try:
        found = json.loads((out / "submitted.json").read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else {}
    except (OSError, ValueError):
        return {}


def _add_submitted(out: Path, name: str, command: Sequence[str]) -> None:
    write_json(out / "submitted.json", {**_read_submitted(out), name: list(command)})


def _forget_submitted(out: Path, names: Sequence[str]) -> None:
    known = _read_submitted(out)
    if any(name in known for name in names):
        kept = {name: command for name, command in known.items() if name not in names}
        write_json(out / "submitted.json", kept)


def _probe(
    member: Member, out: Path, options: ProbeOptions | None, log: Log, may_measure: bool
) -> dict[str, Any] | None:
    """Returns the measurements of a complete run, None for others.

    These are its own probe.json, or the results of another protocol or of changed data, which are
    measured once and then kept in `OUT/probes/`.
    """
    if member.state != "done":
        return None
    options = options or DEFAULTS
    if options == DEFAULTS and (own := _own_probe(member)) is not None:
        return own
    # The hashes in the name make sure that a run is measured again after another training, and on
    # other data.
    kind = "ema" if options.averaged else "weights"
    hashes = [member.manifest["files"][f"{kind}.safetensors"], member.data_sha256 or ""]
    words = [*(part[:12] for part in hashes if part), options.protocol, options.eval_mode]
    name = "-".join([member.run.name, *words]) + ".json"
    cache = out / "probes" / name
    try:
        return json.loads(cache.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        if not may_measure:
            return None
    try:
        log(f"{member.title}: probing by {options.protocol}, {options.eval_mode}")
        opened = Run.open(member.run, ema=options.averaged, data_root=_data_root(member))
        result = {**opened.describe(), **measure(opened.method, opened.data, options)}
    except StudioError as error:
        member.state, member.error = "failed", str(error)
        return None
    cache.parent.mkdir(parents=True, exist_ok=True)
    write_json(cache, result)
    return result


def _data_root(member: Member) -> str | None:
    """Returns the folder of the data, if the data set reads one."""
    data = absolute_paths(member.variant.config).data
    return data.root if isinstance(data, FilesConfig | FoldersConfig) else None


def _find_central(own: Sequence[Member], log: Log) -> dict[str, Any]:
    """Compares the complete trainings of a row by ModelCentrality.

    If that is impossible, a note says why.
    """
    done = [member for member in own if member.state == "done"]
    try:
        log(f"{own[0].variant.label}: which of {len(done)} trainings is the most central")
        found = centrality({f"seed {member.seed}": Run.open(member.run).method for member in done})
    except StudioError as error:
        return {"note": str(error)}
    return {"winner": found["winner"], "scores": found["scores"], "chance": found["chance"]}


def _cost(own: Sequence[Member]) -> dict[str, Any]:
    """Returns the parameters of a row and the median of its logged images per second."""
    rates = [rate for member in own if member.state == "done" for rate in _rates(member.run)]
    done = next((member for member in own if member.state == "done"), None)
    return {
        "parameters": None if done is None else _count_parameters(done),
        "images_per_second": round(statistics.median(rates), 1) if rates else None,
    }


def _count_parameters(member: Member) -> int:
    method = build_method(member.variant.config, tuple(member.manifest["shape"]))
    return sum(parameter.numel() for parameter in method.parameters())


def _rates(run: Path) -> list[float]:
    """Returns the images per second of the lines of a log, if there is one."""
    if not (run / "log.jsonl").is_file():
        return []
    rates = (line.get("images_per_second") for line in read_log(run))
    return [float(rate) for rate in rates if isinstance(rate, int | float)]
