"""The command line in terminals of any kind: other encodings, closed or full streams, variables of
other programs."""

import io
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from studio import cli
from studio.terminal import open_console, plain_text, prepare_terminal, printable

STUDIO = [sys.executable, "-c", "from studio.cli import main; main()"]
SIGNS = "↑ ↓ ± σ × … é 患者 \udcff"


def run(*arguments: str, shell: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs a verb in a process of its own, with variables, and shell redirections behind it."""
    command = subprocess.list2cmdline([*STUDIO, *arguments])
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command} {shell}"],
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, "OMP_NUM_THREADS": "1", **variables},
        timeout=120,
        check=False,
    )


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Puts back all that `prepare_terminal` changes in this process."""
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    with warnings.catch_warnings():
        yield


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "utf-8", "gbk"])
def test_output_is_never_refused_when_the_encoding_lacks_signs(
    encoding: str, terminal: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    streams = {name: io.TextIOWrapper(io.BytesIO(), encoding=encoding) for name in ("out", "err")}
    monkeypatch.setattr(sys, "stdout", streams["out"])
    monkeypatch.setattr(sys, "stderr", streams["err"])
    prepare_terminal()
    print(SIGNS)
    open_console(stderr=True).print(SIGNS, markup=False)
    for stream in streams.values():
        stream.flush()
        text = stream.buffer.getvalue().decode(encoding)
        assert text.strip() == plain_text(SIGNS, encoding)
        assert text.startswith("^ v " if encoding in ("ascii", "cp1252", "latin-1") else "↑ ↓ ")


def test_plain_text_keeps_what_the_encoding_has_and_replaces_the_rest() -> None:
    assert plain_text("é ↑ ± σ", "utf-8") == "é ↑ ± σ"
    assert plain_text("é ↑ ± σ", "cp1252") == "é ^ ± \\u03c3"
    assert plain_text("é ↑ ± …", "ascii") == "\\xe9 ^ +- ..."


def test_printable_keeps_letters_and_escapes_control_characters() -> None:
    assert printable("a b é 患 '\"\\") == "a b é 患 '\"\\"
    assert printable("a\nb\x1b[31m\u202e") == "a\\nb\\x1b[31m\\u202e"


WARN = """
import warnings
from studio.terminal import prepare_terminal
prepare_terminal()
warnings.warn("no glyph\\n  for a letter", UserWarning)
warnings.warn("old", DeprecationWarning)
"""


def test_warning_of_a_library_is_one_line_and_no_error_when_warnings_are_errors() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", WARN],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "warning: no glyph for a letter\n")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (PermissionError(13, "Permission denied", "a.png"), "a.png: Permission denied"),
        (OSError(28, "No space left on device"), "a file or the output cannot be written: No "),
        (MemoryError(), "out of memory"),
        (UnicodeEncodeError("ascii", "é", 0, 1, "ordinal"), "PYTHONUTF8=1 uses UTF-8"),
    ],
)
def test_error_of_the_system_is_one_line(
    error: Exception, line: str, terminal: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: object) -> None:
        raise error

    found = io.StringIO()
    monkeypatch.setattr(sys, "stderr", found)
    monkeypatch.setattr(cli, "_drop_stdout", lambda: None)
    with pytest.raises(SystemExit) as stopped:
        cli._run(fail)
    assert stopped.value.code == 2
    assert found.getvalue().startswith("error: ")
    assert line in found.getvalue()
    assert found.getvalue().count("\n") == 1


def test_error_of_the_program_keeps_its_traceback(terminal: None) -> None:
    def fail(**_: object) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cli._run(fail)


@pytest.mark.parametrize("columns", ["0", "-3", "wide", ""])
def test_console_shows_everything_when_columns_is_no_number(
    columns: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    open_console().print("x" * 300)
    assert capsys.readouterr().out == "x" * 300 + "\n"


@pytest.mark.parametrize(
    ("shell", "code"), [(">&-", 0), ("2>&-", 0), ("<&-", 0), ("> /dev/full", 2), ("| true", None)]
)
def test_verb_has_no_traceback_when_a_stream_is_closed_or_full(
    shell: str, code: int | None
) -> None:
    done = run("data", "list", shell=shell)
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    if code is not None:
        assert done.returncode == code, done.stderr
        assert ("cannot be written: No space left" in done.stderr) == (code == 2)


VARIABLES = {
    "PYTHONIOENCODING": "ascii",
    "LC_ALL": "C",
    "PYTHONCOERCECLOCALE": "0",
    "PYTHONUTF8": "0",
    "PYTHONWARNINGS": "error",
    "PYTHONOPTIMIZE": "2",
    "MPLBACKEND": "module://not_installed",
    "MPLCONFIGDIR": "/proc/none",
    "HOME": "/proc/none",
    "TERM": "dumb",
    "NO_COLOR": "1",
    "COLUMNS": "20",
}


def test_picture_is_drawn_when_other_programs_have_set_all_variables(tmp_path: Path) -> None:
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\nfont.size: 99\n", encoding="utf-8")
    done = run("data", "preview", "textured_digits", "--n", "2", **VARIABLES)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "preview.png").is_file()


