"""The page of a report: its sections, for one run or for several side by side."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from studio.config import dump, flatten
from studio.evaluate.verdict import summarise
from studio.render.registry import PICTURES
from studio.report.analysis import analysis_blocks
from studio.report.blocks import Figure, Table, body_of, embed
from studio.report.facts import Facts
from studio.report.findings import find
from studio.report.scores import list_scores
from studio.report.words import format_duration, format_number
from studio.runs.start import Start
from studio.templates import load_templates

__all__ = ["MOST_BYTES", "STYLE", "TEMPLATES", "name_runs", "render_page"]

TEMPLATES = Path(__file__).parent
STYLE = TEMPLATES / "style.css"
# A browser may fetch nothing: pictures and styles are part of the page.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
MOST_BYTES = 4_200_000  # of all pictures before they are encoded as text
ANIMATIONS_SHARE = 0.3  # of these bytes
WIDEST = 4  # runs in a row
SECTIONS = {
    "verdict": "How well do the codes separate?",
    "trained": "Model, data and training",
    "pictures": "Pictures",
    "analysis": "Analysis of held-out subjects",
    "training": "Course of the training",
    "scores": "Image quality",
    "reproduce": "How to reproduce it",
}
HEADLINES = {
    "overview": "Effect of the salient code",
    "grid": "Generated images",
    "reconstruct": "Reconstruction",
    "swap": "Salient content swapped between images",
    "heal": "Healed images (pseudo-healthy counterparts)",
    "isolate": "Salient content alone",
    "traverse": "Salient coordinates, one at a time",
    "interpolate": "Interpolation of the salient code",
    "codes": "Codes in two dimensions",
    "counterfactual": "Healed images compared with the truth",
}
UNKNOWN = "-"  # in a table. A row without any other value is left out.
# Keys of a manifest that do not describe the environment.
STORED = ("files", "format", "shape", "started_from", "ended")


class Reproduction(NamedTuple):
    """The means to repeat a run: its command, config and environment."""

    name: str
    command: str
    config: str
    environment: Table | None


def render_page(runs: Sequence[Facts]) -> str:
    """Returns the report as one HTML document, without scripts and other files."""
    names = name_runs(runs)
    first = runs[0].config
    title = (
        f"{names[0]}: {first.method.name} on {first.data.name}"
        if len(runs) == 1
        else f"{len(runs)} runs side by side"
    )
    named = [*zip(names, runs, strict=True)]
    most, most_of_animation = _split_room(runs)
    return (
        load_templates(TEMPLATES)
        .get_template("page.html.jinja")
        .render(
            title=title,
            policy=POLICY,
            style=STYLE.read_text(encoding="utf-8"),
            several=len(runs) > 1,
            widest=WIDEST,
            sections=SECTIONS,
            leads=[(name, _summarise_run(facts)) for name, facts in named],
            findings=find(runs, names),
            trained=_describe_runs(runs, names),
            notes=[(name, line) for name, facts in named for line in facts.notes],
            pictures=_list_pictures(runs, names, most),
            analyses=[
                (name, analysis_blocks(facts.folder, facts.analysis, facts.private))
                for name, facts in named
                if facts.analysis
            ],
            animations=[
                _animation(f, name if len(runs) > 1 else "", most_of_animation) for name, f in named
            ],
            curves=[_curves(f, name if len(runs) > 1 else "", most) for name, f in named],
            scores=list_scores(runs, names, most),
            differences=_compare_configs(runs, names) if len(runs) > 1 else None,
            reproduce=[_reproduction(facts, name) for name, facts in named],
        )
    )


def name_runs(runs: Sequence[Facts]) -> list[str]:
    """Returns the names of the runs' folders, or the paths if two names are equal."""
    names = [facts.folder.resolve().name for facts in runs]
    return names if len(set(names)) == len(names) else [str(facts.folder) for facts in runs]


def _summarise_run(facts: Facts) -> str:
    config = facts.config
    duration = f" in {format_duration(facts.seconds)}" if facts.seconds else ""
    summary = f" {summarise(facts.probe['rows'])}" if facts.probe else ""
    return (
        f"{config.method.name} on {config.data.name}, {facts.images_seen:,} images{duration}."
        f"{summary}"
    )


def _describe_runs(runs: Sequence[Facts], names: Sequence[str]) -> Table:
    rows: dict[str, Callable[[Facts], str]] = {
        "method": lambda f: f.config.method.name,
        "paper": lambda f: f.paper or UNKNOWN,
        "data set": lambda f: f.config.data.name,
        "training images": lambda f: _count_images(f, "train"),
        "test images": lambda f: _count_images(f, "test"),
        "shape of an image": lambda f: " × ".join(map(str, f.shape)),
        "lengths of the codes": lambda f: (
            f"common z {f.config.method.z}, salient s {f.config.method.s}"
        ),
        "parameters": lambda f: f"{f.parameters:,}",
        "start": _describe_start,
        "images seen": lambda f: (
            f"{f.images_seen:,} of {f.config.train.images:,}, both sets together{_describe_end(f)}"
        ),
        "duration": lambda f: f"about {format_duration(f.seconds)}" if f.seconds else UNKNOWN,
        "device": _describe_device,
        "precision": lambda f: {"no": "float32"}.get(
            f.config.train.mixed_precision, f.config.train.mixed_precision
        ),
        "seed": lambda f: str(f.config.seed),
    }
    if not any("started_from" in facts.environment for facts in runs):
        del rows["start"]
    cells = [[name, *(read(facts) for facts in runs)] for name, read in rows.items()]
    cells = [line for line in cells if any(cell != UNKNOWN for cell in line[1:])]
    return Table("Model, data and training of each run", ["", *names], cells)


