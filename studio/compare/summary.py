"""Statistics over several trainings: mean, spread, best and worst, with the values of the paper.

The key of a number is `ATTRIBUTE.SPACE` for a row of the probe (`digit.salient`, or
`digit.salient_nonlinear` by the non-linear reader), or `ATTRIBUTE.METRIC_SPACE` for a metric beside
that of the row (`age.mae_salient`). For other numbers it is the path in probe.json
(`reconstruction.target`, `separation.w2_common`, `disentangle.factorvae`).
"""

import math
import re
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from studio.compare.variant import Variant
from studio.errors import nearest
from studio.evaluate.codes import SPACES
from studio.evaluate.verdict import is_linear_only, judge
from studio.schema import PaperConfig

__all__ = ["NONLINEAR", "collect_numbers", "desired_direction", "notes", "summarise"]

METRICS = ("mae", "accuracy", "balanced_accuracy", "auc")  # beside the headline of a row
NONLINEAR = "_nonlinear"  # ending of the keys of the non-linear reader
Direction = Literal["higher", "lower"]
HIGHER = {
    "factorvae",
    "factorvae_as_published",
    "betavae",
    "mig",
    "dci_disentanglement",
    "dci_completeness",
    "dci_informativeness",
    "sap",
    "salient_variance_ratio",
    "salient_distance_auc",
    "dice",
    "auroc",
}
LOWER = {"w2_common"}
PER_SPACE = re.compile(r"(?:silhouette|clustering_accuracy)_(salient|common)")


def collect_numbers(probed: Mapping[str, Any]) -> dict[str, float]:
    """Returns every number of a probe.json by its key: the probes and all other measurements."""
    found = {}
    for row in probed["rows"]:
        also = row.get("also", {})
        for space in SPACES:
            found[f"{row['attribute']}.{space}"] = row.get(space)
            found[f"{row['attribute']}.{space}{NONLINEAR}"] = also.get(f"{space}{NONLINEAR}")
            for metric in METRICS:
                name = f"{metric}_{space}"
                found[f"{row['attribute']}.{name}"] = also.get(name)
    for name, section in probed.items():
        if isinstance(section, dict):
            found |= dict(_leaves(section, name))
    return {key: float(value) for key, value in found.items() if _is_number(value)}


def desired_direction(key: str, belongs: Mapping[str, str]) -> Direction | None:
    """Returns whether a higher or a lower number is better, or None if neither is.

    Args:
        key: of the number.
        belongs: attribute -> the code where it belongs.
    """
    head, *path = key.split(".")
    last = path[-1] if path else head
    metric, _, code = last.removesuffix(NONLINEAR).rpartition("_")
    if head in belongs and code in SPACES and metric in ("", *METRICS):
        wanted = code in (belongs[head], "whole")
        return "higher" if wanted is (metric != "mae") else "lower"
    space, owner = PER_SPACE.fullmatch(last), next((part for part in path if part in belongs), None)
    if space and owner:
        return "higher" if space[1] == belongs[owner] else "lower"
    if head == "reconstruction" or last in LOWER:
        return "lower"
    return "higher" if last in HIGHER else None


def summarise(
    variant: Variant,
    runs: Sequence[dict[str, Any]],
    probes: Mapping[int, dict[str, Any]],
    cost: Mapping[str, Any],
) -> dict[str, Any]:
    """Summarises the trainings of a row.

    Args:
        variant: the row.
        runs: JSON entries of its trainings.
        probes: seed -> measurements of the complete trainings.
        cost: `parameters` and `images_per_second`.

    Returns:
        the JSON entry of the row: `label`, `config`, `set`, `budget`, `images_seen`, `attributes`,
        `verdicts` (attribute -> seed -> kind of `studio.evaluate.verdict`), `linear_only` (seeds
        whose verdicts rest on the linear reader alone), `numbers` (by key: `n`, `mean`, `sd` over
        seeds, `best`, `worst`, `better`, `values` by seed, `paper`), the cost, `show`, `runs` and
        `paper`.
    """
    rows = [row for probed in probes.values() for row in probed["rows"]]
    attributes = {
        row["attribute"]: {key: row[key] for key in ("belongs", "metric", "chance")} for row in rows
    }
    belongs = {name: row["belongs"] for name, row in attributes.items()}
    values: dict[str, dict[str, float]] = {}
    verdicts: dict[str, dict[str, str]] = {name: {} for name in attributes}
    for seed, probed in probes.items():
        for row in probed["rows"]:
            verdicts[row["attribute"]][str(seed)] = judge(row).kind
        for key, value in collect_numbers(probed).items():
            values.setdefault(key, {})[str(seed)] = value
    paper = _paper_numbers(variant.config.paper)
    return {
        "label": variant.label,
        "config": variant.cfg,
        "set": list(variant.assignments),
        "budget": variant.config.train.images,
        "images_seen": sorted({probed["images_seen"] for probed in probes.values()}),
        "attributes": attributes,
        "verdicts": verdicts,
        "linear_only": [seed for seed, probed in probes.items() if is_linear_only(probed)],
        "numbers": {
            key: _summary(values.get(key, {}), desired_direction(key, belongs), paper.get(key))
            for key in {**values, **paper}
        },
        **cost,
        "show": list(variant.show),
        "runs": list(runs),
        "paper": None
        if variant.config.paper is None
        else variant.config.paper.model_dump(mode="json"),
    }


