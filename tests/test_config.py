"""Configs: strict, all faults in one message, nearest names, YAML as people mean it."""

from pathlib import Path

import pytest
import yaml

from studio.config import FOLDERS, dump, find_config, list_configs, load, read_yaml, resolve
from studio.errors import StudioError

RAW = {"data": {"name": "digits"}, "method": {"name": "dig"}}


def fault(*assignments: str, raw: dict | None = None) -> str:
    with pytest.raises(StudioError) as caught:
        resolve(RAW if raw is None else raw, "x", "x.yaml", assignments)
    return str(caught.value)


@pytest.mark.parametrize("name", list_configs())
def test_every_config_resolves_and_reads_back_the_same(name: str) -> None:
    assignments = ["data.root=somewhere"] if "root: null" not in dump(load_with_root(name)) else []
    config = load(name, assignments)
    assert resolve(yaml.safe_load(dump(config)), "other", "other") == config
    assert config.name == name.removesuffix(".yaml")
    data, method = config.name.split("_dig")[0], config.method.name
    assert config.name.startswith(data)
    assert f"_{method}" in config.name


def load_with_root(name: str) -> object:
    try:
        return load(name)
    except StudioError:
        return load(name, ["data.root=somewhere"])


def test_three_typos_come_in_one_message_with_paths_and_nearest_names() -> None:
    message = fault("train.imges=3", "metod.z=4", "method.weights.clas=0", "data.resolutoin=32")
    assert "x.yaml: 4 faults" in message
    assert "train.imges: no such field; did you mean 'images'?" in message
    assert "metod: no such section; did you mean 'method'?" in message
    assert "method.weights: no term is called 'clas'; did you mean 'class'?" in message
    assert "data.resolutoin: no such field; did you mean 'resolution'?" in message


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("train.images=many", "train.images: found 'many', expected a valid integer"),
        ("train.batch=true", "train.batch: found True, expected a valid integer"),
        ("train.batch=7", "train.batch: found 7, expected an even number"),
        ("train.lr=-1", "train.lr: found -1"),
        ("train.mixed_precision=bf61", "did you mean 'bf16'?"),
        ("data.resolution=48", "data.resolution: found 48, expected 32 or 64"),
        ("method.name=dgi", "method.name: found 'dgi'; did you mean 'dig'?"),
        ("data.name=digts", "did you mean 'digits'?"),
        ("method.z=0", "method.z: found 0"),
        ("method.weights.adv=-1", "not negative"),
        ("method.weights.adv=.nan", "finite"),
        ("method.times.H=2", "method.times.H: no such field; valid: CR, D, G"),
        ("data.attributes.digit=saliant", "did you mean 'salient'?"),
        ("train=3", "train: found 3, expected a mapping"),
        ("seed=-1", "seed: found -1"),
        ("seed=null", "seed: found None"),
        ("train.threads=0", "train.threads"),
        ("train.betas=[1, 1]", "train.betas"),
        ("train.lr=.inf", "train.lr: found inf"),
        ("name=a/b", "name: found 'a/b', expected a plain name"),
    ],
)
def test_each_fault_has_a_path_what_was_found_and_what_is_expected(
    assignment: str, expected: str
) -> None:
    message = fault(assignment)
    assert expected in message
    assert " fault" in message
    assert "\n  " in message


def test_a_fault_in_one_section_hides_none_in_another() -> None:
    message = fault("seed=-1", "train.batch=7", "data.resolutoin=32", "name=a/b", "method.z=0")
    assert "5 faults" in message
    for path in ("seed", "train.batch", "data.resolutoin", "name", "method.z"):
        assert f"\n  {path}: " in message


@pytest.mark.parametrize(
    "name", ["08", "0815", "1e5", "1e-4", "no", "null", "1:30", "true", "a: b", "~"]
)
def test_names_that_look_like_something_else_survive_the_file(name: str) -> None:
    config = resolve(RAW, name, "x")
    Path("again.yaml").write_text(dump(config))
    assert load("again.yaml") == config
    assert load("again.yaml").name == name


@pytest.mark.parametrize("assignment", ["train.lr", "=3", "train..lr=3"])
def test_malformed_assignments(assignment: str) -> None:
    assert "expected a.b=value" in fault(assignment)


def test_missing_names_list_what_there_is() -> None:
    message = fault(raw={})
    assert "data.name: missing; one of textured_digits" in message
    assert "method.name: missing; one of dig" in message


