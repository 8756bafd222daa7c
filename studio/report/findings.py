"""What was measured on the codes: verdicts in words, and the tables behind them."""

from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree.ElementTree import Element

from studio.config import flatten
from studio.evaluate.probe_table import METRICS, counterfactual_lines, separation_lines
from studio.report.facts import Facts
from studio.report.markup import Child, el, table
from studio.report.words import Verdict, distance, number, read_out, verdict

__all__ = ["findings"]

LOOKS = {
    "clean": "good",
    "nearly clean": "good",
    "leaks": "even",
    "not separated": "bad",
    "wrong place": "bad",
}
PROTOCOLS = {
    "held-out": "a linear model on standardised training codes, scored on test codes",
    "carton": "a linear model in five folds of the test split",
    "louiset": "fitted on training targets, scored on test targets",
}


def findings(runs: Sequence[Facts], names: Sequence[str]) -> list[Child]:
    """Returns the section: of one run a sentence per attribute, of several a table of them; and what was measured beside."""
    probed = [(facts.probe, name) for facts, name in zip(runs, names, strict=True) if facts.probe]
    parts: list[Child] = []
    if len(probed) == 1:
        probe = probed[0][0]
        verdicts = [verdict(row) for row in probe["rows"]]
        auc = probe.get("separation", {}).get("salient_distance_auc")
        verdicts += [] if auc is None else [distance(auc)]
        parts.append(el("ul", *map(_said, verdicts), class_="verdicts"))
    elif probed:
        parts.append(_side_by_side(probed))
    for probe, name in probed:
        several = len(runs) > 1
        measured = _of_run(probe, f"{name}: " if several else "")
        parts += (
            [el("details", el("summary", f"{name}: all that was measured"), *measured)]
            if several
            else measured
        )
    unmeasured = [name for facts, name in zip(runs, names, strict=True) if not facts.probe]
    if unmeasured:
        parts.append(
            el(
                "p",
                f"Not measured: {', '.join(unmeasured)} (studio probe RUN does).",
                class_="soft",
            )
        )
    return parts


def _said(found: Verdict) -> Element:
    kind, sentence = found
    return el(
        "li", el("span", kind, class_=f"badge {LOOKS.get(kind, 'even')}"), el("span", sentence)
    )


def _side_by_side(probed: Sequence[tuple[Mapping[str, Any], str]]) -> Element:
    belongs = {row["attribute"]: row["belongs"] for probe, _ in probed for row in probe["rows"]}
    rows: list[list[Child]] = []
    for attribute, home in belongs.items():
        cells: list[Child] = []
        for probe, _ in probed:
            found = [row for row in probe["rows"] if row["attribute"] == attribute]
            cells.append(_cell(found[0]) if found else "-")
        rows.append(
            [
                el("span", attribute, el("br"), el("span", f"belongs in {home}", class_="soft")),
                *cells,
            ]
        )
    return table(
        "What is read from which code, by run", ["attribute", *(name for _, name in probed)], rows
    )


def _cell(row: Mapping[str, Any]) -> Element:
    kind, sentence = verdict(row)
    return el(
        "div",
        el("span", kind, class_=f"badge {LOOKS.get(kind, 'even')}"),
        el("br"),
        el("span", sentence),
    )


def _of_run(probe: Mapping[str, Any], name: str) -> list[Child]:
    parts: list[Child] = [_probe_table(probe, name)]
    if "reconstruction" in probe:
        off = probe["reconstruction"]
        parts.append(
            el(
                "p",
                f"{name}Mean absolute error of reconstructed test images, which run from -1 to 1: background "
                f"{number(off.get('background'))}, target {number(off.get('target'))} ({number(off.get('n'))} images of each).",
                class_="soft",
            )
        )
    if "separation" in probe:
        parts += _separation(probe["separation"], name)
    if "disentangle" in probe:
        scores = [[key, number(value)] for key, value in flatten(probe["disentangle"]).items()]
        parts.append(
            table(
                f"{name}How the known factors lie in the code",
                ["measure", "value"],
                [[*row] for row in scores],
            )
        )
    if "counterfactual" in probe:
        parts.append(
            el(
                "ul",
                *(
                    el("li", name + _capital(line))
                    for line in counterfactual_lines(probe["counterfactual"])
                ),
            )
        )
    return parts


def _probe_table(probe: Mapping[str, Any], name: str) -> Element:
    rows: list[list[Child]] = []
    for row in probe["rows"]:
        if row["salient"] is None:
            rows.append([row["attribute"], row["belongs"], *["-"] * 6, number(row["n"])])
            continue
        up = row["belongs"] == "salient"
        bars = [
            _bar(row[code], row, wanted) for code, wanted in (("salient", up), ("common", not up))
        ]
        plain = [read_out(row["whole"], row["metric"]), read_out(row["chance"], row["metric"])]
        metric = METRICS.get(row["metric"], row["metric"])
        rows.append(
            [
                row["attribute"],
                row["belongs"],
                metric,
                *bars,
                *plain,
                f"{row['error']:.3f}",
                number(row["n"]),
            ]
        )
    protocol = probe.get("protocol", "")
    caption = (
        f"{name}Read-outs by {PROTOCOLS.get(protocol, protocol)}; ↑ should be high, ↓ at chance, the upright line. "
        f"{number(probe.get('n_train'))} training and {number(probe.get('n_test'))} test codes"
    )
    head = [
        "attribute",
        "belongs in",
        "metric",
        "from salient",
        "from common",
        "from both",
        "chance",
        "s.e.",
        "n",
    ]
    return table(caption, head, rows)


def _bar(value: float, row: Mapping[str, Any], wanted: bool) -> Element:
    """A number over a bar from 0 to 1 with a line at chance."""
    length, chance = (f"{100 * min(1, max(0, v)):.1f}%" for v in (value, row["chance"]))
    drawn = el(
        "span",
        el("i", style=f"width:{length}"),
        el("b", style=f"left:{chance}"),
        class_="bar",
        aria_hidden="true",
    )
    return el("span", f"{read_out(value, row['metric'])} {'↑' if wanted else '↓'}", drawn)


def _separation(found: Mapping[str, Any], name: str) -> list[Child]:
    rows: list[list[Child]] = []
    for attribute, values in found.get("attributes", {}).items():
        for place, scores in {"": values, ", t-SNE": values.get("tsne", {})}.items():
            for measure in ("silhouette", "clustering_accuracy", "clustering_chance"):
                if f"{measure}_salient" in scores:
                    pair = [number(scores[f"{measure}_{code}"]) for code in ("salient", "common")]
                    rows.append(
                        [attribute, measure.replace("_", " ") + place, *pair, number(values["n"])]
                    )
        if "note" in values:
            rows.append([attribute, values["note"], "-", "-", number(values["n"])])
    parts: list[Child] = [
        el("p", _capital(line), class_="soft") for line in separation_lines(dict(found))
    ]
    if rows:
        head = ["attribute", "measure", "salient", "common", "n"]
        parts.insert(
            0, table(f"{name}How the classes of target images lie in either code", head, rows)
        )
    return parts


def _capital(line: str) -> str:
    return line[:1].upper() + line[1:] + "." * (not line.endswith("."))
