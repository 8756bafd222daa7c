"""`brain_phantom`: drawn axial head slices, in the target set with a tumour, or drawn volumes of
brains, in the target set with a lesion.

The truth about each image is known.

The anatomy is drawn alike for both sets, and only target heads have a tumour over it. Each target
image therefore has its true healthy counterpart and the mask of its tumour, and any tumour can be
drawn in any head. This gives the truth to compare healed and transplanted images with. Every
number behind a picture is an attribute. All are independent and uniform in the ranges of
`studio.data.phantom`, except for the centre of the tumour, which is uniform in an ellipse.
`write_brats` writes such heads as volumes in the folders and file names of BraTS 2021. With
`data.dims: 3` the items are volumes, which `studio.data.phantom_volume` draws in the same way.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from pydantic import Field, field_validator
from pydantic_core.core_schema import ValidationInfo

from studio.data import phantom, phantom_volume
from studio.data.dataset import Attribute, DataConfig, Dataset, Labels, Split, Transplant
from studio.data.indices import as_indices
from studio.data.item_tables import uniform_column
from studio.data.phantom import ANATOMY, HEIGHT, MODALITIES, SITES, TUMOUR
from studio.data.phantom_volume import BRAIN, LESION
from studio.errors import StudioError
from studio.limits import Most

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["BrainPhantom", "BrainPhantomConfig", "write_brats"]

SEED = 2_024_086
SIZES: dict[Split, int] = {"train": 100_000, "test": 5_000}  # images per domain
VOLUMES: dict[Split, int] = {"train": 20_000, "test": 1_000}  # volumes per domain
PLATE = 512  # side in pixels of the sheet of noise from which images take a piece
BLOCK = 192  # side in voxels of the block of noise from which volumes take a piece
LARGEST_VOLUME = 128  # side in voxels
SLICES = 155  # of a BraTS volume, 1 mm apart
MILLIMETRE = 1 / 95  # in units of the head: half its length


class BrainPhantomConfig(DataConfig):
    """The section of `brain_phantom`."""

    name: Literal["brain_phantom"] = "brain_phantom"
    """Name of the data set."""

    root: None = None
    """Not used: the images are drawn."""

    dims: Literal[2, 3] = 2
    """2: slices of heads with a tumour. 3: volumes of brains with a lesion, and with the effects of
    severity, age and site."""

    resolution: int = Field(default=64, ge=32, le=256)
    """Side of the images. At most 128 for volumes.

    Unit: pixels.
    """

    modality: Literal["t1", "t1ce", "t2", "flair"] = "t1ce"
    """Kind of scan to imitate. t1ce: with a contrast agent, which brightens the rims of tumours."""

    images: int | None = Field(default=None, ge=2, le=1_000_000)
    """Training images, or volumes, of each set. The first n are the same for every number. null:
    100,000 images or 20,000 volumes.

    Unit: items.
    """

    noise: float = Field(default=0.02, ge=0, le=0.5)
    """Standard deviation of the noise.

    Unit: the range from black to white.
    """

    seed: int = Field(default=0, ge=0, le=Most.SEED)
    """Seed of the heads and tumours.

    Unit: none.
    """

    @field_validator("resolution")
    @classmethod
    def _check_side(cls, resolution: int, info: ValidationInfo) -> int:
        if info.data.get("dims") == 3 and resolution > LARGEST_VOLUME:
            raise ValueError(
                f"found {resolution}, expected at most {LARGEST_VOLUME} with data.dims: 3"
            )
        return resolution


class Content(NamedTuple):
    """The drawing of one kind of items.

    Attributes:
        common: names of the factors of a head.
        salient: names of the factors of a tumour.
        sizes: items of each split per domain, unless the config says otherwise.
        places: names of the columns that place the piece of noise, first axis first.
        plate: side of the noise from which items take a piece.
        place: maps uniform columns to factors.
        draw: draws factors at a side, in a modality, with or without tumours, (n, *sides).
        label: returns the tumour's labels, 0 outside, (n, *sides).
    """

    common: Sequence[str]
    salient: Sequence[str]
    sizes: Mapping[Split, int]
    places: Sequence[str]
    plate: int
    place: Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]
    draw: Callable[[Mapping[str, np.ndarray], int, str, bool], np.ndarray]
    label: Callable[[Mapping[str, np.ndarray], int], np.ndarray]


class BrainPhantom(Dataset):
    """Drawn axial head slices (common) with tumours (salient) in the target set, or drawn volumes
    of brains (common) with lesions (salient), and the truth about each image.

    Item i of a split and domain shows the same head at any resolution and in any modality. The axes
    of a volume run from head to feet, from front to back, and from left to right.

    Args:
        config: the data set's section.
    """

    Config = BrainPhantomConfig
    config: BrainPhantomConfig

    def __init__(self, config: BrainPhantomConfig) -> None:
        super().__init__(config)
        self._content = VOLUME if config.dims == 3 else SLICE
        self.shape = (1, *(config.resolution,) * config.dims)
        sites = {"site": tuple(SITES)}
        common = {n: Attribute("common", sites.get(n, ())) for n in self._content.common}
        salient = {n: Attribute("salient", target_only=True) for n in self._content.salient}
        self.attributes = self._declare(common | salient)
        self._drawn: dict[tuple[Split, str], dict[str, np.ndarray]] = {}

    def size(self, split: Split, domain: str) -> int:
        number = self.config.images if split == "train" else None
        return number or self._content.sizes[split]

    def labels(self, split: Split, domain: str) -> Labels:
        table = self.composition(split, domain)
        return {name: table[name] for name in self.attributes if name in table}

    def images(self, split: Split, domain: str, indices: Sequence[int] | np.ndarray) -> "Tensor":
        return self._images(self._rows(split, domain, indices), tumours=domain == "target")

    def healthy(self, split: Split, indices: Sequence[int] | np.ndarray) -> "Tensor":
        """Returns target images without their tumours, same noise, (n, 1, *sides) in [-1, 1]."""
        return self._images(self._rows(split, "target", indices), tumours=False)

    def masks(self, split: Split, indices: Sequence[int] | np.ndarray) -> "Tensor":
        """Returns the pixels of targets that show a tumour or its oedema, (n, *sides) bool."""
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
            split: split of all images.
            a_indices: images that give the heads and the noise, (n,).
            b_indices: target images that give the tumours, (n,).
            domain: domain of the heads. A target head loses its own tumour.
        """
        heads, tumours = (
            self._rows(split, domain, a_indices),
            self._rows(split, "target", b_indices),
        )
        factors = heads | {name: tumours[name] for name in self._content.salient}
        return Transplant(self._images(factors, tumours=True), self._masks(factors))

    def _images(self, factors: Mapping[str, np.ndarray], tumours: bool) -> "Tensor":
        """Draws images of the given factors, with noise, (n, 1, *sides) in [-1, 1]."""
        import torch

        side, noise, content = self.config.resolution, self.config.noise, self._content
        images = content.draw(factors, side, self.config.modality, tumours)
        if noise:
            room = content.plate - side + 1
            starts = [(factors[name] * room).astype(np.int64) for name in content.places]
            for image, start in zip(images, zip(*starts, strict=True), strict=True):
                image += noise * self._plate[tuple(slice(at, at + side) for at in start)]
            np.abs(images, out=images)  # scanners show magnitudes
        images *= 2
        images -= 1
        return torch.from_numpy(np.minimum(images, 1, out=images))[:, None]

    def _masks(self, factors: Mapping[str, np.ndarray]) -> "Tensor":
        import torch

        return torch.from_numpy(self._content.label(factors, self.config.resolution) > 0)

    @cached_property
    def _plate(self) -> np.ndarray:
        """Noise from which every image takes a piece, float32."""
        shape = (self._content.plate,) * len(self._content.places)
        return np.random.default_rng(SEED).standard_normal(shape, np.float32)

    def _rows(
        self, split: Split, domain: str, indices: Sequence[int] | np.ndarray
    ) -> dict[str, np.ndarray]:
        """Returns the factors of some items: factor -> (n,)."""
        rows = as_indices(indices, self.size(split, domain))
        return {name: values[rows] for name, values in self.composition(split, domain).items()}

    def composition(self, split: Split, domain: str) -> dict[str, np.ndarray]:
        """Returns factor -> (N,) float32 for all items of a domain, and positions of the noise."""
        if (split, domain) not in self._drawn:
            content = self._content
            salient = content.salient if domain == "target" else ()
            names = [*content.common, *content.places, *salient]
            seed = SEED + self.config.seed
            uniform = {
                name: uniform_column(seed, split, domain, i, self.size(split, domain))
                for i, name in enumerate(names)
            }
            self._drawn[split, domain] = content.place(uniform)
        return self._drawn[split, domain]


