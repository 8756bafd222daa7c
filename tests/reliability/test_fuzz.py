"""Hostile input: configs, tables, PNG files and NIfTI headers end in what they say or in one clear error, and soon."""

import gzip
import io
import signal
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from studio.config import Config, dump, load, read_yaml, resolve
from studio.data.folders import Folders, FoldersConfig
from studio.data.io.images import UnreadableError, fit, read_image
from studio.errors import StudioError

SECONDS = 60  # for one case, on a busy machine; none of those found took one


@contextmanager
def soon() -> Iterator[None]:
    """Interrupts what hangs."""

    def late(*_: object) -> None:
        raise AssertionError(f"no answer within {SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def in_plain_words(answers: list[str]) -> Iterator[None]:
    """Accepts a refusal that says something, and nothing else; notes which it was."""
    try:
        yield
        answers.append("accepted")
    except (StudioError, UnreadableError) as error:
        if not 3 < len(str(error)) < 20_000:
            raise AssertionError(f"says {str(error)[:200]!r}") from error
        answers.append("refused")


def quick_and_thorough(strategy: st.SearchStrategy, quick: int) -> Callable:
    """Makes of a check a test of `quick` cases, and a slow one of 2,000."""

    def cases(check: Callable[[Any, Path], None], count: int) -> None:
        @settings(
            max_examples=count,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=strategy)
        def run(case: object) -> None:
            with soon(), in_plain_words(answers):
                check(case, Path())

        answers: list[str] = []
        run()
        assert min(answers.count("accepted"), answers.count("refused")) > count // 1_000, (
            "cases of one kind only"
        )

    def decorate(check: Callable) -> type:
        class Cases:
            def test_quick(self) -> None:
                cases(check, quick)

            @pytest.mark.slow
            def test_two_thousand(self) -> None:
                cases(check, 2_000)

        Cases.__doc__, Cases.__name__ = check.__doc__, check.__name__
        return Cases

    return decorate


WORDS = st.sampled_from(
    [
        "no",
        "yes",
        "null",
        "~",
        "1e999",
        ".nan",
        "-.inf",
        "08",
        "1:30",
        "auto",
        "image",
        "dig",
        "../../etc",
        "\0",
        "é",
        "{}",
        "[",
    ]
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 70),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    WORDS,
    st.binary(max_size=4),
)
TREES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=6) | WORDS, inner, max_size=3)
    ),
    max_leaves=8,
)


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


def mutated(case: tuple) -> dict:
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


def stands(config: Config) -> None:
    """What is accepted must be whole: it can be written down and read again to the same."""
    text = dump(config)
    Path("again.yaml").write_text(text, encoding="utf-8")
    assert dump(resolve(read_yaml(Path("again.yaml")), config.name, "again.yaml")) == text


@quick_and_thorough(CHANGES, 150)
def TestChangedConfigs(case: tuple, folder: Path) -> None:
    """Fields replaced, added and taken away."""
    stands(resolve(mutated(case), "fuzz", "fuzz.yaml"))


def edited(data: bytes, edits: list[tuple[int, bytes]], length: int | None = None) -> bytes:
    changed = bytearray(data)
    for at, piece in edits:
        at %= len(changed)
        changed[at : at + len(piece)] = piece
    return bytes(changed if length is None else changed[: length % (len(changed) + 1)])


EDITS = st.lists(st.tuples(st.integers(0, 2**16), st.binary(min_size=1, max_size=4)), max_size=6)
ALMOST = st.lists(
    st.tuples(st.integers(0, 2**16), st.sampled_from([b"0", b"9", b" ", b"\n", b"#", b":", b"-"])),
    max_size=2,
)
WRITTEN = yaml.safe_dump(VALID["digits_dig"]).encode()


@quick_and_thorough(
    st.one_of(
        st.binary(max_size=200),
        st.text(max_size=200).map(str.encode),
        TREES.map(lambda tree: repr(tree).encode()),
        ALMOST.map(lambda edits: edited(WRITTEN, edits)),
    ),
    100,
)
def TestConfigFiles(case: bytes, folder: Path) -> None:
    """Files of any bytes."""
    (folder / "fuzz.yaml").write_bytes(case)
    stands(load("fuzz.yaml"))


