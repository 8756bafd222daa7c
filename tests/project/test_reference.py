"""The reference: documented keys and files are those of real answers, the schema is current."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from support.experiments import tiny
from support.pages import ROOT
from support.runs import studio
from support.source_files import mnist_arrays, write_idx

from studio.build import build_dataset, build_method
from studio.config import dump, resolve
from studio.evaluate import attribute_classifier, judge
from studio.evaluate.counterfactual import counterfactual
from studio.evaluate.disentanglement.scores import disentangle

sys.path.append(str(ROOT / "docs"))

import generate
import generate_verbs

JSON_PAGE = (ROOT / "docs" / "reference" / "json.md").read_text(encoding="utf-8")
RUN_PAGE = (ROOT / "docs" / "reference" / "run-directory.md").read_text(encoding="utf-8")
SPACES = ("salient", "common", "whole")


def documented(name: str) -> set[str]:
    """Returns the keys in the first column of a table of the page, SPACE replaced by its values."""
    marker = f"<!-- keys: {name} -->"
    assert marker in JSON_PAGE, f"docs/reference/json.md: no table {marker}"
    table = JSON_PAGE.partition(marker)[2].lstrip().partition("\n\n")[0]
    cells = [re.findall(r"`([^`]+)`", row.split("|")[1]) for row in table.splitlines()[2:]]
    keys = {key for cell in cells for key in cell}
    spread = {key.replace("SPACE", space) for key in keys for space in SPACES}
    return {key for key in spread if "SPACE" not in key}


def check(name: str, found: dict[str, Any], optional: set[str] | None = None) -> None:
    """Compares documented keys with found ones; None as `optional` allows any to be absent."""
    unknown = set(found) - documented(name)
    assert not unknown, f"docs/reference/json.md, {name}: not documented: {sorted(unknown)}"
    if optional is not None:
        missing = documented(name) - set(found) - optional
        assert not missing, f"docs/reference/json.md, {name}: not found: {sorted(missing)}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison of one small training, which is probed, scored and exported."""
    place = tmp_path_factory.mktemp("reference")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setattr(attribute_classifier, "STEPS", 20)
        patch.setattr(attribute_classifier, "IMAGES", 200)
        patch.setattr(attribute_classifier, "TESTED", 100)
        Path("tiny.yaml").write_text(dump(tiny(save_every=32, grid_every=32, log_every=16)))
        studio("train", "--cfg", "tiny.yaml", "--set", "seed=0", "--run", "all/tiny-seed0")
        studio("compare", "tiny.yaml", "--seeds", "1", "--out", "all")
        studio("score", "all/tiny-seed0", "--n", "16")
        studio("export", "all/tiny-seed0", "exported", "--no-onnx")
    return place


@pytest.fixture(scope="module")
def run(folder: Path) -> Path:
    return folder / "all" / "tiny-seed0"


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_json_page_lists_the_keys_of_a_probe(run: Path) -> None:
    probe = read(run / "probe.json")
    check("probe", probe, {"disentangle", "counterfactual", "swaps"})
    for row in probe["rows"]:
        check("probe.rows[]", row, set())
        check("probe.rows[].also", row["also"])
    check("probe.separation", probe["separation"], {"note"})
    attribute = probe["separation"]["attributes"]["digit"]
    absent = {"tsne", "note", *(f"clustering_{m}_whole" for m in ("accuracy", "chance"))}
    check("probe.separation.attributes.NAME", attribute, absent)
    check("probe.reconstruction", probe["reconstruction"], set())


def test_json_page_lists_the_keys_of_an_analysis(run: Path) -> None:
    seeds = [run, run]
    few = ("images=40", "permutations=99", "most_groups=2", "same_space=true")
    options = [part for field in few for part in ("--set", f"analysis.{field}")]
    out, _ = studio("analyse", *seeds, *options, "--json")
    found = json.loads(out)
    assert found == read(seeds[0] / "analysis.json")
    check("analysis", found, set())
    for key in ("difference", "subgroups", "where"):
        check(f"analysis.{key}", found[key], set())
    check("analysis.trust.seeds", found["trust"]["seeds"], set())
    for row in found["associations"]:
        check("analysis.associations[]", row, {"note"})
    check("analysis.subjects[]", found["subjects"][0], set())


def test_json_page_lists_the_keys_of_counterfactuals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge, "STEPS", 2)
    monkeypatch.setattr(judge, "IMAGES", 20)
    config = tiny(data="brain_phantom")
    dataset = build_dataset(config)
    found = counterfactual(build_method(config, dataset.shape).eval(), dataset, limit=8)
    assert found is not None
    truth = documented("probe.counterfactual (truth)")
    assert truth <= set(found)
    rest = {key: value for key, value in found.items() if key not in truth}
    check("probe.counterfactual", rest, {"note"})