def notes(result: Mapping[str, Any]) -> list[str]:
    """Returns differences between the rows, and between our runs and the paper, as sentences."""
    lines = [
        f"{row['label']}: measured at {', '.join(f'{n:,}' for n in row['images_seen'])} images, "
        f"its budget is {row['budget']:,}"
        for row in result["rows"]
        if row["images_seen"] and row["images_seen"] != [row["budget"]]
    ]
    lines += [
        f"{row['label']}, seed {run['seed']}: {run['data_note']}"
        for row in result["rows"]
        for run in row["runs"]
        if run.get("data_note")
    ]
    lines += [
        f"{row['label']}, seed {run['seed']}: measured by an older studio without the non-linear "
        "reader, so its verdicts rest on the linear one alone; delete "
        f"{Path(run['run']) / 'probe.json'} and compare again to measure it"
        for row in result["rows"]
        for run in row["runs"]
        if run["seed"] in row["linear_only"]
    ]
    for row in result["rows"]:
        central = row.get("centrality", {})
        if "winner" in central:
            scores = ", ".join(f"{name} {score:.3f}" for name, score in central["scores"].items())
            lines.append(
                f"{row['label']}: most central, without labels: {central['winner']} ({scores})"
            )
        elif central:
            lines.append(f"{row['label']}: no most central training: {central['note']}")
    budgets = sorted({row["budget"] for row in result["rows"]})
    if len(budgets) > 1:
        lines.append(
            f"budgets differ: {', '.join(f'{n:,}' for n in budgets)} images; "
            "--budget gives every row the same"
        )
    named = {row["label"]: row["paper"] for row in result["rows"] if row["paper"]}
    for option in ("protocol", "eval"):
        theirs = {paper[option] for paper in named.values() if option in paper} - {result[option]}
        lines += [
            f"the paper measured by {other}, this table by {result[option]}: --{option} {other}"
            for other in sorted(theirs)
        ]
    lines += [
        f"the paper's values: {source}"
        for source in sorted({paper["source"] for paper in named.values()})
    ]
    for row in result["rows"]:
        paper = named.get(row["label"], {})
        if paper.get("images", row["budget"]) != row["budget"]:
            lines.append(
                f"{row['label']}: the paper trained on {paper['images']:,} images, "
                f"this comparison on {row['budget']:,}"
            )
        unknown = [
            name
            for name in paper.get("attributes", {})
            if row["attributes"] and name not in row["attributes"]
        ]
        lines += [
            f"{row['label']}: paper.attributes.{n}: not measured here"
            f"{nearest(n, row['attributes'])}"
            for n in unknown
        ]
    return lines


def _paper_numbers(paper: PaperConfig | None) -> dict[str, dict[str, float]]:
    """Returns the paper's values by the key of the number."""
    if paper is None:
        return {}
    whole = paper.model_dump(mode="json")
    read = {
        f"{name}.{space}": value
        for name, by in whole.get("attributes", {}).items()
        for space, value in by.items()
    }
    return {**read, **whole.get("numbers", {})}


def _summary(
    values: Mapping[str, float], better: Direction | None, paper: Mapping[str, float] | None
) -> dict[str, Any]:
    """Returns the statistics of one number over the seeds."""
    several = list(values.values())
    best, worst = (max, min) if better == "higher" else (min, max)
    return {
        "n": len(several),
        "mean": statistics.fmean(several) if several else None,
        "sd": statistics.stdev(several) if len(several) > 1 else None,
        "best": best(several) if several and better else None,
        "worst": worst(several) if several and better else None,
        "better": better,
        "values": dict(values),
        "paper": None if paper is None else dict(paper),
    }


def _leaves(tree: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    """Yields path -> value of everything in a nested dict."""
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{path}.{name}")
        else:
            yield f"{path}.{name}", value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
