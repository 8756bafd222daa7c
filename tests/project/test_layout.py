"""The tree: names, sizes, and calls that would run code from data."""

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
CODE = sorted(
    path for folder in ("studio", "nets", "losses") for path in (ROOT / folder).rglob("*.py")
)


def test_module_has_no_name_of_the_standard_library() -> None:
    # `accelerate launch studio/train.py` puts studio/ first on the path.
    assert not {path.stem for path in (ROOT / "studio").glob("*.py")} & set(
        sys.stdlib_module_names
    ) - {"__init__"}


def lines_without_docstring(function: ast.FunctionDef) -> int:
    """Returns the lines of a function that a reader must keep in mind at once."""
    first = function.body[0]
    documented = ast.get_docstring(function) is not None
    docstring = first.end_lineno - first.lineno + 1 if documented else 0
    return function.end_lineno - function.lineno + 1 - docstring


@pytest.mark.parametrize("path", CODE, ids=lambda p: str(p.relative_to(ROOT)))
def test_module_is_small_and_lists_its_exports(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "no module docstring"
    assert text.count("\n") <= 400
    long = [
        n.name
        for n in ast.walk(tree)
        if isinstance(n, ast.FunctionDef) and lines_without_docstring(n) > 70
    ]
    assert not long
    assert path.stem not in {"utils", "helpers", "misc", "base", "common"}
    if path.name not in ("train.py",) and any(
        isinstance(n, ast.FunctionDef | ast.ClassDef) for n in tree.body
    ):
        assert "__all__" in text


@pytest.mark.parametrize("path", CODE, ids=lambda p: str(p.relative_to(ROOT)))
def test_module_runs_no_code_from_data(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        keywords = {k.arg: ast.unparse(k.value) for k in node.keywords}
        assert name not in {
            "eval",
            "exec",
            "pickle.load",
            "pickle.loads",
            "joblib.load",
            "yaml.unsafe_load",
        }
        if name == "torch.load":
            assert keywords.get("weights_only") == "True"
        if name == "np.load":
            assert keywords.get("allow_pickle", "False") == "False"
        if name == "yaml.load":
            assert "Loader" in ast.unparse(node)


def test_text_names_no_machine_path_or_host() -> None:
    pattern = re.compile(
        r"(?<![\w.$}])/(?:tmp|root|work|home/[a-z]+)/|https?://[^\s)\"]+\.(?:whl|tar\.gz|tgz)\b"
    )
    for path in [
        *CODE,
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("docs/*.py"),
        *ROOT.glob("configs/**/*.yaml"),
        ROOT / "mkdocs.yml",
        ROOT / "Makefile",
        ROOT / "pyproject.toml",
    ]:
        assert not pattern.search(path.read_text(encoding="utf-8")), path


def test_picture_in_samples_has_its_command() -> None:
    pictures = {
        p.name
        for p in (ROOT / "samples").iterdir()
        if p.suffix in (".png", ".webp", ".gif", ".jpg")
    }
    listed = (ROOT / "samples" / "README.md").read_text(encoding="utf-8")
    for name in pictures:
        assert re.search(rf"^\| `{re.escape(name)}` \| `(studio|make) [^`]+` \|", listed, re.M), (
            name
        )
    pages = [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]
    pattern = re.compile(r"samples/([\w.-]+\.(?:png|webp|gif|jpg))")
    shown = {name for page in pages for name in pattern.findall(page.read_text("utf-8"))}
    assert shown <= pictures


@pytest.mark.parametrize(
    "path", sorted((ROOT / "tests").rglob("test_*.py")), ids=lambda p: str(p.relative_to(ROOT))
)
def test_test_module_is_small_and_imports_no_other_test(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 400
    for node in ast.walk(ast.parse(text)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        assert not [n for n in names if n.rpartition(".")[2].startswith("test_")]
