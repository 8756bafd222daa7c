"""`celeba_accessories`: faces of CelebA, in the target set with glasses or a hat.

Background, target and the conditions of the target are expressions over CelebA's forty attributes.
The numbers of images are those of four papers (`data.split`):

| split | background | each condition | test: background, each condition | source |
|---|---|---|---|---|
| carton | 10,000 | 5,000 | 5,000, 5,000 | Carton et al. (2024), Sec. 5 |
| louiset | 10,000 | 5,000 | 2,000, 1,000 | Louiset et al. (2024), App. E.1 |
| choudhuri | 10,000 | 5,000 | 2,000, 1,000 | Choudhuri et al. (2020), App. A.1 |
| abid | all | all | `test_share` of the persons | Abid and Zou (2019), Sec. 4.1 |
| official | all | all | CelebA's own partition | Liu et al. (2015) |

Carton et al. test on targets alone, Choudhuri et al. and Abid and Zou name no test images, and Abid
and Zou print no numbers: those in the table are our choice. CelebA has about 9,800 hats, fewer than
the 10,000 of Carton et al. Then the same share of all numbers is taken, and a note says so. Where
CelebA's table of identities is present, no person is in both splits.

The square in the middle (`data.crop`) is resized bilinearly, as in the code of Carton et al. and
Louiset et al.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, field_validator

from studio.data.conditions import YES
from studio.data.dataset import Attribute, Split
from studio.data.expressions import Expression, parse_expression
from studio.data.io.files import data_folder
from studio.data.io.images import Picture
from studio.data.io.names import join_names
from studio.data.picture_lists import (
    AS_LIST,
    PictureList,
    PictureListConfig,
    Place,
    Record,
    hash_order,
    interleave,
)
from studio.data.quotas import Quota, Taken, take_quotas, take_share
from studio.data.sources.celeba import CELEBA_LAYOUT, Faces, open_celeba
from studio.data.sources.picture_store import cut_square
from studio.errors import StudioError, nearest
from studio.limits import Most

__all__ = ["CelebaAccessories", "CelebaAccessoriesConfig"]

SizedSplit = Literal["carton", "louiset", "choudhuri"]
SIZES: dict[str, tuple[Quota, Quota]] = {  # split -> numbers of the background, of each condition
    "carton": (Quota(10_000, 5_000), Quota(5_000, 5_000)),
    "louiset": (Quota(10_000, 2_000), Quota(5_000, 1_000)),
    "choudhuri": (Quota(10_000, 2_000), Quota(5_000, 1_000)),
}
BACKGROUND = "background"
ACCESSORY = "accessory"
HEIGHT, WIDTH = 218, 178  # of the aligned pictures
RESERVED = (ACCESSORY, BACKGROUND, "target")


Names = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(strict=False), AS_LIST]


class CelebaAccessoriesConfig(PictureListConfig):
    """The section of `celeba_accessories`."""

    name: Literal["celeba_accessories"] = "celeba_accessories"
    """Name of the data set."""

    resolution: int = Field(default=64, ge=6, le=Most.SIDE)
    """Side of the images.

    Unit: pixels.

    Source: 64 is that of all four papers.
    """

    crop: int = Field(default=108, ge=16, le=WIDTH)
    """Side of the square in the middle of each picture that is used.

    Unit: pixels of the aligned pictures, which have 178 x 218.

    Source: the code of Carton et al. (2024).
    """

    background: str | None = "not Eyeglasses and not Wearing_Hat"
    """Expression that background images fulfil, with CelebA's attributes and `not`, `and`, `xor`,
    `or` and parentheses. null: all images that fulfil no condition of the target."""

    target: dict[str, str] = Field(
        default={
            "glasses": "Eyeglasses and not Wearing_Hat",
            "hat": "Wearing_Hat and not Eyeglasses",
        },
        min_length=1,
    )
    """Conditions of the target set: name -> expression. An image that fulfils several conditions is
    left out, and so is one that also fulfils `background`."""

    common: Names = ("Male", "Young", "Smiling")
    """Attributes of CelebA that are measured as common ones. `all`: all that no expression
    names."""

    split: Literal["carton", "louiset", "choudhuri", "abid", "official"] = "carton"
    """Paper whose numbers of images are taken. abid: all images. official: all images, with
    CelebA's own partition into training and test images."""

    test_share: float = Field(default=0.1, gt=0, lt=1)
    """Share of the persons in the test split of `split: abid`.

    Unit: none.
    """

    @field_validator("background")
    @classmethod
    def _is_expression(cls, text: str | None) -> str | None:
        if text is not None:
            parse_expression(text)
        return text

    @field_validator("target")
    @classmethod
    def _are_expressions(cls, target: dict[str, str]) -> dict[str, str]:
        for name, text in target.items():
            if name in RESERVED or not name.strip():
                raise ValueError(f"no condition can be called {name!r}")
            try:
                parse_expression(text)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        return target


