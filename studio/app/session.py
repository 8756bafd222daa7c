"""The state of one visitor's page: the chosen images, their codes, and the sliders."""

from dataclasses import dataclass, replace

from torch import Tensor

from studio.method import Code
from studio.planes import Planes

__all__ = ["Choice", "Coordinate", "Session"]


@dataclass(frozen=True)
class Coordinate:
    """One coordinate of the salient code, and the slider that moves it.

    Attributes:
        number: its index in s.
        share: its share of the change by all coordinates. Shares add up to 1.
        low: lowest value of the slider.
        high: highest value of the slider.
        step: distance between two stops, a power of ten.
    """

    number: int
    share: float
    low: float
    high: float
    step: float

    def stop(self, value: float) -> float:
        """Returns the stop of the slider that is nearest to a value."""
        return round(round(value / self.step) * self.step, 9)


@dataclass(frozen=True, eq=False)
class Choice:
    """A chosen image.

    Attributes:
        name: the words below the image.
        image: (C, H, W) in [-1, 1].
        code: its code, (1, n) and (1, m).
        file: its name in tables and downloads, by default the first part of `name`.
    """

    name: str
    image: Tensor
    code: Code
    file: str = ""

    @property
    def label(self) -> str:
        """The name of the image in tables and downloads."""
        return self.file or self.name.split(" · ")[0]


@dataclass(frozen=True, eq=False)
class Session:
    """The images and codes on one visitor's page.

    Attributes:
        run: name of the run on the shelf.
        a: the image that keeps its common code, and of which the salient code is edited.
        b: the image that lends its salient code.
        base: the salient code (m,) of the sliders before any of them was moved.
        decoded: (2, 3, C, H, W): the common codes of a and b, each with the salient code of a, that
            of b, and the blank one.
        planes: the planes in which volumes are shown. None: those through their middle.
    """

    run: str
    a: Choice
    b: Choice
    base: Tensor
    decoded: Tensor
    planes: Planes | None = None

    def at(self, base: Tensor) -> "Session":
        """Returns the session with the sliders at another salient code (m,)."""
        return replace(self, base=base)

    @property
    def reconstruction(self) -> Tensor:
        """The reconstruction of a, (C, H, W)."""
        return self.decoded[0, 0]

    @property
    def swapped(self) -> Tensor:
        """Image a with the salient content of b, (C, H, W)."""
        return self.decoded[0, 1]

    @property
    def healed(self) -> Tensor:
        """The pseudo-healthy counterpart of a, (C, H, W)."""
        return self.decoded[0, 2]
