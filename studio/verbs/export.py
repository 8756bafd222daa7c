"""`studio export`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from studio.verbs.options import DataRoot, Json, Number, RunArgument, expand

__all__ = ["export"]


def export(
    run: RunArgument,
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="a new or empty folder", callback=expand)
    ],
    onnx: Annotated[
        bool,
        typer.Option(
            "--onnx/--no-onnx", help="also convert the programs to ONNX where the converter can"
        ),
    ] = True,
    push: Annotated[
        str | None,
        typer.Option(
            "--push",
            metavar="REPO_ID",
            help="also upload the folder to a repository of the Hugging Face Hub, with your token",
        ),
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option(
            "--license",
            metavar="NAME",
            help="licence of the weights for the model card, e.g. cc-by-4.0; default: none",
        ),
    ] = None,
    private: Annotated[
        bool,
        typer.Option(
            "--private",
            help="leave out what may name files and subjects: data.files, data.exclude, the folder "
            "of the images",
        ),
    ] = False,
    as_json: Json = False,
    checkpoint: Number = None,
    data_root: DataRoot = None,
) -> None:
    """Write a folder to share: weights as safetensors, exported programs, and a model card."""
    from studio.export import write as exporting
    from studio.runs.run import Run

    if push is not None:
        exporting.refuse_push(push)
    opened = Run.open(run, checkpoint, device="cpu", data_root=data_root)
    manifest = exporting.export(opened, folder, onnx, licence, private)
    address = None if push is None else exporting.push(folder, push)
    if as_json:
        print(
            json.dumps(
                {"out": str(folder), "pushed": address, **manifest}, indent=2, allow_nan=False
            )
        )
        return
    for name, difference in manifest["parity"].items():
        images = manifest["parity_images"]
        print(f"{name}: differs from the run by at most {difference:.2g} ({images})")
    print(manifest["onnx"])
    print(folder)
    if address is not None:
        print(address)
