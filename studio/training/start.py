"""Starting a training from trained nets: opening them, comparing their sizes, loading them.

The averaged weights are taken, with which every verb works, for the trained nets and for their
moving average. Optimisers and the count of images begin anew. The first checkpoint of such a run
holds these nets, so that a return to a checkpoint never returns to random ones.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from studio.build import build_method
from studio.config import Config
from studio.data import Dataset
from studio.errors import StudioError
from studio.method import Method
from studio.runs import checkpoint, exported
from studio.runs.data_file import read_data_file
from studio.runs.manifest import sha256
from studio.runs.run import Run
from studio.runs.start import Start, read_start
from studio.training.engine import Engine

__all__ = ["Beginning", "find_beginning", "note_of", "refuse_misfit"]

OPTION = "--from"
LISTED = 5  # fields in a message
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Beginning:
    """Where a training begins.

    Attributes:
        start: the record of the trained nets.
        run: the nets. None if the run has a checkpoint of its own, from which it goes on.
    """

    start: Start
    run: Run | None

    def load_(self, engine: Engine) -> None:
        """Gives an engine and its moving average the trained nets."""
        if self.run is None:
            return
        weights = self.run.method.state_dict()
        engine.method.load_state_dict(weights)
        engine.ema.method.load_state_dict(weights)


def find_beginning(given: Path | None, resumed: Path | None) -> Beginning | None:
    """Opens the nets from which a training starts.

    Args:
        given: the run or export of `--from`, or None.
        resumed: directory of the training if it is resumed, or None.

    Returns:
        the beginning, or None if the training starts from random nets.

    Raises:
        StudioError: the run or export cannot be opened, or the training that is resumed started
            from others.
    """
    stored = None if resumed is None else read_start(resumed)
    begun = resumed is not None and (resumed / "config.yaml").is_file()
    if begun and given is not None and (stored is None or stored.run != str(_absolute(given))):
        found = "random nets" if stored is None else stored.run
        raise StudioError(
            f"{OPTION} {given}: {resumed} started from {found}, and a resumed training keeps its "
            f"start; leave {OPTION} out, or give another --run"
        )
    if given is not None and not begun:
        return _open(given)
    if resumed is None or stored is None:
        return None
    if checkpoint.every(resumed):
        return Beginning(stored, None)
    found = _open(Path(stored.run))
    if found.start.sha256 != stored.sha256:
        raise StudioError(
            f"{OPTION} {stored.run}: its averaged weights are no longer those from which {resumed} "
            "started (another sha256); start a new --run"
        )
    return found


def _absolute(path: Path) -> Path:
    return Path(os.path.expanduser(path)).resolve()


def _open(folder: Path) -> Beginning:
    try:
        run = Run.open(folder, device="cpu")
    except StudioError as error:
        raise StudioError(f"{OPTION} {error}") from None
    saved = {found.images_seen: found.path for found in checkpoint.every(run.folder)}
    path = saved.get(run.images_seen)  # an export has no checkpoints
    file = run.folder / exported.WEIGHTS if path is None else path / "ema.safetensors"
    names = run.config.method.name, run.config.data.name
    start = Start(str(_absolute(folder)), *names, run.images_seen, "averaged", sha256(file))
    return Beginning(start, run)


def refuse_misfit(method: Method, config: Config, shape: Shape, source: Run) -> None:
    """Compares the parameters of a method with those of a run by name.

    Args:
        method: the new method.
        config: the experiment of the new method.
        shape: of its images.
        source: the run from which it should start.

    Raises:
        StudioError: a parameter is missing or has another shape, or the method has no training
            steps. The message names the first such parameter, both shapes and the field.
    """
    if not method.steps():
        raise StudioError(
            f"{OPTION} {source.folder}: {config.method.name} is solved at once, so that it has no "
            "start"
        )
    ours, theirs = _shapes(method), _shapes(source.method)
    for name in {**ours, **theirs}:
        expected, found = ours.get(name), theirs.get(name)
        if found != expected:
            raise StudioError(
                f"{OPTION} {source.folder}: {name} {_word(found)}, expected {_expected(expected)}; "
                f"{_describe_cause(config, shape, source, name, found)}"
            )


def _shapes(net: nn.Module) -> dict[str, Shape]:
    return {name: tuple(value.shape) for name, value in net.state_dict().items()}


def _word(shape: Shape | None) -> str:
    return "is missing there" if shape is None else f"has the shape {shape} there"


def _expected(shape: Shape | None) -> str:
    return "no such parameter" if shape is None else f"{shape}"


def _describe_cause(
    config: Config, shape: Shape, source: Run, name: str, found: Shape | None
) -> str:
    """Names the field that makes the shape of a parameter.

    A field is the cause if its value in the source alone gives the parameter its shape there.
    """
    differing = []
    for field, ours, theirs, changed, images in _changes(config, shape, source):
        differing.append(field)
        try:
            # No weights are drawn for longer than the message takes.
            if _shapes(build_method(changed, images)).get(name) == found:
                return f"{field} makes it: found {theirs}, expected {ours}"
        except StudioError:  # this value does not go with the other fields
            continue
    more = f" and {len(differing) - LISTED} more" * (len(differing) > LISTED)
    return f"these fields differ: {', '.join(differing[:LISTED])}{more}"


def _changes(
    config: Config, shape: Shape, source: Run
) -> Iterator[tuple[str, object, object, Config, Shape]]:
    """Yields each field that shapes nets and differs: its name, its value here and there, and the
    experiment and image shape with the value of there."""
    for section in ("nets", "method"):
        ours, theirs = getattr(config, section), getattr(source.config, section)
        fields = [key for key in type(ours).model_fields if key in type(theirs).model_fields]
        for field in fields:
            here, there = getattr(ours, field), getattr(theirs, field)
            if here != there and field not in ("name", "weights"):
                part = ours.model_copy(update={field: there})
                changed = config.model_copy(update={section: part})
                yield f"{section}.{field}", _short(here), _short(there), changed, shape
    if config.method.name != source.config.method.name:
        other = source.config.method
        names = config.method.name, other.name
        changed = config.model_copy(update={"method": other})
        yield "method.name", *names, changed, shape
    if shape != source.shape:
        side = shape[1:] != source.shape[1:] and hasattr(config.data, "resolution")
        field = "data.resolution" if side else "the shape of the images"
        yield field, shape, source.shape, config, source.shape


def _short(value: Any) -> str:  # noqa: ANN401 - of any field
    text = str(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


def note_of(beginning: Beginning | None, dataset: Dataset) -> str:
    """Returns a sentence for the log about the start, or "" for a start from random nets.

    It warns of held-out names that the trained nets may have seen.
    """
    if beginning is None or beginning.run is None:
        return ""
    line = f"starts from {beginning.start.describe()}"
    stored = read_data_file(beginning.run.folder)
    if stored is None or stored.dataset != beginning.run.config.data.name:
        return line
    theirs, ours = stored.derived.get("split") or {}, dataset.derived().get("split") or {}
    held_out = [name for name, split in ours.items() if split == "test"]
    known = sum(theirs.get(name) == "train" for name in held_out)
    if not known:
        return line
    return (
        f"{line}; {known:,} of {len(held_out):,} held-out names are names that these nets were "
        "trained on: if the files are the same, nothing measured on them is held out"
    )
