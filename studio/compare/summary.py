"""Numbers of several trainings summed up: mean, spread, best and worst, with the paper's beside them.

A number's key is `ATTRIBUTE.SPACE` for a row of the probe (`digit.salient`), else its path in probe.json
(`reconstruction.target`, `separation.w2_common`, `disentangle.factorvae`).
"""

import math
import re
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from studio.compare.sweep import Variant
from studio.errors import nearest
from studio.evaluate.probes import SPACES
from studio.schema import PaperConfig

__all__ = ["better", "notes", "numbers", "standing"]

Better = Literal["higher", "lower"]
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


def numbers(probed: Mapping[str, Any]) -> dict[str, float]:
    """Returns every number of a probe.json by its key: what can be read from which code, and whatever else was measured."""
    found = {
        f"{row['attribute']}.{space}": row.get(space) for row in probed["rows"] for space in SPACES
    }
    for name, section in probed.items():
        if isinstance(section, dict):
            found |= dict(_leaves(section, name))
    return {key: float(value) for key, value in found.items() if _is_number(value)}


def better(key: str, belongs: Mapping[str, str]) -> Better | None:
    """Says which way a number should go, or None where neither is better.

    Args:
        key: of the number.
        belongs: attribute -> the code that it should be in.
    """
    head, *path = key.split(".")
    last = path[-1] if path else head
    if head in belongs and last in SPACES:
        return "higher" if last in (belongs[head], "whole") else "lower"
    space, owner = PER_SPACE.fullmatch(last), next((part for part in path if part in belongs), None)
    if space and owner:
        return "higher" if space[1] == belongs[owner] else "lower"
    if head == "reconstruction" or last in LOWER:
        return "lower"
    return "higher" if last in HIGHER else None


def standing(
    variant: Variant,
    runs: Sequence[dict[str, Any]],
    probes: Mapping[int, dict[str, Any]],
    cost: Mapping[str, Any],
) -> dict[str, Any]:
    """Sums up a row.

    Args:
        variant: the row.
        runs: its trainings, as JSON has them.
        probes: seed -> what was measured, of the trainings that are complete.
        cost: `parameters` and `images_per_second`.

    Returns:
        the row as JSON has it: `label`, `config`, `set`, `budget`, `images_seen`, `attributes`, `numbers` (by key: `n`, `mean`,
        `sd` over seeds, `best`, `worst`, `better`, `values` by seed, `paper`), the cost, `show`, `runs` and `paper`.
    """
    rows = [row for probed in probes.values() for row in probed["rows"]]
    attributes = {
        row["attribute"]: {key: row[key] for key in ("belongs", "metric", "chance")} for row in rows
    }
    belongs = {name: row["belongs"] for name, row in attributes.items()}
    values: dict[str, dict[str, float]] = {}
    for seed, probed in probes.items():
        for key, value in numbers(probed).items():
            values.setdefault(key, {})[str(seed)] = value
    paper = _published(variant.config.paper)
    return {
        "label": variant.label,
        "config": variant.cfg,
        "set": list(variant.assignments),
        "budget": variant.config.train.images,
        "images_seen": sorted({probed["images_seen"] for probed in probes.values()}),
        "attributes": attributes,
        "numbers": {
            key: _summary(values.get(key, {}), better(key, belongs), paper.get(key))
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
    """Returns what a reader must know before comparing the rows, or ours with the paper's."""
    said = [
        f"{row['label']}: measured at {', '.join(f'{n:,}' for n in row['images_seen'])} images, its budget is {row['budget']:,}"
        for row in result["rows"]
        if row["images_seen"] and row["images_seen"] != [row["budget"]]
    ]
    for row in result["rows"]:
        found = row.get("centrality", {})
        if "winner" in found:
            scores = ", ".join(f"{name} {score:.3f}" for name, score in found["scores"].items())
            said.append(
                f"{row['label']}: most central, without labels: {found['winner']} ({scores})"
            )
        elif found:
            said.append(f"{row['label']}: no most central training: {found['note']}")
    budgets = sorted({row["budget"] for row in result["rows"]})
    if len(budgets) > 1:
        said.append(
            f"budgets differ: {', '.join(f'{n:,}' for n in budgets)} images; --budget gives every row the same"
        )
    named = {row["label"]: row["paper"] for row in result["rows"] if row["paper"]}
    for option in ("protocol", "eval"):
        theirs = {paper[option] for paper in named.values() if option in paper} - {result[option]}
        said += [
            f"the paper measured by {other}, this table by {result[option]}: --{option} {other}"
            for other in sorted(theirs)
        ]
    said += [
        f"the paper's values: {source}"
        for source in sorted({paper["source"] for paper in named.values()})
    ]
    for row in result["rows"]:
        paper = named.get(row["label"], {})
        if paper.get("images", row["budget"]) != row["budget"]:
            said.append(
                f"{row['label']}: the paper trained on {paper['images']:,} images, this is {row['budget']:,}"
            )
        unknown = [
            name
            for name in paper.get("attributes", {})
            if row["attributes"] and name not in row["attributes"]
        ]
        said += [
            f"{row['label']}: paper.attributes.{n}: not measured here{nearest(n, row['attributes'])}"
            for n in unknown
        ]
    return said


def _published(paper: PaperConfig | None) -> dict[str, dict[str, float]]:
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
    values: Mapping[str, float], better: Better | None, paper: Mapping[str, float] | None
) -> dict[str, Any]:
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
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{path}.{name}")
        else:
            yield f"{path}.{name}", value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
