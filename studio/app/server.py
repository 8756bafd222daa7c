"""Answering on a port: this machine's own address unless another is asked for, no link to the outside, nothing left behind."""

import ipaddress
import os
import signal
import socket
import sys
import tempfile
import warnings
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from types import FrameType
from typing import TYPE_CHECKING

from studio.errors import StudioError, warn

if TYPE_CHECKING:
    from studio.app.state import Shelf

__all__ = ["check_gradio", "free_port", "serve"]

EVERYWHERE = ("0.0.0.0", "::")  # hosts that mean every address of this machine
TRIED = 100  # ports after the one that is in use
# No counting of users, no look for newer versions, and no public link whatever the environment says.
QUIET = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_SHARE": "False",
    "GRADIO_MCP_SERVER": "False",
    "GRADIO_SSR_MODE": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
}


def check_gradio() -> None:
    """Refuses to go on without Gradio 6.

    Raises:
        StudioError: it is missing or too old; says how to install it.
    """
    os.environ.update(QUIET)  # before the first import
    try:
        import gradio
    except ImportError as error:
        raise StudioError(
            f"studio app needs Gradio ({error}): pip install 'contrastive-studio[app]'"
        ) from None
    if int(gradio.__version__.split(".")[0]) < 6:
        raise StudioError(
            f"studio app needs Gradio 6, found {gradio.__version__}: pip install 'contrastive-studio[app]'"
        )


def free_port(host: str, port: int) -> int:
    """Returns the port if nothing listens on it; 0 takes any that is free.

    Raises:
        StudioError: it is in use (names the next free one), or the host is not one of this machine's.
    """
    fault = _fault(host, port)
    if fault is None and port:
        return port
    if fault is None:
        with socket.socket(_family(host)) as probe:
            probe.bind((host, 0))
            return probe.getsockname()[1]
    if not isinstance(fault, PermissionError) and _fault(host, 0) is not None:
        raise StudioError(
            f"--host {host}: not an address of this machine ({fault.strerror or fault})"
        )
    if isinstance(fault, PermissionError):
        raise StudioError(
            f"--port {port}: may not be used ({fault.strerror}); expected one above 1023"
        )
    free = next(
        (p for p in range(port + 1, min(port + TRIED, 65_536)) if _fault(host, p) is None), None
    )
    raise StudioError(
        f"--port {port}: in use on {host}"
        + (f"; the next free one is --port {free}" if free else "")
    )


def serve(shelf: "Shelf", host: str, port: int, browser: bool = False) -> None:
    """Answers until it is interrupted or terminated.

    Args:
        shelf: the runs.
        host: address to listen on.
        port: a free one, see `free_port`.
        browser: whether to open the page.
    """
    if not _loopback(host):
        warn(
            f"--host {host}: everyone who can reach this machine can use the app and see the images of the runs"
        )
    with (
        _told_to_end() as told,
        tempfile.TemporaryDirectory(prefix="studio-app-", ignore_cleanup_errors=True) as folder,
    ):
        os.environ["GRADIO_TEMP_DIR"] = folder
        from PIL import Image

        from studio.app.page import build_page, theme
        from studio.app.style import CSS
        from studio.app.uploads import MOST_BYTES

        # Pillow warns of an image that is far beyond our own limit, which refuses it before it is decoded.
        warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
        page = build_page(shelf)
        name = f"[{host}]" if ":" in host else host
        try:
            page.launch(
                server_name=name,
                server_port=port,
                share=False,
                inbrowser=False,
                quiet=True,
                prevent_thread_lock=True,
                max_file_size=MOST_BYTES,
                enable_monitoring=False,
                ssr_mode=False,
                mcp_server=False,
                footer_links=[],
                strict_cors=True,
                theme=theme(),
                css=CSS,
                state_session_capacity=100,
            )
        except OSError as error:
            raise StudioError(f"--port {port}: cannot be used on {host}: {error}") from None
        address = f"http://{'localhost' if host in EVERYWHERE else name}:{port}/"
        print(f"{', '.join(shelf.names)}: open {address} (Ctrl-C ends it)", flush=True)
        if browser:
            webbrowser.open(address)
        try:
            _wait(told)
        finally:
            page.close(verbose=False)
    print("closed", file=sys.stderr)


@contextmanager
def _told_to_end() -> Iterator["SimpleQueue[int]"]:
    """Yields a queue that has something in it once the process is interrupted or terminated."""
    told: SimpleQueue[int] = (
        SimpleQueue()
    )  # unlike a threading.Event, it may be filled by a handler while it is waited for

    def tell(number: int, frame: FrameType | None) -> None:
        told.put(number)

    before = {number: signal.signal(number, tell) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(told: "SimpleQueue[int]") -> None:
    """Returns once there is something in the queue.

    It looks up now and then: a signal may be delivered to another of the process's threads, and Python runs its handler in
    the main thread, but only when that is awake.
    """
    while True:
        with suppress(Empty):
            told.get(timeout=0.2)
            return


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _fault(host: str, port: int) -> OSError | None:
    """Returns why a port cannot be listened on, if so."""
    try:
        with socket.socket(_family(host)) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            probe.listen(1)
    except OSError as error:
        return error
    return None


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
