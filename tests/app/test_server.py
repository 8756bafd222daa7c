"""The server of the app: ports, hosts, Gradio's settings and signals."""

import signal
import socket
import sys
import threading
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from studio import cli
from studio.app import server
from studio.app.state import Shelf
from studio.errors import StudioError


@pytest.fixture
def taken() -> Any:
    """A port in use."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_free_port_names_the_next_free_one_if_in_use(taken: int) -> None:
    line = rf"^--port {taken}: in use on 127\.0\.0\.1; the next free one is --port \d+$"
    with pytest.raises(StudioError, match=line) as refused:
        server.free_port("127.0.0.1", taken)
    free = int(str(refused.value).split()[-1])
    assert taken < free
    assert server.free_port("127.0.0.1", free) == free
    assert server.free_port("127.0.0.1", 0) not in (0, taken)


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid"])
def test_free_port_refuses_a_host_of_another_machine(host: str) -> None:
    with pytest.raises(StudioError, match=f"--host {host}: not an address of this machine"):
        server.free_port(host, 7860)


def invoke(*words: object) -> str:
    result = CliRunner().invoke(cli.app, ["app", *map(str, words)])
    assert isinstance(result.exception, StudioError), result.output
    return str(result.exception)


def test_app_says_how_to_install_gradio(runs: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert invoke(runs[0]).endswith("pip install 'contrastive-studio[app]'")
    monkeypatch.setitem(sys.modules, "gradio", SimpleNamespace(__version__="3.50.2"))
    assert "found 3.50.2: pip install 'contrastive-studio[app]'" in invoke(runs[0])


def test_app_refuses_bad_runs_and_ports_before_it_serves(
    runs: list[Path], taken: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "check_gradio", lambda: None)
    monkeypatch.setattr(server, "serve", lambda *_: pytest.fail("it must not answer"))
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "config.yaml").write_text(
        (runs[0] / "config.yaml").read_text(encoding="utf-8"), encoding="utf-8"
    )
    assert "empty: no checkpoint yet" in invoke(empty, "--port", 0)
    assert "empty: no checkpoint yet" in invoke(runs[0], empty, "--port", 0), "nor a second one"
    assert "nowhere: no such run" in invoke(tmp_path / "nowhere", "--port", 0)
    assert f"--port {taken}: in use" in invoke(runs[0], "--port", taken)


@pytest.mark.parametrize("path", ["user/me", "/with space", "ftp://x", "/a?b"])
def test_app_refuses_a_root_path_that_is_none(path: str, runs: list[Path]) -> None:
    assert invoke(runs[0], "--root-path", path).startswith(f"--root-path {path}: expected a path")


@pytest.mark.parametrize("path", ["", "/user/me/proxy/7860", "https://example.org/studio"])
def test_app_serves_under_the_path_of_a_proxy(
    path: str, runs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[Any] = []
    monkeypatch.setattr(server, "check_gradio", lambda: None)
    monkeypatch.setattr(server, "serve", lambda *arguments: served.append(arguments[4]))
    given = ["--root-path", path] if path else []
    assert CliRunner().invoke(cli.app, ["app", str(runs[0]), "--port", "0", *given]).exit_code == 0
    assert served == [path]


@pytest.mark.parametrize(
    ("host", "shown", "warned"),
    [
        ("127.0.0.1",) * 2 + (False,),
        ("::1", "[::1]", False),
        ("localhost",) * 2 + (False,),
        ("0.0.0.0", "localhost", True),
    ],
)
def test_serve_listens_on_loopback_by_default_and_never_shares(
    host: str,
    shown: str,
    warned: bool,
    runs: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("gradio", reason="the extra `app` is not installed")
    from studio.app import page

    launched: dict[str, Any] = {}
    fake = SimpleNamespace(
        launch=lambda **options: launched.update(options), close=lambda **_: None
    )
    monkeypatch.setattr(page, "build_page", lambda shelf: fake)
    monkeypatch.setattr(
        server, "stop_signals", lambda: nullcontext(SimpleNamespace(get=lambda timeout: None))
    )
    monkeypatch.setenv("GRADIO_SHARE", "True")
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    server.check_gradio()
    server.serve(Shelf(runs[:1]), host, 7860)
    said = capsys.readouterr()
    assert ("everyone who can reach this machine" in said.err) is warned
    assert f"open http://{shown}:7860/" in said.out
    assert launched["server_name"] == (shown if host == "::1" else host)
    assert (launched["share"], launched["max_file_size"]) == (False, 10 * 2**20)


def test_page_offers_no_api(runs: list[Path]) -> None:
    pytest.importorskip("gradio", reason="the extra `app` is not installed")
    from studio.app.page import build_page

    blocks = build_page(Shelf(runs, "cpu"))
    assert len(blocks.fns) > 10
    assert not blocks.get_api_info()["named_endpoints"]
    assert {fn.api_visibility for fn in blocks.fns.values()} == {"private"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_wait_for_signal_sees_signals_of_other_threads(number: signal.Signals) -> None:
    ended = threading.Event()
    other = threading.Thread(target=ended.wait)
    other.start()
    assert other.ident
    timer = threading.Timer(0.3, signal.pthread_kill, [other.ident, number])
    try:
        with server.stop_signals() as signals:
            timer.start()
            server.wait_for_signal(signals)
    finally:
        ended.set()
    assert timer.finished.is_set()
