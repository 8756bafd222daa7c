"""The Markdown pages of the project: their blocks of code, and how their commands run."""

import itertools
import re
import shlex
import shutil
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path

from accelerate.commands.launch import launch_command_parser
from torch.distributed.run import get_args_parser
from typer.main import get_command
from typer.testing import CliRunner

from studio import cli
from studio.config import find_config

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```", re.M | re.S)
INDENTED = re.compile(r"^ {4}((?:studio|accelerate launch|torchrun) .*)$", re.M)
COMMAND = re.compile(r"(?:studio|accelerate launch|torchrun) ")
SYSTEM = {"cat", "cp", "ls", "mkdir", "mv", "head"}  # what a page may run besides the studio
# A small budget and small nets, whatever a page asks for.
TINY = {
    "train.images": "64",
    "train.batch": "16",
    "train.threads": "1",
    "train.grid_every": "0",
    "nets.width": "4",
}
TRAINED: dict[tuple[str, ...], Path] = {}  # runs by the words that trained them


def blocks(page: Path, language: str) -> list[str]:
    """Returns the fenced blocks of a page in a language."""
    found = FENCE.findall(page.read_text(encoding="utf-8"))
    return [textwrap.dedent(text) for _, name, text in found if name == language]


def lines(block: str) -> Iterator[str]:
    """Yields the commands of a block, continued lines joined, without comments."""
    for line in block.replace("\\\n", " ").splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            yield line.strip()


def tiny_settings() -> list[str]:
    return [word for name, value in TINY.items() for word in ("--set", f"{name}={value}")]


def run_line(line: str) -> None:
    """Runs one line of a `bash` block as a reader would, but with a small budget."""
    words = shlex.split(line, comments=True)
    if words[0] in SYSTEM:
        subprocess.run(words, check=True, timeout=60)
    elif words[:3] == ["python", "-m", "pip"]:
        pass  # the set-up that brought this test here
    else:
        assert words[0] == "studio", f"{line}: expected a command of studio in a bash block"
        run_studio(words[1:], line)


def run_studio(words: list[str], line: str) -> None:
    """Runs a verb. Pages that train the same model with `--run` share one training."""
    extra = {
        "train": tiny_settings(),
        "compare": ["--seeds", "1", "--budget", "64", *tiny_settings()[2:]],
    }
    run = Path(words[words.index("--run") + 1]) if "--run" in words else None
    key = tuple(word for word in words if word != str(run))
    if key in TRAINED and run is not None and not run.exists():
        shutil.copytree(TRAINED[key], run)
        return
    result = CliRunner().invoke(cli.app, [*words, *extra.get(words[0], [])])
    assert result.exit_code in (0, 75), (line, result.output, result.exception)
    shared = words[0] == "train" and set(words[1::2]) == {"--cfg", "--run"} and "/" not in words[2]
    if run is not None and shared:
        TRAINED[key] = run.resolve()


def command_lines(page: Path) -> list[str]:
    """Returns every line of a page that starts the studio or a launcher, executed or not."""
    text = page.read_text(encoding="utf-8")
    fenced = [
        line for name in ("bash", "sh") for block in blocks(page, name) for line in lines(block)
    ]
    indented = FENCE.sub("", text.replace("\\\n", " "))
    return [line for line in [*fenced, *INDENTED.findall(indented)] if COMMAND.match(line)]


def parse_line(line: str) -> None:
    """Checks a command without running it: verbs, options, values and configs must exist."""
    line = re.split(r" (?:&|\||>|&&) ?", line + " ")[0]
    launcher, *words = shlex.split(line, comments=True)
    if launcher != "studio":
        parser = launch_command_parser() if launcher == "accelerate" else get_args_parser()
        given = ["0" if word == "R" else word for word in words[launcher == "accelerate" :]]
        parsed = parser.parse_args(given)
        expected = "studio.train" if parsed.module else "studio/train.py"
        assert parsed.training_script == expected, line
        words = ["train", *parsed.training_script_args]
    command = get_command(cli.app)
    while hasattr(command, "commands"):
        assert set(words[:1]) & set(command.commands), f"{line}: no such verb"
        command = command.commands[words[0]]
        words = words[1:]
    if "--help" not in words:
        command.make_context(words[0] if words else "", list(words))
    for option, value in itertools.pairwise(words):
        # Paths and names that begin with my_ are the reader's own.
        if option == "--cfg" and "/" not in value and not value.startswith("my_"):
            find_config(value)
