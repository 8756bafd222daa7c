"""The password of the app: its places, its check, and a real server that asks for it."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, Request, build_opener

import pytest
import typer
from typer.testing import CliRunner

from studio import cli
from studio.app import server
from studio.app.password import find_password, password_check
from studio.app.state import Shelf
from studio.errors import StudioError

WORD = "grün & lang genug"


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STUDIO_PASSWORD", raising=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "password.txt"
    path.write_text(WORD + "\n", encoding="utf-8")
    return path


def test_find_password_prefers_the_file_to_the_environment(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_password(None, False) is None
    monkeypatch.setenv("STUDIO_PASSWORD", "of the environment")
    assert find_password(None, False) == "of the environment"
    assert find_password(file, False) == WORD, "without the end of its line"


def test_find_password_asks_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(typer, "prompt", lambda *_, hide_input, **__: WORD if hide_input else "")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    assert find_password(None, True) == WORD
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    with pytest.raises(StudioError, match=r"^--password: asks on the terminal.*--password-file"):
        find_password(None, True)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "expected at least 8 characters, it is empty"),
        (b"\n", "expected at least 8 characters, it is empty"),
        (b"seven77\n", "expected at least 8 characters, found 7"),
        (b"long enough\nand more\n", "found 2 lines, expected the password alone"),
        (b"\xff\xfe\x00\x00\xd8", "not a text in UTF-8"),
    ],
)
def test_find_password_refuses_a_file_without_a_good_one(
    content: bytes, reason: str, file: Path
) -> None:
    file.write_bytes(content)
    with pytest.raises(StudioError) as refused:
        find_password(file, False)
    assert str(refused.value).startswith(f"--password-file {file}: {reason}")


@pytest.mark.parametrize("given", ["", "short"])
def test_app_refuses_a_short_password_of_the_environment(
    given: str, runs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUDIO_PASSWORD", given)
    result = CliRunner().invoke(cli.app, ["app", str(runs[0])])
    assert str(result.exception).startswith("STUDIO_PASSWORD: expected at least 8 characters")


def test_app_refuses_a_missing_file_and_two_places(runs: list[Path], file: Path) -> None:
    words = ["app", str(runs[0]), "--password-file"]
    missing = CliRunner().invoke(cli.app, [*words, str(file.parent / "none")]).exception
    assert isinstance(missing, StudioError)
    assert str(missing).endswith("none: No such file or directory")
    both = CliRunner().invoke(cli.app, [*words, str(file), "--password"]).exception
    assert str(both) == "--password and --password-file: expected one of them, found both"


def test_password_check_accepts_every_name_and_one_password() -> None:
    check = password_check(WORD)
    assert check("anyone", WORD)
    assert check("", WORD)
    assert not any(check("anyone", w) for w in ("", WORD[:-1], WORD + " ", WORD.upper(), "\udcff"))


def test_password_stands_nowhere_on_the_command_line(file: Path, runs: list[Path]) -> None:
    result = CliRunner().invoke(cli.app, ["app", "--password", WORD, str(runs[0])])
    assert f"{WORD}: no such run" in str(result.exception), "a word after it is a run"


def status(opener: Any, address: str, data: bytes | None = None) -> int:
    try:
        with opener.open(Request(address, data), timeout=30) as answer:
            return answer.status
    except HTTPError as error:
        return error.code


def test_serve_shows_the_page_after_the_password_only(
    runs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("gradio", reason="the extra `app` is not installed")
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    server.check_gradio()
    port = server.free_port("127.0.0.1", 0)
    address = f"http://127.0.0.1:{port}"
    found: dict[str, list[int]] = {}

    def visit(signals: object) -> None:
        for given in (WORD + "x", WORD):
            opener = build_opener(HTTPCookieProcessor())
            form = urlencode({"username": "anyone", "password": given}).encode()
            found[given] = [
                status(opener, f"{address}/config"),
                status(opener, f"{address}/gradio_api/queue/join", b"{}"),
                status(opener, f"{address}/login", form),
                status(opener, f"{address}/config"),
            ]

    monkeypatch.setattr(server, "wait_for_signal", visit)
    server.serve(Shelf(runs[:1], "cpu"), "127.0.0.1", port, password=WORD)
    assert found == {WORD + "x": [401, 401, 400, 401], WORD: [401, 401, 200, 200]}


def test_serve_does_not_warn_of_a_host_with_a_password(
    runs: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("gradio", reason="the extra `app` is not installed")
    from studio.app import page

    launched: dict[str, Any] = {}
    fake = SimpleNamespace(launch=launched.update, close=lambda **_: None)
    monkeypatch.setattr(page, "build_page", lambda shelf: fake)
    monkeypatch.setattr(server, "wait_for_signal", lambda signals: None)
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    for given in (None, WORD):
        server.serve(Shelf(runs[:1]), "0.0.0.0", 7860, password=given)
        said = capsys.readouterr().err
        assert ("--password-file FILE makes the page ask" in said) is (given is None)
        assert WORD not in said
        assert (launched["auth"] is None) is (given is None)
