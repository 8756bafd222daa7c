"""Every option and argument that is a path expands ~, in every verb."""

from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from support.experiments import tiny
from support.runs import studio

from studio import cli
from studio.config import dump, find_config
from studio.verbs.data import data_app
from studio.verbs.options import expand


def path_parameters() -> dict[str, Any]:
    """Returns "verb parameter" -> what typer knows of it, for every parameter that is a path."""
    verbs = {
        info.callback.__name__: info.callback
        for app in (cli.app, data_app)
        for info in app.registered_commands
    }
    return {
        f"{verb} {name}": next(x for x in hint.__metadata__ if hasattr(x, "callback"))
        for verb, function in verbs.items()
        for name, hint in get_type_hints(function, include_extras=True).items()
        if hasattr(hint, "__metadata__") and "Path" in str(get_args(hint)[0])
    }


def test_every_verb_that_opens_data_takes_a_data_root() -> None:
    verbs = ("train", "probe", "render", "score", "report", "apply", "app", "compare", "bench")
    verbs = (*verbs, "export", "codes", "analyse")
    assert {f"{verb} data_root" for verb in verbs} <= {*path_parameters()}


@pytest.mark.parametrize("name", path_parameters())
def test_path_of_a_verb_expands_the_home_folder(name: str) -> None:
    assert path_parameters()[name].callback is expand


def test_expand_leaves_other_values_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somewhere")
    assert expand(None) is None
    assert expand(Path("a/~b")) == Path("a/~b")
    assert expand([Path("~"), Path("x")]) == [Path("/somewhere"), Path("x")]


def test_train_takes_config_and_run_from_the_home_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "tiny.yaml").write_text(dump(tiny("cvae", images=16)))
    assert find_config("~/tiny.yaml") == tmp_path / "tiny.yaml"
    studio("train", "--cfg", "~/tiny.yaml", "--run", "~/r", "--stop-after", "0s", code=75)
    assert (tmp_path / "r" / "config.yaml").is_file()
    assert not (tmp_path / "~").exists()
