"""Small heads with tumours in the layout of BraTS."""

from pathlib import Path

import nibabel
import numpy as np

from studio.data.brats.dataset import Brats, BratsConfig

SHAPE = (24, 24, 12)


# The affine of BraTS: left and front are stored last.
AFFINE = np.array([[-1.0, 0, 0, 0], [0, -1, 0, 23], [0, 0, 1, 0], [0, 0, 0, 1]])


# Slice -> side of the square of tumour. Slice 3 has none, and that of slice 8 is too small.
TUMOUR = {7: 5, 8: 2}


def head(seed: int) -> np.ndarray:
    """Returns a smooth head of 16 x 20 x 10 voxels, values 100 to 1000, in canonical axes."""
    rng = np.random.default_rng(seed)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    inside = (x / 0.67) ** 2 + (y / 0.84) ** 2 < 1
    values = (
        550
        + 300 * np.sin(3 * x + rng.uniform(0, 6)) * np.cos(2 * y + z)
        + 150 * rng.uniform(-1, 1, SHAPE)
    )
    return np.where(inside & (np.abs(z) < 0.95), values, 0).astype(np.float32)


def tumour(sides: dict[int, int], corner: tuple[int, int] = (14, 6)) -> np.ndarray:
    """Returns squares of tumour: oedema at the edge, one voxel of core, and the rest enhancing."""
    mask = np.zeros(SHAPE, np.uint8)
    x, y = corner
    for number, side in sides.items():
        mask[x : x + side, y : y + side, number] = 2
        mask[x + 1 : x + side - 1, y + 1 : y + side - 1, number] = 4
        if side > 2:
            mask[x + 1, y + 1, number] = 1
    return mask


def store(values: np.ndarray, affine: np.ndarray = AFFINE) -> nibabel.Nifti1Image:
    """Returns a NIfTI image of canonical values, with voxels stored in the order of the affine."""
    wanted = nibabel.io_orientation(affine)
    back = nibabel.orientations.ornt_transform(nibabel.orientations.axcodes2ornt("RAS"), wanted)
    return nibabel.Nifti1Image(nibabel.apply_orientation(values, back), affine)


def write_patient(
    folder: Path, separator: str = "_", ending: str = ".nii.gz", **files: object
) -> Path:
    """Writes a patient: modality -> canonical values or a NIfTI image."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind, content in files.items():
        image = content if isinstance(content, nibabel.Nifti1Image) else store(np.asarray(content))
        nibabel.save(image, folder / f"{folder.name}{separator}{kind}{ending}")
    return folder


def brats_config(root: Path, **fields: object) -> BratsConfig:
    given = {
        "root": str(root),
        "resolution": 24,
        "slices": (3, 8),
        "slice_step": 1,
        "min_tumour": 0.1,
        **fields,
    }
    return BratsConfig(**given)


def open_brats(root: Path, **fields: object) -> Brats:
    return Brats(brats_config(root, **fields))


def everything(data: Brats) -> dict[tuple[str, str], np.ndarray]:
    return {
        (split, domain): data.images(split, domain, range(data.size(split, domain))).numpy()
        for split in ("train", "test")
        for domain in ("background", "target")
    }


def values_with_nan() -> np.ndarray:
    values = head(0)
    values[12, 12, 1] = np.nan  # in a slice that is not used
    return values