def _describe_start(facts: Facts) -> str:
    known = facts.environment.get("started_from")
    return "random nets" if known is None else Start(**known).describe()


def _describe_end(facts: Facts) -> str:
    known = facts.environment.get("ended")
    return "" if known is None else f"; ended by {known['reason']}"


def _count_images(facts: Facts, split: str) -> str:
    if not facts.sizes:
        return f"unknown ({facts.missing.get('data', 'the data were not opened')})"
    background, target = facts.sizes[split, "background"], facts.sizes[split, "target"]
    return f"{background:,} background, {target:,} target"


def _describe_device(facts: Facts) -> str:
    environment = facts.environment
    if not environment:
        return UNKNOWN
    threads, processes = environment.get("threads"), environment.get("processes") or 1
    parts = [str(environment.get("accelerator") or environment.get("machine") or "")]
    if threads:
        parts.append(f"{threads} thread{'s' * (threads != 1)}")
    if processes != 1:
        parts.append(f"{processes} processes")
    return f"{environment.get('device', '-')} ({', '.join(parts)})"


def _split_room(runs: Sequence[Facts]) -> tuple[int, int]:
    """Returns the bytes that each picture and each animation may take."""
    animations = sum(facts.animation is not None for facts in runs)
    pictures = sum(len(facts.pictures) for facts in runs)
    animation = int(MOST_BYTES * ANIMATIONS_SHARE / max(1, len(runs)))
    return int((MOST_BYTES - animations * animation) / max(1, pictures)), animation


def _list_pictures(
    runs: Sequence[Facts], names: Sequence[str], most: int
) -> list[tuple[str, list[Figure | str]]]:
    """Returns each kind of picture with its headline and one figure per run."""
    sections: list[tuple[str, list[Figure | str]]] = []
    for kind in PICTURES:
        if not any(kind in facts.pictures for facts in runs):
            continue
        blocks: list[Figure | str] = []
        for facts, name in zip(runs, names, strict=True):
            if kind not in facts.pictures:
                blocks.append(f"{name}: has no such picture")
                continue
            title, caption, body = body_of(facts.pictures[kind])
            label = name if len(runs) > 1 else ""
            blocks.append(embed(body, most, _describe_picture(title, facts), caption, label))
        sections.append((HEADLINES[kind], blocks))
    return sections


def _describe_picture(title: str, facts: Facts) -> str:
    return (
        f"{title}: {facts.config.method.name} on {facts.config.data.name} after "
        f"{facts.images_seen:,} images; see the caption"
    )


def _animation(facts: Facts, name: str, most: int) -> Figure | str:
    if facts.animation is None:
        prefix = f"{name}. " if name else ""
        return f"{prefix}No animation: {facts.missing.get('training', 'not drawn')}"
    seen = facts.animation.images_seen
    caption = (
        f"Images decoded from the same codes after {seen[0]:,} to {seen[-1]:,} images: {len(seen)} "
        f"frames, {facts.animation.origin}. Each row has one common code z and each column one "
        "salient code s. The salient code of the first column is blank."
    )
    alt = _describe_picture("Animation of the training", facts)
    return embed(facts.animation.to_webp(most), most, alt, caption, name)


def _curves(facts: Facts, name: str, most: int) -> Figure | str:
    if "curves" not in facts.pictures:
        prefix = f"{name}. " if name else ""
        return f"{prefix}No curves: {facts.missing.get('curves', 'not drawn')}"
    title, caption, body = body_of(facts.pictures["curves"])
    return embed(body, most, _describe_picture(title, facts), caption, name)


def _reproduction(facts: Facts, name: str) -> Reproduction:
    environment = {key: value for key, value in facts.environment.items() if key not in STORED}
    rows = [[key, format_number(value)] for key, value in environment.items() if value is not None]
    return Reproduction(
        name,
        environment.get("command", "an unknown command"),
        dump(facts.config),
        Table("Environment of the checkpoint", ["", "value"], rows) if rows else None,
    )


def _compare_configs(runs: Sequence[Facts], names: Sequence[str]) -> Table | None:
    """Returns the fields in which the configs differ."""
    trees = [flatten(facts.config.model_dump(mode="json")) for facts in runs]
    keys = list(dict.fromkeys(key for tree in trees for key in tree))
    rows = [
        [key, *(format_number(tree.get(key)) for tree in trees)]
        for key in keys
        if any(tree.get(key) != trees[0].get(key) for tree in trees)
    ]
    return Table("Fields of the configs that differ", ["field", *names], rows) if rows else None
