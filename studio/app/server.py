"""Serves the app on a port: on the loopback address by default, without links to the outside.

Nothing is left on the disk afterwards.
"""

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

from studio.app.password import password_check
from studio.errors import StudioError, warn
from studio.signal_handlers import handle_signals

if TYPE_CHECKING:
    from studio.app.state import Shelf

__all__ = ["check_gradio", "free_port", "serve", "stop_signals", "wait_for_signal"]

EVERYWHERE = ("0.0.0.0", "::")  # hosts that stand for every address of this machine
TRIED = 100  # ports that are tried after one that is in use
ANY_USER = "Any name, and the password that studio app was started with."
# No usage statistics, no search for newer versions and no public link, whatever the environment
# variables are.
QUIET = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_SHARE": "False",
    "GRADIO_MCP_SERVER": "False",
    "GRADIO_SSR_MODE": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
}


def check_gradio() -> None:
    """Checks that Gradio 6 is installed.

    Raises:
        StudioError: Gradio is missing or too old.
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
            f"studio app needs Gradio 6, found {gradio.__version__}: "
            "pip install 'contrastive-studio[app]'"
        )


def free_port(host: str, port: int) -> int:
    """Returns the port if nothing listens on it, or any free port for 0.

    Raises:
        StudioError: the port is in use, or the host is not an address of this machine.
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


def serve(
    shelf: "Shelf",
    host: str,
    port: int,
    browser: bool = False,
    root_path: str = "",
    password: str | None = None,
) -> None:
    """Serves the page until the process is interrupted or terminated.

    Args:
        shelf: the runs.
        host: address to listen on.
        port: a free port, see `free_port`.
        browser: whether to open the page in a browser.
        root_path: path or address under which a proxy shows the page. Empty without a proxy.
        password: what the page asks for before it shows anything. None: it does not ask.
    """
    if password is None and not _loopback(host):
        warn(
            f"--host {host}: everyone who can reach this machine can use the app and see the "
            "images of the runs; --password-file FILE makes the page ask for a password"
        )
    with (
        stop_signals() as signals,
        tempfile.TemporaryDirectory(prefix="studio-app-", ignore_cleanup_errors=True) as folder,
    ):
        os.environ["GRADIO_TEMP_DIR"] = folder
        from PIL import Image

        from studio.app.page import build_page
        from studio.app.theme import STYLE, theme
        from studio.app.uploads import MOST_BYTES

        # Pillow need not warn of huge images, because our limit refuses them before decoding.
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
                css=STYLE.read_text(encoding="utf-8"),
                state_session_capacity=100,
                root_path=root_path or None,
                auth=None if password is None else password_check(password),
                auth_message=None if password is None else ANY_USER,
            )
        except OSError as error:
            raise StudioError(f"--port {port}: cannot be used on {host}: {error}") from None
        address = f"http://{'localhost' if host in EVERYWHERE else name}:{port}/"
        print(f"{', '.join(shelf.names)}: open {address} (Ctrl-C ends it)", flush=True)
        if browser:
            webbrowser.open(address)
        try:
            wait_for_signal(signals)
        finally:
            page.close(verbose=False)
    print("closed", file=sys.stderr)


@contextmanager
def stop_signals() -> Iterator["SimpleQueue[int]"]:
    """Yields a queue that receives the number of each SIGINT and SIGTERM."""
    # Not a threading.Event, because a handler must be able to fill it while it is waited for.
    signals: SimpleQueue[int] = SimpleQueue()

    def record(number: int, frame: FrameType | None) -> None:
        signals.put(number)

    with handle_signals((signal.SIGINT, signal.SIGTERM), record):
        yield signals


def wait_for_signal(signals: "SimpleQueue[int]") -> None:
    """Waits for a signal in the queue.

    It wakes up regularly. A signal may be delivered to another thread of the process, and Python
    runs its handler in the main thread only while that thread is awake.
    """
    while True:
        with suppress(Empty):
            signals.get(timeout=0.2)
            return


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _fault(host: str, port: int) -> OSError | None:
    """Returns the error of listening on a port, or None."""
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
