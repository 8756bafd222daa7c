"""A study with known answers: drawn heads of controls and patients, in the layout of `folders`.

Patients have a tumour of one of three kinds, which differ in place, size and ring, and a severity,
which is its size within the kind. Age widens the ventricles and the folds, in both sets. Each site
has its own brightness and contrast, in both sets. Patients have thicker scalps on average, so
`scalp` is confounded with the disease but not with its severity. `memory` follows age and nothing
else. Nothing of the table enters the training.
"""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from studio.atomic import appearing, write_file
from studio.data import phantom
from studio.data.phantom import ANATOMY, SITES
from studio.domains import DOMAINS
from studio.errors import StudioError

__all__ = ["COLUMNS", "write_cohort"]

COLUMNS = ("file", "subject", "age", "site", "scalp", "memory", "severity", "kind")
SLICES = 3
# Kind -> centre x and y, lowest and highest radius, ring, core, oedema.
KINDS = {
    "frontal": (0.02, -0.42, 0.13, 0.19, 0.95, 0.6, 0.02),
    "left": (-0.30, 0.10, 0.20, 0.27, 0.05, 0.9, 0.05),
    "right": (0.26, 0.34, 0.16, 0.23, 0.60, 0.05, 0.18),
}
CONFIG = """# A study with known answers: see {file}.
data:
  name: folders
  root: {root}
  resolution: 64
  normalise: range
  attributes:
    age: {{belongs: common, kind: number}}
    site: common
    scalp: {{belongs: common, kind: number}}
    memory: {{belongs: common, kind: number}}
    severity: {{belongs: salient, kind: number}}
    kind: salient
  test_share: 0.5
method: {{name: dig_plus}}
analysis: {{covariates: [age, site], same_space: true}}
"""


def write_cohort(root: Path, subjects: int, kinds: int = 3, seed: int = 0, side: int = 64) -> None:
    """Writes pictures, `attributes.csv` and `cohort.yaml` into a new or empty folder.

    Args:
        root: the folder.
        subjects: of each set. Each has three slices.
        kinds: of tumours, 1 to 3.
        seed: of everything that is drawn.
        side: of the pictures in pixels.

    Raises:
        StudioError: a number is out of range, or the folder is not empty.
    """
    if not 1 <= kinds <= len(KINDS) or subjects < 1:
        raise StudioError(
            f"found {subjects} subjects and {kinds} kinds, expected at least 1 subject and 1 to "
            f"{len(KINDS)} kinds"
        )
    with appearing(Path(root), "a cohort") as folder:
        rows: list[dict[str, Any]] = []
        for number, domain in enumerate(DOMAINS):
            rng = np.random.default_rng((2_024_119, seed, number))
            for subject in range(subjects):
                rows += _write_subject(folder, domain, subject, kinds, side, rng)
        table = io.StringIO(newline="")
        writer: Any = csv.DictWriter(table, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        (folder / "attributes.csv").write_text(table.getvalue(), encoding="utf-8")
        text = CONFIG.format(root=Path(root).resolve(), file="studio data init --help")
        (folder / "cohort.yaml").write_text(text, encoding="utf-8")


def _write_subject(
    folder: Path, domain: str, subject: int, kinds: int, side: int, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Writes the slices of a subject, and returns their rows of the table."""
    name = f"{domain[0].upper()}{subject:04d}"
    site = list(SITES)[rng.integers(len(SITES))]
    age = rng.normal()
    scalp = rng.normal() + (domain == "target")
    row = {
        "subject": name,
        "age": f"{60 + 10 * age:.1f}",
        "site": site,
        "scalp": f"{scalp:.3f}",
        "memory": f"{-age + rng.normal():.3f}",
        "severity": "",
        "kind": "",
    }
    factors = _draw_anatomy(rng, age, scalp, site)
    if domain == "target":
        kind = list(KINDS)[rng.integers(kinds)]
        severity = rng.random()
        row |= {"severity": f"{severity:.4f}", "kind": kind}
        factors |= _draw_tumour(rng, kind, severity)
    pictures = phantom.draw_slices(factors, side, tumours=domain == "target")
    pictures = np.abs(pictures + 0.02 * rng.standard_normal(pictures.shape))
    rows = []
    for index, picture in enumerate(pictures):
        file = f"{domain}/{name}_{index}.png"
        image = Image.fromarray((np.clip(picture, 0, 1) * 255).round().astype(np.uint8))
        write_file(folder / file, lambda partial, image=image: image.save(partial))
        rows.append({"file": file, **row})
    return rows


def _draw_anatomy(
    rng: np.random.Generator, age: float, scalp: float, site: str
) -> dict[str, np.ndarray]:
    """Returns the factors of the slices of a head. They share all but the level."""
    drawn = {name: rng.uniform(low, high) for name, (low, high) in ANATOMY.items()}
    older = 1 / (1 + np.exp(-age))
    for name in ("ventricles", "sulci"):
        low, high = ANATOMY[name]
        drawn[name] = low + (high - low) * np.clip(older + 0.1 * rng.normal(), 0, 1)
    low, high = ANATOMY["scalp"]
    drawn["scalp"] = low + (high - low) / (1 + np.exp(-scalp))
    drawn["gain"], drawn["contrast"] = SITES[site]
    # The head fills the same square everywhere, as after registration.
    drawn |= {"head_size": 0.88, "shift_x": 0.0, "shift_y": 0.0, "tilt": 0.0}
    factors = {name: np.full(SLICES, value, np.float32) for name, value in drawn.items()}
    middle = rng.uniform(0.3, 0.7)
    factors["level"] = (middle + 0.1 * np.arange(-1, SLICES - 1)).astype(np.float32)
    return factors


def _draw_tumour(rng: np.random.Generator, kind: str, severity: float) -> dict[str, np.ndarray]:
    x, y, low, high, ring, core, oedema = KINDS[kind]
    drawn = {
        "tumour_x": x + 0.04 * rng.normal(),
        "tumour_y": y + 0.04 * rng.normal(),
        "tumour_radius": low + (high - low) * severity,
        "tumour_oval": rng.uniform(-0.15, 0.15),
        "tumour_slant": rng.uniform(-0.15, 0.15),
        "tumour_lobes": rng.uniform(-0.1, 0.1),
        "tumour_core": np.clip(core + 0.05 * rng.normal(), 0, 1),
        "tumour_ring": np.clip(ring + 0.05 * rng.normal(), 0, 1),
        "tumour_oedema": max(0.0, oedema + 0.01 * rng.normal()),
    }
    return {name: np.full(SLICES, value, np.float32) for name, value in drawn.items()}
