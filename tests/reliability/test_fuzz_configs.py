"""Hostile configs and options: they are accepted and written without loss, or refused clearly."""

from pathlib import Path

import pytest
import yaml
from hypothesis import strategies as st
from support.fuzzing import SCALARS, TREES, edit_bytes, fuzz

from studio.config import Config, dump, load, read_yaml, resolve


def paths_of(tree: dict, prefix: tuple = ()) -> list[tuple]:
    inner = [
        path
        for key, value in tree.items()
        if isinstance(value, dict)
        for path in paths_of(value, (*prefix, key))
    ]
    return [(*prefix, key) for key in tree] + inner


VALID = {name: yaml.safe_load(dump(load(name))) for name in ("digits_dig", "digits_cvae_fc")}
CHANGES = st.tuples(
    st.sampled_from(sorted(VALID)),
    st.lists(
        st.tuples(st.integers(0, 200), st.sampled_from(["put", "delete", "add"]), TREES),
        min_size=1,
        max_size=4,
    ),
)


def mutate(case: tuple) -> dict:
    name, changes = case
    tree = yaml.safe_load(yaml.safe_dump(VALID[name]))
    for number, kind, value in changes:
        paths = paths_of(tree)
        *before, last = paths[number % len(paths)] if paths else ("train",)
        node = tree
        for key in before:
            node = node[key]
        if kind == "delete":
            node.pop(last, None)
        else:
            node[f"{last}{'x' * (kind == 'add')}"] = value
    return tree


def check_round_trip(config: Config) -> None:
    """An accepted config is complete: it can be written, and read again without a change."""
    text = dump(config)
    Path("again.yaml").write_text(text, encoding="utf-8")
    assert dump(resolve(read_yaml(Path("again.yaml")), config.name, "again.yaml")) == text


@fuzz(CHANGES)
def check_changed_configs(case: tuple, folder: Path) -> None:
    """Fields are replaced, added and removed."""
    check_round_trip(resolve(mutate(case), "fuzz", "fuzz.yaml"))


def test_resolve_accepts_or_refuses_changed_configs() -> None:
    check_changed_configs(150)


@pytest.mark.slow
def test_resolve_accepts_or_refuses_2000_changed_configs() -> None:
    check_changed_configs(2_000)


ALMOST = st.lists(
    st.tuples(st.integers(0, 2**16), st.sampled_from([b"0", b"9", b" ", b"\n", b"#", b":", b"-"])),
    max_size=2,
)
WRITTEN = yaml.safe_dump(VALID["digits_dig"]).encode()


@fuzz(
    st.one_of(
        st.binary(max_size=200),
        st.text(max_size=200).map(str.encode),
        TREES.map(lambda tree: repr(tree).encode()),
        ALMOST.map(lambda edits: edit_bytes(WRITTEN, edits)),
    )
)
def check_config_files(case: bytes, folder: Path) -> None:
    """Files have any bytes."""
    (folder / "fuzz.yaml").write_bytes(case)
    check_round_trip(load("fuzz.yaml"))


def test_load_accepts_or_refuses_files_of_any_bytes() -> None:
    check_config_files(100)


@pytest.mark.slow
def test_load_accepts_or_refuses_2000_files_of_any_bytes() -> None:
    check_config_files(2_000)


KEYS = st.sampled_from(["train.lr", "nets", "method.weights.adv", "data.name", "seed.x", ""])
ASSIGNED = st.text(max_size=20) | st.tuples(KEYS, SCALARS).map(lambda pair: f"{pair[0]}={pair[1]}")


@fuzz(st.lists(ASSIGNED, max_size=3))
def check_assignments(case: list[str], folder: Path) -> None:
    """Values of `--set` are of any text."""
    check_round_trip(load("digits_dig", case))


def test_load_accepts_or_refuses_any_assignments() -> None:
    check_assignments(100)


@pytest.mark.slow
def test_load_accepts_or_refuses_2000_lists_of_assignments() -> None:
    check_assignments(2_000)