class CelebaAccessories(PictureList):
    """Faces of CelebA, in the target set with glasses or a hat.

    Args:
        config: the data set's section.

    Raises:
        StudioError: a file is missing or damaged, an expression names an unknown attribute, or a
            set is empty.
        QuarantineError: too many pictures cannot be used.
    """

    Config = CelebaAccessoriesConfig
    LAYOUT = CELEBA_LAYOUT
    config: CelebaAccessoriesConfig

    def __init__(self, config: CelebaAccessoriesConfig) -> None:
        super().__init__(config)
        root = data_folder(config, self.LAYOUT)
        expressions = {name: parse_expression(text) for name, text in config.target.items()}
        rule = None if config.background is None else parse_expression(config.background)
        used = {name for e in (*expressions.values(), rule) if e is not None for name in e.names()}
        faces = open_celeba(root, sorted(used), config.common, config.split == "official")
        common = self._common(faces, used)
        parts, notes = _find_parts(faces, expressions, rule)
        taken, more = self._take(faces, parts)
        _refuse_empty(faces, parts, taken, config)
        classes = tuple(config.target)
        if clash := sorted(set(classes) & set(common)):
            raise StudioError(
                f"data.target: {clash[0]!r} is an attribute of CelebA that data.common measures; "
                "expected another name"
            )
        conditions = self._conditions(ACCESSORY, classes)
        attributes = conditions.attributes()
        attributes |= {name: Attribute("common", YES) for name in common}
        records: dict[Place, list[Record]] = {}
        sides: tuple[tuple[Split, Mapping[str, list[int]]], ...] = (
            ("train", taken.train),
            ("test", taken.test),
        )
        for split, side in sides:
            background = [_record(faces, row, common, {}) for row in side[BACKGROUND]]
            records[split, "background"] = background
            groups = [
                [_record(faces, row, common, conditions.values(number)) for row in side[name]]
                for number, name in enumerate(classes)
            ]
            records[split, "target"] = interleave(groups)
        self._settle(faces.store, records, attributes, [*faces.notes, *notes, *more])

    def _cut(self, picture: Picture, record: Record) -> np.ndarray:
        return cut_square(picture, self.config.resolution, self.config.channels, self.config.crop)

    def _common(self, faces: Faces, used: set[str]) -> list[str]:
        """Returns the attributes that are measured as common ones."""
        chosen = self.config.common
        for name in chosen:
            if name not in (*faces.available, "all"):
                raise StudioError(
                    f"data.common: CelebA has no attribute {name!r}{nearest(name, faces.available)}"
                )
        return [
            name
            for name in faces.available
            if (name in chosen or "all" in chosen) and name not in used
        ]

    def _take(self, faces: Faces, parts: Mapping[str, list[int]]) -> tuple[Taken, list[str]]:
        """Returns the chosen images, and notes."""
        config = self.config
        if config.split == "official":
            return _take_official(faces, parts)
        person = _rank_persons(faces)
        if config.split == "abid":
            return take_share(parts, person, config.test_share), []
        background, condition = SIZES[config.split]
        wanted = {name: background if name == BACKGROUND else condition for name in parts}
        taken = take_quotas(parts, person, wanted)
        if not taken.scarce:
            return taken, []
        quota = wanted[taken.scarce]
        return taken, [
            f"data.split {config.split} needs {sum(quota):,} images of {taken.scarce}, there are "
            f"{taken.most:,}: of all its numbers, {taken.factor:.1%} are taken"
        ]


