"""The analysis of a run's held-out subjects, put together: the content of `analysis.json`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from studio.analyse.associations import associate
from studio.analyse.cohort import Cohort, build_cohort, prepare_covariates
from studio.analyse.distance import (
    adjusted_difference,
    calibrate,
    mann_whitney_p,
    rank_among,
    roc,
    thin_curve,
)
from studio.analyse.subgroups import Subgroups, find_subgroups
from studio.analyse.trust import agreement, common_leak, warnings_of
from studio.analysis_config import AnalysisConfig
from studio.code_frame import pool_subjects, sample_items
from studio.errors import StudioError
from studio.method import DOMAINS
from studio.pace import pace
from studio.runs.run import Run
from studio.sampling import blank
from studio.seeds import seed_of

__all__ = ["FEWEST", "Analysis", "analyse", "read_subjects", "typical_member"]

FEWEST = 5  # subjects of a set, below which nothing is computed
EXTREMES = 5  # most and least different targets that are named
Log = Callable[[str], object]


@dataclass
class Analysis:
    """The findings about a run, and the parts from which pictures are drawn.

    Attributes:
        result: the content of `analysis.json`.
        run: the run.
        frame: one row per held-out image (`studio.code_frame`).
        cohort: one row per subject and set.
        groups: subgroups of the targets.
        items: index in the data set of the image that stands for each subject, (n,).
        config: of the analysis.
    """

    result: dict[str, Any]
    run: Run
    frame: Any
    cohort: Cohort
    groups: Subgroups
    items: np.ndarray
    config: AnalysisConfig


def read_subjects(run: Run, config: AnalysisConfig, log: Log) -> tuple[Any, Cohort, np.ndarray]:
    """Encodes the held-out images of a run.

    Returns:
        the frame of images, the cohort of subjects, and for each subject the index of the image
        that stands for it, the one farthest from blank.

    Raises:
        StudioError: a set has too few subjects.
    """
    say = pace(log)
    frame = run.codes(
        "test",
        limit=config.images,
        progress=lambda done, total: say(f"encoded: {done:,} of {total:,} images"),
    )
    pooled = pool_subjects(frame, blank(run.method, 1)[0].numpy(), config.pool)
    cohort = build_cohort(pooled, run.data.attributes)
    for domain, size in (("background", np.sum(~cohort.target)), ("target", np.sum(cohort.target))):
        if size < FEWEST:
            raise StudioError(
                f"{run.folder}: {size} held-out {domain} subjects, expected at least {FEWEST}; "
                "data.test_share holds out more"
            )
    numbers = np.concatenate(
        [sample_items(run.data.size("test", domain), config.images) for domain in DOMAINS]
    )
    place = {
        (domain, file): number
        for domain, file, number in zip(frame["domain"], frame["file"], numbers, strict=True)
    }
    items = [place[key] for key in zip(pooled["domain"], pooled["file"], strict=True)]
    return frame, cohort, np.array(items)


def analyse(
    run: Run, config: AnalysisConfig, others: Sequence[Run] = (), log: Log = lambda line: None
) -> Analysis:
    """Analyses the held-out subjects of a run.

    Args:
        run: a run whose data can be opened.
        config: covariates, site, seed and sizes.
        others: trainings on the same data with other seeds.
        log: called with lines about the work, at most one in two seconds.

    Returns:
        the analysis. `studio.analyse.where.measure_places` adds maps.

    Raises:
        StudioError: a covariate is wrong, or a set has too few subjects.
    """
    say = pace(log)
    frame, cohort, items = read_subjects(run, config, log)
    covariates = prepare_covariates(cohort, config)
    names = _show_names(run, cohort)
    targets = cohort.take(cohort.target)
    groups = find_subgroups(
        targets.s, config.most_groups, seed_of("subgroups", config.seed) % 2**31, say
    )
    rng = np.random.default_rng(seed_of("difference", config.seed))
    say("difference of the sets")
    difference = {
        **_difference(cohort, names, config),
        "adjusted": adjusted_difference(cohort, covariates, config.permutations, rng),
    }
    associations = associate(targets, groups.labels, config, say)
    leak = common_leak(cohort, seed_of("leak", config.seed) % 2**31)
    seeds = [(str(run.folder), targets, groups.labels)]
    for other in others:
        say(f"subjects of {other.folder}")
        _, theirs, _ = read_subjects(other, config, log)
        theirs = theirs.take(theirs.target)
        found = find_subgroups(
            theirs.s, config.most_groups, seed_of("subgroups", config.seed) % 2**31, say
        )
        seeds.append((str(other.folder), theirs, found.labels))
    result = {
        **run.describe(),
        "data_sha256": run.data_sha256,
        "split": "test",
        "settings": config.model_dump(mode="json"),
        "names": run.data.show_names,
        "n": _count(cohort, frame),
        "warnings": [*warnings_of(cohort, leak), *_limits(run, config)],
        "notes": covariates.notes,
        "difference": difference,
        "subgroups": _describe_groups(groups, targets, names[cohort.target]),
        "associations": associations,
        "trust": {
            "common_code": leak,
            "seeds": agreement(seeds) if others else None,
        },
        "subjects": _list_subjects(cohort, names, groups),
    }
    return Analysis(result, run, frame, cohort, groups, items, config)


def _show_names(run: Run, cohort: Cohort) -> np.ndarray:
    """Returns the names of subjects, or numbers where the data set hides names."""
    if run.data.show_names:
        return cohort.names
    words = np.where(cohort.target, "target", "background")
    return np.array([f"{word} {i}" for i, word in enumerate(words)])


def _count(cohort: Cohort, frame: Any) -> dict[str, int]:  # noqa: ANN401 - a frame of pandas
    return {
        "background": int(np.sum(~cohort.target)),
        "target": int(np.sum(cohort.target)),
        "images": len(frame),
    }


def _limits(run: Run, config: AnalysisConfig) -> list[str]:
    sizes = {domain: run.data.size("test", domain) for domain in DOMAINS}
    return [
        f"{config.images:,} of {size:,} held-out {domain} images were drawn (analysis.images)"
        for domain, size in sizes.items()
        if size > config.images
    ]


def _difference(cohort: Cohort, names: np.ndarray, config: AnalysisConfig) -> dict[str, Any]:
    seed = seed_of("distance", config.seed) % 2**31
    curve = roc(cohort.distance, cohort.target, cohort.names, seed)
    order = np.argsort(-cohort.distance, kind="stable")
    order = order[cohort.target[order]]
    few = min(EXTREMES, len(order) // 2)
    return {
        "auc": curve.auc,
        "auc_low": curve.low,
        "auc_high": curve.high,
        "p": mann_whitney_p(cohort.distance, cohort.target),
        "roc": thin_curve(curve),
        "thresholds": calibrate(cohort.distance, cohort.target, seed),
        "most": [str(names[i]) for i in order[:few]],
        "least": [str(names[i]) for i in order[::-1][:few]],
    }


def _describe_groups(groups: Subgroups, targets: Cohort, names: np.ndarray) -> dict[str, Any]:
    """Returns the subgroups with their sizes and typical members."""
    members = []
    for group in range(groups.number):
        own = np.flatnonzero(groups.labels == group)
        members.append(
            {
                "group": group,
                "n": len(own),
                "typical": str(names[typical_member(targets, own)]),
                "distance": float(targets.distance[own].mean()),
            }
        )
    return {
        "number": groups.number,
        "method": groups.method or None,
        "components": groups.components,
        "groups": members,
        "candidates": groups.candidates,
        "notes": groups.notes,
    }


def typical_member(targets: Cohort, own: np.ndarray) -> int:
    """Returns the one of some targets whose salient code is closest to their mean."""
    codes = targets.s[own]
    return int(own[np.linalg.norm(codes - codes.mean(0), axis=1).argmin()])


def _list_subjects(cohort: Cohort, names: np.ndarray, groups: Subgroups) -> list[dict[str, Any]]:
    controls = cohort.distance[~cohort.target]
    beyond = np.empty(len(cohort))
    beyond[cohort.target] = rank_among(cohort.distance[cohort.target], controls)
    beyond[~cohort.target] = rank_among(controls, controls, own=True)
    group = np.full(len(cohort), -1)
    group[cohort.target] = groups.labels
    return [
        {
            "subject": str(names[i]),
            "set": "target" if cohort.target[i] else "background",
            "distance": float(cohort.distance[i]),
            "beyond": float(beyond[i]),
            "group": int(group[i]) if cohort.target[i] else None,
        }
        for i in range(len(cohort))
    ]
