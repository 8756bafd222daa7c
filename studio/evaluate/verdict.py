"""The verdict on a row of a probe, in words: one function for terminal, report and model card.

It rests on the better of two readers, the linear model and the non-linear one, because a leak is
content that any reader finds.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, Literal, NamedTuple

__all__ = [
    "Verdict",
    "best_reading",
    "format_probe",
    "is_linear_only",
    "judge",
    "judge_distance",
    "summarise",
]

Kind = Literal[
    "separated",
    "nearly separated",
    "leaks",
    "not separated",
    "wrong code",
    "in neither code",
    "not probed",
    "distance",
]
ERRORS = 2  # standard errors that a difference must exceed to count
# A leak is slight if it exceeds chance by at most this share of the excess in the right code.
SLIGHT = 0.1
MOST_DIGITS = 3  # in addition to whole percents, or hundredths
SHARES = ("balanced_accuracy", "accuracy")  # metrics that are shares of images


class Verdict(NamedTuple):
    """How well the codes separate one attribute: in two words, and in a sentence."""

    kind: Kind
    sentence: str

    @property
    def line(self) -> str:
        """The kind and the sentence, for places that have no badges."""
        return self.sentence if self.kind == "not probed" else f"{self.kind}: {self.sentence}"


def best_reading(row: Mapping[str, Any], code: str) -> tuple[float, float]:
    """Returns the value and the standard error of the better reader of a code.

    Args:
        row: a row of `probe.json`. Older files have the linear reader alone.
        code: `salient` or `common`.
    """
    also = row["also"]
    linear = row[code], also.get(f"error_{code}", row["error"])
    other = also.get(f"{code}_nonlinear")
    if other is None or other <= linear[0]:
        return linear
    return other, also[f"{code}_nonlinear_error"]


def is_linear_only(probed: Mapping[str, Any]) -> bool:
    """Returns whether a `probe.json` of an older studio lacks the non-linear reader."""
    measured = [row["also"] for row in probed["rows"] if row["salient"] is not None]
    return any(
        "salient_nonlinear" not in also and "nonlinear_note" not in also for also in measured
    )


def judge(row: Mapping[str, Any]) -> Verdict:
    """Judges one row of the probe by the better reader of each code.

    A difference counts if it exceeds two standard errors.

    Args:
        row: a row of `probe.json`.

    Returns:
        one of these kinds, with a sentence:

        - `separated`: predictable from the code where the attribute belongs, and not above chance
          from the other code.
        - `nearly separated`: predictable from the other code, too, but at most a tenth as far above
          chance as from the code where the attribute belongs.
        - `leaks`: also predictable from the other code, but less well.
        - `not separated`: equally well from the other code.
        - `wrong code`: better from the other code.
        - `in neither code`: from no code above chance.
        - `not probed`: the attribute could not be measured.
    """
    name = row["attribute"]
    subject = "The set that an image belongs to (target)" if name == "target" else name
    if row["salient"] is None:
        return Verdict("not probed", f"{subject}: {row['also'].get('note', 'not probed')}.")
    home = row["belongs"]
    away = "common" if home == "salient" else "salient"
    (own, own_error), (other, other_error) = (best_reading(row, code) for code in (home, away))
    margin = ERRORS * max(own_error, other_error)
    here, there, chance = _format_distinctly([own, other, row["chance"]], row["metric"], margin)
    readable = own - row["chance"] > ERRORS * own_error
    leaks = other - row["chance"] > ERRORS * other_error
    if not readable and not leaks:
        return Verdict(
            "in neither code",
            f"{subject} can be predicted from neither code ({home} {here}, {away} {there}, chance "
            f"{chance}).",
        )
    if not readable:
        return Verdict(
            "wrong code",
            f"{subject} belongs in the {home} code but cannot be predicted from it ({here}, chance "
            f"{chance}). It can be predicted from the {away} code ({there}).",
        )
    start = f"{subject} can be predicted from the {home} code ({here}, chance {chance})"
    if not leaks:
        return Verdict("separated", f"{start} and not from the {away} code ({there}).")
    better_here = own - other > margin
    if other - row["chance"] <= SLIGHT * (own - row["chance"]) and better_here:
        return Verdict(
            "nearly separated", f"{start}. It leaks slightly into the {away} code ({there})."
        )
    if better_here:
        return Verdict("leaks", f"{start}. It leaks into the {away} code ({there}).")
    if other - own > margin:
        return Verdict("wrong code", f"{start}, but better from the {away} code ({there}).")
    return Verdict("not separated", f"{start} and equally well from the {away} code ({there}).")


def judge_distance(auc: float) -> Verdict:
    """Returns the meaning of `separation.salient_distance_auc` beside the probes."""
    return Verdict(
        "distance",
        "The salient code of a target image lies farther from the blank code than that of a "
        f"background image in {100 * auc:.1f} % of pairs (chance 50 %). A linear model cannot "
        "detect a distance, the non-linear reader can.",
    )


def _format_distinctly(values: Sequence[float], metric: str, margin: float) -> list[str]:
    """Formats probe results with enough digits that different values look different."""
    texts: list[str] = []
    for more in range(MOST_DIGITS + 1):
        texts = [format_probe(value, metric, more) for value in values]
        pairs = combinations(zip(values, texts, strict=True), 2)
        if all(a != b or abs(one - other) <= margin for (one, a), (other, b) in pairs):
            break
    return texts


def format_probe(value: float, metric: str, more: int = 0) -> str:
    """Formats a probe result: `93 %` of images, `R2 0.62`, `AUC 0.83`, or with more digits."""
    if metric in SHARES:
        return f"{100 * value:.{more}f} %"
    return f"{ {'r2': 'R2', 'auc': 'AUC'}.get(metric, metric) } {value:z.{2 + more}f}"


def summarise(rows: Sequence[Mapping[str, Any]]) -> str:
    """Says in one or two sentences how many attributes are in the code where they belong."""
    kinds = [judge(row).kind for row in rows]
    judged = [kind for kind in kinds if kind != "not probed"]
    if not judged:
        return "No attribute could be probed."
    right = sum(kind in ("separated", "nearly separated", "leaks") for kind in judged)
    many = "attributes are predicted best from the codes where they belong"
    one = "attribute is predicted best from the code where it belongs"
    start = f"{right} of {len(judged)} {many if len(judged) > 1 else one}"
    if not right:
        return start + "."
    leaking = judged.count("leaks")
    if not leaking:
        slightly = "nearly separated" in judged
        return start + ", and none leaks" + " more than slightly" * slightly + "."
    return f"{start}. {leaking} of them leak{'s' * (leaking == 1)} into the other code."
