"""`preprocessing.json` of an export: how other software makes an image of the model from a file."""

from dataclasses import asdict
from typing import Any

from studio.data.brats.config import BratsConfig
from studio.data.folders_config import FoldersConfig
from studio.data.intensity import PERCENTILES, Intensity
from studio.data.io.slices import PLAIN
from studio.errors import StudioError
from studio.runs.run import Run

__all__ = ["PREPROCESSING", "describe_preprocessing"]

PREPROCESSING = "preprocessing.json"
RESIZE = "bicubic, antialiased: Pillow's BICUBIC on float32 planes"


def describe_preprocessing(run: Run) -> dict[str, Any]:
    """Returns the facts as a JSON object, see docs/reference/json.md."""
    facts: dict[str, Any] = {
        "shape": list(run.shape),
        "axes": "channels, height, width" if len(run.shape) == 3 else "as in the data set",
        "dtype": "float32",
        "range": [-1, 1],
        "clip": True,
    }
    config = run.config.data
    if isinstance(config, BratsConfig):
        names = ["modalities", "percentiles", "resolution", "nan"]
        sliced, whole = ("crop", "slices", "slice_step"), ("dims", "spacing", "healthy")
        names += sliced if config.dims == 2 else whole
        section = config.model_dump(mode="json")
        return facts | {"volumes": {name: section[name] for name in names}}
    if len(run.shape) != 3:
        return facts
    own = isinstance(config, FoldersConfig)
    return facts | {
        "fit": config.fit if own else "crop",
        "resize": RESIZE,
        "intensity": _intensity(run) if own else {"rule": "range", "ranges": {"uint8": [0, 255]}},
        "slices": _listed(config.slice) if own else "middle",
        "volumes": asdict(config.volumes if own else PLAIN),
    }


def _intensity(run: Run) -> dict[str, Any] | None:
    """Returns the rule with its values, or None if it is unknown without the data."""
    try:
        rule = run.intensity
        window = rule.window or (rule.find_window and rule.find_window())
    except StudioError:
        return None
    if rule.rule == "per_file":
        return {"rule": "per_file", "window": _listed(window), "ranges": {"uint8": [0, 255]}}
    return rule.to_json() | _values(rule, window)


def _values(rule: Intensity, window: tuple[float, float] | None) -> dict[str, Any]:
    if rule.rule == "window":
        return {"window": _listed(window)}
    return {"percentiles": list(PERCENTILES)} if rule.rule == "per_image" else {}


def _listed(value: Any) -> Any:  # noqa: ANN401 - what JSON can hold
    return list(value) if isinstance(value, tuple) else value
