"""The state behind the app's page: the open runs, the chosen images and the moved codes.

This module knows no web page. It offers the edits of the page: choose an image, move its salient
code, heal, swap, sample and traverse.
"""

from collections import OrderedDict
from collections.abc import Sequence
from math import floor, log10
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from torch import Tensor

from studio import sampling
from studio.app.session import Choice, Coordinate, Session
from studio.app.uploads import read_upload, read_upload_row
from studio.data import Dataset
from studio.data.captions import caption_images, name_images
from studio.data.dataset import Belongs, is_known
from studio.data.io.user_files import reading_rule
from studio.data.vector_files import stored_rule
from studio.errors import StudioError, nearest
from studio.method import Code, Domain
from studio.runs.run import Run
from studio.seeds import seed_of

__all__ = ["REACH", "STRIP", "Choice", "Coordinate", "Explorer", "Session", "Shelf"]

REACH = 1.5  # sliders and strips cover at least -1.5 to 1.5: Carton et al. (2024), Fig. 9
QUANTILES = (0.01, 0.99)  # of training codes. Sliders cover these if they reach further
FIRST = 18  # test images from which the first two of a session are taken
READ = 256  # training images that determine the range of the sliders
EXAMPLES = 8  # of these, on which the effect of a coordinate is measured
STOPS = 100  # a slider has at least this many stops
STRIPS = 8  # coordinates in a traversal
STRIP = 7  # images in each
KEPT = 3  # runs that stay open at the same time


class Explorer:
    """An open run, its sliders and the images that can be chosen.

    Args:
        name: name of the run on the shelf.
        run: the open run.
        names: whether files and subjects may be named.

    Attributes:
        coordinates: coordinates of the salient code, that with the largest effect first.
        shape: shape of every image, (C, H, W), volume, (C, D, H, W), or vector, (F,).
        rule: how rows of files become vectors. None: the items are no vectors.
        problem: the reason why the data set of the run cannot be opened, or "". Uploads and
            generated images work without it.
    """

    def __init__(self, name: str, run: Run, names: bool = True) -> None:
        self.name, self.run = name, run
        self.shape = run.shape
        self.data: Dataset | None = None
        self.problem = ""
        try:
            self.data = run.data
            if not names:
                self.data.show_names = False
        except StudioError as error:
            self.problem = str(error)
        self.rule = stored_rule(run.derived, run.config.data.name) if len(self.shape) == 1 else None
        self.coordinates = self._coordinates()

    def offered(self, domain: Domain, page: int, n: int) -> np.ndarray:
        """Returns the indices of n test images, a page of a fixed shuffle that repeats."""
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
        """Returns a test image of the data set."""
        [image] = self.images(domain, np.array([index]))
        assert self.data is not None  # there is an image
        [caption] = caption_images(self.data, "test", domain, [index])
        [file] = name_images(self.data, "test", domain, [index])
        known = [self._known_classes(domain, index, code) for code in ("salient", "common")]
        return self._read(" · ".join([caption, *known[0], *known[1]]), image, file)

    def upload(self, path: Path, row: int = 1) -> Choice:
        """Returns the image of an uploaded file, or a row of an uploaded table of vectors.

        Args:
            path: the file.
            row: number of the row, from 1.

        Raises:
            StudioError: the file cannot be used.
        """
        if self.rule is not None:
            vector, note = read_upload_row(path, self.rule, row)
            return self._read(f"{path.name} · {note}", vector, path.name)
        rule = reading_rule(
            self.run.config.data, self.shape, self.run.intensity, remedy=": save it as those"
        )
        image, note = read_upload(path, rule)
        return self._read(f"{path.name}{note}", image, path.name)

    def sample(self, domain: Domain, n: int, seed: int) -> list[Choice]:
        """Generates n images of a domain. Their codes are those that were drawn from the prior."""
        code = sampling.prior(self.run.method, n, domain, seed)
        images = self.run.decode(code)
        names = [f"generated {domain} {i + 1} (seed {seed})" for i in range(n)]
        return [
            Choice(names[i], images[i], Code(code.z[i : i + 1], code.s[i : i + 1]))
            for i in range(n)
        ]

    def begin(self, former: Session | None = None) -> Session:
        """Returns a session with two test targets of different classes.

        Without a data set it has generated targets. After another run, A and B stay, uploads
        included, if this run reads images of their shape. Vectors do not stay, because another
        run may have other features, or the same in another unit.
        """
        if former is not None and self.rule is None:
            a, b = former.a, former.b
            if a.image.shape == b.image.shape == self.shape:
                return self.look_at(*(self._read(c.name, c.image, c.file) for c in (a, b)))
        first = self.offered("target", 0, FIRST)
        if not len(first):
            return self.look_at(*self.sample("target", 2, 0))
        kinds = [self._known_classes("target", int(i), "salient") for i in first]
        other = next(
            (i for i, kind in zip(first, kinds, strict=True) if kind != kinds[0]), first[-1]
        )
        return self.look_at(*(self.choose("target", int(i)) for i in (first[0], other)))

    def look_at(self, a: Choice, b: Choice) -> Session:
        """Returns a session with two images and the sliders at the salient code of a."""
        z = torch.cat([a.code.z, b.code.z]).repeat_interleave(3, 0)
        s = torch.cat([a.code.s, b.code.s, self.blank()[None]]).repeat(2, 1)
        decoded = self.run.decode(Code(z, s)).unflatten(0, (2, 3))
        return Session(self.name, a, b, a.code.s[0], decoded)

    def blank(self) -> Tensor:
        """Returns the salient code (m,) that means "nothing salient"."""
        return sampling.blank(self.run.method, 1)[0]

    def stops(self, base: Tensor) -> list[float]:
        """Returns the stop of each slider for a salient code (m,)."""
        return [coordinate.stop(base[coordinate.number].item()) for coordinate in self.coordinates]

    def salient_code(self, session: Session, values: Sequence[float]) -> Tensor:
        """Returns the salient code (m,) of the sliders.

        Args:
            session: holds the salient code before the sliders were moved.
            values: values of the sliders, in the order of `coordinates`. A slider that was not
                moved keeps the exact value of the code, not the nearest stop. So does one without
                a value.
        """
        s = session.base.clone()
        for coordinate, stop, value in zip(
            self.coordinates, self.stops(session.base), values, strict=False
        ):
            if abs(value - stop) > coordinate.step / 2:
                s[coordinate.number] = value
        return s

    def result(self, session: Session, values: Sequence[float]) -> Tensor:
        """Decodes the common code of a with the salient code of the sliders, (C, H, W)."""
        s = self.salient_code(session, values)
        known = (session.a.code.s[0], session.b.code.s[0], self.blank())
        for own, image in zip(known, session.decoded[0], strict=True):
            # Reused, because an image that is decoded alone differs by rounding from the same image
            # in a batch, and a map of change would show that.
            if torch.equal(s, own):
                return image
        return self.run.decode(Code(session.a.code.z, s[None]))[0]

    def traverse(
        self, session: Session, values: Sequence[float]
    ) -> list[tuple[Coordinate, Tensor]]:
        """Moves each coordinate with a large effect from the low to the high end of its slider.

        Returns:
            the coordinates with their images (STRIP, C, H, W).
        """
        shown = self.coordinates[:STRIPS]
        codes = self.salient_code(session, values).repeat(len(shown), STRIP, 1)
        for row, coordinate in zip(codes, shown, strict=True):
            row[:, coordinate.number] = torch.linspace(coordinate.low, coordinate.high, STRIP)
        s = codes.flatten(0, 1)
        images = self.run.decode(Code(session.a.code.z.expand(len(s), -1), s))
        return list(zip(shown, images.unflatten(0, (len(shown), STRIP)), strict=True))

    def _read(self, name: str, image: Tensor, file: str = "") -> Choice:
        return Choice(name, image, sampling.encode(self.run.method, image[None]), file)

    def _known_classes(self, domain: Domain, index: int, belongs: Belongs) -> list[str]:
        """Returns the known classes of a test image, of the attributes that belong to a code."""
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
        """Returns the codes of training targets, or codes from the prior without a data set."""
        if self.data is None:
            return sampling.prior(self.run.method, READ, "target", 0)
        rows = np.arange(min(READ, self.data.size("train", "target")))
        return sampling.encode(self.run.method, self.data.images("train", "target", rows))

    def _effect(self, code: Code, low: Tensor, high: Tensor) -> Tensor:
        """Returns the mean change of a pixel when a coordinate goes from low to high, (m,)."""
        m = code.s.shape[1]
        s = code.s[:, None, None].repeat(1, m, 2, 1)  # image, coordinate, end, code
        places = torch.arange(m)
        s[:, places, 0, places], s[:, places, 1, places] = low, high
        effect = []
        for z, ends in zip(code.z, s, strict=True):
            images = self.run.decode(Code(z.expand(2 * m, -1), ends.flatten(0, 1)))
            low_end, high_end = images.unflatten(0, (m, 2)).unbind(1)
            effect.append((high_end - low_end).abs().flatten(1).mean(1))
        return torch.stack(effect).mean(0)