KEYS = st.sampled_from(["train.lr", "nets", "method.weights.adv", "data.name", "seed.x", ""])
ASSIGNED = st.text(max_size=20) | st.tuples(KEYS, SCALARS).map(lambda pair: f"{pair[0]}={pair[1]}")


@quick_and_thorough(st.lists(ASSIGNED, max_size=3), 100)
def TestAssignments(case: list[str], folder: Path) -> None:
    """What `--set` is given."""
    stands(load("digits_dig", case))


FITTING = [
    "background/000.png",
    "target/001.png",
    "000.png",
    "train",
    "test",
    "",
    "nan",
    "1e400",
    "../x",
    '"',
    "a\tb",
    "é",
]
CELLS = st.sampled_from(FITTING) | st.text(max_size=6)
ROWS = st.lists(st.lists(CELLS, max_size=5), max_size=8)
NAMES = [f"{domain}/{i:03}.png" for domain in ("background", "target") for i in range(6)]
ORDERLY = st.dictionaries(
    st.sampled_from(NAMES),
    st.tuples(
        st.sampled_from(["", "train", "test"]),
        st.sampled_from(["", "ann", "bob"]),
        st.floats(width=16).map(str),
    ),
    min_size=1,
)
PLAIN = st.lists(
    st.integers(0, 99), min_size=len(NAMES), max_size=len(NAMES)
)  # of which every one is fit


def fit_table(ages: list[int]) -> bytes:
    rows = [
        f"{name},{('train', 'test')[i % 2]},{age}"
        for i, (name, age) in enumerate(zip(NAMES, ages, strict=True))
    ]
    return "\n".join(["file,split,age", *rows]).encode()


TABLES = st.one_of(
    PLAIN.map(fit_table),
    ORDERLY.map(
        lambda rows: "\n".join(
            ["file,split,subject,age", *(",".join([n, *r]) for n, r in rows.items())]
        ).encode()
    ),
    st.binary(max_size=300),
    st.tuples(st.sampled_from([",", ";", "\t"]), ROWS).map(
        lambda p: "\n".join(
            [p[0].join(["file", "split", "subject", "age"]), *(p[0].join(row) for row in p[1])]
        ).encode()
    ),
    st.tuples(st.sampled_from([b"\xef\xbb\xbf", b"\xff\xfe", b"\x00"]), st.binary(max_size=60)).map(
        lambda p: p[0] + b"file,age\n" + p[1]
    ),
)


def small_set(folder: Path) -> Path:
    root = folder / "photos"
    if not root.exists():
        for domain in ("background", "target"):
            (root / domain).mkdir(parents=True)
            for i in range(6):
                Image.fromarray(np.random.default_rng(i).integers(0, 255, (8, 8), np.uint8)).save(
                    root / domain / f"{i:03}.png"
                )
    return root


@quick_and_thorough(TABLES, 100)
def TestTables(case: bytes, folder: Path) -> None:
    """attributes.csv of any bytes, and of cells that almost fit."""
    root = small_set(folder)
    (root / "attributes.csv").write_bytes(case)
    dataset = Folders(FoldersConfig(root=str(root), resolution=8))
    for split in ("train", "test"):
        for domain in ("background", "target"):
            assert all(
                len(v) == dataset.size(split, domain)
                for v in dataset.labels(split, domain).values()
            )


def png_of(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "png")
    return buffer.getvalue()


PNGS = [
    png_of(np.arange(64, dtype=np.uint8).reshape(8, 8)),
    png_of(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)),
    png_of(np.arange(64, dtype=np.uint16).reshape(8, 8) * 900),
]


def with_header(data: bytes, header: tuple[int, int, int, int]) -> bytes:
    """Says another size and kind in the header, with the checksum that goes with it."""
    body = b"IHDR" + struct.pack(">IIBBBBB", header[0], header[1], header[2], header[3], 0, 0, 0)
    return data[:12] + body + struct.pack(">I", zlib.crc32(body)) + data[33:]


