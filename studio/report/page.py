"""The page: sections of one run, or of several side by side."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from xml.etree.ElementTree import Element

from studio.config import dump, flatten
from studio.render.registry import PICTURES
from studio.report.facts import Facts
from studio.report.findings import findings
from studio.report.markup import Child, el, figure, table, text_of, written
from studio.report.scores import scores
from studio.report.words import number, span, summary

__all__ = ["labels_of", "page"]

STYLE = Path(__file__).with_name("style.css")
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"  # what a browser is allowed to fetch: nothing
MOST_BYTES, OF_FILMS = (
    4_200_000,
    0.3,
)  # of all pictures before they are written as text, and the animations' share
WIDEST = 4  # runs in a row
HEADLINES = {
    "overview": "What the salient code does",
    "grid": "New images",
    "reconstruct": "Reconstruction",
    "swap": "Swap",
    "heal": "Healed",
    "isolate": "Salient content alone",
    "traverse": "Salient coordinates",
    "interpolate": "Interpolation",
    "codes": "Codes in two dimensions",
    "counterfactual": "Against the truth",
}


def page(runs: Sequence[Facts]) -> str:
    """Returns the report as one HTML document that needs no other file, no script and no network."""
    names = labels_of(runs)
    first = runs[0].config
    title = (
        f"{first.method.name} on {first.data.name}"
        if len(runs) == 1
        else f"{len(runs)} runs side by side"
    )
    sections: dict[str, tuple[str, list[Child]]] = {
        "verdict": ("Is the split clean?", findings(runs, names)),
        "trained": ("What was trained on what", [_trained(runs, names), *_notes(runs, names)]),
        "pictures": ("Pictures", _pictures(runs, names)),
        "training": ("The training", _training(runs, names)),
        "scores": ("Scores", scores(runs, names, _room(runs)[0])),
        "reproduce": ("How to reproduce it", _reproduce(runs, names)),
    }
    links = [el("li", el("a", head, href=f"#{key}")) for key, (head, _) in sections.items()]
    body = el(
        "body",
        el(
            "header",
            el("h1", title),
            *_lead(runs, names),
            el("nav", el("ul", *links), aria_label="Sections"),
        ),
        el(
            "main",
            *(
                el("section", el("h2", head), *inside, id=key)
                for key, (head, inside) in sections.items()
            ),
        ),
        class_="one" if len(runs) == 1 else "several",
    )
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=POLICY),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("title", f"{title} - Contrastive studio"),
        el("style", STYLE.read_text(encoding="utf-8")),
    )
    return written(el("html", head, body, lang="en"))


def labels_of(runs: Sequence[Facts]) -> list[str]:
    """Returns what the runs are called: their folders' names, or the paths where two have one name."""
    names = [facts.folder.resolve().name for facts in runs]
    return names if len(set(names)) == len(names) else [str(facts.folder) for facts in runs]


def _lead(runs: Sequence[Facts], names: Sequence[str]) -> list[Child]:
    lines: list[Child] = []
    for facts, name in zip(runs, names, strict=True):
        config = facts.config
        took = f" in {span(facts.seconds)}" if facts.seconds else ""
        line = f"{config.method.name} on {config.data.name}, {facts.images_seen:,} images{took}."
        found = f" {summary(facts.probe['rows'])}" if facts.probe else ""
        lines.append(
            el(
                "p",
                el("strong", f"{name}: ") if len(runs) > 1 else None,
                line + found,
                class_="lead",
            )
        )
    return lines


def _trained(runs: Sequence[Facts], names: Sequence[str]) -> Element:
    rows: dict[str, Callable[[Facts], str]] = {
        "method": lambda f: f.config.method.name,
        "paper": lambda f: f.paper or "-",
        "data set": lambda f: f.config.data.name,
        "training images": lambda f: _halves(f, "train"),
        "test images": lambda f: _halves(f, "test"),
        "shape of an image": lambda f: " × ".join(map(str, f.shape)),
        "lengths of the codes": lambda f: (
            f"common z {f.config.method.z}, salient s {f.config.method.s}"
        ),
        "parameters": lambda f: f"{f.parameters:,}",
        "images seen": lambda f: (
            f"{f.images_seen:,} of {f.config.train.images:,}, both sets together"
        ),
        "duration": lambda f: f"about {span(f.seconds)}" if f.seconds else "not in the log",
        "device": _device,
        "precision": lambda f: {"no": "float32"}.get(
            f.config.train.mixed_precision, f.config.train.mixed_precision
        ),
        "seed": lambda f: str(f.config.seed),
    }
    cells: list[list[Child]] = [
        [name, *(read(facts) for facts in runs)] for name, read in rows.items()
    ]
    return table("What each run is", ["", *names], cells)


def _halves(facts: Facts, split: str) -> str:
    return (
        f"{facts.sizes[split, 'background']:,} background, {facts.sizes[split, 'target']:,} target"
    )


