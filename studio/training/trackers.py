"""Trackers of experiments: Weights & Biases, MLflow and trackio, by the classes of Accelerate.

TensorBoard is not among them, because the logger writes its files itself, also when a training is
resumed.
"""

import importlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from accelerate.tracking import LOGGER_TYPE_TO_CLASS
from PIL import Image

from studio.errors import StudioError, reason_of, warn
from studio.train_config import TRACKERS

__all__ = ["Trackers", "check_installed"]

PROJECT = "contrastive-studio"  # project or experiment that the runs of the studio are in


def check_installed(names: Sequence[str]) -> None:
    """Refuses trackers whose package is not installed.

    Raises:
        StudioError: a package is missing. The message says how to install it.
    """
    for name in names:
        if find_spec(name) is None:
            raise StudioError(
                f"train.log_with: {name} is not installed; `pip install {name}` installs it, and "
                "train.log_with: [tensorboard] does without"
            )


class Trackers:
    """The trackers of a training. One that fails later is dropped with a warning.

    Args:
        names: of the trackers, as in `train.log_with`.
        folder: the run's directory, whose name is that of the run.
        config: the resolved config, with dotted names.

    Raises:
        StudioError: a tracker is not installed, or cannot start, for example without an account.
    """

    def __init__(self, names: Sequence[str], folder: Path, config: Mapping[str, Any]) -> None:
        names = [name for name in names if name in TRACKERS]
        check_installed(names)
        self.open: dict[str, Any] = {}
        for name in names:
            try:
                tracker = LOGGER_TYPE_TO_CLASS[name](PROJECT, **_options(name, folder))
                tracker.start()
                tracker.store_init_configuration({k: _plain(v) for k, v in config.items()})
            except Exception as error:  # any error of a package that is not ours
                raise StudioError(
                    f"train.log_with: {name} does not start: {reason_of(error)}"
                ) from error
            self.open[name] = tracker

    def log(self, values: Mapping[str, Any], images_seen: int) -> None:
        """Sends numbers at a number of images seen."""
        numbers = {
            name: value
            for name, value in values.items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }
        if numbers:
            self._each(lambda name, tracker: tracker.log(numbers, step=images_seen))

    def picture(self, tag: str, picture: Image.Image, images_seen: int) -> None:
        """Sends a picture."""
        self._each(lambda name, tracker: _send_picture(name, tracker, tag, picture, images_seen))

    def close(self) -> None:
        """Ends the trackers."""
        self._each(lambda name, tracker: tracker.finish())
        self.open = {}

    def _each(self, send: Any) -> None:  # noqa: ANN401 - a function of a name and a tracker
        for name, tracker in [*self.open.items()]:
            try:
                send(name, tracker)
            except Exception as error:  # a lost network must not end a training
                del self.open[name]
                warn(f"{name} gets nothing more, the training goes on: {reason_of(error)}")


def _options(name: str, folder: Path) -> dict[str, Any]:
    """Returns the options with which a tracker names the run as its folder."""
    if name == "mlflow":
        return {"run_name": folder.name}
    return {"name": folder.name, **({"dir": str(folder)} if name == "wandb" else {})}


def _plain(value: object) -> object:
    """Returns a value that every tracker stores: a number, a text or a flag."""
    return value if isinstance(value, int | float | str) else str(value)


def _send_picture(name: str, tracker: Any, tag: str, picture: Image.Image, step: int) -> None:  # noqa: ANN401
    if name == "wandb":
        tracker.log_images({tag: [picture]}, step=step)
        return
    package = importlib.import_module(name)
    if name == "mlflow":
        package.log_image(picture, f"{tag}-{step:08d}.png")
    else:
        with suppress(AttributeError):  # of an older trackio, which has no pictures
            tracker.log({tag: package.Image(picture)}, step=step)
