"""The components of the app's page that choose one of the two images."""

import gradio as gr

from studio.data.io.images import FORMATS

__all__ = ["Picker"]


class Picker:
    """The components that choose one of the two images: a test image of a domain, or a file."""

    def __init__(self, letter: str, role: str) -> None:
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
                    file_types=[*FORMATS[:-1], ".gz"],  # a browser knows the last ending only
                    elem_id=f"upload-{letter}",
                )
