"""README's commands run, in its order, with tiny budgets; its Python runs on the run they leave."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from accelerate.commands.launch import launch_command_parser
from torch.distributed.run import get_args_parser
from typer.main import get_command
from typer.testing import CliRunner

from studio import cli

ROOT = Path(__file__).resolve().parent.parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
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


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.M | re.S)


def commands() -> list[list[str]]:
    return [
        shlex.split(line, comments=True)
        for block in blocks("bash")
        for line in block.splitlines()
        if line.strip()
    ]


def launch(words: list[str], script: Path, **environment: str) -> None:
    """Runs `accelerate launch` as a user would, in a process of its own."""
    launcher = Path(sys.executable).with_name("accelerate")
    command = [str(launcher), *words[1:2], "--cpu", str(script), *words[3:], *TINY]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env=os.environ | environment
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_commands_run_in_the_readmes_order(tmp_path: Path) -> None:
    seen = set()
    for words in commands():
        if words[0] == "python":
            assert words[1:3] == ["-m", "pip"]  # the set-up that brought this test here
        elif words[0] == "accelerate":
            assert words[1:3] == ["launch", "studio/train.py"]
            launch(words, ROOT / "studio" / "train.py")
        else:
            assert words[0] == "studio", words
            extra = TINY if words[1] == "train" and "--dry-run" not in words else []
            result = CliRunner().invoke(cli.app, [*words[1:], *extra])
            assert result.exit_code == 0, (words, result.output, result.exception)
        seen.add(words[1])
    assert {"train", "probe", "render", "apply", "data"} <= seen
    assert (tmp_path / "runs" / "mine" / "probe.json").is_file()
    for block in blocks("python"):
        if "import" in block:
            exec(compile(block, "README.md", "exec"), {})


def test_every_line_that_launches_takes_every_option_of_train() -> None:
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


def test_launching_finds_this_tree_from_elsewhere_even_beside_another_clone(tmp_path: Path) -> None:
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


def test_pictures_exist_and_nothing_is_left_to_fill_in() -> None:
    pictures = re.findall(r"!\[[^]]*\]\(([^)]+)\)", README)
    assert pictures
    assert all((ROOT / picture).is_file() for picture in pictures)
    assert not re.search(r"[A-Z]_RESULT|TODO|FIXME|XXX", README)


def test_concepts_list_every_command() -> None:
    listed = re.findall(r"^\| `studio (\w+)` \|", CONCEPTS, re.M)
    assert sorted(listed) == sorted(get_command(cli.app).commands)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", re.findall(r"`([\w/.]+\.(?:py|md|yaml|csv))`", README))
def test_files_that_the_readme_names_exist(name: str) -> None:
    if name.startswith(("photos/", "config.yaml", "attributes.csv")) or name == "config.yaml":
        return
    assert (ROOT / name).is_file(), name
