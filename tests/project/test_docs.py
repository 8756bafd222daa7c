"""Every page: its commands run or parse, its Python runs, its links and files exist."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from support.pages import NAMES, ROOT, blocks, command_lines, lines, parse_line, run_line

from studio import config, strict_yaml
from studio.data import Dataset
from studio.evaluate import attribute_classifier, measure
from studio.evaluate.probes import ProbeOptions, encode_train_and_test
from studio.method import Method

IMPORT = re.compile(r"^(?:import|from) ", re.M)
OWN_TEST = "docs/tutorials/brats.md"  # its Python writes the volumes that its commands read
READERS_FILES = {"studio/methods/cae.py"}  # a file that a tutorial tells the reader to write


def python_blocks(name: str) -> list[str]:
    return [block for block in blocks(ROOT / name, "python") if IMPORT.search(block)]


EXECUTED = [
    name
    for name in NAMES
    if name != OWN_TEST and (blocks(ROOT / name, "bash") or python_blocks(name))
]
LINK = re.compile(r"\]\(([^)\s]+)\)")
NAMED = re.compile(r"`((?:studio|nets|losses|configs|tests|docs|samples)/[\w./-]+\.\w+)`")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measures on few images, because pages are checked for their commands, not their numbers."""

    def encode_few(
        method: Method, dataset: Dataset, options: ProbeOptions
    ) -> tuple[object, object]:
        return encode_train_and_test(method, dataset, replace(options, limit=300))

    monkeypatch.setattr(measure, "encode_train_and_test", encode_few)
    monkeypatch.setattr(attribute_classifier, "STEPS", 20)
    monkeypatch.setattr(attribute_classifier, "IMAGES", 200)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("name", EXECUTED)
def test_page_runs_from_top_to_bottom(name: str, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    for block in blocks(ROOT / name, "bash"):
        for line in lines(block):
            run_line(line)
    names: dict[str, object] = {"__name__": name}
    for block in python_blocks(name):
        exec(compile(block, name, "exec"), names)


@pytest.mark.parametrize("name", NAMES)
def test_page_has_only_valid_commands(name: str) -> None:
    for line in command_lines(ROOT / name):
        try:
            parse_line(line)
        except (Exception, SystemExit) as error:
            pytest.fail(f"{name}: {line}\n{type(error).__name__}: {error}")


@pytest.mark.parametrize("name", NAMES)
def test_page_has_only_valid_code(name: str) -> None:
    for block in blocks(ROOT / name, "python"):
        compile(block, name, "exec")
    for block in blocks(ROOT / name, "yaml"):
        raw = yaml.load(block, strict_yaml.Loader)  # noqa: S506 - a SafeLoader
        sections = {"data", "method", "nets", "train", "analysis", "paper"}
        if isinstance(raw, dict) and set(raw) <= sections:
            complete = {"data": {"name": "digits"}, "method": {"name": "dig"}, **raw}
            config.resolve(complete, "page", name)


@pytest.mark.parametrize("name", NAMES)
def test_page_links_to_existing_files(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    generated = {"verbs.md", "sections.md", "methods.md", "data.md", "schema.json"}
    generated |= {"changelog.md", "contributing.md"}
    for target in LINK.findall(re.sub(r"```.*?```", "", text, flags=re.S)):
        path = target.partition("#")[0]
        if not path or "://" in path or path.rpartition("/")[2] in generated:
            continue
        assert ((ROOT / name).parent / path).is_file(), f"{name}: {target}"
    for path in NAMED.findall(text):
        if "NAME" not in path and path not in READERS_FILES:
            assert (ROOT / path).is_file(), f"{name}: {path}"


@pytest.mark.parametrize("name", NAMES)
def test_page_has_nothing_left_to_fill_in(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert not re.search(r"_RESULT\b|TODO|FIXME|XXX", text)


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2]
    pages = {str(p.relative_to(ROOT / "docs")) for p in (ROOT / "docs").rglob("*.md")}
    assert {page for page in pages if not re.search(rf"\b{page}\b", navigation)} == set()
