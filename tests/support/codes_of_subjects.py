"""Simulated codes of subjects with planted answers."""

from typing import Any

import numpy as np

from studio.analyse.cohort import Cohort
from studio.data import Attribute

Z, S = 4, 6
CENTRES = np.array([[4.5, 0, 0], [-2.2, 4.0, 0], [-2.2, -4.0, 1.0]])


def plant(
    n: int, seed: int, kinds: int = 3, controls: int = 0, effect: float = 0.6, sites: int = 3
) -> tuple[Cohort, np.ndarray]:
    """Returns targets, then controls, and the planted kind of each target.

    `severity` moves the fourth salient coordinate, age and site move others. `memory` follows age
    alone, and `confounder` is larger in targets.
    """
    rng = np.random.default_rng(seed)
    rows = n + controls
    target = np.arange(rows) < n
    kind = rng.integers(kinds, size=n)
    age, site = rng.normal(size=rows), rng.integers(sites, size=rows)
    severity = np.where(target, rng.normal(size=rows) + 0.5 * age, np.nan)
    s = rng.normal(size=(rows, S)) * 0.7
    s[:n, :3] += CENTRES[kind] if kinds > 1 else CENTRES[0] * 0.5
    s[:n, 3] += effect * severity[:n]
    s[:, 4] += 0.6 * age
    s[:, 5] += 0.8 * site
    z = rng.normal(size=(rows, Z))
    values: dict[str, np.ndarray] = {
        "age": age,
        "site": site,
        "memory": age + 0.7 * rng.normal(size=rows),
        "confounder": rng.normal(size=rows) + 1.5 * target,
        "severity": severity,
        "kind": np.concatenate([kind, np.full(controls, -1)]),
    }
    attributes = {
        "age": Attribute("common"),
        "site": Attribute("common", tuple("abcdefgh"[:sites])),
        "memory": Attribute("common"),
        "confounder": Attribute("common"),
        "severity": Attribute("salient", target_only=True),
        "kind": Attribute("salient", ("one", "two", "three"), target_only=True),
    }
    names = np.array([f"P{i}" for i in range(rows)])
    return Cohort(names, target, z, s, np.linalg.norm(s, axis=1), values, attributes), kind


def with_values(cohort: Cohort, **columns: Any) -> Cohort:
    """Returns a cohort with other values of some attributes. Integers become categories."""
    values, attributes = dict(cohort.values), dict(cohort.attributes)
    for name, column in columns.items():
        values[name] = np.asarray(column)
        whole = values[name].dtype.kind in "iu"
        classes = tuple(f"c{i}" for i in range(int(values[name].max()) + 1)) if whole else ()
        attributes[name] = Attribute("common", classes)
    whole = Cohort(
        cohort.names, cohort.target, cohort.z, cohort.s, cohort.distance, values, attributes
    )
    return whole