def test_yaml_means_what_people_write(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(
        "a: 1e-4\nb: no\nc: 2_000_000\nd: 1.5e3\ne: off\nf: 012\ng: 1:30\nh: true\ni:\nj: -3\nk: .5\n"
    )
    assert read_yaml(path) == {
        "a": 1e-4,
        "b": "no",
        "c": 2_000_000,
        "d": 1500.0,
        "e": "off",
        "f": 12,
        "g": "1:30",
        "h": True,
        "i": None,
        "j": -3,
        "k": 0.5,
    }


def test_overrides_are_yaml_and_win() -> None:
    config = resolve(
        RAW,
        "x",
        "x",
        [
            "train.lr=1e-4",
            "train.mixed_precision=no",
            "method.weights.image=0",
            "train.betas=[0, 0.9]",
        ],
    )
    assert config.train.lr == 1e-4
    assert config.train.mixed_precision == "no"
    assert config.train.betas == (0.0, 0.9)
    assert config.method.weights["image"] == 0
    assert config.method.weights["adv"] == 0.5


def test_budget_is_rounded_up_to_whole_steps_and_short_names_become_long() -> None:
    config = resolve(RAW, "x", "x", ["train.images=1000", "train.batch=128"])
    assert config.train.images == 1024
    assert config.data.name == "textured_digits"
    assert resolve(RAW | {"method": {"name": "double_infogan"}}, "x", "x").method.name == "dig"


@pytest.mark.parametrize(
    "text",
    [
        "a: [1",
        "- 1\n- 2",
        "a: 1\na: 2",
        "a: !!python/object/apply:os.system ['true']",
        "\x00",
        "? [a]: b",
    ],
)
def test_faulty_yaml_is_one_line_naming_the_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "faulty config.yaml"
    path.write_text(text)
    with pytest.raises(StudioError, match=r"faulty config.yaml") as caught:
        load(str(path))
    assert "Traceback" not in str(caught.value)


def test_configs_are_found_by_name_from_anywhere_and_nothing_outside(tmp_path: Path) -> None:
    assert (
        find_config("digits_dig.yaml")
        == find_config("digits_dig")
        == FOLDERS[0] / "digits_dig.yaml"
    )
    own = Path("digits_dig.yaml")
    own.write_text("data: {name: digits}\nmethod: {name: dig}\n")
    assert find_config("digits_dig.yaml") == own  # the path as given comes first
    with pytest.raises(StudioError, match=r"did you mean 'digits_dig.yaml'"):
        find_config("digit_dig.yaml")
    with pytest.raises(StudioError, match="no such file or config"):
        find_config("../pyproject.toml")
    with pytest.raises(StudioError, match="a folder"):
        find_config(str(tmp_path))


def test_what_a_paper_reports_is_checked_and_written_short() -> None:
    paper = {
        "source": "Table 2",
        "attributes": {"digit": {"salient": 0.87, "common": {"best": 0.25, "worst": 0.28}}},
    }
    config = resolve({**RAW, "paper": paper}, "x", "x")
    assert config.paper.attributes["digit"].salient.average == 0.87
    written = yaml.safe_load(dump(config))["paper"]
    assert written["attributes"]["digit"] == {
        "salient": {"average": 0.87},
        "common": {"best": 0.25, "worst": 0.28},
    }
    assert set(written) == {"source", "attributes"}
    assert resolve(yaml.safe_load(dump(config)), "x", "x") == config
    assert resolve(RAW, "x", "x").paper is None
    message = fault(
        "paper.attributes.digit.salientt=1",
        "paper.attributes.digit.common.avrage=1",
        "paper.numbers.a=x",
        "paper.protocol=cartoon",
        raw={**RAW, "paper": paper},
    )
    assert "4 faults" in message
    assert "paper.attributes.digit.salientt: no such field; did you mean 'salient'?" in message
    assert "paper.attributes.digit.common.avrage: no such field; did you mean 'average'?" in message
    assert "paper.numbers.a: found 'x', expected a number or a mapping" in message
    assert "paper.protocol: found 'cartoon'" in message
    assert "paper.source: missing" in fault("paper.numbers.a=1")
    assert "paper.attributes.digit.common: found no number" in fault(
        "paper.source=x", "paper.attributes.digit.common={}"
    )