def test_json_page_lists_the_keys_of_disentanglement(tmp_path: Path) -> None:
    write_idx(tmp_path, mnist_arrays())
    raw = {
        "data": {"name": "dsprites_mnist", "root": str(tmp_path)},
        "nets": {"width": 4},
        "method": {"name": "dig", "z": 4, "s": 3},
    }
    config = resolve(raw, "sprites", "sprites")
    dataset = build_dataset(config)
    method = build_method(config, dataset.shape).eval()
    found = disentangle(method, dataset, images=1_000, group=5, votes=10)
    assert found is not None
    check("probe.disentangle", found, {"note"})


def test_json_page_lists_the_keys_of_a_score(run: Path) -> None:
    score = read(run / "score.json")
    check("score", score, set())
    check("score", score["scores"][0], {"scores"})
    for row in score["rows"]:
        check("score.rows[]", row, set())


def test_json_page_lists_the_keys_of_a_comparison(folder: Path) -> None:
    result = read(folder / "all" / "compare.json")
    check("compare", result, set())
    for row in result["rows"]:
        check("compare.rows[]", row, {"centrality"})
        for member in row["runs"]:
            check("compare.rows[].runs[]", member, set())
            assert member["state"] == "done"
        for number in row["numbers"].values():
            check("compare.rows[].numbers.KEY", number, set())


def test_json_page_lists_the_keys_of_manifests(folder: Path, run: Path) -> None:
    absent = {"data_changes", "started_from", "ended"}
    check("checkpoint", read(run / "checkpoints" / "00000064" / "manifest.json"), absent)
    check("export", read(folder / "exported" / "manifest.json"), set())
    check("preprocessing", read(folder / "exported" / "preprocessing.json"), set())


def test_json_page_lists_the_keys_of_apply(run: Path, tmp_path: Path) -> None:
    Image.new("L", (8, 8), 9).save("one.png")
    done = json.loads(studio("apply", run, "one.png", "applied", "--json")[0])
    check("apply", done, set())
    check("apply.json", read(tmp_path / "applied" / "apply.json"), set())


def test_json_page_lists_the_keys_of_log_lines(run: Path) -> None:
    known = documented("log")
    for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines():
        for key in json.loads(line):
            assert key in known or re.fullmatch(r"[A-Za-z]+/[a-z_.]+", key), key


def test_run_directory_page_lists_every_file(run: Path) -> None:
    patterns = []
    for cell in re.findall(r"^\| ([^|]+) \|", RUN_PAGE, re.M):
        for name in re.findall(r"`([^`]+)`", cell):
            text = re.escape(name).replace("NNNNNNNN", r"\d{8}").replace(r"\*", r"[^/]+")
            patterns.append(re.compile(re.sub(r"\bKIND\b|\bNAME\b", r"[a-z]+", text)))
    files = [str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()]
    assert len(files) > 15
    assert [f for f in files if not any(pattern.fullmatch(f) for pattern in patterns)] == []
    # And the other way round: files of every training are there.
    for name in ("config.yaml", "log.jsonl", "probe.json", "report.html", "score.json"):
        assert f"`{name}`" in RUN_PAGE
        assert name in files


def test_schema_file_is_current() -> None:
    found = generate.SCHEMA.read_text(encoding="utf-8")
    assert found == generate.schema_text(), "configs/schema.json is out of date: run make schema"


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda p: p.stem)
def test_schema_knows_every_field_of_a_config(path: Path) -> None:
    schema = generate.config_schema()
    raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    for section, fields in raw.items():
        node = schema["properties"][section]
        if not isinstance(fields, dict):
            continue
        if "allOf" in node:
            name = fields["name"]
            (node,) = [
                branch["then"]
                for branch in node["allOf"]
                if name in branch["if"]["properties"]["name"]["enum"]
            ]
        known = schema["$defs"][node["$ref"].rpartition("/")[2]]["properties"]
        assert set(fields) <= set(known), section


def test_schema_refers_only_to_definitions_that_exist() -> None:
    schema = generate.config_schema()
    references = set(re.findall(r'"#/\$defs/([^"]+)"', json.dumps(schema)))
    assert references <= set(schema["$defs"])


def test_verbs_page_has_every_option_that_help_shows() -> None:
    page = generate_verbs.verbs_page()
    for name in generate_verbs.verbs():
        section = page.partition(f"## studio {name} ")[2].partition("\n## ")[0]
        shown, _ = studio(*name.split(), "--help")
        options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", shown)) - {"--help"}
        assert options <= set(re.findall(r"--[a-z][a-z-]+", section)), name
