"""What a person does with a run in the explorer: choose an image, move its salient code, heal, swap, sample, traverse."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import floor, log10
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from torch import Tensor

from studio import sampling
from studio.app.uploads import read_upload
from studio.data import Dataset
from studio.data.dataset import Belongs, is_known
from studio.data.folders import Folders
from studio.data.io.images import EIGHT_BIT
from studio.errors import StudioError, nearest
from studio.method import Code, Domain
from studio.runs.run import Run
from studio.seeds import seed_of

__all__ = ["REACH", "STRIP", "Choice", "Coordinate", "Explorer", "Session", "Shelf"]

REACH = 1.5  # sliders and strips go at least from -1.5 to 1.5: Carton et al. (2024), Fig. 9
QUANTILES = (0.01, 0.99)  # of training codes; where these reach further, so do the sliders
FIRST = 18  # test images, of which a session begins with two
READ = 256  # training images whose codes are read for that
EXAMPLES = 8  # of them, on which the effect of a coordinate is measured
STOPS = 100  # a slider has at least so many
STRIPS = 8  # coordinates in a traversal
STRIP = 7  # images in each
KEPT = 3  # runs that are open at a time


@dataclass(frozen=True)
class Coordinate:
    """One number of the salient code, and the slider that moves it.

    Attributes:
        number: its place in s.
        share: of the change that all coordinates make; shares add up to 1.
        low: where the slider begins.
        high: where it ends.
        step: between two of its stops, a power of ten.
    """

    number: int
    share: float
    low: float
    high: float
    step: float

    def stop(self, value: float) -> float:
        """Returns the slider's stop that is nearest to a value."""
        return round(round(value / self.step) * self.step, 9)


@dataclass(frozen=True, eq=False)
class Choice:
    """An image that a person has chosen: its name, the image (C, H, W) in [-1, 1] and its code (1, n), (1, m)."""

    name: str
    image: Tensor
    code: Code


@dataclass(frozen=True, eq=False)
class Session:
    """What one person is looking at.

    Attributes:
        run: its name on the shelf.
        a: the image whose common code is shown, and whose salient code is edited.
        b: the image that lends its salient code.
        base: the salient code (m,) that the sliders stood at before any was moved.
        made: (2, 3, C, H, W): the common codes of a and b, each with the salient code of a, that of b, and a blank one.
    """

    run: str
    a: Choice
    b: Choice
    base: Tensor
    made: Tensor

    def at(self, base: Tensor) -> "Session":
        """Returns the session with the sliders at another salient code (m,)."""
        return replace(self, base=base)

    @property
    def rebuilt(self) -> Tensor:
        """The reconstruction of a, (C, H, W)."""
        return self.made[0, 0]

    @property
    def swapped(self) -> Tensor:
        """The image a with the salient content of b, (C, H, W)."""
        return self.made[0, 1]

    @property
    def healed(self) -> Tensor:
        """The image a with nothing salient, (C, H, W)."""
        return self.made[0, 2]


