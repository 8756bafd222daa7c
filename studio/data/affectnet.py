"""`affectnet`: faces of AffectNet, neutral ones and those with an expression.

Choudhuri et al. (2020), App. A.1: the background is neutral, the target has seven expressions with
5,000 images each, 96 x 96 pixels. Test images are those of AffectNet's validation set.

Choices where the paper is silent, or where the files have too little:

* Disgust and contempt have fewer than 5,000 images in the manually annotated part. All expressions
  then have as few, and a note says so.
* The number of neutral images is not printed. There are as many as targets, if there are so many.
* "Aligned and cropped" is the square around the face that the table states. Landmarks are not used.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, field_validator

from studio.data.dataset import Attribute, Split
from studio.data.io.files import data_folder
from studio.data.io.images import Picture, UnreadableError
from studio.data.io.names import join_names
from studio.data.picture_lists import (
    AS_LIST,
    PerClass,
    PictureList,
    PictureListConfig,
    Place,
    Record,
    hash_order,
    interleave,
)
from studio.data.sources.affectnet import AFFECTNET_LAYOUT, EXPRESSIONS, Face, open_affectnet
from studio.data.sources.picture_store import cut_square
from studio.data.splits import hash_to_unit_interval
from studio.errors import StudioError
from studio.limits import Most

__all__ = ["AffectNet", "AffectNetConfig"]

EXPRESSION = "expression"
NUMBERS = ("valence", "arousal")
Expression = Literal["neutral", "happy", "sad", "surprise", "fear", "disgust", "anger", "contempt"]


Expressions = Annotated[tuple[Expression, ...], Field(strict=False, min_length=1), AS_LIST]


class AffectNetConfig(PictureListConfig):
    """The section of `affectnet`."""

    name: Literal["affectnet"] = "affectnet"
    """Name of the data set."""

    resolution: int = Field(default=96, ge=6, le=Most.SIDE)
    """Side of the images.

    Unit: pixels.

    Source: Choudhuri et al. (2020), App. A.1.
    """

    background: Expressions = ("neutral",)
    """Expressions of the background set."""

    target: Expressions = tuple(name for name in EXPRESSIONS if name != "neutral")
    """Expressions of the target set, each a class of the attribute `expression`."""

    per_class: PerClass = 5000
    """Number of training images of each expression of the target set. If one has fewer, all have
    as few. The background has as many as the target set. all: every image.

    Unit: images.

    Source: Choudhuri et al. (2020), App. A.3.
    """

    crop: Literal["face", "centre"] = "face"
    """face: the square around the face, if the table states it. centre: the largest square in the
    middle."""

    test_share: float = Field(default=0.1, gt=0, lt=1)
    """Share of the images in the test split, if the files state no split.

    Unit: none.
    """

    @field_validator("target")
    @classmethod
    def _is_no_background(cls, target: Sequence[str], info: object) -> Sequence[str]:
        both = sorted(set(target) & set(getattr(info, "data", {}).get("background", ())))
        if both:
            raise ValueError(f"found {both[0]}, which data.background has, too")
        return target


class AffectNet(PictureList):
    """Faces of AffectNet, in the target set with an expression.

    Args:
        config: the data set's section.

    Raises:
        StudioError: the files have none of the three layouts, a table is invalid, or an
            expression has no image.
        QuarantineError: too many pictures cannot be used.
    """

    Config = AffectNetConfig
    LAYOUT = AFFECTNET_LAYOUT
    config: AffectNetConfig

    def __init__(self, config: AffectNetConfig) -> None:
        super().__init__(config)
        found = open_affectnet(data_folder(config, self.LAYOUT))
        notes = list(found.notes)
        classes = tuple(dict.fromkeys(config.target))
        conditions = self._conditions(EXPRESSION, classes)
        attributes = conditions.attributes()
        if found.has_numbers:
            attributes |= dict.fromkeys(NUMBERS, Attribute("salient", target_only=True))
        records: dict[Place, list[Record]] = {}
        for split in ("train", "test"):
            faces = [face for face in found.faces if self._split_of(face) == split]
            groups = self._group(faces, split, classes, found.notes)
            background = interleave(groups[: len(config.background)])
            targets = groups[len(config.background) :]
            if split == "train" and config.per_class != "all":
                background, targets, more = _limit(background, targets, classes, config.per_class)
                notes += more
            records[split, "background"] = [self._record(face, {}) for face in background]
            records[split, "target"] = interleave(
                [
                    [self._record(face, conditions.values(number) | face.numbers) for face in group]
                    for number, group in enumerate(targets)
                ]
            )
        self._settle(found.store, records, attributes, notes)

    def _cut(self, picture: Picture, record: Record) -> np.ndarray:
        box = record.box
        if box is not None:
            height, width = picture.values.shape[1:]
            left, top = max(box[0], 0), max(box[1], 0)
            right, bottom = min(box[2], width), min(box[3], height)
            side = min(right - left, bottom - top)
            if side < 2:
                raise UnreadableError(
                    f"has {width} x {height} pixels, but its face is at {box[0]:g}, {box[1]:g}"
                )
            # A square that reaches beyond the border is made smaller around its middle.
            x, y = (left + right - side) / 2, (top + bottom - side) / 2
            box = (x, y, x + side, y + side)
        return cut_square(picture, self.config.resolution, self.config.channels, box)

    def _split_of(self, face: Face) -> Split:
        if face.split is not None:
            return face.split
        unit = hash_to_unit_interval("affectnet", face.name)
        return "test" if unit < self.config.test_share else "train"

    def _group(
        self, faces: Sequence[Face], split: Split, classes: Sequence[str], notes: Sequence[str]
    ) -> list[list[Face]]:
        """Returns the faces of each expression, background first, in the order of a hash."""
        order = hash_order([face.name for face in faces], "affectnet order")
        by_name: dict[str, list[Face]] = {name: [] for name in EXPRESSIONS}
        for place in order:
            by_name[faces[place].expression].append(faces[place])
        wanted = (*dict.fromkeys(self.config.background), *classes)
        empty = [name for name in wanted if not by_name[name]]
        if empty:
            counts = ", ".join(f"{len(rows):,} {name}" for name, rows in by_name.items() if rows)
            raise StudioError(
                f"{self.config.root}: no {join_names(empty)} images for the {split} split, found "
                f"{'; '.join([counts or 'none', *notes])}; leave it out of data.target, or add "
                f"images: {self.LAYOUT}"
            )
        return [by_name[name] for name in wanted]

    def _record(self, face: Face, values: Mapping[str, float]) -> Record:
        box = face.box if self.config.crop == "face" else None
        return Record(face.name, face.name, values, box)


def _limit(
    background: list[Face], targets: list[list[Face]], classes: Sequence[str], number: int
) -> tuple[list[Face], list[list[Face]], list[str]]:
    """Takes equally many training faces of each expression, and as many of the background."""
    fewest = min(range(len(targets)), key=lambda i: len(targets[i]))
    most = min(number, len(targets[fewest]))
    notes = []
    if most < number:
        notes.append(
            f"{most:,} training images of each expression are used instead of {number:,}, because "
            f"there are no more of {classes[fewest]}"
        )
    wanted = most * len(targets)
    if len(background) < wanted:
        notes.append(
            f"the background has {len(background):,} training images instead of {wanted:,}, "
            "because there are no more"
        )
    return background[:wanted], [group[:most] for group in targets], notes
