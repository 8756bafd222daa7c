"""Configs: strict validation, one message with all faults, nearest names, YAML 1.2 values."""

from pathlib import Path
from types import UnionType
from typing import Annotated, Union, get_args, get_origin

import pytest
import yaml

from studio.config import FOLDERS, Config, dump, find_config, list_configs, load, read_yaml, resolve
from studio.data import DATASETS
from studio.errors import StudioError
from studio.methods import METHODS
from studio.schema import (
    Layer,
    NetsConfig,
    PaperConfig,
    PaperReading,
    Published,
    Section,
    TrainConfig,
    field_docs,
)

RAW = {"data": {"name": "digits"}, "method": {"name": "dig"}}


def faults_of(*assignments: str, raw: dict | None = None) -> str:
    """Returns the message about a config with these overrides."""
    with pytest.raises(StudioError) as caught:
        resolve(RAW if raw is None else raw, "x", "x.yaml", assignments)
    return str(caught.value)


@pytest.mark.parametrize("name", list_configs())
def test_dump_reads_back_as_the_same_config(name: str) -> None:
    config = load_with_root(name)
    assert resolve(yaml.safe_load(dump(config)), "other", "other") == config
    assert config.name == name.removesuffix(".yaml")
    data, method = config.name.split("_dig")[0], config.method.name
    assert config.name.startswith(data)
    # PCA is contrastive PCA without a contrast.
    assert f"_{method}" in config.name or (method == "cpca" and "_pca" in config.name)


def load_with_root(name: str) -> Config:
    """Returns a shipped config, with a root if its data set requires one."""
    try:
        return load(name)
    except StudioError:
        return load(name, ["data.root=somewhere"])


def test_resolve_lists_all_faults_with_paths_and_nearest_names() -> None:
    message = faults_of("train.imges=3", "metod.z=4", "method.weights.clas=0", "data.resolutoin=32")
    assert "x.yaml: 4 faults" in message
    assert "train.imges: no such field; did you mean 'images'?" in message
    assert "metod: no such section; did you mean 'method'?" in message
    assert "method.weights: no term is called 'clas'; did you mean 'class'?" in message
    assert "data.resolutoin: no such field; did you mean 'resolution'?" in message


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        (
            "train.images=many",
            "train.images: found 'many', expected a whole number from 1 to",
        ),
        ("train.batch=true", "train.batch: found true, expected a whole number from 4"),
        ("train.batch=7", "train.batch: found 7, expected an even number"),
        ("train.lr=-1", "train.lr: found -1"),
        ("train.mixed_precision=bf61", "did you mean 'bf16'?"),
        ("data.resolution=48", "data.resolution: found 48, expected 32 or 64"),
        ("method.name=dgi", "method.name: found 'dgi'; did you mean 'dig'?"),
        ("data.name=digts", "did you mean 'digits'?"),
        ("method.z=0", "method.z: found 0"),
        ("method.weights.adv=-1", "found adv=-1.0, expected weights from 0 to 1e+09"),
        ("method.weights.adv=.nan", "found adv=nan, expected weights"),
        ("method.times.H=2", "method.times.H: no such field; valid: CR, D, G"),
        ("data.attributes.digit=saliant", "did you mean 'salient'?"),
        ("train=3", "train: found 3, expected a mapping"),
        ("seed=-1", "seed: found -1"),
        ("seed=null", "seed: found null, expected a whole number from 0"),
        ("train.threads=0", "train.threads"),
        ("train.betas=[1, 1]", "train.betas"),
        ("train.lr=.inf", "train.lr: found inf"),
        ("name=a/b", "name: found 'a/b', expected a plain name"),
    ],
)
def test_resolve_names_path_found_and_expected_value(assignment: str, expected: str) -> None:
    message = faults_of(assignment)
    assert expected in message
    assert " fault" in message
    assert "\n  " in message


def test_resolve_reports_faults_of_every_section() -> None:
    message = faults_of("seed=-1", "train.batch=7", "data.resolutoin=32", "name=a/b", "method.z=0")
    assert "5 faults" in message
    for path in ("seed", "train.batch", "data.resolutoin", "name", "method.z"):
        assert f"\n  {path}: " in message


@pytest.mark.parametrize(
    "name", ["08", "0815", "1e5", "1e-4", "no", "null", "1:30", "true", "a: b", "~"]
)
def test_dump_quotes_names_that_look_like_another_type(name: str) -> None:
    config = resolve(RAW, name, "x")
    Path("again.yaml").write_text(dump(config))
    assert load("again.yaml") == config
    assert load("again.yaml").name == name


@pytest.mark.parametrize("assignment", ["train.lr", "=3", "train..lr=3"])
def test_resolve_refuses_malformed_assignments(assignment: str) -> None:
    assert "expected a.b=value" in faults_of(assignment)


def test_resolve_lists_valid_names_when_a_name_is_missing() -> None:
    message = faults_of(raw={})
    assert "data.name: missing; one of textured_digits" in message
    assert "method.name: missing; one of dig" in message


def test_read_yaml_follows_yaml_1_2(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(
        "a: 1e-4\nb: no\nc: 2_000_000\nd: 1.5e3\ne: off\nf: 012\n"
        "g: 1:30\nh: true\ni:\nj: -3\nk: .5\n"
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


def test_resolve_applies_assignments_as_yaml() -> None:
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


def test_resolve_rounds_the_budget_up_and_expands_short_names() -> None:
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
def test_load_names_the_file_with_invalid_yaml(tmp_path: Path, text: str) -> None:
    path = tmp_path / "faulty config.yaml"
    path.write_text(text)
    with pytest.raises(StudioError, match=r"faulty config.yaml") as caught:
        load(str(path))
    assert "Traceback" not in str(caught.value)


def test_find_config_finds_paths_and_shipped_names_only(tmp_path: Path) -> None:
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


def test_paper_section_is_validated_and_written_without_empty_fields() -> None:
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
    message = faults_of(
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
    assert "paper.source: missing" in faults_of("paper.numbers.a=1")
    assert "paper.attributes.digit.common: found no number" in faults_of(
        "paper.source=x", "paper.attributes.digit.common={}"
    )


SECTIONS: list[type[Section]] = [
    Config,
    NetsConfig,
    TrainConfig,
    PaperConfig,
    PaperReading,
    Published,
    Layer,
    *(method.Config for method in METHODS.values()),
    *(dataset.Config for dataset in DATASETS.values()),
]


@pytest.mark.parametrize("section", dict.fromkeys(SECTIONS))
def test_field_docs_describe_every_field_and_the_unit_of_numbers(section: type[Section]) -> None:
    for name, doc in field_docs(section).items():
        assert doc.description.endswith((".", "`", ")")), name
        if is_number(section.model_fields[name].annotation):
            assert doc.unit, name


def is_number(annotation: object) -> bool:
    """Returns whether a field may be an int or a float, but no list of them."""
    if isinstance(annotation, UnionType) or get_origin(annotation) in (Annotated, Union):
        return any(map(is_number, get_args(annotation)))
    return annotation in (int, float)