class Explorer:
    """An opened run, its sliders and the images that can be chosen.

    Args:
        name: of the run on the shelf.
        run: opened.

    Attributes:
        coordinates: of the salient code, the one with the largest effect first.
        shape: of every image, (C, H, W).
        problem: why the run's data set cannot be opened, or "". Uploads and new images work without it.

    Raises:
        StudioError: the run's images are volumes or vectors.
    """

    def __init__(self, name: str, run: Run) -> None:
        self.name, self.run = name, run
        self.shape = _shape(name, run)
        self.data: Dataset | None = None
        self.problem = ""
        try:
            self.data = run.data
        except StudioError as error:
            self.problem = str(error)
        self.coordinates = self._coordinates()

    def offered(self, domain: Domain, page: int, n: int) -> np.ndarray:
        """Returns the numbers of n test images: page 0, 1, ... of a fixed shuffle that begins anew after its end."""
        size = 0 if self.data is None else self.data.size("test", domain)
        if not size:
            return np.empty(0, np.int64)
        order = np.random.default_rng(seed_of("explorer", domain)).permutation(size)
        return order[np.arange(page * n, page * n + min(n, size)) % size]

    def images(self, domain: Domain, indices: np.ndarray) -> Tensor:
        """Returns test images (len(indices), C, H, W)."""
        return (
            torch.empty(0, *self.shape)
            if self.data is None
            else self.data.images("test", domain, indices)
        )

    def choose(self, domain: Domain, index: int) -> Choice:
        """Takes a test image of the run's data set."""
        [image] = self.images(domain, np.array([index]))
        return self._read(
            " · ".join(
                [
                    f"{domain} {index}",
                    *self._facts(domain, index, "salient"),
                    *self._facts(domain, index, "common"),
                ]
            ),
            image,
        )

    def upload(self, path: Path) -> Choice:
        """Takes a file of the user's.

        Raises:
            StudioError: it cannot be used; says why.
        """
        window, at = None, "middle"
        if isinstance(self.data, Folders):
            at = self.data.config.slice
            window = self.data.window if self.data.window != EIGHT_BIT else None
        image, note = read_upload(path, self.shape, window, at)
        return self._read(f"{path.name}{note}", image)

    def sample(self, domain: Domain, n: int, seed: int) -> list[Choice]:
        """Makes n new images of a domain; their codes are those that were drawn."""
        code = sampling.prior(self.run.method, n, domain, seed)
        made = self.run.decode(code)
        names = [f"new {domain} {i + 1} (seed {seed})" for i in range(n)]
        return [
            Choice(names[i], made[i], Code(code.z[i : i + 1], code.s[i : i + 1])) for i in range(n)
        ]

    def begin(self) -> Session:
        """Returns a session on two test targets of different kinds, or on new targets where there is no data set."""
        first = self.offered("target", 0, FIRST)
        if not len(first):
            return self.look_at(*self.sample("target", 2, 0))
        kinds = [self._facts("target", int(i), "salient") for i in first]
        other = next(
            (i for i, kind in zip(first, kinds, strict=True) if kind != kinds[0]), first[-1]
        )
        return self.look_at(*(self.choose("target", int(i)) for i in (first[0], other)))

    def look_at(self, a: Choice, b: Choice) -> Session:
        """Returns a session on two images, with the sliders at a's own salient code."""
        z = torch.cat([a.code.z, b.code.z]).repeat_interleave(3, 0)
        s = torch.cat([a.code.s, b.code.s, self.blank()[None]]).repeat(2, 1)
        made = self.run.decode(Code(z, s)).unflatten(0, (2, 3))
        return Session(self.name, a, b, a.code.s[0], made)

    def blank(self) -> Tensor:
        """Returns the salient code (m,) that means "nothing salient"."""
        return sampling.blank(self.run.method, 1)[0]

    def stops(self, base: Tensor) -> list[float]:
        """Returns where each slider stands for a salient code (m,)."""
        return [coordinate.stop(base[coordinate.number].item()) for coordinate in self.coordinates]

    def moved(self, session: Session, values: Sequence[float]) -> Tensor:
        """Returns the salient code (m,) that the sliders say.

        Args:
            session: where they stood.
            values: where they stand, for as many of `coordinates` as there are values. A slider that was not moved means
                the exact number that it stood at, not its nearest stop; so does one that is missing.
        """
        s = session.base.clone()
        for coordinate, stop, value in zip(
            self.coordinates, self.stops(session.base), values, strict=False
        ):
            if abs(value - stop) > coordinate.step / 2:
                s[coordinate.number] = value
        return s

    def result(self, session: Session, values: Sequence[float]) -> Tensor:
        """Decodes a's common code with the sliders' salient code, (C, H, W)."""
        s = self.moved(session, values)
        for own, made in zip(
            (session.a.code.s[0], session.b.code.s[0], self.blank()), session.made[0], strict=True
        ):
            if torch.equal(
                s, own
            ):  # an image alone and one among others differ by roundings, which a map would show
                return made
        return self.run.decode(Code(session.a.code.z, s[None]))[0]

    def strips(self, session: Session, values: Sequence[float]) -> list[tuple[Coordinate, Tensor]]:
        """Moves each of the coordinates with the largest effect from the low to the high end of its slider.

        Returns:
            the coordinate and its images (STRIP, C, H, W).
        """
        shown = self.coordinates[:STRIPS]
        codes = self.moved(session, values).repeat(len(shown), STRIP, 1)
        for row, coordinate in zip(codes, shown, strict=True):
            row[:, coordinate.number] = torch.linspace(coordinate.low, coordinate.high, STRIP)
        s = codes.flatten(0, 1)
        made = self.run.decode(Code(session.a.code.z.expand(len(s), -1), s))
        return list(zip(shown, made.unflatten(0, (len(shown), STRIP)), strict=True))

    def _read(self, name: str, image: Tensor) -> Choice:
        return Choice(name, image, self.run.encode(image[None]))

    def _facts(self, domain: Domain, index: int, belongs: Belongs) -> list[str]:
        """Says what the data set knows of a test image: its classes of the attributes that belong to a code."""
        facts: list[str] = []
        if self.data is None:
            return facts
        for name, column in self.data.labels("test", domain).items():
            attribute = self.data.attributes[name]
            if attribute.belongs == belongs and attribute.classes and is_known(column[[index]])[0]:
                facts.append(f"{name} {attribute.classes[int(column[index])]}")
        return facts

    def _coordinates(self) -> list[Coordinate]:
        codes = self._training_codes()
        ends = torch.quantile(codes.s, torch.tensor(QUANTILES), dim=0)
        low, high = ends[0].clamp(max=-REACH), ends[1].clamp(min=REACH)
        effect = self._effect(Code(codes.z[:EXAMPLES], codes.s[:EXAMPLES]), low, high)
        share = effect / effect.sum().clamp(min=1e-12)
        coordinates = []
        for k in effect.argsort(descending=True).tolist():
            step = 10.0 ** floor(log10((high[k] - low[k]).item() / STOPS))
            ends = (floor(low[k].item() / step) * step, -floor(-high[k].item() / step) * step)
            coordinates.append(
                Coordinate(k, share[k].item(), round(ends[0], 9), round(ends[1], 9), step)
            )
        return coordinates

    def _training_codes(self) -> Code:
        """Returns the codes of training targets, or of the prior where there is no data set."""
        if self.data is None:
            return sampling.prior(self.run.method, READ, "target", 0)
        return self.run.encode(
            self.data.images(
                "train", "target", np.arange(min(READ, self.data.size("train", "target")))
            )
        )

    def _effect(self, code: Code, low: Tensor, high: Tensor) -> Tensor:
        """Returns by how much a pixel changes when a coordinate goes from low to high, (m,)."""
        m = code.s.shape[1]
        s = code.s[:, None, None].repeat(1, m, 2, 1)  # image, coordinate, end, code
        places = torch.arange(m)
        s[:, places, 0, places], s[:, places, 1, places] = low, high
        effect = []
        for z, ends in zip(code.z, s, strict=True):
            made = self.run.decode(Code(z.expand(2 * m, -1), ends.flatten(0, 1))).unflatten(
                0, (m, 2)
            )
            effect.append((made[:, 1] - made[:, 0]).abs().flatten(1).mean(1))
        return torch.stack(effect).mean(0)


