"""A run: a directory that reopens as a method in eval mode. An export is a run, too."""

import os
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

from studio import sampling
from studio.arguments import check_code, check_images, check_whole_number
from studio.build import build_method
from studio.code_frame import CodeSplit, Pool, code_frame
from studio.config import Config, dump
from studio.data import Dataset
from studio.data.folders_config import FoldersConfig
from studio.data.intensity import (
    EIGHT_BIT_RANGE,
    Intensity,
    Window,
    kept_intensity,
    stated_intensity,
)
from studio.data.io.files import FilesConfig
from studio.errors import StudioError, reason_of, warn
from studio.method import Code, Domain, Method
from studio.runs import checkpoint, exported
from studio.runs.data_file import DataFile, read_data_file
from studio.runs.found import check_found
from studio.runs.run_data import RunData, absolute_paths, open_data
from studio.runs.stored_config import read_stored_config

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["Run"]


class Run:
    """A trained method with its config and its data. `Run.open` makes one.

    Attributes:
        folder: the run's directory.
        config: the resolved experiment.
        images_seen: the number of real images that the opened checkpoint has seen.
        method: the method, in eval mode.
        averaged: whether it has the averaged weights.
        shape: the shape of the images, without the batch.
    """

    def __init__(
        self,
        folder: Path,
        config: Config,
        method: Method,
        images_seen: int,
        shape: tuple[int, ...],
        stored: DataFile | None = None,
        averaged: bool = True,
    ) -> None:
        self.folder, self.config, self.method, self.averaged = folder, config, method, averaged
        self.images_seen, self.shape, self._stored = images_seen, shape, stored

    @classmethod
    def open(
        cls,
        folder: str | Path,
        checkpoint_number: int | None = None,
        ema: bool = True,
        device: str | torch.device | None = None,
        data_root: str | Path | None = None,
    ) -> Self:
        """Opens a run directory or an export. The data are not needed.

        Args:
            folder: the run's directory.
            checkpoint_number: the checkpoint, by images seen. The newest intact one if None.
            ema: whether to take the averaged weights, as every verb does, or the last ones.
            device: the device of the method. The first accelerator or the CPU if None.
            data_root: the folder of the data, if it is not the one in the config.

        Returns:
            the run.

        Raises:
            StudioError: the folder is not a run, the checkpoint is missing or damaged, or the
                device is not one of this machine.
        """
        if not isinstance(folder, str | os.PathLike):
            raise StudioError(f"folder: found {type(folder).__name__}, expected the path of a run")
        if checkpoint_number is not None:
            check_whole_number("checkpoint_number", checkpoint_number, 0)
        where = _device(device)
        folder = Path(os.path.expanduser(folder))
        config = _config(folder, data_root)
        export = None if (folder / "checkpoints").exists() else exported.find_export(folder)
        if export is not None:
            _refuse_choice(export, checkpoint_number, ema)
            weights, shape, seen = export.tensors(), export.shape, export.images_seen
            source = folder / exported.WEIGHTS
        else:
            chosen = _checkpoint(folder, checkpoint_number)
            weights = chosen.tensors("ema" if ema else "weights")
            shape, seen, source = tuple(chosen.verify()["shape"]), chosen.images_seen, chosen.path
        method = build_method(config, shape)
        try:
            method.load_state_dict(weights)
        except RuntimeError as error:
            raise StudioError(
                f"{source}: does not fit {folder / 'config.yaml'}: {reason_of(error)}"
            ) from None
        method = method.to(where).eval().requires_grad_(False)
        return cls(folder, config, method, seen, shape, read_data_file(folder), ema)

    @cached_property
    def data(self) -> Dataset:
        """The run's data set, with the window and the split of its training.

        It is opened on first use. If its content is not that of the training, a warning says so.
        """
        return self._opened.dataset

    @property
    def data_changes(self) -> str:
        """The differences of the data from those of the training, "" if there are none."""
        return self._opened.changes

    @property
    def data_sha256(self) -> str:
        """A hash of the content of the data."""
        return self._opened.sha256

    @property
    def derived(self) -> Mapping[str, Any]:
        """The facts that were derived from the data of the training, such as the window.

        The data are opened only if a run of an older studio has not stored them.
        """
        return self.data.derived() if self._stored is None else self._stored.derived

    @cached_property
    def intensity(self) -> Intensity:
        """The rule by which the values of a user's files become those of the run's images.

        The data are opened only if a run of an older studio needs the window of a file.
        """
        config = self.config.data
        if not isinstance(config, FoldersConfig):
            return EIGHT_BIT_RANGE
        derived = None if self._stored is None else self._stored.derived
        kept = kept_intensity(config, derived)
        if kept is not None:
            return kept
        if config.normalise != "auto":
            stated = stated_intensity(config)
            known = stated is not None and (stated.rule, stated.window) != ("window", None)
            if stated is not None and known:
                return stated
            return Intensity.from_json(self.data.derived())
        window = None if config.window == "auto" else config.window
        return Intensity("per_file", window, find_window=self._former_window)

    def _former_window(self) -> Window | None:
        """Returns the window of a run of an older studio, None if all its images are 8-bit."""
        found = self.derived.get("window")
        return None if found is None else (float(found[0]), float(found[1]))

    @cached_property
    def _opened(self) -> RunData:
        return open_data(self.folder, self.config, self._stored, self.shape)

    def describe(self) -> dict[str, Any]:
        """Returns the keys with which every JSON answer begins."""
        return {
            "run": str(self.folder),
            "method": self.config.method.name,
            "dataset": self.config.data.name,
            "images_seen": self.images_seen,
        }

    def codes(
        self,
        split: CodeSplit = "test",
        subject: bool = False,
        pool: Pool = "mean",
        limit: int | None = None,
        progress: Callable[[int, int], object] | None = None,
    ) -> "DataFrame":
        """Returns the codes of the run's images with names and attributes, a pandas DataFrame.

        Args:
            split: `train`, `test` or `all`.
            subject: one row per subject of a split and domain instead of one per image.
            pool: with `subject`, `mean` or `farthest` (`studio.code_frame.pool_subjects`).
            limit: images per split and domain. A larger domain is sampled with a fixed seed.
            progress: called with the number of encoded images of a split and domain, and with
                the number of all of them.

        Returns:
            the columns `file`, `subject`, `split`, `domain`, the attributes, `z_0`, ..., `s_0`,
            ... and `distance` from the blank salient code. `attrs["studio"]` names the run, its
            checkpoint and the hash of its data.

        Raises:
            StudioError: an argument is wrong, the data cannot be opened, or a code is not finite.
        """
        frame = code_frame(self.method, self.data, split, subject, pool, limit, progress)
        frame.attrs["studio"] = {
            **self.describe(),
            "data_sha256": self.data_sha256,
            "averaged": self.averaged,
            "pool": pool if subject else None,
            "limit": limit,
            "config": dump(self.config),
        }
        return frame

    def encode(self, images: Tensor) -> Code:
        """Maps images (B, C, H, W) in [-1, 1] to Code(z, s).

        Raises:
            StudioError: the images are not such a tensor of floating-point numbers. The message
                names what was found and what is expected. So do those of the other methods.
        """
        check_images("images", images, self.shape)
        return sampling.encode(self.method, images)

    def decode(self, code: Code) -> Tensor:
        """Maps codes to images (B, C, H, W) in [-1, 1]."""
        sizes = self.method.config
        return sampling.decode(self.method, Code(*check_code(code, sizes.z, sizes.s)))

    def reconstruct(self, images: Tensor) -> Tensor:
        """Returns decode(encode(images))."""
        check_images("images", images, self.shape)
        return sampling.reconstruct(self.method, images)

    def swap(self, a: Tensor, b: Tensor) -> Tensor:
        """Returns images with the common content of a and the salient content of b."""
        for name, images in (("a", a), ("b", b)):
            check_images(name, images, self.shape)
        if len(a) != len(b):
            raise StudioError(f"b: found {len(b)} images, expected as many as a has, {len(a)}")
        return sampling.swap(self.method, a, b)

    def heal(self, images: Tensor) -> Tensor:
        """Returns pseudo-healthy images: their common codes decoded with the blank salient code."""
        check_images("images", images, self.shape)
        return sampling.heal(self.method, images)

    def sample(self, n: int, domain: Domain = "target", seed: int = 0) -> Tensor:
        """Returns n generated images (n, C, H, W) of a domain."""
        return sampling.sample(self.method, n, domain, seed)


