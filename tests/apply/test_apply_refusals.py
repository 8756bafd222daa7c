"""`studio apply`: unusable files, existing results, batches and the command line."""

import json
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.applied import read_codes
from support.own_files import SIDE, smooth
from typer.testing import CliRunner

from studio import cli
from studio.apply import LoadedInput, apply
from studio.apply import files as applying
from studio.errors import StudioError
from studio.runs.run import Run


def write_bomb(path: Path, side: int) -> None:
    """Writes a PNG of some kilobytes that claims to have side x side pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )

    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(bytes(10_000)))
        + chunk(b"IEND", b"")
    )


def test_apply_sets_aside_and_lists_unusable_files(gray: Run, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    Image.fromarray(smooth(1)).save(tmp_path / "in/good.png")
    Image.fromarray(smooth(1, (SIDE, SIDE, 3))).save(tmp_path / "in/colour.png")
    (tmp_path / "in/text.png").write_text("not an image")
    (tmp_path / "in/empty.png").write_bytes(b"")
    write_bomb(tmp_path / "in/bomb.png", 50_000)
    write_bomb(tmp_path / "in/large.png", 10_000)
    np.save(tmp_path / "in/deep.npy", smooth(1, high=200, dtype=np.float32))
    np.save(tmp_path / "in/code.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    (tmp_path / "in/cut.png").write_bytes((tmp_path / "in/good.png").read_bytes()[:60])
    os.symlink(tmp_path / "nowhere.png", tmp_path / "in/dangling.png")
    done = apply(gray, "in", "out", ["heal"])
    reasons = dict(done["set_aside"])
    for name, words in {
        "colour.png": "3 channels",
        "text.png": "no PNG, JPEG, TIFF, WebP or BMP",
        "empty.png": "empty",
        "bomb.png": "pixels",
        "large.png": "10000 x 10000",
        "deep.npy": "not 8-bit",
        "code.npy": "cannot be decoded",
        "cut.png": "cannot be",
        "dangling.png": "No such file",
    }.items():
        assert words in reasons.pop(name), name
    assert not reasons
    assert [path.name for path in (tmp_path / "out/heal").iterdir()] == ["good.png"]
    assert [row["file"] for row in read_codes(tmp_path / "out/codes.csv")] == ["good.png"]
    for name in ("text.png", "bomb.png", "deep.npy"):
        with pytest.raises(StudioError, match=name):
            apply(gray, f"in/{name}", "alone")
    assert not (tmp_path / "alone/codes.csv").exists()
    assert not list(tmp_path.rglob(".writing-*"))
    apply(gray, "in/deep.npy", "windowed", ["reconstruct"], window=(0.0, 255.0))
    np.testing.assert_allclose(
        np.load("windowed/reconstruct/deep.npy"), np.load("in/deep.npy"), atol=0.01
    )


def test_apply_refuses_to_overwrite_inputs_and_existing_files(gray: Run, tmp_path: Path) -> None:
    (tmp_path / "in/sub").mkdir(parents=True)
    Image.fromarray(smooth(1)).save(tmp_path / "in/a.png")
    before = (tmp_path / "in/a.png").read_bytes()
    os.symlink(tmp_path / "in", tmp_path / "link")
    for out in ("in", "in/sub", "in/new", "link", "link/new"):
        with pytest.raises(StudioError, match="is read"):
            apply(gray, "in", out)
    (tmp_path / "out").mkdir()
    os.symlink(tmp_path / "in", tmp_path / "out/heal")
    with pytest.raises(StudioError, match="would be written"):
        apply(gray, "in", "out", overwrite=True)
    (tmp_path / "heal").mkdir()
    Image.fromarray(smooth(2)).save(tmp_path / "heal/b.png")
    with pytest.raises(StudioError, match="would be written"):
        apply(gray, "heal/b.png", ".", overwrite=True)
    apply(gray, "in", "fresh")
    with pytest.raises(StudioError, match="--force"):
        apply(gray, "in", "fresh")
    apply(gray, "in", "fresh", overwrite=True)
    with pytest.raises(StudioError, match="expected a folder"):
        apply(gray, "in", "in/a.png")
    assert (tmp_path / "in/a.png").read_bytes() == before


def test_apply_gives_the_same_files_in_small_batches(
    gray: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    for i in range(7):
        Image.fromarray(smooth(i)).save(tmp_path / f"in/{i}.png")
    apply(gray, "in", "whole", ["heal"])
    sizes, group = [], applying.group_inputs

    def record(loaded: Iterator[LoadedInput], images: int) -> Iterator[list[LoadedInput]]:
        for batch in group(loaded, images):
            sizes.append(len(batch))
            yield batch

    monkeypatch.setattr(applying, "BATCH", 3)
    monkeypatch.setattr(applying, "group_inputs", record)
    apply(gray, "in", "parts", ["heal"])
    assert sizes == [3, 3, 1]
    for i in range(7):
        assert (tmp_path / f"whole/heal/{i}.png").read_bytes() == (
            tmp_path / f"parts/heal/{i}.png"
        ).read_bytes()


def test_verb_prints_json_and_one_clear_line_per_mistake(gray: Run, tmp_path: Path) -> None:
    Image.fromarray(smooth(1)).save(tmp_path / "a.png")
    (tmp_path / "nothing").mkdir()
    (tmp_path / "x.txt").write_text("x")
    folder = str(gray.folder)
    result = CliRunner().invoke(cli.app, ["apply", folder, "a.png", "out", "--json"])
    assert result.exit_code == 0, result.output
    done = json.loads(result.stdout)
    assert (done["files"], done["what"], done["method"]) == (1, ["heal"], "cpca")
    result = CliRunner().invoke(cli.app, ["apply", folder, "a.png", "swapped", "--with", "a.png"])
    assert Path("swapped/swap/a.png").is_file()
    for arguments, words in {
        ("nowhere", "o"): "nowhere: no such file or folder",
        ("nothing", "o"): "no images",
        ("x.txt", "o"): ".png",
        ("a.png", "o", "--what", "heel"): "did you mean 'heal'",
        ("a.png", "o", "--what", "swap"): "--with",
        ("a.png", "o", "--what", "heal", "--with", "a.png"): "--with",
        ("a.png", "o", "--slice", "-1"): "--slice",
        ("a.png", "o", "--window", "5", "2"): "--window",
        ("a.png", "out"): "--force",
    }.items():
        result = CliRunner().invoke(cli.app, ["apply", folder, *arguments])
        assert isinstance(result.exception, StudioError), (arguments, result.output)
        assert words in str(result.exception)
        assert not Path("o").exists()


@pytest.mark.parametrize(
    ("shape", "words"),
    [((1, 8, 8, 8), "is not a NIfTI volume"), ((4, 8, 8), "this run reads")],
)
def test_apply_refuses_runs_without_images(
    shape: tuple[int, ...], words: str, gray: Run, tmp_path: Path
) -> None:
    Image.fromarray(smooth(1)).save(tmp_path / "a.png")
    other = Run(gray.folder, gray.config, gray.method, 0, shape)
    with pytest.raises(StudioError, match=words):
        apply(other, "a.png", "out")