class Shelf:
    """The runs that a person can choose from; they are opened when they are first asked for, and few at a time stay so.

    Args:
        folders: of the runs.
        device: where their methods go; the first accelerator, or the CPU, when None.

    Attributes:
        names: of the runs, their folders' where these differ.
        salient: the largest number of salient coordinates.

    Raises:
        StudioError: a folder is no run, has no whole checkpoint, or holds no images.
    """

    def __init__(self, folders: Sequence[Path], device: str | None = None) -> None:
        self.device = _device(device)
        short = [Path(folder).resolve().name for folder in folders]
        clear = len(set(short)) == len(short)
        self._folders = dict(
            zip(short if clear else map(str, folders), map(Path, folders), strict=True)
        )
        self._open: OrderedDict[str, Explorer] = OrderedDict()
        self._lock = Lock()
        self.names = list(self._folders)
        self.salient = max(self._salient(name) for name in self.names)

    def open(self, name: str) -> Explorer:
        """Returns a run that is ready to be explored.

        Raises:
            StudioError: there is no such run, or it is gone or damaged by now.
        """
        if name not in self._folders:
            raise StudioError(f"{name}: no such run{nearest(name, self._folders)}")
        with self._lock:
            if name not in self._open:
                self._open[name] = Explorer(name, Run.open(self._folders[name], device=self.device))
            self._open.move_to_end(name)
            while len(self._open) > KEPT:
                self._open.popitem(last=False)
            return self._open[name]

    def _salient(self, name: str) -> int:
        run = Run.open(self._folders[name], device=self.device)
        _shape(str(self._folders[name]), run)
        return sampling.blank(run.method, 1).shape[1]


def _shape(name: str, run: Run) -> tuple[int, ...]:
    shape = run.shape
    if len(shape) != 3:
        kind = "volumes" if len(shape) == 4 else "vectors"
        raise StudioError(
            f"{name}: holds {kind} of shape {shape}; the app shows images (channels, height, width)"
        )
    return shape


def _device(name: str | None) -> str | None:
    if name is None:
        return None
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        said = str(error).splitlines()[0]
        raise StudioError(
            f"--device {name}: not a device of this machine, expected e.g. cpu or cuda:0 ({said})"
        ) from None
    return name
