"""The BraTS tutorial runs from top to bottom, on the volumes that its first block draws."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from studio import cli

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "tutorials" / "brats.md"
BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```", re.M | re.S)
TINY = "--set train.images=32 --set train.batch=16 --set train.threads=1 --set train.grid_every=0"


def test_brats_page_runs_from_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "brats"}
    for language, block in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        if language == "python":
            exec(compile(block, "brats.md", "exec"), names)
            continue
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line)[1:]
            if words[0] == "train":
                words += shlex.split(f"{TINY} --set nets.width=4")
            result = CliRunner().invoke(cli.app, words)
            assert result.exit_code == 0, (line, result.output, result.exception)
    assert (tmp_path / "healed" / "heal" / "BraTS2021_00000_t1.nii.gz").is_file()
