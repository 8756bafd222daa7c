"""Pictures that a verb writes to the file of `--out`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.errors import StudioError

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL import Image

__all__ = ["check_picture", "save_picture"]

# The largest width and height in pixels that a file format can store.
MOST_PIXELS = {".webp": 16_383, ".jpg": 65_500, ".jpeg": 65_500}
PIXELS = (".png", *MOST_PIXELS)
VECTOR = (".pdf", ".svg")


def check_picture(out: Path) -> None:
    """Refuses a file name without the ending of a picture, before anything is computed.

    Raises:
        StudioError: the name does not end in .png, .jpg, .jpeg, .webp, .pdf or .svg.
    """
    if out.suffix.lower() not in (*PIXELS, *VECTOR):
        raise StudioError(
            f"--out {out}: expected a name that ends in .png, .jpg, .webp, .pdf or .svg"
        )


def save_picture(
    picture: "Image.Image", path: Path, kept: Sequence[tuple["Figure", dict[str, Any]]] = ()
) -> None:
    """Writes a picture in the format of the file's ending.

    Args:
        picture: the picture.
        path: file to write.
        kept: the figures from which it was drawn, see `studio.render.figure.keep_figures`.

    Raises:
        StudioError: the format cannot store so many pixels, or the file cannot be written.
    """
    from studio.atomic import write_file
    from studio.render.figure import save_vector

    kind = path.suffix.lower()
    if kind in VECTOR:
        write_file(path, lambda partial: save_vector(picture, kept, partial, kind[1:]))
        return
    most = MOST_PIXELS.get(kind)
    if most is not None and max(picture.size) > most:
        raise StudioError(
            f"--out {path}: the picture is {picture.width} x {picture.height} pixels, and "
            f"{path.suffix} takes at most {most}: give a name that ends in .png, or a smaller --n"
        )
    write_file(path, lambda partial: picture.save(partial))