def _device(facts: Facts) -> str:
    found = facts.environment
    if not found:
        return "-"
    threads, processes = found.get("threads"), found.get("processes") or 1
    many = f", {processes} processes" if processes != 1 else ""
    name = found.get("accelerator") or found.get("machine") or ""
    return f"{found.get('device', '-')} ({name}{f', {threads} thread' + 's' * (threads != 1) if threads else ''}{many})"


def _notes(runs: Sequence[Facts], names: Sequence[str]) -> list[Child]:
    told = [(name, line) for facts, name in zip(runs, names, strict=True) for line in facts.notes]
    if not told:
        return []
    return [
        el(
            "ul",
            *(el("li", f"{name}: {line}" if len(runs) > 1 else line) for name, line in told),
            class_="soft",
        )
    ]


def _room(runs: Sequence[Facts]) -> tuple[int, int]:
    """Returns the bytes that each picture and each animation may take, so that the page stays small."""
    films = sum(facts.animation is not None for facts in runs)
    pictures = sum(len(facts.pictures) for facts in runs)
    film = int(MOST_BYTES * OF_FILMS / max(1, len(runs)))
    return int((MOST_BYTES - films * film) / max(1, pictures)), film


def _pictures(runs: Sequence[Facts], names: Sequence[str]) -> list[Child]:
    most, _ = _room(runs)
    parts: list[Child] = []
    for kind in PICTURES:
        if not any(kind in facts.pictures for facts in runs):
            continue
        figures = []
        for facts, name in zip(runs, names, strict=True):
            if kind not in facts.pictures:
                figures.append(el("p", f"{name}: has no such picture", class_="soft"))
                continue
            title, caption, body = text_of(facts.pictures[kind])
            named: Child = el("strong", f"{name}. ") if len(runs) > 1 else None
            figures.append(figure(body, el("span", named, caption), _alt(title, facts), most))
        parts += [el("h3", HEADLINES[kind]), _columns(figures)]
    return parts


def _alt(title: str, facts: Facts) -> str:
    return f"{title}: {facts.config.method.name} on {facts.config.data.name} after {facts.images_seen:,} images; see the caption"


def _columns(inside: Iterable[Child]) -> Element:
    children = list(inside)
    return el("div", *children, class_=f"columns of-{min(WIDEST, len(children))}")


def _training(runs: Sequence[Facts], names: Sequence[str]) -> list[Child]:
    most, of_film = _room(runs)
    films, logs = [], []
    for facts, name in zip(runs, names, strict=True):
        named = f"{name}. " if len(runs) > 1 else ""
        if facts.animation is None:
            films.append(
                el(
                    "p",
                    f"{named}No animation: {facts.missing.get('training', 'not made')}",
                    class_="soft",
                )
            )
        else:
            seen = facts.animation.images_seen
            caption = (
                f"{named}The same codes after {seen[0]:,} to {seen[-1]:,} images: {len(seen)} frames, {facts.animation.origin}; "
                "rows share z, columns s, and the first column's s is blank."
            )
            films.append(
                figure(
                    facts.animation.to_webp(of_film),
                    caption,
                    _alt("Animation of the training", facts),
                    most,
                )
            )
        if "curves" not in facts.pictures:
            logs.append(
                el(
                    "p",
                    f"{named}No curves: {facts.missing.get('curves', 'not drawn')}",
                    class_="soft",
                )
            )
        else:
            title, caption, body = text_of(facts.pictures["curves"])
            logs.append(figure(body, named + caption, _alt(title, facts), most))
    return [el("h3", "Animation"), _columns(films), el("h3", "Curves"), _columns(logs)]


def _reproduce(runs: Sequence[Facts], names: Sequence[str]) -> list[Child]:
    parts: list[Child] = []
    if len(runs) > 1:
        parts += _differences(runs, names)
    for facts, name in zip(runs, names, strict=True):
        environment = {
            key: value
            for key, value in facts.environment.items()
            if key not in ("files", "format", "shape")
        }
        parts += [
            el("h3", name) if len(runs) > 1 else None,
            el("p", "From the config below, saved as ", el("code", "config.yaml"), ":"),
            el("pre", "studio train --cfg config.yaml --run runs/again"),
            el("p", f"It was started by: {environment.get('command', 'not known')}", class_="soft"),
            el(
                "details",
                el("summary", "The resolved config"),
                el("pre", dump(facts.config)),
                **({"open": ""} if len(runs) == 1 else {}),
            ),
            table(
                "Environment of the checkpoint",
                ["", "found"],
                [[key, number(v)] for key, v in environment.items()],
            )
            if environment
            else el("p", "No checkpoint tells of the environment.", class_="soft"),
        ]
    return parts


def _differences(runs: Sequence[Facts], names: Sequence[str]) -> list[Child]:
    trees = [flatten(facts.config.model_dump(mode="json")) for facts in runs]
    keys = list(dict.fromkeys(key for tree in trees for key in tree))
    differing = [key for key in keys if any(tree.get(key) != trees[0].get(key) for tree in trees)]
    rows: list[list[Child]] = [
        [key, *(number(tree.get(key)) for tree in trees)] for key in differing
    ]
    return [table("Fields of the configs that differ", ["field", *names], rows)] if rows else []
