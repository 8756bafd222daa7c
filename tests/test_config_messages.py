"""Messages about configs: in words of the studio, with the bounds of a number, never in those of a
library."""

import re
from itertools import chain
from pathlib import Path

import pytest
from annotated_types import Le, Lt

from studio.config import Head, parse_assignment, resolve
from studio.data import DATASETS
from studio.errors import StudioError
from studio.expectations import expected_value
from studio.methods import METHODS
from studio.published import Published
from studio.schema import Layer, NetsConfig, TrainConfig
from studio.section import Section
from studio.strict_yaml import read_yaml

RAW = {"data": {"name": "digits"}, "method": {"name": "dig"}}
LIBRARY = re.compile(
    r"[Ii]nput should|valid (integer|number|string|dictionary|list|tuple|boolean)|literal\[|"
    r"constrained|instance of|function-|pydantic|Value error|<unicode string>|scalar|str\b|int\b|"
    r"dict\b|NoneType|codec"
)
WRONG = ["-1", "0.5", "1e6", "many", "true", "null", "[1, 2]", "{a: 1}", "[]", "''", "1e30"]
WRONG += ["99999999999999999999", "'0,5'", "-.inf", ".nan", "'5'", "[[x]]"]
SECTIONS = {
    "head": (Head, RAW),
    "train": (TrainConfig, RAW),
    "nets": (NetsConfig, RAW),
    **{
        f"data of {name}": (owner.Config, {**RAW, "data": {"name": name, "root": "somewhere"}})
        for name, owner in DATASETS.items()
    },
    **{
        f"method of {name}": (owner.Config, {**RAW, "method": {"name": name}})
        for name, owner in METHODS.items()
    },
}


def message_of(assignment: str, raw: dict | None = None) -> str:
    """Returns the faults of a config with an override, or "" if it is valid."""
    try:
        resolve(RAW if raw is None else raw, "x", "x.yaml", [assignment])
    except StudioError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", SECTIONS)
def test_wrong_value_of_any_field_is_described_in_our_words(name: str) -> None:
    cls, raw = SECTIONS[name]
    prefix = "" if name == "head" else name.split()[0] + "."
    faults = 0
    for field in cls.model_fields:
        for value in WRONG:
            message = message_of(f"{prefix}{field}={value}", raw)
            faults += bool(message)
            assert not LIBRARY.search(message), message
            assert "Traceback" not in message
    assert faults > len(cls.model_fields)


def numeric_fields() -> dict[str, tuple[object, list]]:
    found = {}
    for cls, _ in [*SECTIONS.values(), (Layer, None)]:
        for name, field in cls.model_fields.items():
            words = expected_value(field.annotation, field.metadata)
            if "number" in words:
                found[f"{cls.__name__}.{name}"] = (words, field.metadata)
    return found


# These have a validator that names both ends, or a rule of their own.
OWN = {
    "AffectNetConfig.per_class",
    "BratsConfig.nan",
    "FoldersConfig.window",
    "FoldersConfig.slice",
    "FoldersConfig.axis",
    "FoldersConfig.nan",
    "VbmConfig.nan",
    "PneumoniaConfig.per_class",
}


@pytest.mark.parametrize("name", sorted(set(numeric_fields()) - OWN))
def test_every_number_of_the_config_has_a_lower_and_an_upper_bound(name: str) -> None:
    words, metadata = numeric_fields()[name]
    parts = list(chain.from_iterable(getattr(m, "metadata", [m]) for m in metadata))
    bounded = any(isinstance(part, Le | Lt) for part in parts)
    assert bounded or " to " in words or "below" in words or "'image'" in words, words


@pytest.mark.parametrize(
    ("field", "most"),
    [
        ("seed", 2**63 - 1),
        ("train.images", 10**12),
        ("train.batch", 2**20),
        ("nets.width", 2**16),
        ("method.z", 2**16),
        ("train.threads", 1_024),
        ("train.lr", 100),
        ("method.weights.adv", 1e9),
    ],
)
def test_largest_value_is_taken_and_the_next_names_field_and_bound(field: str, most: float) -> None:
    assert message_of(f"{field}={most:g}" if isinstance(most, float) else f"{field}={most}") == ""
    above = most * 2
    message = message_of(f"{field}={above:.0f}")
    assert f"\n  {field.rpartition('.adv')[0] or field}: found " in message
    assert f"{most:,}" in message or f"{most:g}" in message


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("train.images=1e6", "found 1000000.0, expected a whole number from 1 to 1,000,000,000,000"
         "; write 1000000"),
        ("train.lr='0,5'", "found '0,5', expected a number above 0 and at most 100; write 0.5"),
        ("train.batch='8'", "write 8 without quotes"),
        ("train.threads=x", "found 'x', expected a whole number from 1 to 1,024 or 'auto'"),
        ("train.betas=3", "found 3, expected a list of 2 values, each a number"),
        ("nets.norm=spectrl", "did you mean 'spectral'?"),
        ("nets.zero_bias=maybe", "found 'maybe', expected true or false"),
        ("nets.head=[{linear: 0}]", "expected a whole number from 1 to 65,536, or image"),
        ("nets.head=[3]", "nets.head.0: found 3, expected a mapping"),
        ("nets.head=[{linear: 3, akt: relu}]", "nets.head.0.akt: no such field; did you mean"),
        ("data.attributes=[v]", "data.attributes: found ['v'], expected a mapping"),
        ("data.attributes={v: {kind: number}}", "expected {belongs: salient or common"),
        ("train.keep_best=3", "train.keep_best: found 3, expected text"),
        ("paper={images: 3}", "paper.source: missing; expected text"),
        ("paper={source: x, protocol: y}", "expected 'held-out', 'carton', 'louiset' or null"),
    ],
)  # fmt: skip
def test_message_says_what_is_expected_and_how_to_write_it(assignment: str, expected: str) -> None:
    assert expected in message_of(assignment)


