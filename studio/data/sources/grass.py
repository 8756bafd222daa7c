"""Pieces of grass, 28 x 28 pixels, from a user's photographs or from that of scikit-image."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from studio.data.dataset import SPLITS, Split
from studio.data.io.files import check_listable, raise_unlistable
from studio.data.io.fitting import fit
from studio.data.io.images import UnreadableError, read_image
from studio.data.sources.bundled import load_photograph
from studio.domains import DOMAINS
from studio.errors import StudioError

__all__ = ["GRASS_LAYOUT", "GrassFolder", "GrassPhotograph"]

SIDE = 28
FRAME = 2 * SIDE  # photographs of a folder are resized to this side, a piece is a quarter of them
TEST_SHARE = {
    "photograph": 0.3,
    "data_folder": 0.2,
}  # of the photograph's width, of the folder's files
SUFFIXES = (".png", ".jpg", ".jpeg")
GRASS_LAYOUT = "data.grass_root=FOLDER with png or jpg photographs of grass, in subfolders or not"
STD_SAMPLE = 64  # photographs of a folder from which the contrast of grass is computed


class GrassPhotograph:
    """scikit-image's photograph of grass, averaged two by two.

    The right three tenths of its width are for testing.

    Background and target take pieces from the same region, each at its own random positions.

    Args:
        channels: 1, or 3 for three equal channels, because the photograph is gray.
    """

    def __init__(self, channels: int = 1) -> None:
        self.channels = channels

    @cached_property
    def regions(self) -> dict[Split, np.ndarray]:
        """The two regions in [0, 1], (256, 179) and (256, 77)."""
        import torch
        from torch.nn.functional import avg_pool2d

        pixels = torch.from_numpy(load_photograph("grass") / 255).float()
        small = avg_pool2d(pixels[None], 2)[0].numpy()
        edge = int(small.shape[1] * (1 - TEST_SHARE["photograph"]))
        return {"train": small[:, :edge], "test": small[:, edge:]}

    @property
    def std(self) -> float:
        """Standard deviation of the training pixels, in units of [0, 1]."""
        return float(self.regions["train"].std())

    def take(self, split: Split, domain: str, where: np.ndarray) -> np.ndarray:
        """Returns pieces (n, 28, 28) in [0, 1], or (n, 3, 28, 28) with three channels.

        Args:
            split: split of the pieces.
            domain: domain of the pieces.
            where: uniform numbers (n, 5). The first is not used.
        """
        windows = sliding_window_view(self.regions[split], (SIDE, SIDE))
        height, width = windows.shape[:2]
        pieces = _flip(
            windows[(where[:, 1] * height).astype(int), (where[:, 2] * width).astype(int)], where
        )
        return pieces if self.channels == 1 else np.repeat(pieces[:, None], self.channels, 1)

    def notes(self) -> list[str]:
        """Returns notes on the source of the grass."""
        gray = "scikit-image's grass is gray: the three channels are equal (data.grass_root)"
        return [
            "grass: scikit-image's photograph, its left 70% in train and the rest in test; "
            "data.grass_root takes a folder",
            *([gray] if self.channels == 3 else []),
        ]


class GrassFolder:
    """A user's folder of photographs.

    Each photograph serves one split and one domain, chosen from nothing but its name.

    The centre square of a photograph is converted to gray or RGB, resized to 56 px, and kept in
    memory after its first use. Pieces are cut from it.

    Args:
        root: the folder.
        channels: 1 for gray, 3 for RGB.

    Raises:
        StudioError: the folder does not exist, or a split and domain would have no photograph.
    """

    def __init__(self, root: str, channels: int = 1) -> None:
        self.channels = channels
        self.root = check_listable(root, "data.grass_root", GRASS_LAYOUT)
        self._files: dict[tuple[str, str], list[str]] = defaultdict(list)
        for name in _find_photographs(self.root):
            self._files[_assign(name)].append(name)
        for split in SPLITS:
            for domain in DOMAINS:
                if not self._files[split, domain]:
                    found = sum(map(len, self._files.values()))
                    raise StudioError(
                        f"data.grass_root: none of the {found} photographs in "
                        f"{self.root.absolute()} falls to {domain} "
                        f"{split}; about 50 are needed, expected {GRASS_LAYOUT}"
                    )
        self._kept: dict[str, np.ndarray] = {}

    @property
    def std(self) -> float:
        """Standard deviation of the pixels of some training photographs, in units of [0, 1]."""
        return float(
            np.std([self._frame(name) for name in self._files["train", "background"][:STD_SAMPLE]])
            / 255
        )

    def take(self, split: Split, domain: str, where: np.ndarray) -> np.ndarray:
        """Returns pieces (n, 28, 28) in [0, 1], or (n, 3, 28, 28) with three channels.

        Args:
            split: split of the pieces.
            domain: domain of the pieces.
            where: uniform numbers (n, 5). The first chooses the photograph.
        """
        files = self._files[split, domain]
        steps = FRAME - SIDE + 1
        pieces = np.empty((len(where), self.channels, SIDE, SIDE), np.float32)
        for piece, row in zip(pieces, where, strict=True):
            y, x = int(row[1] * steps), int(row[2] * steps)
            piece[:] = self._frame(files[int(row[0] * len(files))])[
                :, y : y + SIDE, x : x + SIDE
            ] / np.float32(255)
        return _flip(pieces[:, 0] if self.channels == 1 else pieces, where)

    def notes(self) -> list[str]:
        """Returns a note on the photographs of each split and domain."""
        counts = ", ".join(
            f"{len(self._files[split, domain])} {domain} {split}"
            for split in SPLITS
            for domain in DOMAINS
        )
        return [f"grass: photographs in {self.root}, by their names: {counts}"]

    def file_names(self, split: Split, domain: str) -> list[str]:
        """Returns the names of the photographs of a split and domain, relative to the root."""
        return list(self._files[split, domain])

    def _frame(self, name: str) -> np.ndarray:
        if name not in self._kept:
            try:
                pixels = fit(read_image(self.root / name, least=FRAME), FRAME, self.channels)
            except UnreadableError as error:
                raise StudioError(f"{self.root / name}: {error}") from None
            if pixels.dtype != np.uint8:
                raise StudioError(f"{self.root / name}: not 8-bit")
            self._kept[name] = pixels
        return self._kept[name]


def _find_photographs(root: Path) -> Sequence[str]:
    """Returns the names of all photographs below a folder, sorted."""
    found = (
        Path(here, name).relative_to(root).as_posix()
        for here, _, names in os.walk(root, onerror=raise_unlistable)
        for name in names
    )
    return sorted(
        name
        for name in found
        if name.lower().endswith(SUFFIXES) and not Path(name).name.startswith(".")
    )


def _assign(name: str) -> tuple[str, str]:
    """Returns split and domain of a photograph, from the hash of its name."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
    split = (
        "test" if int.from_bytes(digest[:8], "big") / 2**64 < TEST_SHARE["data_folder"] else "train"
    )
    return split, DOMAINS[digest[8] % 2]


def _flip(pieces: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Returns pieces (n, ..., 28, 28), mirrored where the uniform number for it is below 0.5."""
    across, down = (where[:, i].reshape(-1, *[1] * (pieces.ndim - 1)) < 0.5 for i in (3, 4))
    pieces = np.where(across, pieces[..., ::-1], pieces)
    return np.where(down, pieces[..., ::-1, :], pieces)
