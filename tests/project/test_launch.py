"""The launch target and the list of commands: every launcher's line is valid and trains."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from accelerate.commands.launch import launch_command_parser
from torch.distributed.run import get_args_parser
from typer.main import get_command

from studio import cli

ROOT = Path(__file__).resolve().parent.parent.parent
LAUNCH = (ROOT / "studio" / "train.py").read_text(encoding="utf-8").replace("\\\n", " ")
CONCEPTS = (ROOT / "docs" / "concepts.md").read_text(encoding="utf-8")
TINY = [
    "--set",
    "train.images=64",
    "--set",
    "train.batch=16",
    "--set",
    "train.threads=1",
    "--set",
    "train.grid_every=0",
]


def launch(words: list[str], script: Path, **environment: str) -> None:
    """Runs `accelerate launch` as a user would, in a process of its own."""
    launcher = Path(sys.executable).with_name("accelerate")
    command = [str(launcher), *words[1:2], "--cpu", str(script), *words[3:], *TINY]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env=os.environ | environment
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_launch_line_takes_every_option_of_train() -> None:
    parsers = {"accelerate": launch_command_parser, "torchrun": get_args_parser}
    lines = [shlex.split(line) for line in re.findall(r"\n +((?:accelerate|torchrun) .*)", LAUNCH)]
    assert {line[0] for line in lines} == set(parsers)
    ours = shlex.split(
        "--run r --set a.b=c --resume --requeue --allow d --stop-after 1h --deterministic --dry-run"
    )
    for launcher, *words in lines:
        script = words.index("studio/train.py")
        given = parsers[launcher]().parse_args(
            [word.replace("R", "0") for word in words[launcher == "accelerate" :]] + ours
        )
        assert given.training_script_args == [*words[script + 1 :], *ours]


def test_launch_target_finds_this_tree_from_beside_another_clone(tmp_path: Path) -> None:
    # Another project's `nets` in the current folder and on PYTHONPATH must not be taken for ours.
    (tmp_path / "other" / "nets").mkdir(parents=True)
    (tmp_path / "other" / "nets" / "__init__.py").write_text("raise SystemExit('the wrong nets')")
    os.chdir(tmp_path / "other")
    launch(
        ["accelerate", "launch", "studio/train.py", "--cfg", "digits_dig.yaml", "--run", "r"],
        ROOT / "studio" / "train.py",
        PYTHONPATH=str(tmp_path / "other"),
    )
    assert Path("r/probe.json").is_file()


def test_concepts_page_lists_every_command() -> None:
    listed = re.findall(r"^\| `studio (\w+)` \|", CONCEPTS, re.M)
    assert sorted(listed) == sorted(get_command(cli.app).commands)  # type: ignore[attr-defined]