DRAW = """
import numpy as np
from studio.data.dataset import Attribute
from studio.projection import Plane
from studio.render.scatter import draw_panels
points = np.random.default_rng(0).normal(size=(9, 2))
planes = {code: Plane(points, ("a", "b")) for code in "sz"}
numbers = np.arange(9) % 2 + 0.0
print(draw_panels(planes, {"a $x_$": (Attribute("salient", ("_", "$\\\\n$")), numbers)}).sum())
"""


@pytest.mark.parametrize("backend", ["module://not_installed", "nonsense", ""])
def test_figure_is_the_same_whatever_matplotlib_finds(backend: str, tmp_path: Path) -> None:
    def draw() -> str:
        done = subprocess.run(
            [sys.executable, "-c", DRAW],
            capture_output=True,
            text=True,
            env={**os.environ, "MPLBACKEND": backend},
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    plain = draw()
    (tmp_path / "matplotlibrc").write_text(
        "font.size: 30\nfigure.facecolor: red\nfont.family: Comic\n", encoding="utf-8"
    )
    assert draw() == plain


USAGE = [
    (["render", "run", "grid", "--n", "0"], "--n 0: expected at least 1"),
    (["render", "run", "grid", "--n", "many"], "--n many: expected a whole number"),
    (["render", "run", "grid", "--range", "a", "1"], "--range a: expected a number"),
    (["render", "run", "codes", "--seed", "9" * 20], "at most 9,223,372,036,854,775,807"),
    (["bench", "--iterations", "1000000"], "--iterations 1000000: expected at most 10,000"),
    (["probe", "run", "--jsn"], "no such option: --jsn"),
    (["prob"], "no such command 'prob'"),
    (["train"], "missing option '--cfg'"),
    (["render", "run"], "missing argument"),
    (["render", "run", "grid", "more"], "unexpected extra argument"),
]


@pytest.mark.parametrize(("arguments", "words"), USAGE)
def test_wrong_use_of_an_option_is_one_line_in_our_words(
    arguments: list[str], words: str, terminal: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = io.StringIO()
    monkeypatch.setattr(sys, "stderr", found)
    monkeypatch.setattr(sys, "argv", ["studio", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 2
    line = found.getvalue()
    assert line.startswith("error: ")
    assert line.count("\n") == 1
    assert words in line
    assert "Input should" not in line
    assert " --help lists what is valid" in line


@pytest.mark.parametrize(("arguments", "code"), [(["--help"], 0), ([], 2), (["data"], 2)])
def test_help_is_printed_when_it_is_wanted_or_nothing_is_given(
    arguments: list[str], code: int, terminal: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = io.StringIO()
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, found)
    monkeypatch.setattr(sys, "argv", ["studio", *arguments])
    with suppress(SystemExit):
        cli.main()
        assert code == 0
    assert "Commands:" in found.getvalue()


@pytest.mark.parametrize("code", [1, 137])
def test_exit_code_of_a_verb_is_kept(code: int, terminal: None) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli._run(lambda **_: code)
    assert stopped.value.code == code


def test_verb_that_succeeds_raises_nothing(terminal: None) -> None:
    cli._run(lambda **_: None)


@pytest.mark.parametrize(
    "text", ["DefaultCPUAllocator: can't allocate memory", "CUDA out of memory. Tried"]
)
def test_lack_of_memory_is_one_line(
    text: str, terminal: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: object) -> None:
        raise RuntimeError(text)

    found = io.StringIO()
    monkeypatch.setattr(sys, "stderr", found)
    with pytest.raises(SystemExit):
        cli._run(fail)
    assert found.getvalue().startswith("error: out of memory; smaller nets.width")
    text = "another error"
    with pytest.raises(RuntimeError, match="another error"):
        cli._run(fail)
