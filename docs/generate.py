"""Builds the parts of the site that come from other places than `docs/*.md`.

MkDocs loads this module as a hook (see `mkdocs.yml`), so that the generated pages belong to every
build and are never out of date. Run as a script, the module writes `configs/schema.json`.
"""

import json
from pathlib import Path

from generate_fields import data_page, methods_page, sections_page
from generate_schema import config_schema
from generate_verbs import verbs_page
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

__all__ = ["SCHEMA", "on_files", "on_page_markdown", "schema_text"]

ROOT = Path(__file__).resolve().parent.parent
SCHEMA = ROOT / "configs" / "schema.json"
PICTURES = ROOT / "samples"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the generated pages, the project's own Markdown files and its pictures."""
    pages = {
        "reference/verbs.md": verbs_page(),
        "reference/config/sections.md": sections_page(),
        "reference/config/methods.md": methods_page(),
        "reference/config/data.md": data_page(),
        "changelog.md": _as_page("CHANGELOG.md"),
        "contributing.md": _as_page("CONTRIBUTING.md"),
    }
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    for picture in sorted(PICTURES.iterdir()):
        if picture.suffix in (".png", ".webp", ".gif", ".jpg"):
            files.append(
                File.generated(config, f"samples/{picture.name}", abs_src_path=str(picture))
            )
    files.append(File.generated(config, "schema.json", abs_src_path=str(SCHEMA)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Makes links to pictures work on the site, where `samples/` is inside of the pages' folder.

    In the repository it is a sibling of `docs/`, so a page there links to `../samples/` or, one
    folder below, to `../../samples/`.
    """
    depth = page.file.src_uri.count("/")
    return markdown.replace("../" * (depth + 1) + "samples/", "../" * depth + "samples/")


def _as_page(name: str) -> str:
    """Returns a Markdown file of the root, its links into `docs/` turned into links to pages."""
    return (ROOT / name).read_text(encoding="utf-8").replace("](docs/", "](")


def schema_text() -> str:
    """Returns the content of `configs/schema.json`."""
    return json.dumps(config_schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    SCHEMA.write_text(schema_text(), encoding="utf-8")
    print(SCHEMA.relative_to(ROOT))
