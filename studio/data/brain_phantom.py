"""`brain_phantom`: drawn axial head slices, in the target set with a tumour, of which everything is known.

Anatomy is drawn alike for both sets; only target heads have a tumour over it. So each target image has its true healthy
counterpart and its tumour's mask, and any tumour can be drawn in any head: what a method heals or transplants is compared
with the truth. Every number behind a picture is an attribute, all of them independent and uniform in the ranges of
`studio.data.phantom`, but for a tumour's centre, which is uniform in an ellipse. `write_brats` writes such heads as volumes
in the folders and file names of BraTS 2021.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from pydantic import Field

from studio.data import phantom
from studio.data.dataset import Attribute, DataConfig, Dataset, Labels, Split, Transplant
from studio.data.item_tables import uniform_column
from studio.data.phantom import ANATOMY, HEIGHT, MODALITIES, TUMOUR
from studio.errors import StudioError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["BrainPhantom", "BrainPhantomConfig", "write_brats"]

SEED = 2_024_086
SIZES: dict[Split, int] = {"train": 100_000, "test": 5_000}  # per domain
PLATE = 512  # side of the sheet of noise that images take their piece of
SLICES = 155  # of a BraTS volume, 1 mm apart
MILLIMETRE = 1 / 95  # in units of the head: half its length


class BrainPhantomConfig(DataConfig):
    """The data set's section."""

    name: Literal["brain_phantom"] = "brain_phantom"
    root: None = None
    resolution: int = Field(default=64, ge=32, le=256)
    modality: Literal["t1", "t1ce", "t2", "flair"] = (
        "t1ce"  # t1ce: with a contrast agent, which brightens tumours' rims
    )
    noise: float = Field(
        default=0.02, ge=0, le=0.5
    )  # standard deviation, of the range from black to white
    seed: int = Field(default=0, ge=0)  # other heads and tumours


class BrainPhantom(Dataset):
    """Drawn axial head slices (common) with tumours (salient) in the target set, and the truth about each of them.

    Item i of a split and domain shows the same head at any resolution and in any modality.

    Args:
        config: the data set's section.
    """

    Config = BrainPhantomConfig
    config: BrainPhantomConfig

    def __init__(self, config: BrainPhantomConfig) -> None:
        super().__init__(config)
        self.shape = (1, config.resolution, config.resolution)
        anatomy = {name: Attribute("common") for name in ANATOMY}
        self.attributes = self._declare(
            anatomy | {name: Attribute("salient", target_only=True) for name in TUMOUR}
        )
        self._drawn: dict[tuple[Split, str], dict[str, np.ndarray]] = {}

    def size(self, split: Split, domain: str) -> int:
        return SIZES[split]

    def labels(self, split: Split, domain: str) -> Labels:
        table = self._table(split, domain)
        return {name: table[name] for name in self.attributes if name in table}

    def images(self, split: Split, domain: str, indices: Sequence[int] | np.ndarray) -> "Tensor":
        return self._images(self._rows(split, domain, indices), tumours=domain == "target")

    def healthy(self, split: Split, indices: Sequence[int] | np.ndarray) -> "Tensor":
        """Returns target images as they would be without their tumours, noise included, (n, 1, H, W) in [-1, 1]."""
        return self._images(self._rows(split, "target", indices), tumours=False)

    def masks(self, split: Split, indices: Sequence[int] | np.ndarray) -> "Tensor":
        """Returns where target images show a tumour or its oedema, (n, H, W) bool."""
        return self._masks(self._rows(split, "target", indices))

    def transplant(
        self,
        split: Split,
        a_indices: Sequence[int] | np.ndarray,
        b_indices: Sequence[int] | np.ndarray,
        domain: Literal["background", "target"] = "background",
    ) -> Transplant:
        """Draws the heads a with the tumours of the target images b, each at its place in the head.

        Args:
            split: of all of them.
            a_indices: whose heads and noise, (n,).
            b_indices: whose tumours, (n,); indices of target images.
            domain: of the heads; a tumour that a target head has of its own is gone.
        """
        heads, tumours = (
            self._rows(split, domain, a_indices),
            self._rows(split, "target", b_indices),
        )
        factors = heads | {name: tumours[name] for name in TUMOUR}
        return Transplant(self._images(factors, tumours=True), self._masks(factors))

    def _images(self, factors: Mapping[str, np.ndarray], tumours: bool) -> "Tensor":
        import torch

        side, noise = self.config.resolution, self.config.noise
        images = phantom.draw_slices(factors, side, self.config.modality, tumours)
        if noise:
            pieces = sliding_window_view(self._plate, (side, side))
            top, left = (
                (factors[name] * (PLATE - side + 1)).astype(np.int64)
                for name in ("noise_y", "noise_x")
            )
            images += noise * pieces[top, left]
            np.abs(images, out=images)  # scanners show magnitudes
        images *= 2
        images -= 1
        return torch.from_numpy(np.minimum(images, 1, out=images))[:, None]

    def _masks(self, factors: Mapping[str, np.ndarray]) -> "Tensor":
        import torch

        return torch.from_numpy(phantom.label_lesions(factors, self.config.resolution) > 0)

    @cached_property
    def _plate(self) -> np.ndarray:
        return np.random.default_rng(SEED).standard_normal((PLATE, PLATE), np.float32)

    def _rows(
        self, split: Split, domain: str, indices: Sequence[int] | np.ndarray
    ) -> dict[str, np.ndarray]:
        return {
            name: values[np.asarray(indices)] for name, values in self._table(split, domain).items()
        }

    def _table(self, split: Split, domain: str) -> dict[str, np.ndarray]:
        """Returns what each item of a domain shows: factor -> (N,) float32, and where its noise is from."""
        if (split, domain) not in self._drawn:
            names = [*ANATOMY, "noise_y", "noise_x", *(TUMOUR if domain == "target" else ())]
            seed = SEED + self.config.seed
            uniform = {
                name: uniform_column(seed, split, domain, i, SIZES[split])
                for i, name in enumerate(names)
            }
            self._drawn[split, domain] = _in_range(uniform)
        return self._drawn[split, domain]


