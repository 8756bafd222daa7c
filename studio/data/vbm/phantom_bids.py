"""A drawn study in 3-D with known answers, as a BIDS folder that `vbm` reads.

The brains are those of `brain_phantom` with `data.dims: 3`: controls, and patients with a lesion
whose size is their severity. Age and site change the brains of both sets. The voxels of a file are
those of the cube that `vbm` cuts at the same resolution, stored from right to left as scanners do.
"""

from pathlib import Path

import numpy as np

from studio.atomic import appearing
from studio.data.brain_phantom import BrainPhantom, BrainPhantomConfig
from studio.data.vbm.config import FIELD_OF_VIEW
from studio.data.vbm.preprocess import CubeOptions, from_cube_axes, place_cube
from studio.domains import DOMAINS
from studio.errors import StudioError

__all__ = ["COLUMNS", "GROUPS", "write_volumes"]

COLUMNS = ("participant_id", "diagnosis", "age", "site", "severity")
GROUPS = {"background": "control", "target": "patient"}  # domain -> word in the table
UNSCORED = 5  # every fifth patient has no severity, as in real studies
LEVELS = 1_000  # of a file's value 1
NOISE = 0.02  # standard deviation, as in the phantom
SEED = 2_024_128
SUBJECTS = 1_000  # of each set, the size of the phantom's test split
CONFIG = """# A study in 3-D with known answers: see `studio data init --help`.
data: {{name: vbm, root: {root}, background: control, target: patient, resolution: {side}}}
nets: {{width: 16}}
method: {{name: sepvae, z: 32, s: 16, weights: {{class: 1.0}}}}
train: {{images: 10_000, batch: 16}}
"""


def write_volumes(root: Path, subjects: int, seed: int = 0, side: int = 32) -> None:
    """Writes volumes, `participants.tsv` and `vbm.yaml` into a new or empty folder.

    The files are ROOT/sub-0001/anat/sub-0001_T1w.nii.gz, int16, with 0 outside of the brain. The
    controls come first in the table.

    Args:
        root: the folder.
        subjects: of each set, one volume each.
        seed: of everything that is drawn.
        side: of the volumes in voxels, 32 to 128. They are 192 mm wide.

    Raises:
        StudioError: a number is out of range, or the folder is not empty or cannot be written.
    """
    if not 1 <= subjects <= SUBJECTS:
        raise StudioError(f"found {subjects} subjects, expected 1 to {SUBJECTS:,}")
    drawn = BrainPhantom(BrainPhantomConfig(dims=3, resolution=side, seed=seed, noise=0))
    with appearing(Path(root), "a study") as folder:
        lines = ["\t".join(COLUMNS)]
        for domain in DOMAINS:
            labels, rng = drawn.labels("test", domain), np.random.default_rng((SEED, seed))
            sites = drawn.attributes["site"].classes
            for i in range(subjects):
                name = f"sub-{len(lines):04}"
                clean = (drawn.images("test", domain, [i])[0, 0].numpy() + 1) / 2
                noisy = np.abs(clean + NOISE * rng.standard_normal(clean.shape))
                values = np.where(clean > 0, np.maximum(noisy * LEVELS, 1), 0)
                _save(folder / name / "anat" / f"{name}_T1w.nii.gz", values)
                scored = domain == "target" and i % UNSCORED
                severity = f"{labels['severity'][i]:.4f}" if scored else "n/a"
                age, site = f"{labels['age'][i]:.1f}", sites[labels["site"][i]]
                lines.append("\t".join([name, GROUPS[domain], age, site, severity]))
        (folder / "participants.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        text = CONFIG.format(root=_quote(Path(root).resolve()), side=side)
        (folder / "vbm.yaml").write_text(text, encoding="utf-8")


def _save(path: Path, values: np.ndarray) -> None:
    """Writes a cube (D, H, W) as a NIfTI file, stored from right to left."""
    import nibabel

    side = len(values)
    affine = place_cube(CubeOptions(side, FIELD_OF_VIEW / side))
    turned = affine @ np.diag([-1.0, 1, 1, 1])
    turned[:3, 3] += affine[:3, 0] * (side - 1)
    stored = from_cube_axes(values.round().astype(np.int16))[::-1]
    path.parent.mkdir(parents=True)
    nibabel.save(nibabel.Nifti1Image(stored, turned), path)


def _quote(path: Path) -> str:
    import json

    return json.dumps(str(path))
