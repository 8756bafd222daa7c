"""The fields of the section `data` that every data set has."""

from typing import Annotated, Literal, get_args

from pydantic import BeforeValidator, Field, ValidationError

from studio.errors import nearest
from studio.schema import Section

__all__ = ["AttributeChoice", "AttributeConfig", "Belongs", "BiasConfig", "DataConfig"]

Belongs = Literal["salient", "common"]


class AttributeConfig(Section):
    """The long form of an attribute in the config: `{belongs: common, kind: category}`."""

    belongs: Belongs
    """Code that should encode the attribute."""

    kind: Literal["auto", "category", "number"] = "auto"
    """How a column of the table is read. auto: as numbers if it has more than 10 different numbers
    and nothing else, otherwise as categories."""


def _read_choice(value: object) -> object:
    """Checks the short and the long form of an attribute in the config.

    Raises:
        ValueError: the value has neither form.
    """
    words = get_args(Belongs)
    if isinstance(value, str) and value not in words:
        near = nearest(value, words)
        near = near if "did you mean" in near else ""
        raise ValueError(f"found {value!r}, expected {' or '.join(map(repr, words))}{near}")
    if isinstance(value, dict):
        try:
            return AttributeConfig.model_validate(value)
        except ValidationError:
            raise ValueError(
                f"found {value!r}, expected {{belongs: salient or common, kind: auto, category or "
                "number}"
            ) from None
    if not isinstance(value, str | AttributeConfig):
        raise ValueError(f"found {value!r}, expected {' or '.join(map(repr, words))}")
    return value


AttributeChoice = Annotated[Belongs | AttributeConfig, BeforeValidator(_read_choice)]


def _as_names(value: object) -> object:
    """Returns class names as texts, because YAML reads a class such as 3 as a number."""
    if isinstance(value, str | int):
        value = [value]
    return [str(name) for name in value] if isinstance(value, list | tuple) else value


class BiasConfig(Section):
    """An attribute that training shows with another distribution in the two sets.

    Training leaves out a share of the background's images with the favoured values, and the same
    share of the target images without them. The test split and all probes stay unchanged.
    """

    attribute: str
    """Attribute that is biased. Both sets must have it."""

    strength: float = Field(ge=0, le=1)
    """Share that is left out of the images that do not fit the bias. 0 changes nothing. With 1, the
    two sets have no value in common.

    Unit: none.
    """

    values: Annotated[tuple[str, ...], Field(strict=False), BeforeValidator(_as_names)] = ()
    """Classes that targets keep and the background loses, for a category. Empty: the second half of
    the classes. Of a number, targets keep the values above the median of both sets."""


class DataConfig(Section):
    """The section `data` of a config, as far as all data sets share it."""

    name: str
    """Name of the data set."""

    root: str | None = None
    """Folder of the files. null: the data set reads none."""

    attributes: dict[str, AttributeChoice] = Field(default={})
    """The code where an attribute belongs, `salient` or `common`, for each attribute for which this
    differs from the data set's own declaration.

    For attributes of your own table, the kind can be given as well: `{belongs: common, kind:
    category}` or `{belongs: common, kind: number}`. Without a kind, a column with more than 10
    different numbers and nothing else is a number, and any other column is a category.
    """

    bias: BiasConfig | None = None
    """An attribute that training shows with another distribution in the two sets, to see which code
    encodes it then: `{attribute: texture, strength: 0.8}`. null: none."""

    contamination_background: float = Field(default=0, ge=0, le=1)
    """Share of the training background images that come from the target set: wrong labels.

    The test split stays unchanged.

    Unit: none.
    """

    contamination_target: float = Field(default=0, ge=0, le=1)
    """Share of the training target images that come from the background set: wrong labels.

    The test split stays unchanged.

    Unit: none.
    """

    def belongs_of(self, name: str, default: Belongs = "salient") -> Belongs:
        """Returns the code where an attribute belongs, or the default if the config says none."""
        choice = self.attributes.get(name, default)
        return choice.belongs if isinstance(choice, AttributeConfig) else choice
