"""Notes on the volumes of a user's folders: the slice that is used, NaN, and the orientation."""

from collections import Counter
from collections.abc import Iterator, Sequence

from studio.data.folders_config import FoldersConfig
from studio.data.io.images import Picture
from studio.data.io.nifti import Fault, orientation_notes
from studio.data.io.slices import SlicePlace

__all__ = ["idle_notes", "volume_notes"]


def volume_notes(pictures: Sequence[Picture]) -> Iterator[str]:
    """Yields one note per axis along which slices were taken, and notes on doubtful files."""
    places = [picture.place for picture in pictures if picture.place is not None]
    for along in sorted({place.along for place in places}):
        yield _slice_note([place for place in places if place.along == along], along)
    if filled := sum(picture.filled > 0 for picture in pictures):
        yield f"{filled} images had NaN, which data.nan replaced"
    faults: list[Fault] = [
        picture.orientation for picture in pictures if picture.orientation is not None
    ]
    yield from orientation_notes(faults)


def idle_notes(config: FoldersConfig, pictures: Sequence[Picture]) -> Iterator[str]:
    """Yields a note on options of volumes that have no effect on these files."""
    places = [picture.place for picture in pictures if picture.place is not None]
    if not places:
        stated = {"data.slice": config.slice != "middle", "data.axis": config.axis != "auto"}
        for option in (name for name, given in stated.items() if given):
            yield f"{option} has no effect: no file is a volume"
    if config.volume is not None and all(place.volumes == 1 for place in places):
        yield "data.volume has no effect: no file has several volumes"


def _slice_note(places: Sequence[SlicePlace], along: str) -> str:
    """Returns the slice of volumes with slices along the same axis."""
    shapes = Counter(place.shape for place in places)
    usual, others = shapes.most_common(1)[0][0], len(shapes) - 1
    first = next(place for place in places if place.shape == usual)
    of = " x ".join(map(str, usual)) + f" (or {others} other shapes)" * (others > 0)
    which = f"volume {first.volume} of {first.volumes}, " * (first.volumes > 1)
    return (
        f"{len(places)} volume{'s' * (len(places) != 1)} of {of}: {which}slice {first.number} of "
        f"{first.slices} {'' if along.startswith('from') else 'along '}{along}, counted from 0; "
        "data.slice and data.axis choose others"
    )