class Shelf:
    """The runs that can be chosen. They are opened on demand, and only a few stay open.

    Args:
        folders: directories of the runs.
        device: device of their methods. None selects the first accelerator, or the CPU.
        data_root: folder of their data, if it is not that of their configs.
        names: whether files and subjects may be named.

    Attributes:
        names: names of the runs: those of their folders if these differ, otherwise the paths.
        salient: the largest number of salient coordinates.

    Raises:
        StudioError: a folder is not a run, or has no intact checkpoint.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        device: str | None = None,
        data_root: Path | None = None,
        names: bool = True,
    ) -> None:
        self.device, self._data_root, self._names = _device(device), data_root, names
        short = [Path(folder).resolve().name for folder in folders]
        clear = len(set(short)) == len(short)
        self._folders = dict(
            zip(short if clear else map(str, folders), map(Path, folders), strict=True)
        )
        self._open: OrderedDict[str, Explorer] = OrderedDict()
        self._lock = Lock()
        self.names = list(self._folders)
        self.salient = max(self._count_salient(name) for name in self.names)

    def open(self, name: str) -> Explorer:
        """Returns an open run.

        Raises:
            StudioError: the run does not exist, or it has been removed or damaged.
        """
        if name not in self._folders:
            raise StudioError(f"{name}: no such run{nearest(name, self._folders)}")
        with self._lock:
            if name not in self._open:
                run = Run.open(self._folders[name], device=self.device, data_root=self._data_root)
                self._open[name] = Explorer(name, run, self._names)
            self._open.move_to_end(name)
            while len(self._open) > KEPT:
                self._open.popitem(last=False)
            return self._open[name]

    def _count_salient(self, name: str) -> int:
        run = Run.open(self._folders[name], device=self.device)
        return sampling.blank(run.method, 1).shape[1]


def _device(name: str | None) -> str | None:
    if name is None:
        return None
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise StudioError(
            f"--device {name}: not a device of this machine, expected e.g. cpu or cuda:0 ({reason})"
        ) from None
    return name