def _record(
    faces: Faces, row: int, common: Sequence[str], condition: Mapping[str, float]
) -> Record:
    values: dict[str, float] = {name: int(faces.columns[name][row]) for name in common}
    name = faces.names[row]
    person = name if faces.persons is None else faces.persons[row]
    return Record(name, person, values | dict(condition))


def _find_parts(
    faces: Faces, expressions: Mapping[str, Expression], rule: Expression | None
) -> tuple[dict[str, list[int]], list[str]]:
    """Returns the images of the background and of each condition, in the order of a hash."""
    columns = {name: column == 1 for name, column in faces.columns.items()}
    fits = {name: e.evaluate(columns) for name, e in expressions.items()}
    number = np.sum(list(fits.values()), axis=0)
    plain = number == 0 if rule is None else rule.evaluate(columns)
    notes = []
    if several := int((number > 1).sum()):
        notes.append(f"{several:,} images fulfil several conditions of the target: left out")
    if both := int((plain & (number > 0)).sum()):
        notes.append(f"{both:,} images fulfil data.background and data.target: left out")
    chosen = {BACKGROUND: plain & (number == 0)}
    chosen |= {name: fit & (number == 1) & ~plain for name, fit in fits.items()}
    empty = [name for name, rows in chosen.items() if not rows.any()]
    if empty:
        raise StudioError(
            f"{faces.store.place}: none of {len(faces.names):,} images is in {join_names(empty)}; "
            "expected other expressions in data.background or data.target"
        )
    order = hash_order(faces.names, "celeba")
    return {name: [i for i in order if rows[i]] for name, rows in chosen.items()}, notes


def _refuse_empty(
    faces: Faces, parts: Mapping[str, list[int]], taken: Taken, config: CelebaAccessoriesConfig
) -> None:
    """Raises an error if a split has no image of a part, and names the part with fewest persons."""
    sides = {"train": taken.train, "test": taken.test}
    empty = {name: side for side, found in sides.items() for name in parts if not found[name]}
    if not empty:
        return
    persons = faces.names if faces.persons is None else faces.persons
    count = {name: len({persons[row] for row in parts[name]}) for name in empty}
    name = min(count, key=lambda part: count[part])
    raise StudioError(
        f"{faces.store.place}: data.split {config.split} has no image of {name} for the "
        f"{empty[name]} split: {len(parts[name]):,} images of {count[name]:,} persons, expected "
        "some in each split; another data.split, or other expressions in data.target, may fit"
    )


def _rank_persons(faces: Faces) -> np.ndarray:
    """Returns the rank of the person of each image in the order of a hash, (n,)."""
    persons = faces.names if faces.persons is None else faces.persons
    distinct = sorted(set(persons))
    ranks = {distinct[i]: rank for rank, i in enumerate(hash_order(distinct, "celeba person"))}
    return np.array([ranks[person] for person in persons], np.int64)


def _take_official(faces: Faces, parts: Mapping[str, list[int]]) -> tuple[Taken, list[str]]:
    """Takes CelebA's training and test images."""
    assert faces.partition is not None
    train, test = (
        {name: [i for i in rows if faces.partition[i] == number] for name, rows in parts.items()}
        for number in (0, 2)
    )
    left = sum(int(faces.partition[i] == 1) for rows in parts.values() for i in rows)
    notes = [f"{left:,} images of CelebA's validation part are left out"] if left else []
    return Taken(train, test), notes
