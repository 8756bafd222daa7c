"""The measurements on the codes: verdicts in sentences, and the tables behind them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from studio.config import flatten
from studio.evaluate.probe_table import METRICS, counterfactual_lines, separation_lines
from studio.evaluate.verdict import Verdict, best_reading, format_probe, judge, judge_distance
from studio.report.blocks import Table
from studio.report.facts import Facts
from studio.report.words import format_number

__all__ = ["Findings", "find"]

LOOKS = {
    "separated": "good",
    "nearly separated": "good",
    "leaks": "even",
    "not separated": "bad",
    "wrong code": "bad",
}
PROBE_HEAD = (
    "attribute",
    "belongs in",
    "metric",
    "from salient",
    "from common",
    "from both",
    "chance",
    "standard error",
    "n",
)
PROTOCOLS = {
    "held-out": "trained on standardised codes of training images, tested on codes of test images",
    "carton": "in five folds of the test images",
    "louiset": "trained on training targets, tested on test targets",
}


class ProbeBar(NamedTuple):
    """A probe result as text and as a bar from 0 to 1 with a mark at the chance level."""

    text: str
    length: str
    chance: str


class ProbeRow(NamedTuple):
    """A row of the probe table. The bars show the probes of the salient and the common code."""

    attribute: str
    belongs: str
    metric: str
    bars: Sequence[ProbeBar | None]
    numbers: Sequence[str]


class Measurements(NamedTuple):
    """All measurements of one run, ready to be laid out."""

    name: str
    probe_caption: str
    probe_rows: Sequence[ProbeRow]
    reconstruction: str
    separation: Table | None
    separation_lines: Sequence[str]
    disentanglement: Table | None
    counterfactual_lines: Sequence[str]


class Findings(NamedTuple):
    """The section of a report about the codes.

    Attributes:
        verdicts: of a single run, one per attribute.
        comparison: of several runs: attribute, the code where it belongs, a verdict per run.
        measured: the measurements of each run that has some.
        unmeasured: names of the other runs.
        probe_head: column titles of the probe tables.
        looks: kind of verdict -> style of its badge.
    """

    verdicts: Sequence[Verdict]
    comparison: Sequence[tuple[str, str, Sequence[Verdict | None]]]
    measured: Sequence[Measurements]
    unmeasured: Sequence[str]
    probe_head: Sequence[str] = PROBE_HEAD
    looks: Mapping[str, str] = LOOKS


def find(runs: Sequence[Facts], names: Sequence[str]) -> Findings:
    """Returns the section: for one run a sentence per attribute, for several a table of them."""
    probed = [(facts.probe, name) for facts, name in zip(runs, names, strict=True) if facts.probe]
    verdicts: list[Verdict] = []
    if len(probed) == 1:
        probe = probed[0][0]
        verdicts = [judge(row) for row in probe["rows"]]
        auc = probe.get("separation", {}).get("salient_distance_auc")
        verdicts += [] if auc is None else [judge_distance(auc)]
    several = len(runs) > 1
    return Findings(
        verdicts,
        _compare([probe for probe, _ in probed]) if len(probed) > 1 else [],
        [_list_measurements(probe, name, f"{name}: " if several else "") for probe, name in probed],
        [name for facts, name in zip(runs, names, strict=True) if not facts.probe],
    )


def _compare(
    probes: Sequence[Mapping[str, Any]],
) -> list[tuple[str, str, list[Verdict | None]]]:
    belongs = {row["attribute"]: row["belongs"] for probe in probes for row in probe["rows"]}
    judged = [{row["attribute"]: judge(row) for row in reversed(p["rows"])} for p in probes]
    return [
        (attribute, code, [verdicts.get(attribute) for verdicts in judged])
        for attribute, code in belongs.items()
    ]


def _list_measurements(probe: Mapping[str, Any], name: str, prefix: str) -> Measurements:
    reconstruction = ""
    if "reconstruction" in probe:
        error = probe["reconstruction"]
        reconstruction = (
            f"{prefix}Mean absolute error of the reconstructions of test images, with pixel values "
            f"from -1 to 1: background {format_number(error.get('background'))}, target "
            f"{format_number(error.get('target'))} ({format_number(error.get('n'))} images of "
            "each)."
        )
    scores = flatten(probe["disentangle"]) if "disentangle" in probe else {}
    return Measurements(
        name,
        _probe_caption(probe, prefix),
        [_probe_row(row) for row in probe["rows"]],
        reconstruction,
        _separation_table(probe["separation"], prefix) if "separation" in probe else None,
        [_to_sentence(line) for line in separation_lines(probe["separation"])]
        if "separation" in probe
        else [],
        Table(
            f"{prefix}Disentanglement of the known factors",
            ["measure", "value"],
            [[key, format_number(value)] for key, value in scores.items()],
        )
        if scores
        else None,
        [prefix + _to_sentence(line) for line in counterfactual_lines(probe["counterfactual"])]
        if "counterfactual" in probe
        else [],
    )


def _probe_caption(probe: Mapping[str, Any], prefix: str) -> str:
    protocol = probe.get("protocol", "")
    return (
        f"{prefix}Probes: how well a linear model, and behind the slash a small non-linear one, "
        f"predicts each attribute from a code, {PROTOCOLS.get(protocol, protocol)}. ↑ should be "
        f"high. ↓ should be at the chance level, the upright line. "
        f"{format_number(probe.get('n_train'))} training and "
        f"{format_number(probe.get('n_test'))} test codes"
    )


def _probe_row(row: Mapping[str, Any]) -> ProbeRow:
    n = format_number(row["n"])
    if row["salient"] is None:
        return ProbeRow(row["attribute"], row["belongs"], "-", [None, None], [*["-"] * 3, n])
    up = row["belongs"] == "salient"
    return ProbeRow(
        row["attribute"],
        row["belongs"],
        METRICS.get(row["metric"], str(row["metric"])),
        [_bar(code, row, high) for code, high in (("salient", up), ("common", not up))],
        [
            *(format_probe(row[key], row["metric"]) for key in ("whole", "chance")),
            f"{row['error']:.3f}",
            n,
        ],
    )


def _bar(code: str, row: Mapping[str, Any], high: bool) -> ProbeBar:
    """Returns the bar of the better reader of a code, with the numbers of both."""
    values = [row[code], row["also"].get(f"{code}_nonlinear")]
    words = " / ".join(format_probe(v, row["metric"]) for v in values if v is not None)
    best, _ = best_reading(row, code)
    length, chance = (f"{100 * min(1, max(0, v)):.1f}%" for v in (best, row["chance"]))
    return ProbeBar(f"{words} {'↑' if high else '↓'}", length, chance)


def _separation_table(separation: Mapping[str, Any], prefix: str) -> Table | None:
    rows: list[list[str]] = []
    for attribute, values in separation.get("attributes", {}).items():
        for place, scores in {"": values, ", t-SNE": values.get("tsne", {})}.items():
            for measure in ("silhouette", "clustering_accuracy", "clustering_chance"):
                if f"{measure}_salient" in scores:
                    pair = [
                        format_number(scores[f"{measure}_{code}"]) for code in ("salient", "common")
                    ]
                    label = measure.replace("_", " ") + place
                    rows.append([attribute, label, *pair, format_number(values["n"])])
        if "note" in values:
            rows.append([attribute, values["note"], "-", "-", format_number(values["n"])])
    head = ["attribute", "measure", "salient", "common", "n"]
    caption = f"{prefix}Grouping of the classes of target images in each code"
    return Table(caption, head, rows) if rows else None


def _to_sentence(line: str) -> str:
    return line[:1].upper() + line[1:] + "." * (not line.endswith("."))
