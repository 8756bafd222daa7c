"""`studio app`."""

from pathlib import Path
from typing import Annotated

import typer

from studio.app.password import find_password
from studio.errors import StudioError
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
    root_path: Annotated[
        str,
        typer.Option(
            "--root-path",
            metavar="/PATH",
            help="path or address under which a proxy shows the page, e.g. /user/me/proxy/7860",
        ),
    ] = "",
    password_file: Annotated[
        Path | None,
        typer.Option(
            "--password-file",
            metavar="FILE",
            help="text file with a password that the page asks for; default: the environment "
            "variable STUDIO_PASSWORD, or none",
            callback=expand,
        ),
    ] = None,
    ask_password: Annotated[
        bool, typer.Option("--password", help="ask for that password on the terminal instead")
    ] = False,
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
    check_root_path(root_path)
    password = find_password(password_file, ask_password)

    from studio.app.server import check_gradio, free_port, serve

    check_gradio()
    free = free_port(host, port)

    from studio.app.state import Shelf

    serve(Shelf(runs, device, data_root, names), host, free, browser, root_path, password)


def check_root_path(path: str) -> None:
    """Refuses what is neither a path nor an address.

    Raises:
        StudioError: the path does not begin with /, http:// or https://, or has spaces.
    """
    begins = path.startswith(("/", "http://", "https://"))
    if path and not (begins and path.isprintable() and not set(path) & set(" ?#")):
        raise StudioError(
            f"--root-path {path}: expected a path such as /user/me/proxy/7860, or an address such "
            "as https://example.org/studio"
        )
