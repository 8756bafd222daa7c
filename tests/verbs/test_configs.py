"""`studio configs`, and the next step that `studio data init` names."""

import shlex
from pathlib import Path

import pytest
from support.runs import studio

from studio.config import find_config, list_configs, load


def test_configs_list_names_each_config_with_its_first_sentence() -> None:
    out, _ = studio("configs", "list")
    rows = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert {f"{name}.yaml" for name in rows} == {*list_configs()}
    assert rows["folders_dig"] == "Double InfoGAN on two folders of your own images"


def test_configs_list_takes_a_word_and_refuses_one_that_no_name_has() -> None:
    out, _ = studio("configs", "list", "folders_")
    assert all(line.startswith("folders_") for line in out.splitlines())
    _, error = studio("configs", "list", "foldres", code=2)
    assert error == "configs list foldres: no config has this in its name"


def test_configs_show_prints_a_config_that_loads_to_the_same(tmp_path: Path) -> None:
    out, _ = studio("configs", "show", "digits_dig", "--set", "method.z=5")
    shown = tmp_path / "digits_dig.yaml"
    shown.write_text(out)
    assert load(str(shown)) == load("digits_dig", ["method.z=5"])


def test_configs_copy_writes_the_file_and_never_over_another(tmp_path: Path) -> None:
    out, _ = studio("configs", "copy", "digits_dig", tmp_path)
    copied = tmp_path / "digits_dig.yaml"
    assert out.strip() == str(copied)
    assert copied.read_bytes() == find_config("digits_dig").read_bytes()
    _, error = studio("configs", "copy", "digits_vae", copied, code=2)
    assert error == f"{copied}: exists already; give another name"
    assert copied.read_bytes() == find_config("digits_dig").read_bytes()


@pytest.mark.parametrize(
    ("to", "expected"),
    [
        ("mine.txt", "mine.txt: expected a name that ends in .yaml"),
        ("no/mine.yaml", "no/mine.yaml: the folder no does not exist"),
    ],
)
def test_configs_copy_refuses_a_place_that_cannot_be(to: str, expected: str) -> None:
    assert studio("configs", "copy", "digits_dig", to, code=2)[1] == expected


@pytest.mark.parametrize("options", [[], ["--cohort", 12]], ids=["example", "cohort"])
def test_data_init_names_a_next_step_that_works(options: list[object], tmp_path: Path) -> None:
    root = tmp_path / "with space"
    _, notes = studio("data", "init", root, *options)
    [line] = [line for line in notes.splitlines() if line.startswith("next: ")]
    check, train = line.removeprefix("next: ").split(", then ")
    words = shlex.split(check)
    assert words[:3] == ["studio", "data", "check"]
    assert studio(*words[1:])[0]
    assert shlex.split(train) == ["studio", "train", "--cfg", words[3]]
