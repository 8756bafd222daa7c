"""What the probe found, in words, and numbers as a person reads them."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, Literal, NamedTuple

__all__ = ["Verdict", "distance", "number", "read_out", "span", "summary", "verdict"]

Kind = Literal[
    "clean",
    "nearly clean",
    "leaks",
    "not separated",
    "wrong place",
    "in neither",
    "not probed",
    "distance",
]
ERRORS = 2  # standard errors that a difference must exceed to be called one
TRACE = 0.1  # of what is read at home, above chance, up to which a leak is called a trace
MOST_FIGURES = 3  # beyond whole percents, or hundredths
SHARES = ("balanced_accuracy", "accuracy")  # metrics that are shares of images


class Verdict(NamedTuple):
    """How clean the split is for one attribute: in two words, and in a sentence."""

    kind: Kind
    sentence: str


def verdict(row: Mapping[str, Any]) -> Verdict:
    """Judges one row of the probe; a difference counts if it is more than two standard errors.

    Args:
        row: of `probe.json`, see the README.

    Returns:
        `clean`: read where it belongs, and not elsewhere above chance; `nearly clean`: elsewhere at a tenth of that above chance
        at most; `leaks`: read elsewhere as well, but less well;
        `not separated`: as well elsewhere; `wrong place`: better elsewhere; `in neither`: nowhere above chance.
    """
    name = row["attribute"]
    subject = "Which set an image is from (target)" if name == "target" else name
    if row["salient"] is None:
        return Verdict("not probed", f"{subject}: {row['also'].get('note', 'not probed')}.")
    home = row["belongs"]
    away = "common" if home == "salient" else "salient"
    margin = ERRORS * row["error"]
    here, there, chance = _told_apart([row[home], row[away], row["chance"]], row["metric"], margin)
    at = {"r2": "with ", "auc": "with "}.get(row["metric"], "at ")
    readable, leaks = row[home] - row["chance"] > margin, row[away] - row["chance"] > margin
    if not readable and not leaks:
        return Verdict(
            "in neither",
            f"{subject} is read from neither code ({home} {here}, {away} {there}, chance {chance}).",
        )
    if not readable:
        return Verdict(
            "wrong place",
            f"{subject} belongs in {home}, which tells nothing of it ({here}, chance {chance}); it is read from "
            f"{away} {at}{there}.",
        )
    start = f"{subject} is read from {home} {at}{here}, chance {chance}; "
    if not leaks:
        return Verdict("clean", start + f"{away} tells nothing of it ({there}).")
    if (
        row[away] - row["chance"] <= TRACE * (row[home] - row["chance"])
        and row[home] - row[away] > margin
    ):
        return Verdict("nearly clean", start + f"a trace of it is in {away} ({there}).")
    if row[home] - row[away] > margin:
        return Verdict("leaks", start + f"it leaks into {away} {at}{there}.")
    if row[away] - row[home] > margin:
        return Verdict("wrong place", start + f"{away} tells more of it ({there}).")
    return Verdict("not separated", start + f"{away} tells as much ({there}).")


def distance(auc: float) -> Verdict:
    """Says what `separation.salient_distance_auc` means beside the linear read-outs of `target`."""
    return Verdict(
        "distance",
        f"A target image's salient code is farther from the blank one than a background image's in {100 * auc:.1f} % of pairs, "
        "chance 50 %; the linear read-outs of target do not see a distance.",
    )


def _told_apart(values: Sequence[float], metric: str, margin: float) -> list[str]:
    """Returns read-outs with as many figures more as it takes that those which differ are not written alike."""
    said: list[str] = []
    for more in range(MOST_FIGURES + 1):
        said = [read_out(value, metric, more) for value in values]
        pairs = combinations(zip(values, said, strict=True), 2)
        if all(a != b or abs(one - other) <= margin for (one, a), (other, b) in pairs):
            break
    return said


def read_out(value: float, metric: str, more: int = 0) -> str:
    """Returns a read-out as people say it: `93 %` of images, `R2 0.62`, `AUC 0.83`; or in more figures."""
    if metric in SHARES:
        return f"{100 * value:.{more}f} %"
    return f"{ {'r2': 'R2', 'auc': 'AUC'}.get(metric, metric) } {value:z.{2 + more}f}"


def summary(rows: Sequence[Mapping[str, Any]]) -> str:
    """Says in a sentence how many attributes are where they belong."""
    kinds = [verdict(row).kind for row in rows]
    judged = [kind for kind in kinds if kind != "not probed"]
    if not judged:
        return "No attribute could be probed."
    right = sum(kind in ("clean", "nearly clean", "leaks") for kind in judged)
    many = "attributes are read best from the code where they belong"
    one = "attribute is read best from the code where it belongs"
    start = f"{right} of {len(judged)} {many if len(judged) > 1 else one}"
    if not right:
        return start + "."
    leaking = judged.count("leaks")
    return start + (
        f"; {leaking} of them leak{'s' * (leaking == 1)} into the other code."
        if leaking
        else ", and none leaks."
    )


def number(value: object) -> str:
    """Writes a number in four figures, a count with thousands, and anything else as it is."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {number(part)}" for key, part in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(number(part) for part in value)
    return str(value)


def span(seconds: float) -> str:
    """Writes a time, such as `3 h 50 min` or `42 s`."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 60} min {whole % 60} s" if whole >= 60 else f"{whole} s"
