"""Components of the page that need none of its event handlers: sliders, and descriptions."""

from collections.abc import Sequence
from typing import Any

import gradio as gr

from studio.app.numbers import Slider
from studio.app.pictures import show_about
from studio.app.state import REACH, Explorer
from studio.planes import PLANES
from studio.render.selection import TILES

__all__ = ["Cutter", "describe_run", "salient_slider"]

CUT = (
    "Volumes are shown in three planes: coronal, sagittal to its right, axial below. Black marks "
    "between them show where the planes cut one another."
)
AXES = ("from the head", "from the front", "from the left")  # on which planes are counted


class Cutter:
    """The sliders that choose the three planes in which volumes are shown.

    Args:
        explorer: the run that is shown first.
    """

    def __init__(self, explorer: Explorer) -> None:
        with gr.Row(visible=len(explorer.shape) == 4, elem_classes="sliders") as self.row:
            self.sliders = [
                gr.Slider(
                    0,
                    1,
                    0,
                    step=1,
                    label=f"{name} plane, {axis}",
                    min_width=180,
                    buttons=[],
                    elem_id=f"plane-{name}",
                )
                for name, axis in zip(PLANES, AXES, strict=True)
            ]

    @property
    def parts(self) -> list[Any]:
        """The components that `updates` updates."""
        return [self.row, *self.sliders]

    def updates(self, shape: Sequence[int]) -> list[Any]:
        """Returns the updates for a run with items of a shape: hidden sliders without volumes."""
        if len(shape) != 4:
            return [gr.update(visible=False), *[gr.update()] * len(self.sliders)]
        sides = shape[1:]
        sliders = [gr.update(maximum=side - 1, value=side // 2) for side in sides]
        return [gr.update(visible=True), *sliders]


def salient_slider(place: int) -> gr.Slider:
    """Returns the slider of a coordinate of the salient code."""
    return Slider(
        -REACH,
        REACH,
        0,
        step=0.01,
        label=f"salient {place}",
        min_width=180,
        buttons=[],
        elem_id=f"slider-{place}",
    )


def describe_run(explorer: Explorer) -> str:
    """Returns the description of a run, and the problem of its data set, if it has one."""
    run = explorer.run
    z, s = run.config.method.z, run.config.method.s
    shape = " x ".join(map(str, explorer.shape))
    kind = {1: "vectors", 4: "volumes"}.get(len(explorer.shape), "images")
    view = {"vectors": f" Vectors have one number per feature. {TILES}", "volumes": f" {CUT}"}.get(
        kind, ""
    )
    words = (
        f"{run.config.method.name} on {run.config.data.name}, {run.images_seen:,} images seen, "
        f"{kind} {shape}, {z} common and {s} salient coordinates. The result is decoded from the "
        "common code of A and the salient code of the sliders. Healed means the pseudo-healthy "
        "counterpart of A: decoded with nothing salient. The percentage at a slider is the "
        f"coordinate's share of all salient change.{view}"
    )
    return show_about(words, explorer.problem)
