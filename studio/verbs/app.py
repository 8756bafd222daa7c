"""`studio app`."""

from pathlib import Path
from typing import Annotated

import typer

from studio.runs.found import check_found
from studio.verbs.options import DataRoot, Names, expand

__all__ = ["app"]


def app(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...",
            help="directories of runs; a menu of the page chooses among them",
            callback=expand,
        ),
    ],
    host: Annotated[
        str,
        typer.Option("--host", help="address to listen on; 0.0.0.0 lets other machines connect"),
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option("--port", min=0, max=65_535, help="port to listen on; 0 takes any free port"),
    ] = 7860,
    device: Annotated[
        str | None,
        typer.Option(
            "--device",
            help="device of the model, e.g. cpu or cuda:0; default: the first accelerator",
        ),
    ] = None,
    browser: Annotated[
        bool, typer.Option("--open/--no-open", help="open the page in a browser")
    ] = False,
    data_root: DataRoot = None,
    names: Names = True,
) -> None:
    """Explore runs in the browser: swap, heal and edit images. Needs the extra `app`."""
    for run in runs:
        check_found(run)

    from studio.app.server import check_gradio, free_port, serve

    check_gradio()
    free = free_port(host, port)

    from studio.app.state import Shelf

    serve(Shelf(runs, device, data_root, names), host, free, browser)