def _device(given: str | torch.device | None) -> torch.device:
    """Returns a device, by default the first accelerator or the CPU."""
    try:
        device = torch.device(given or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise StudioError(
            f"device: found {given!r}, expected one of this machine, e.g. cpu or cuda:0 ({reason})"
        ) from None
    return device


def _refuse_choice(export: exported.ExportedRun, number: int | None, ema: bool) -> None:
    if number not in (None, export.images_seen):
        raise StudioError(
            f"{export.folder}: no checkpoint {number}; an export has one: {export.images_seen}"
        )
    if not ema:
        raise StudioError(
            f"{export.folder}: an export has only the averaged weights; "
            "--no-ema needs the run itself"
        )


def _config(folder: Path, data_root: str | Path | None) -> Config:
    check_found(folder)
    config = read_stored_config(folder)
    if data_root is None:
        return config
    if not isinstance(config.data, FilesConfig | FoldersConfig):
        raise StudioError(f"--data-root {data_root}: {config.data.name} reads no files")
    data = config.data.model_copy(update={"root": str(data_root)})
    return absolute_paths(config.model_copy(update={"data": data}))


def _checkpoint(folder: Path, number: int | None) -> checkpoint.Checkpoint:
    if number is None:
        chosen = checkpoint.newest(folder, warn)
        if chosen is None and (folder / exported.WEIGHTS).is_file():
            raise StudioError(
                f"{folder}: an export without manifest.json, which is needed to check its files"
            )
        if chosen is None:
            raise StudioError(f"{folder}: no checkpoint yet; train with --resume --run {folder}")
        return chosen
    numbers = {c.images_seen: c for c in checkpoint.every(folder)}
    if number not in numbers:
        raise StudioError(
            f"{folder}: no checkpoint {number}; there are: {', '.join(map(str, numbers)) or 'none'}"
        )
    numbers[number].verify()
    return numbers[number]