def _in_range(uniform: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Maps uniform columns in [0, 1) to factors, float32.

    The centre of a tumour becomes uniform in an ellipse.
    """
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


SLICE = Content(
    tuple(ANATOMY),
    tuple(TUMOUR),
    SIZES,
    ("noise_y", "noise_x"),
    PLATE,
    _in_range,
    phantom.draw_slices,
    phantom.label_lesions,
)
VOLUME = Content(
    (*BRAIN, "site"),
    tuple(LESION),
    VOLUMES,
    ("noise_z", "noise_y", "noise_x"),
    BLOCK,
    phantom_volume.place_in_range,
    phantom_volume.draw_volumes,
    phantom_volume.label_volumes,
)


def write_brats(
    root: Path, patients: int, seed: int = 0, side: int = 240, slices: range = range(80, 100)
) -> None:
    """Writes heads as NIfTI volumes in the layout of BraTS 2021, without skulls as in BraTS.

    The files are ROOT/BraTS2021_00000/BraTS2021_00000_{t1,t1ce,t2,flair}.nii.gz, int16, and
    ..._seg.nii.gz, uint8, with 0, 1 (core), 2 (oedema) and 4 (enhancing rim). Slices are 1 mm
    apart, belong to one head, and are 240 mm wide. The axes of the array run to the left, back and
    top. Each patient has one tumour at one end of the drawn slices, which leaves at least four
    tenths of them free.

    Args:
        root: the folder, created if it does not exist.
        patients: number of patients.
        seed: seed of everything that is drawn.
        side: side of the slices in voxels.
        slices: which of the 155 slices are drawn. All others are 0.

    Raises:
        StudioError: there are no patients or no slices, or a slice is outside the volume.
    """
    import nibabel

    if patients < 1 or not slices or min(slices) < 0 or max(slices) >= SLICES:
        raise StudioError(
            f"found {patients} patients and slices {slices}, "
            f"expected at least 1 patient and slices from 0 to {SLICES - 1}"
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
    # Rise of the level from slice to slice. The stack ends at the roofs of the ventricles.
    rise = min(MILLIMETRE / HEIGHT, 1 / max(1, up.max()))
    factors["level"] = one["level"] * (1 - rise * up.max()) + rise * up
    factors["tumour_oedema"] = np.minimum(factors["tumour_oedema"], 0.5 * factors["tumour_radius"])
    # Height of the tumour in mm. Oedema reaches at most half as far again.
    half = rng.uniform(0.2, 0.4) * (up.max() + 1)
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
