"""Small brains in a BIDS folder, with the grid of an MNI template at 6 mm."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import nibabel
import numpy as np

SHAPE = (31, 37, 31)  # 121 x 145 x 121 voxels of 1.5 mm, at 6 mm
VOXEL = 6.0
ORIGIN = (-90.0, -126.0, -72.0)
HEADER = ("participant_id", "diagnosis", "age", "sex", "site", "sans", "saps")
SITES = ("Boston", "Leuven", "Paris")


def grid(voxel: float = VOXEL, origin: Sequence[float] = ORIGIN) -> np.ndarray:
    """Returns the affine of a grid along the axes of space."""
    affine = np.diag([voxel] * 3 + [1.0])
    affine[:3, 3] = origin
    return affine


def brain(seed: int, shape: Sequence[int] = SHAPE, affine: np.ndarray | None = None) -> np.ndarray:
    """Returns a brain of values 0.2 to 1 around (0, -18, 18) mm, 0 elsewhere, (X, Y, Z) float32."""
    affine = grid() if affine is None else affine
    places = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    x, y, z = np.moveaxis(places @ affine[:3, :3].T + affine[:3, 3] - [0, -18, 18], -1, 0)
    rng = np.random.default_rng(seed)
    waves = np.sin(x / 30 + rng.uniform(0, 6)) * np.cos(y / 40) + np.sin(z / 25 + x / 60)
    inside = (x / 65) ** 2 + (y / 80) ** 2 + (z / 60) ** 2 < 1
    return np.where(inside, 0.6 + 0.2 * waves, 0).astype(np.float32)


def save(path: Path, values: np.ndarray, affine: np.ndarray | None = None) -> None:
    """Writes a NIfTI file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, grid() if affine is None else affine), path)


def rows(controls: int = 8, patients: int = 8) -> list[dict[str, str]]:
    """Returns the rows of a table. Controls and every fourth patient have no scores."""
    found = []
    for i in range(controls + patients):
        ill = i >= controls
        scored = ill and i % 4
        found.append(
            {
                "participant_id": f"sub-{i:02}",
                "diagnosis": "schizophrenia" if ill else "control",
                "age": f"{20 + 1.5 * i:g}",
                "sex": "FM"[i % 2],
                "site": SITES[i % 3],
                "sans": f"{3 * i % 25 + 0.5 * i:g}" if scored else "n/a",
                "saps": f"{5 * i % 19 + 0.5 * i:g}" if scored else "n/a",
            }
        )
    return found


def write_table(
    root: Path, table: Sequence[Mapping[str, str]], separator: str = "\t", name: str = ""
) -> None:
    """Writes participants.tsv."""
    header = [*table[0]]
    lines = [separator.join(row[column] for column in header) for row in table]
    text = "\n".join([separator.join(header), *lines]) + "\n"
    (root / (name or "participants.tsv")).write_text(text, encoding="utf-8")


def write_bids(root: Path, controls: int = 8, patients: int = 8) -> dict[str, object]:
    """Writes a folder with a scan of each subject, and returns options of the data set."""
    table = rows(controls, patients)
    write_table(root, table)
    for i, row in enumerate(table):
        save(scan(root, row["participant_id"]), brain(i))
    return {"target": "schizophrenia", "resolution": 32}


def scan(root: Path, subject: str, session: str = "") -> Path:
    """Returns the path of a raw scan."""
    folder, name = root / subject, subject
    if session:
        folder, name = folder / session, f"{subject}_{session}"
    return folder / "anat" / f"{name}_T1w.nii.gz"
