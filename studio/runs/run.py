"""A run: a directory that reopens as a method in eval mode. Every verb takes one; an export (`studio export`) is one, too."""

from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from studio import sampling
from studio.build import build_dataset, build_method
from studio.config import Config, read_yaml, resolve
from studio.data import Dataset
from studio.errors import StudioError, warn
from studio.method import Code, Domain, Method
from studio.runs import checkpoint, exported

__all__ = ["Run"]


class Run:
    """A trained method with its config and data; use `Run.open`.

    Attributes:
        folder: the run's directory.
        config: the experiment, resolved.
        images_seen: of the checkpoint that was opened.
        method: in eval mode, on `device`.
        shape: of the images.
    """

    def __init__(
        self, folder: Path, config: Config, method: Method, images_seen: int, shape: tuple[int, ...]
    ) -> None:
        self.folder, self.config, self.method, self.images_seen, self.shape = (
            folder,
            config,
            method,
            images_seen,
            shape,
        )

    @classmethod
    def open(
        cls,
        folder: str | Path,
        checkpoint_number: int | None = None,
        ema: bool = True,
        device: str | torch.device | None = None,
        data_root: str | Path | None = None,
    ) -> "Run":
        """Opens a run directory, or an export; the data is not needed.

        Args:
            folder: the run's directory.
            checkpoint_number: images seen; the newest whole checkpoint when None.
            ema: take the averaged weights (what every verb uses) rather than the last ones.
            device: where to put the method; the first accelerator, or the CPU, when None.
            data_root: folder of the data, where that is not what the config says.

        Raises:
            StudioError: not a run, no checkpoint, or a damaged one.
        """
        folder = Path(folder)
        config = _config(folder, data_root)
        export = None if (folder / "checkpoints").exists() else exported.find(folder)
        if export is not None:
            _refuse_choice(export, checkpoint_number, ema)
            weights, shape, seen, source = (
                export.tensors(),
                export.shape,
                export.images_seen,
                folder / exported.WEIGHTS,
            )
        else:
            chosen = _checkpoint(folder, checkpoint_number)
            weights = chosen.tensors("ema" if ema else "weights")
            shape, seen, source = tuple(chosen.verify()["shape"]), chosen.images_seen, chosen.path
        method = build_method(config, shape)
        try:
            method.load_state_dict(weights)
        except RuntimeError as error:
            raise StudioError(f"{source}: does not fit {folder / 'config.yaml'}: {error}") from None
        where = (
            torch.device(device)
            if device
            else torch.device("cuda" if torch.cuda.is_available() else "cpu")
        )
        return cls(folder, config, method.to(where).eval().requires_grad_(False), seen, shape)

    @cached_property
    def data(self) -> Dataset:
        """The run's data set, opened on first use."""
        return build_dataset(self.config)

    def describe(self) -> dict[str, Any]:
        """Returns what every JSON answer begins with."""
        return {
            "run": str(self.folder),
            "method": self.config.method.name,
            "dataset": self.config.data.name,
            "images_seen": self.images_seen,
        }

    def encode(self, images: Tensor) -> Code:
        """Maps images (B, C, H, W) in [-1, 1] to Code(z, s)."""
        return sampling.encode(self.method, images)

    def decode(self, code: Code) -> Tensor:
        """Maps codes to images (B, C, H, W) in [-1, 1]."""
        return sampling.decode(self.method, code)

    def reconstruct(self, images: Tensor) -> Tensor:
        """Returns decode(encode(images))."""
        return sampling.reconstruct(self.method, images)

    def swap(self, a: Tensor, b: Tensor) -> Tensor:
        """Returns images with the common content of a and the salient content of b."""
        return sampling.swap(self.method, a, b)

    def heal(self, images: Tensor) -> Tensor:
        """Returns the images with nothing salient in them."""
        return sampling.heal(self.method, images)

    def sample(self, n: int, domain: Domain = "target", seed: int = 0) -> Tensor:
        """Returns n new images of a domain."""
        return sampling.sample(self.method, n, domain, seed)


def _refuse_choice(export: exported.Bundle, number: int | None, ema: bool) -> None:
    if number not in (None, export.images_seen):
        raise StudioError(
            f"{export.folder}: no checkpoint {number}; an export has one: {export.images_seen}"
        )
    if not ema:
        raise StudioError(
            f"{export.folder}: an export has the averaged weights alone (--no-ema needs the run itself)"
        )


def _config(folder: Path, data_root: str | Path | None) -> Config:
    if not folder.exists():
        raise StudioError(f"{folder}: no such run")
    if not (folder / "config.yaml").is_file():
        raise StudioError(f"{folder}: not a run (no config.yaml in it)")
    config = resolve(read_yaml(folder / "config.yaml"), folder.name, str(folder / "config.yaml"))
    if data_root is None:
        return config
    return config.model_copy(
        update={"data": config.data.model_copy(update={"root": str(data_root)})}
    )


def _checkpoint(folder: Path, number: int | None) -> checkpoint.Checkpoint:
    if number is None:
        chosen = checkpoint.newest(folder, warn)
        if chosen is None and (folder / exported.WEIGHTS).is_file():
            raise StudioError(
                f"{folder}: an export whose manifest.json is missing, without which its files cannot be checked"
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
