"""The graph of imports: no circles, and arrows point down only."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
# Packages by level. A package imports from lower levels, and from its own package.
LEVELS = [
    {"nets", "losses", "studio.distributed"},
    {"studio.data"},
    {"studio.methods"},
    {"studio.runs"},
    {"studio.evaluate", "studio.render"},
    {"studio.analyse"},
    {"studio.report", "studio.export"},
    {"studio.training"},
    {"studio.compare", "studio.app", "studio.bench"},
    {"studio.verbs"},
]
LEVEL = {package: level for level, packages in enumerate(LEVELS) for package in packages}
TOP = {"studio.cli", "studio.train"}  # they put the verbs together
ENTRY = {"studio"}  # `from studio import Run` is for users


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {
    module_name(path): path
    for folder in ("studio", "nets", "losses")
    for path in sorted((ROOT / folder).rglob("*.py"))
}


def nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Yields the nodes of a module, except those that only a type checker reads."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        yield from nodes(node)


@cache
def imports(module: str) -> frozenset[str]:
    """Returns the modules of this project that a module imports, at its top or when it runs."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    found: set[str] = set()
    for node in nodes(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            # A name may be a submodule, or a member of the module.
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in MODULES else node.module)
    return frozenset((found & set(MODULES)) - {module} - ENTRY)


def package_of(module: str) -> str:
    """Returns the package with a level that a module is in, or the module itself."""
    first = ".".join(module.split(".")[:2])
    return next((name for name in (first, first.partition(".")[0]) if name in LEVEL), module)


def circle_from(start: str) -> list[str] | None:
    """Returns the modules of a circle through a module, or None."""
    waiting, seen = [[start]], {start}
    while waiting:
        path = waiting.pop()
        for target in sorted(imports(path[-1])):
            if target == start:
                return [*path, start]
            if target not in seen:
                seen.add(target)
                waiting.append([*path, target])
    return None


def test_imports_have_no_circle() -> None:
    circles = {frozenset(found): found for name in MODULES if (found := circle_from(name))}
    assert not circles, "circles of imports:\n" + "\n".join(
        " -> ".join(circle) for circle in circles.values()
    )


def level_below(module: str) -> int:
    """Returns the highest level that a module without a level reaches through its imports."""
    levels, waiting, seen = [-1], [module], {module}
    while waiting:
        for target in imports(waiting.pop()) - seen:
            seen.add(target)
            package = package_of(target)
            if package in LEVEL:
                levels.append(LEVEL[package])
            else:
                waiting.append(target)
    return max(levels)


@pytest.mark.parametrize("module", [m for m in MODULES if package_of(m) in LEVEL])
def test_module_imports_from_lower_levels_only(module: str) -> None:
    own = package_of(module)
    upward = []
    for target in imports(module):
        package = package_of(target)
        level = LEVEL[package] if package in LEVEL else level_below(target)
        if package != own and (target in TOP or level >= LEVEL[own]):
            upward.append(target)
    assert not upward, f"{module} imports upward: {', '.join(sorted(upward))}"
