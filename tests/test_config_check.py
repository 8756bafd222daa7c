"""Faults that are found without torch have the words of the whole validation."""

import subprocess
import sys
from pathlib import Path

import pytest

from studio.config import list_configs, load
from studio.config_check import refuse_faults
from studio.errors import StudioError

ROOT = Path(__file__).resolve().parent.parent
FAULTS = [
    ["train.imges=3"],
    ["train.images=many", "method.zz=3", "fo.x=1"],
    ["method.z=abc", "method.weights.advv=1"],
    ["method.name=dgi"],
    ["data.name=digts"],
    ["nets.widht=3", "train.batch=7"],
    ["method.weights=3"],
]


@pytest.mark.parametrize("assignments", FAULTS, ids=" ".join)
def test_refuse_faults_says_the_same_as_load(assignments: list[str]) -> None:
    messages = []
    for check in (refuse_faults, load):
        with pytest.raises(StudioError) as caught:
            check("digits_dig", assignments)
        messages.append(sorted(str(caught.value).splitlines()))
    assert messages[0] == messages[1]


@pytest.mark.parametrize("name", list_configs())
def test_refuse_faults_accepts_every_shipped_config(name: str) -> None:
    refuse_faults(
        name, ["data.root=somewhere"] if name.startswith(("folders", "brats", "vbm")) else []
    )


def test_mistakes_are_answered_before_torch_is_imported(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("{}")
    lines = {
        "train --cfg digits_dgi": "did you mean 'digits_dig.yaml'?",
        "train --cfg digits_dig --set train.imges=3": "did you mean 'images'?",
        "bench --cfg digits_dig --set method.zz=3": "did you mean 'z'?",
        "compare digits_dgi": "did you mean 'digits_dig'?",
        "data check digits_dgi": "did you mean 'digits_dig'?",
        "probe nowhere": "nowhere: no such run",
        "probe run --protocol cartno": "did you mean 'carton'?",
        "render run haal": "did you mean 'heal'?",
        "render run heal --out x.pgn": "expected a name that ends in .png",
        "report run --out x.txt": "expected a name that ends in",
        "score nowhere": "nowhere: no such run",
        "app nowhere": "nowhere: no such run",
        "configs show digits_dgi": "did you mean 'digits_dig.yaml'?",
    }
    code = (
        "import sys, shlex\nfrom studio.cli import main\n"
        "for line in sys.stdin.read().splitlines():\n"
        "    sys.argv = ['studio', *shlex.split(line)]\n"
        "    try:\n        main()\n"
        "    except SystemExit as end:\n        assert end.code == 2, (line, end.code)\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input="\n".join(lines),
        text=True,
        cwd=tmp_path,
        capture_output=True,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
    )
    assert done.returncode == 0, done.stderr
    for words in lines.values():
        assert words in done.stderr
