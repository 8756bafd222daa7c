"""dSprites (Matthey et al. 2017): a renderer that reproduces the published frames bit for bit, and
a reader of the file.

A frame has 64 x 64 binary pixels. A pixel belongs to the sprite if its centre does. In pixels at
scale 1, with y down, the square has half sides of 9.598, the ellipse has half axes of 12.766 and
7.2135, and the heart is the closed polygon through 150 points of the well-known curve x = 16 sin^3
t, y = -13 cos t + 5 cos 2t + 2 cos 3t + cos 4t, stretched and moved. We fitted these numbers to
the 320 frames of the authors' animation, and they reproduce all of them exactly. The centre moves
over 16..48 in 32 steps, the scale over 0.5..1 in 6, and the angle, anticlockwise, over 0..2 pi in
40, so that the last orientation looks like the first.
"""

import os
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import IO, Protocol

import numpy as np

from studio.data.io.files import first_existing, open_npz, read_npy_header
from studio.errors import StudioError, warn

__all__ = [
    "DSPRITES_LAYOUT",
    "FACTORS",
    "SHAPES",
    "RenderedSprites",
    "Sprites",
    "SpritesFile",
    "canonical_factors",
    "open_sprites",
    "orientation_phase",
    "render_sprites",
]

SHAPES = ("square", "ellipse", "heart")
# Number of classes of each factor, in the order of the file's columns and rows.
FACTORS = {"shape": 3, "scale": 6, "orientation": 40, "pos_x": 32, "pos_y": 32}
COUNTS = tuple(FACTORS.values())
FRAMES = 737_280
SIDE = 64
HALF_SIDE = 9.598
HALF_AXES = (12.766, 7.2135)
HEART_POINTS, HEART_X, HEART_Y, HEART_DOWN = 150, 0.6, 0.6623, -1.44
SYMMETRY = np.array([4, 2, 1])  # turning by a full circle over these changes nothing
NAMES = ("dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz", "dsprites.npz")
BLOCK = 4096  # frames that are unpacked at a time
DSPRITES_LAYOUT = (
    f"dSprites: ROOT/{NAMES[0]} or ROOT/{NAMES[1]} with imgs (737280, 64, 64) and latents_classes "
    "(737280, 6)"
)


class Sprites(Protocol):
    """A source of sprites."""

    def take(self, factors: np.ndarray) -> np.ndarray:
        """Returns the frames (n, 64, 64) uint8, 0 or 1, of class numbers (n, 5) in the order of
        FACTORS.
        """
        ...


class RenderedSprites:
    """Sprites that are drawn when they are needed."""

    def take(self, factors: np.ndarray) -> np.ndarray:
        """Returns the frames (n, 64, 64) of class numbers (n, 5)."""
        return render_sprites(factors)