HEADERS = st.tuples(
    st.sampled_from([0, 1, 8, 2**16, 2**31 - 1, 2**32 - 1]),
    st.sampled_from([0, 1, 8, 2**20, 2**31]),
    st.sampled_from([1, 2, 4, 8, 16, 255]),
    st.sampled_from([0, 2, 3, 4, 6, 9]),
)


def readable(path: Path) -> None:
    values = fit(read_image(path), 8)
    assert values.shape[1:] == (8, 8)
    assert np.isfinite(values).all()


@quick_and_thorough(
    st.tuples(st.sampled_from(PNGS), EDITS, st.none() | st.integers(0, 500), st.none() | HEADERS),
    150,
)
def TestPngFiles(case: tuple, folder: Path) -> None:
    """Bytes changed, files cut short, headers that promise what does not follow."""
    data, edits, length, header = case
    data = data if header is None else with_header(data, header)
    (folder / "fuzz.png").write_bytes(edited(data, edits, length))
    readable(folder / "fuzz.png")


def nifti() -> bytes:
    image = nibabel.Nifti1Image(np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6), np.eye(4))
    return image.to_bytes()


NIFTI = nifti()
FIELDS = {
    "dim": (40, "8h"),
    "datatype": (70, "h"),
    "bitpix": (72, "h"),
    "pixdim": (76, "8f"),
    "vox_offset": (108, "f"),
    "scl_slope": (112, "f"),
    "scl_inter": (116, "f"),
    "sizeof_hdr": (0, "i"),
    "magic": (344, "4s"),
}
NUMBERS = st.sampled_from([-1, 0, 1, 2, 3, 7, 8, 16, 64, 352, 1024, 32767, -32768])
REALS = st.floats(width=32) | NUMBERS.map(float)


def put_field(data: bytes, name: str, numbers: list, reals: list) -> bytes:
    offset, form = FIELDS[name]
    if form == "4s":
        value = struct.pack("<4s", [b"n+1\0", b"ni1\0", b"n+2\0", b"\0\0\0\0"][int(numbers[0]) % 4])
    else:
        count, values = int(form[:-1] or 1), reals if form.endswith("f") else numbers
        value = struct.pack("<" + form, *values[:count])
    return data[:offset] + value + data[offset + len(value) :]


def eight(one: st.SearchStrategy) -> st.SearchStrategy:
    return st.lists(one, min_size=8, max_size=8)


PUT = st.lists(st.tuples(st.sampled_from(sorted(FIELDS)), eight(NUMBERS), eight(REALS)), max_size=3)
KINDS = st.sampled_from(["nii", "nii.gz", "nii.gz cut"])


@quick_and_thorough(st.tuples(PUT, EDITS, st.none() | st.integers(0, 700), KINDS), 150)
def TestNiftiHeaders(case: tuple, folder: Path) -> None:
    """Fields with numbers that do not fit, bytes changed, files cut short, compressed or not."""
    fields, edits, length, kind = case
    data = NIFTI
    for name, numbers, reals in fields:
        data = put_field(data, name, numbers, reals)
    data = edited(data, edits, length)
    path = folder / f"fuzz.{kind.partition(' ')[0]}"
    if kind != "nii":
        data = gzip.compress(data, mtime=0)
        data = data[: len(data) // 2] if "cut" in kind else data
    path.write_bytes(data)
    readable(path)


def test_the_fuzz_finds_what_it_is_for(monkeypatch: pytest.MonkeyPatch) -> None:
    # A reader that lets one kind of broken file through as a traceback must be found by the quick cases.
    def careless(path: Path) -> None:
        if (
            path.suffix == ".nii"
            and struct.unpack_from("<h", path.read_bytes().ljust(352, b"\0"), 40)[0] > 7
        ):  # dimensions
            raise ZeroDivisionError

    monkeypatch.setitem(globals(), "readable", careless)
    with pytest.raises(ZeroDivisionError):
        TestNiftiHeaders().test_quick()
