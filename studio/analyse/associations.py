"""Associations of codes, distance and subgroups with attributes, among the targets.

Every association is tested after the covariates, by a linear or logistic model and by permutation
within sites. The q-values of Benjamini and Hochberg rest on the permutations, which assume no
distribution. The salient code, with the distance and the subgroups, is one family. The common code
is another one, as a check.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from studio.analyse.cohort import Cohort, Covariates, indicators, prepare_covariates
from studio.analyse.models import Effect, cramers_v, eta_squared, linear_effect, odds_ratio
from studio.analyse.permutation import (
    adjust,
    orthonormal,
    partial_r2,
    permutation_p,
    residual,
    shuffle_within,
)
from studio.analysis_config import AnalysisConfig
from studio.seeds import seed_of

__all__ = ["associate", "group_trace", "group_trace_p"]

RARE = 5  # subjects of a class, below which it is left out
Say = Callable[[str], object]


@dataclass
class Ready:
    """The subjects and columns of the tests of one attribute.

    Attributes:
        cohort: subjects that have a value of the attribute and all covariates.
        covariates: of them.
        columns: the attribute as columns, (n, a).
        nuisance: orthonormal basis of constant and covariates.
        note: facts about the subjects.
    """

    cohort: Cohort
    covariates: Covariates
    columns: np.ndarray
    nuisance: np.ndarray
    note: str


def associate(
    targets: Cohort, labels: np.ndarray, config: AnalysisConfig, say: Say = lambda line: None
) -> list[dict[str, Any]]:
    """Tests every feature against every attribute that is no covariate.

    Args:
        targets: subjects of the target set.
        labels: their subgroups, (n,).
        config: covariates, site, permutations and seed.
        say: called with a line about the work that goes on.

    Returns:
        records with `family` (`salient` or `common`), `feature` (`s_0`, `distance`, `subgroups`,
        `z_0`), `attribute`, `n`, `effect` (see `Effect.kind`), `value`, `low`, `high`, `p` of the
        model, `p_permutation`, `q` and, where something is missing, `note`.

    Raises:
        StudioError: see `prepare_covariates`.
    """
    records: list[dict[str, Any]] = []
    names = [name for name in targets.attributes if name not in (*config.covariates, config.site)]
    if config.covariates or config.site:
        prepare_covariates(targets, config)  # wrong names are errors even without attributes
    for name in names:
        say(f"associations: {name}")
        ready = _prepare(targets, labels, name, config)
        rng = np.random.default_rng(seed_of("associations", config.seed, name))
        if isinstance(ready, str):
            records.append(_record("salient", "", name, 0, Effect("", note=ready)))
            continue
        found, groups = ready
        for family, features in _families(found.cohort):
            records += _test(family, features, found, name, config.permutations, rng, say)
        if groups is not None:
            records.append(_test_groups(groups, found, name, config.permutations, rng))
    for family in ("salient", "common"):
        own = [record for record in records if record["family"] == family]
        p = np.array([np.nan if r["p_permutation"] is None else r["p_permutation"] for r in own])
        for record, q in zip(own, adjust(p.astype(float)), strict=True):
            record["q"] = float(q) if np.isfinite(q) else None
    return records


def _families(cohort: Cohort) -> list[tuple[str, dict[str, np.ndarray]]]:
    salient = {f"s_{i}": column for i, column in enumerate(cohort.s.T)}
    common = {f"z_{i}": column for i, column in enumerate(cohort.z.T)}
    return [("salient", {**salient, "distance": cohort.distance}), ("common", common)]


def _prepare(
    targets: Cohort, labels: np.ndarray, name: str, config: AnalysisConfig
) -> tuple[Ready, np.ndarray | None] | str:
    """Returns the subjects and columns for an attribute, and their subgroups, or a reason."""
    known = targets.known(name)
    classes = targets.attributes[name].classes
    notes = []
    if classes and known.any():
        counts = np.bincount(targets.values[name][known], minlength=len(classes))
        rare = np.flatnonzero((counts > 0) & (counts < RARE))
        if len(rare):
            known &= ~np.isin(targets.values[name], rare)
            notes.append(f"{len(rare)} classes with fewer than {RARE} subjects are left out")
    cohort, groups = targets.take(known), labels[known]
    if not len(cohort) or len(np.unique(cohort.values[name])) < 2:
        return "; ".join([*notes, "has fewer than two values among the targets that are left"])
    covariates = prepare_covariates(cohort, config)
    if covariates.impossible:
        return "; ".join([*notes, *covariates.notes, covariates.impossible])
    kept = cohort.take(covariates.rows)
    values = kept.values[name]
    if len(np.unique(values)) < 2:
        return "; ".join([*notes, *covariates.notes, "has one value where covariates are known"])
    columns = indicators(values) if classes else values[:, None].astype(float)
    columns = columns - columns.mean(0)
    nuisance = orthonormal(np.column_stack([np.ones(len(kept)), covariates.columns]))
    rest = residual(columns, nuisance)
    if np.sum(rest**2) < 1e-6 * np.sum(columns**2):
        return "; ".join([*notes, "follows from the covariates, so nothing of it is left to test"])
    used = groups[covariates.rows]
    ready = Ready(kept, covariates, columns, nuisance, "; ".join([*notes, *covariates.notes]))
    return ready, used if len(np.unique(used)) > 1 else None


def _test(
    family: str,
    features: dict[str, np.ndarray],
    ready: Ready,
    name: str,
    permutations: int,
    rng: np.random.Generator,
    say: Say,
) -> list[dict[str, Any]]:
    table = np.column_stack(list(features.values()))
    done = 0

    def advance() -> None:
        nonlocal done
        done += 1
        if done % 100 == 0:
            say(f"associations: {name}, {family}, {done:,} of {permutations:,} permutations")

    blocks, count = ready.covariates.blocks, len(ready.cohort)
    p = permutation_p(table, ready.columns, ready.nuisance, blocks, permutations, rng, advance)
    shares = partial_r2(table, ready.columns, ready.nuisance)
    records = []
    for (feature, column), value, share in zip(features.items(), p, shares, strict=True):
        if not np.isfinite(value):
            effect = Effect("", note="the feature has one value after the covariates")
            records.append(_record(family, feature, name, count, effect))
            continue
        effect = _effect(column, ready, name, float(share))
        records.append(_record(family, feature, name, count, effect, float(value), ready.note))
    return records


def _effect(feature: np.ndarray, ready: Ready, name: str, share: float) -> Effect:
    values, columns = ready.cohort.values[name], ready.covariates.columns
    if not ready.cohort.attributes[name].classes:
        return linear_effect(feature, values.astype(float), columns)
    if ready.columns.shape[1] == 1:
        return odds_ratio(feature, values, columns)
    levels = orthonormal(residual(ready.columns, ready.nuisance)).shape[1]
    return eta_squared(share, levels, len(values) - ready.nuisance.shape[1] - levels)


def _test_groups(
    groups: np.ndarray, ready: Ready, name: str, permutations: int, rng: np.random.Generator
) -> dict[str, Any]:
    """Tests the subgroups against one attribute."""
    blocks, own = ready.covariates.blocks, indicators(groups)
    trace = group_trace(own, ready.columns, ready.nuisance)
    p = group_trace_p(own, ready.columns, ready.nuisance, blocks, permutations, rng)
    n = len(groups)
    if ready.cohort.attributes[name].classes:
        effect = cramers_v(trace, own.shape[1], ready.columns.shape[1], n)
    else:
        effect = eta_squared(trace, own.shape[1], n - ready.nuisance.shape[1] - own.shape[1])
    return _record("salient", "subgroups", name, n, effect, p, ready.note)


def group_trace(groups: np.ndarray, attribute: np.ndarray, nuisance: np.ndarray) -> float:
    """Returns the sum of the squared canonical correlations of two sets of columns (Pillai).

    Of the indicators of two categories without covariates it is chi-square / n. Of indicators and
    one number it is the partial R2.

    Args:
        groups: (n, g).
        attribute: (n, a).
        nuisance: orthonormal basis of the covariates with the constant, (n, r).
    """
    own, other = (orthonormal(residual(block, nuisance)) for block in (groups, attribute))
    return float(np.sum((own.T @ other) ** 2))


def group_trace_p(
    groups: np.ndarray,
    attribute: np.ndarray,
    nuisance: np.ndarray,
    blocks: np.ndarray,
    permutations: int,
    rng: np.random.Generator,
) -> float:
    """Returns the p-value of `group_trace`, by permutation as in `permutation_p`."""
    own = orthonormal(residual(groups, nuisance))
    rest = residual(attribute, nuisance)
    observed, reached = group_trace(groups, attribute, nuisance), 1
    for _ in range(permutations):
        moved = orthonormal(residual(rest[shuffle_within(blocks, rng)], nuisance))
        reached += np.sum((own.T @ moved) ** 2) >= observed * (1 - 1e-9)
    return float(reached / (permutations + 1))


def _record(
    family: str,
    feature: str,
    attribute: str,
    n: int,
    effect: Effect,
    p_permutation: float | None = None,
    note: str = "",
) -> dict[str, Any]:
    notes = "; ".join(part for part in (note, effect.note) if part)
    return {
        "family": family,
        "feature": feature or None,
        "attribute": attribute,
        "n": n,
        "effect": effect.kind or None,
        "value": effect.value,
        "low": effect.low,
        "high": effect.high,
        "p": effect.p,
        "p_permutation": p_permutation,
        **({"note": notes} if notes else {}),
    }
