"""The components of the app's page that choose one of the two images."""

from collections.abc import Sequence
from typing import Any

import gradio as gr

from studio.app.numbers import Number
from studio.data import vector_files
from studio.data.io import images

__all__ = ["Picker"]

MOST_ROWS = 10**9


class Picker:
    """The components that choose one of the two images: a test image of a domain, or a file.

    Args:
        letter: `A` or `B`.
        role: the use of the image.
        shape: shape of the items of the run that is shown first.
    """

    def __init__(self, letter: str, role: str, shape: Sequence[int]) -> None:
        with gr.Group(elem_classes="picker"):
            self.domain = gr.Radio(
                [("background", "background"), ("target", "target")],
                value="target",
                label=f"{letter}: {role}",
                elem_id=f"domain-{letter}",
            )
            self.page = gr.State(0)
            self.offered = gr.State([])  # indices of the visible test images
            self.gallery = gr.Gallery(
                columns=6,
                height="auto",
                allow_preview=False,
                show_label=False,
                label=f"images for {letter}",
                interactive=False,
                object_fit="fill",
                format="png",
                buttons=[],
                elem_id=f"gallery-{letter}",
            )
            with gr.Row():
                self.others = gr.Button("Other images", size="sm", elem_id=f"others-{letter}")
                self.upload = gr.UploadButton(
                    "Upload a file",
                    size="sm",
                    file_types=_file_types(shape),
                    elem_id=f"upload-{letter}",
                )
                self.row = Number(
                    1,
                    label="Row of the file",
                    precision=0,
                    minimum=1,
                    maximum=MOST_ROWS,
                    min_width=80,
                    visible=len(shape) == 1,
                    elem_id=f"row-{letter}",
                )

    @property
    def parts(self) -> list[Any]:
        """The components that `updates` updates."""
        return [self.upload, self.row]

    def updates(self, shape: Sequence[int]) -> list[Any]:
        """Returns the updates for a run with items of a shape: only vectors have rows."""
        return [gr.update(file_types=_file_types(shape)), gr.update(visible=len(shape) == 1)]


def _file_types(shape: Sequence[int]) -> list[str]:
    if len(shape) == 1:
        return list(vector_files.FORMATS)
    return [*images.FORMATS[:-1], ".gz"]  # a browser knows the last ending only