class SpritesFile:
    """Sprites from the file of the data set's authors.

    Its images are memory-mapped if they are stored without compression. The original is
    compressed: 3 GB in one piece that can only be read from the front. It is unpacked once, on
    first use, to one bit per pixel in the user's cache folder (377 MB), and that file is
    memory-mapped.

    Args:
        path: the npz file.

    Raises:
        StudioError: the file is cut short or has another layout.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        arrays = open_npz(
            path, {"imgs": (FRAMES, SIDE, SIDE), "latents_classes": (FRAMES, 1 + len(COUNTS))}
        )
        self._images, self._classes = arrays["imgs"], arrays["latents_classes"]
        with zipfile.ZipFile(path) as archive:
            self._compressed = archive.getinfo("imgs.npy").compress_type != zipfile.ZIP_STORED
        self._bits: np.ndarray | None = None
        self._ordered = False

    def take(self, factors: np.ndarray) -> np.ndarray:
        """Returns the frames (n, 64, 64) of class numbers (n, 5)."""
        rows = np.ravel_multi_index(tuple(check_factors(factors).T), COUNTS)
        if not self._compressed:
            if not self._ordered:
                self._check_order()
            return _binary(self.path, np.asarray(self._images.values[rows]))
        if self._bits is None:
            self._bits = np.memmap(self._packed(), np.uint8, "r", 0, (FRAMES, SIDE * SIDE // 8))
        return np.unpackbits(self._bits[rows], axis=1).reshape(-1, SIDE, SIDE)

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_bits": None}

    def _packed(self) -> Path:
        """Returns the file of bits, written first if it does not exist.

        It appears complete or not at all.
        """
        stat = self.path.stat()
        place = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "studio"
        target = place / f"dsprites-{stat.st_size}-{stat.st_mtime_ns}.bits"
        if target.is_file():
            return target
        warn(f"unpacking {self.path} once into {target} (377 MB)")
        try:
            place.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=place, delete=False) as file:
                try:
                    self._unpack_into(file)
                    os.replace(file.name, target)
                except BaseException:
                    os.unlink(file.name)
                    raise
        except OSError as error:
            raise StudioError(
                f"{target}: cannot be written: {error}; set XDG_CACHE_HOME, or data.sprites to "
                "rendered"
            ) from None
        return target

    def _unpack_into(self, file: IO[bytes]) -> None:
        self._check_order()
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open("imgs.npy") as stream:
                read_npy_header(stream)
                for _ in range(FRAMES // BLOCK):
                    block = np.frombuffer(stream.read(BLOCK * SIDE * SIDE), np.uint8)
                    file.write(np.packbits(_binary(self.path, block)).tobytes())
        except (EOFError, ValueError, zlib.error, zipfile.BadZipFile) as error:
            raise StudioError(f"{self.path}: damaged: {error}") from None

    def _check_order(self) -> None:
        classes = np.asarray(self._classes.values)[:, 1:]
        in_range = (classes >= 0).all() and (classes < COUNTS).all()
        if not in_range or not np.array_equal(
            np.ravel_multi_index(tuple(classes.T), COUNTS), np.arange(FRAMES)
        ):
            raise StudioError(f"{self.path}: latents_classes are not in the original order")
        self._ordered = True


def _binary(path: Path, frames: np.ndarray) -> np.ndarray:
    """Returns frames after checking that they hold nothing but 0 and 1."""
    if frames.size and frames.max() > 1:
        raise StudioError(f"{path}: imgs has the value {frames.max()}, expected 0 and 1")
    return frames


def open_sprites(root: Path, source: str) -> tuple[Sprites, str]:
    """Returns the sprites, and a note on their source.

    Args:
        root: the folder of the files.
        source: `rendered` or `file`.

    Raises:
        StudioError: the file is requested and missing, cut short or of another layout.
    """
    path = first_existing(root, NAMES)
    if source == "rendered":
        instead = f"; data.sprites=file reads {path} instead" if path else ""
        return (
            RenderedSprites(),
            f"sprites are rendered, bit for bit equal to the 320 frames of their authors{instead}",
        )
    if path is None:
        raise StudioError(
            f"no dSprites in {root.absolute()}; expected {DSPRITES_LAYOUT}, or "
            "data.sprites=rendered"
        )
    return SpritesFile(path), f"sprites are those of {path}"


def check_factors(factors: np.ndarray) -> np.ndarray:
    """Returns class numbers (n, 5) as int64.

    Raises:
        ValueError: the shape differs, or a number is not a class of its factor.
    """
    factors = np.asarray(factors, np.int64)
    if (
        factors.ndim != 2
        or factors.shape[1] != len(COUNTS)
        or (factors < 0).any()
        or (factors >= COUNTS).any()
    ):
        raise ValueError(
            f"factors are class numbers (n, 5) below {COUNTS}, found shape {factors.shape}"
        )
    return factors


def orientation_phase(factors: np.ndarray) -> np.ndarray:
    """Returns the angle of each sprite times the symmetry of its shape, in radians, (n,)."""
    return SYMMETRY[factors[:, 0]] * factors[:, 2] * (2 * np.pi / (COUNTS[2] - 1))


def canonical_factors(factors: np.ndarray) -> np.ndarray:
    """Returns class numbers (n, 5) with an orientation that describes the visible picture.

    It is the orientation times the symmetry of the shape, modulo a full turn, from 0 to 38. Equal
    pictures have equal numbers. Neighbouring numbers, including the last and the first, belong to
    similar pictures.
    """
    seen = check_factors(factors).copy()
    seen[:, 2] = SYMMETRY[seen[:, 0]] * seen[:, 2] % (COUNTS[2] - 1)
    return seen


def render_sprites(factors: np.ndarray) -> np.ndarray:
    """Draws sprites.

    Args:
        factors: class numbers (n, 5): shape, scale, orientation, pos_x, pos_y.

    Returns:
        (n, 64, 64) uint8, 0 or 1.

    Raises:
        ValueError: a number is not a class of its factor.
    """
    factors = check_factors(factors)
    frames = np.zeros((len(factors), SIDE, SIDE), np.uint8)
    for shape, inside in enumerate((_in_square, _in_ellipse, _in_heart)):
        rows = factors[:, 0] == shape
        if rows.any():
            frames[rows] = inside(*_local(factors[rows]))
    return frames


def _local(factors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the pixels' centres in the upright sprite at scale 1, two arrays (n, 64, 64)."""
    scale, angle = 0.5 + 0.1 * factors[:, 1], 2 * np.pi * factors[:, 2] / (COUNTS[2] - 1)
    centres = 16 + 32 * factors[:, 3:] / 31
    grid = np.arange(SIDE) + 0.5
    dx = grid[None, None, :] - centres[:, 0, None, None]
    dy = grid[None, :, None] - centres[:, 1, None, None]
    cos, sin = (np.cos(angle) / scale)[:, None, None], (np.sin(angle) / scale)[:, None, None]
    return cos * dx - sin * dy, sin * dx + cos * dy


def _in_square(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.maximum(np.abs(u), np.abs(v)) <= HALF_SIDE


def _in_ellipse(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return (u / HALF_AXES[0]) ** 2 + (v / HALF_AXES[1]) ** 2 <= 1


def _in_heart(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Tests each pixel against the one edge of the outline in its direction, because every ray
    crosses the outline once.
    """
    x, y = _heart()
    inside = np.zeros(u.shape, bool)
    near = u**2 + v**2 < x.max() ** 2 + y.max() ** 2
    u, v = np.abs(u[near]), v[near]
    side = np.clip(np.searchsorted(np.arctan2(y, x), np.arctan2(v, u), "right") - 1, 0, len(x) - 2)
    dx, dy = np.diff(x)[side], np.diff(y)[side]
    inside[near] = dx * (v - y[side]) - dy * (u - x[side]) >= 0
    return inside


def _heart() -> tuple[np.ndarray, np.ndarray]:
    """Returns the right half of the outline from the notch at the top (y < 0) to the tip."""
    t = np.arange(HEART_POINTS // 2 + 1) * (2 * np.pi / HEART_POINTS)
    curve = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return HEART_X * 16 * np.maximum(np.sin(t), 0) ** 3, HEART_DOWN - HEART_Y * curve