def _in_range(uniform: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Turns uniform columns in [0, 1) into factors, float32; a tumour's centre becomes uniform in an ellipse."""
    ranges = ANATOMY | TUMOUR
    factors = {
        n: low + (high - low) * uniform[n] for n, (low, high) in ranges.items() if n in uniform
    }
    if "tumour_x" in uniform:
        distance, angle = np.sqrt(uniform["tumour_x"]), 2 * np.pi * uniform["tumour_y"]
        factors["tumour_x"] = TUMOUR["tumour_x"][1] * distance * np.cos(angle)
        factors["tumour_y"] = TUMOUR["tumour_y"][1] * distance * np.sin(angle)
    others = {name: values for name, values in uniform.items() if name not in ranges}
    return {name: values.astype(np.float32) for name, values in factors.items()} | others


def write_brats(
    root: Path, patients: int, seed: int = 0, side: int = 240, slices: range = range(80, 100)
) -> None:
    """Writes heads as NIfTI volumes in the layout of BraTS 2021, without their skulls, as these are.

    ROOT/BraTS2021_00000/BraTS2021_00000_{t1,t1ce,t2,flair}.nii.gz, int16, and ..._seg.nii.gz, uint8: 0, and 1 (core), 2
    (oedema) or 4 (enhancing rim). Slices are 1 mm apart, fit together, and are 240 mm wide; the array's axes run to the
    left, back and top. Each patient has one tumour; it is at one end of the drawn slices and leaves at least four tenths
    of them free.

    Args:
        root: the folder; made if it is not there.
        patients: their number.
        seed: of all that is drawn.
        side: of the slices in voxels.
        slices: which of the 155 are drawn; all others are 0.

    Raises:
        StudioError: no patients or slices, or slices that a volume does not have.
    """
    import nibabel

    if patients < 1 or not slices or min(slices) < 0 or max(slices) >= SLICES:
        raise StudioError(
            f"at least 1 patient, and slices from 0 to {SLICES - 1}; found {patients} and {slices}"
        )
    width = 240 / side
    affine = np.diag([-width, -width, 1, 1])
    affine[1, 3] = width * (side - 1)
    for number in range(patients):
        name = f"BraTS2021_{number:05d}"
        folder = Path(root) / name
        folder.mkdir(parents=True, exist_ok=True)
        for kind, pictures in _volume(
            np.random.default_rng((SEED, seed, number)), side, slices
        ).items():
            values = np.zeros((side, side, SLICES), pictures.dtype)
            values[:, :, list(slices)] = pictures.transpose(2, 1, 0)
            nibabel.save(nibabel.Nifti1Image(values, affine), folder / f"{name}_{kind}.nii.gz")


def _volume(rng: np.random.Generator, side: int, slices: range) -> dict[str, np.ndarray]:
    """Draws a patient: modality -> (slices, side, side) int16, and "seg", uint8."""
    n, up = len(slices), np.array(slices) - min(slices)
    one = _in_range({name: rng.random(1) for name in ANATOMY | TUMOUR})
    factors = {name: np.repeat(value, n) for name, value in one.items()}
    rise = min(
        MILLIMETRE / HEIGHT, 1 / max(1, up.max())
    )  # of the level from slice to slice; a stack ends at the roofs
    factors["level"] = one["level"] * (1 - rise * up.max()) + rise * up
    factors["tumour_oedema"] = np.minimum(factors["tumour_oedema"], 0.5 * factors["tumour_radius"])
    half = rng.uniform(0.2, 0.4) * (
        up.max() + 1
    )  # its height in mm; oedema reaches at most half as far again
    end = rng.choice([0, up.max()])
    factors["tumour_height"] = factors["tumour_radius"] * np.abs(up - end) / half
    volume = {"seg": phantom.label_lesions(factors, side)}
    for modality in MODALITIES:
        pictures = phantom.draw_slices(factors, side, modality, skull=False)
        noise = rng.normal(scale=0.02, size=pictures.shape)
        volume[modality] = np.where(
            pictures > 0, np.maximum(1000 * (pictures + noise), 1), 0
        ).astype(np.int16)
    return volume
