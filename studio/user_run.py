"""`studio.Run`: an open run with the work of the verbs, for notebooks and scripts."""

import os
from collections.abc import Sequence
from contextlib import nullcontext
from html import escape
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from studio.data import Dataset
from studio.data.io.images import FORMATS, is_image
from studio.data.io.slices import UnreadableError
from studio.data.io.user_files import read_user_file, reading_rule
from studio.errors import StudioError, nearest
from studio.evaluate import score as scores
from studio.evaluate.measure import measure
from studio.evaluate.probe_options import ProbeOptions
from studio.planes import PLANES, cut_at
from studio.render.registry import PICTURES, PICTURES_OF_DIRECTORIES, WITHOUT_DATA
from studio.render.selection import describe_data
from studio.runs import run

__all__ = ["Run"]

# Options that apply to one kind of picture only.
OWNERS = {"span": ("traverse", "square"), "plane": ("codes",), "attributes": ("codes",)}


class Run(run.Run):
    """An open run, see `studio.runs.run.Run`, with pictures and measurements.

    `from studio import Run` gives this class. Every error that a user can correct is a
    `StudioError` with the words of the command line.
    """

    def __repr__(self) -> str:
        return f"Run({', '.join(f'{name}={value}' for name, value in self._facts().items())})"

    def _repr_html_(self) -> str:
        """Returns the table that a notebook shows."""
        rows = "".join(
            f"<tr><th style='text-align:left'>{name}</th>"
            f"<td style='text-align:left'>{escape(value)}</td></tr>"
            for name, value in self._facts().items()
        )
        return f"<table>{rows}</table>"

    def _facts(self) -> dict[str, str]:
        sizes = self.config.method
        return {
            "run": str(self.folder),
            "method": sizes.name,
            "dataset": self.config.data.name,
            "images": " x ".join(map(str, self.shape)),
            "codes": f"z {sizes.z}, s {sizes.s}",
            "images_seen": f"{self.images_seen:,}",
            "weights": "averaged" if self.averaged else "last",
            "device": str(self.method.device),
        }

    def render(
        self,
        kind: str = "overview",
        n: int | None = None,
        seed: int = 0,
        names: bool = True,
        slices: Sequence[int] | None = None,
        **options: Any,  # noqa: ANN401 - those of the picture
    ) -> Image.Image:
        """Draws a picture, as `studio render RUN KIND` does. A notebook shows it.

        Args:
            kind: of the picture: overview, grid, reconstruct, swap, heal, isolate, traverse,
                square, interpolate, codes or counterfactual.
            n: number of rows, coordinates or points. None takes that of the kind.
            seed: of the choice of images and codes.
            names: whether files and subjects may be named.
            slices: of volumes, the axial, the coronal and the sagittal plane to draw, counted from
                the head, the front and the left. None: the middle ones.
            options: `span` of traverse and square, `plane` and `attributes` of codes.

        Returns:
            the picture, with its caption.

        Raises:
            StudioError: there is no such picture or plane, or the data cannot be opened.
        """
        if slices is not None and len(slices) != len(PLANES):
            raise StudioError(
                f"slices: found {slices}, expected the numbers of {len(PLANES)} planes: "
                f"{', '.join(PLANES)}"
            )
        if kind in PICTURES_OF_DIRECTORIES:
            raise StudioError(
                f"render {kind}: is drawn from the files of a run by `studio render RUN {kind}`"
            )
        if kind not in PICTURES:
            raise StudioError(f"render {kind}: no such picture{nearest(kind, PICTURES)}")
        for name in options:
            if kind not in OWNERS.get(name, ()):
                raise StudioError(
                    f"render {kind}: {name} is for {' and '.join(OWNERS[name])}"
                    if name in OWNERS
                    else f"render {kind}: no such option {name}{nearest(name, OWNERS)}"
                )
        if "plane" in options:
            options["kind"] = options.pop("plane")
        data = describe_data(self) if kind in WITHOUT_DATA else self.data
        if isinstance(data, Dataset) and not names:
            data.show_names = False
        chosen = nullcontext() if slices is None else cut_at(slices, self.shape, "slices")
        with chosen:  # None keeps the planes of a `cut_at` around this call
            return PICTURES[kind](self.method, data, n, seed, **options)

    def probe(
        self,
        protocol: str = "held-out",
        eval_mode: str = "clean",
        tsne: bool = False,
        swaps: bool = False,
    ) -> dict[str, Any]:
        """Measures how well the codes separate, as `studio probe RUN --json` does.

        Args:
            protocol: held-out, carton or louiset.
            eval_mode: clean or authors. The authors' measurements need a run that was opened
                with `ema=False`, because they are those of the last weights.
            tsne: also cluster the codes in a t-SNE plane.
            swaps: also measure by classifiers of real images what swapped images show.

        Returns:
            the object that `studio probe --json` prints.

        Raises:
            StudioError: an unknown protocol or eval mode, or the data cannot be opened.
        """
        options = ProbeOptions.parse(protocol, eval_mode)
        return {
            **self.describe(),
            "data_sha256": self.data_sha256,
            **measure(self.method, self.data, options, tsne, swaps),
        }

    def score(
        self,
        features: str = "domain",
        weights: str | Path | None = None,
        n: int | None = None,
        seed: int = 0,
    ) -> dict[str, Any]:
        """Scores generated images against real ones, as `studio score RUN --json` does.

        Args:
            features: domain, inception, or `module:Class` of your own.
            weights: file with the weights of the extractor.
            n: images of each set. None takes 2,000, or all if there are fewer.
            seed: of the choice of images and codes.

        Returns:
            the object that `studio score --json` prints, which is also stored in `score.json`.

        Raises:
            StudioError: the extractor is unknown, or there are too few images.
        """
        file = None if weights is None else Path(os.path.expanduser(weights))
        root = getattr(self.config.data, "root", None)
        [entry] = scores.score(
            *(self.folder, features, file, [self.images_seen], n, seed, self.averaged),
            data_root=None if root is None else Path(root),
        )
        return entry

    def read(self, path: str | Path, slices: int | str | None = None) -> Tensor:
        """Reads a file as the run saw its training images, as `studio apply` does.

        Args:
            path: an image or a volume.
            slices: of a volume: a number, `middle`, `all`, or None for those of the data set.

        Returns:
            images (n, C, H, W) in [-1, 1]: one, or one per slice.

        Raises:
            StudioError: the file does not exist, or cannot be used as an image of the run.
        """
        file = Path(os.path.expanduser(path))
        if not file.is_file():
            raise StudioError(f"{file}: no such file")
        if not is_image(file.name):
            raise StudioError(f"{file}: unknown file format; expected {', '.join(FORMATS)}")
        if not (slices in (None, "middle", "all") or (type(slices) is int and slices >= 0)):
            raise StudioError(
                f"slices: found {slices!r}, expected a number of at least 0, 'middle' or 'all'"
            )
        chosen: Any = slices
        rule = reading_rule(self.config.data, self.shape, self.intensity, chosen)
        try:
            return torch.from_numpy(read_user_file(file, rule).images)
        except UnreadableError as error:
            raise StudioError(f"{file}: {error}") from None