def test_slice_of_volumes_is_one_fault() -> None:
    raw = {**RAW, "data": {"name": "folders", "root": "somewhere"}}
    message = message_of("data.slice=-1", raw)
    assert message.splitlines()[0] == "x.yaml: 1 fault"
    assert "middle" in message


def test_published_numbers_need_no_bound() -> None:
    assert expected_value(Published.model_fields["average"].annotation) == "a number or null"


class Alternatives(Section):
    value: dict[str, list[int | str] | None] = {}  # noqa: RUF012


def test_place_of_a_fault_has_no_name_of_an_alternative() -> None:
    from studio.config import validate_section

    with pytest.raises(StudioError) as refused:
        validate_section(Alternatives, {"value": {"a": [1, "b", [2]], "c": 3}}, "here")
    assert str(refused.value).splitlines() == [
        "here: 2 faults",
        "  value.a.2: found [2], expected a whole number or text",
        "  value.c: found 3, expected a list of values, each a whole number or text or null",
    ]


YAML = {
    '  root: "C:\\data"': ("line 2, column 13", "\\d means nothing in double quotes; use single"),
    '  root: "C:\\users"': ("line 2", "use single quotes"),
    "\troot: x": ("line 2, column 1", "a tab; indent with spaces"),
    "  root: @x": ("line 2", "a text cannot begin with @; put the text in single quotes"),
    "  root: *x.png": ("line 2", "begins with *"),
    "  root: !x": ("line 2", "begins with !"),
    '  root: "x': ("line 2, column 9", "a quote is not closed"),
    "  root: a: b": ("line 2", "a colon that YAML does not expect here"),
    "  root: [1, 2": ("line 2, column 9", "a comma or ] is missing"),
    "  root: {a: 1": ("line 2, column 9", "a comma or } is missing"),
    "  root: 'it's'": ("line 2", "a quote in single quotes is written ''"),
    "  root: - x": ("line 2", "a list begins in the line of its name"),
    "  root: x\nseed": ("", "a line without a colon"),
    "  name: x\n root: x": ("line 3", "does not fit those above"),
    "  name: x\n  name: y": ("line 2", "key given twice: name"),
    "  {a: 1}: x": ("line 2", "a list or a mapping where a name is expected"),
    "  name: x\n---\na: 1": ("line 3", "a second document"),
    "  name: \x00": ("", "a control character"),
    "  name: " + "9" * 5_000: ("", "a number with too many digits"),
    "  name: " + "[" * 3_000: ("", "nested too deeply"),
}


@pytest.mark.parametrize("text", YAML, ids=lambda text: repr(text[:24]))
def test_fault_of_yaml_names_place_and_remedy(text: str, tmp_path: Path) -> None:
    path, (place, words) = tmp_path / "a.yaml", YAML[text]
    path.write_text(f"data:\n{text}\n", encoding="utf-8")
    with pytest.raises(StudioError) as refused:
        read_yaml(path)
    message = str(refused.value)
    assert message.startswith(f"{path}: not valid YAML: {place}")
    assert words in message
    assert not LIBRARY.search(message.removeprefix(str(path)))
    assert "\n" not in message


def test_config_that_is_not_utf_8_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    for content in ("name: é".encode("latin-1"), "name: x".encode("utf-16")):
        path.write_bytes(content)
        with pytest.raises(StudioError, match=r"not a text in UTF-8 \(byte \d\); save it as UTF-8"):
            read_yaml(path)
    path.write_bytes("\ufeffname: é\r\n".encode())
    assert read_yaml(path) == {"name": "é"}


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ('data.root="C:\\data"', "--set data.root=\"C:\\data\": \\d means nothing"),
        ("a=[1", "--set a=[1: a comma or ] is missing"),
        ("a=" + "9" * 5_000, "a number with too many digits"),
        ("a=" + "[" * 3_000, "nested too deeply"),
    ],
)  # fmt: skip
def test_fault_of_an_override_is_short_and_in_our_words(assignment: str, words: str) -> None:
    with pytest.raises(StudioError) as refused:
        parse_assignment(assignment)
    assert words in str(refused.value)
    assert len(str(refused.value)) < 250


@pytest.mark.parametrize(
    "name", ["' '", "'..'", "'a/b'", "'a\\b'", '"a\\nb"', "x" * 241, '"a\\x1b[1m"']
)
def test_name_that_is_no_name_of_a_folder_is_refused(name: str) -> None:
    assert "expected a plain name: one line of at most 240 letters" in message_of(f"name={name}")


@pytest.mark.parametrize("name", ["a b", "患者 1", "08", "x" * 240, "a.b", "-a", "état"])
def test_name_of_a_folder_is_taken(name: str) -> None:
    assert message_of(f"name='{name}'") == ""
