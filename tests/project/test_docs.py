"""Every page: its commands run or parse, its Python runs, its links and files exist."""

import functools
import re
import shutil
from pathlib import Path

import pytest
import yaml
from support.pages import NAMES, PAGES, ROOT, blocks, command_lines, lines, parse_line, run_line

from studio import config
from studio.evaluate import measure
from studio.training import summary

EXECUTED = [name for name, page in zip(NAMES, PAGES, strict=True) if blocks(page, "bash")]
LINK = re.compile(r"\]\(([^)\s]+)\)")
NAMED = re.compile(r"`((?:studio|nets|losses|configs|tests|docs|samples)/[\w./-]+\.\w+)`")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Probes few images, because pages are checked for their commands and not for their numbers."""
    few = functools.partial(measure.measure, limit=300)
    monkeypatch.setattr(measure, "measure", few)
    monkeypatch.setattr(summary, "measure", few)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("name", EXECUTED)
def test_page_runs_from_top_to_bottom(name: str, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    for block in blocks(ROOT / name, "bash"):
        for line in lines(block):
            run_line(line)
    names: dict[str, object] = {"__name__": name}
    for block in blocks(ROOT / name, "python"):
        if re.search(r"^(?:import|from) ", block, re.M):
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
        raw = yaml.load(block, config._Loader)  # noqa: S506 - a SafeLoader
        sections = {"data", "method", "nets", "train", "paper"}
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
        if not re.search(r"[A-Z]{4}", path):  # studio/methods/NAME.py
            assert (ROOT / path).is_file(), f"{name}: {path}"


@pytest.mark.parametrize("name", NAMES)
def test_page_has_nothing_left_to_fill_in(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert not re.search(r"_RESULT\b|TODO|FIXME|XXX", text)


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2]
    pages = {str(p.relative_to(ROOT / "docs")) for p in (ROOT / "docs").rglob("*.md")}
    assert {page for page in pages if not re.search(rf"\b{page}\b", navigation)} == set()
