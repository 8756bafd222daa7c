"""`studio apply`: a user's own files come back in kind, changed where the model saw them and nowhere else."""

import csv
import json
import os
import struct
import zlib
from itertools import product
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image
from support.own_files import SIDE, folders_run, smooth
from typer.testing import CliRunner

from studio import apply as applying
from studio import cli
from studio.apply import apply
from studio.atomic import write_text
from studio.config import resolve
from studio.data.brain_phantom import write_brats
from studio.data.io.images import Picture, fit
from studio.domains import DOMAINS
from studio.errors import StudioError
from studio.runs.run import Run
from studio.training.session import train


@pytest.fixture(scope="module")
def gray(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return folders_run(tmp_path_factory.mktemp("gray"))


@pytest.fixture(scope="module")
def colour(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return folders_run(tmp_path_factory.mktemp("colour"), channels=3)


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return folders_run(tmp_path_factory.mktemp("deep"), suffix=".npy")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def images_of(run: Run, values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.float32) / 255 * 2 - 1).reshape(-1, *run.shape)


def pixels(images: torch.Tensor) -> np.ndarray:
    return ((images.numpy() + 1) / 2 * 255).round().astype(np.uint8)


def test_pngs_come_back_as_the_runs_own_verbs_make_them(gray: Run, tmp_path: Path) -> None:
    names = ["a.png", "sub/b b.png", "sub/täst/c.png"]
    for i, name in enumerate(names):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(smooth(500 + i)).save(tmp_path / "in" / name)
    (tmp_path / "in" / "notes.txt").write_text("nothing")
    Image.fromarray(donor := smooth(900)).save(tmp_path / "donor.png")
    done = apply(gray, "in", "out", ["reconstruct", "heal", "swap"], "donor.png", difference=True)
    assert (done["files"], done["images"], done["ignored"], done["set_aside"]) == (3, 3, 1, [])
    stack = images_of(gray, np.stack([smooth(500 + i) for i in range(3)]))
    given = images_of(gray, donor[None]).expand(3, -1, -1, -1)
    expected = {
        "reconstruct": pixels(gray.reconstruct(stack)),
        "heal": pixels(gray.heal(stack)),
        "swap": pixels(gray.swap(stack, given)),
        "difference": ((gray.reconstruct(stack) - gray.heal(stack)).abs().numpy() / 2 * 255)
        .round()
        .astype(np.uint8),
    }
    for kind, values in expected.items():
        for i, name in enumerate(names):
            with Image.open(tmp_path / "out" / kind / name) as image:
                assert image.mode == "L"
                np.testing.assert_allclose(
                    np.asarray(image).astype(int), values[i, 0].astype(int), atol=1
                )
    for i, name in enumerate(names):  # as many components as pixels: nothing is lost
        np.testing.assert_array_equal(
            np.asarray(Image.open(tmp_path / "out/reconstruct" / name)), smooth(500 + i)
        )
    assert np.abs(expected["heal"].astype(int) - expected["reconstruct"]).max() > 20
    table = rows(tmp_path / "out" / "codes.csv")
    assert [row["file"] for row in table] == names
    code = gray.encode(stack)
    assert list(table[0]) == ["file", *(f"z{i}" for i in range(48)), *(f"s{i}" for i in range(16))]
    read = np.array(
        [[float(value) for value in list(row.values())[1:]] for row in table], np.float32
    )
    np.testing.assert_allclose(read, code.concat().numpy(), rtol=1e-5, atol=1e-6)
    assert not list((tmp_path / "out").rglob(".writing-*"))


def test_donors_in_a_folder_are_taken_by_the_order_of_names(gray: Run, tmp_path: Path) -> None:
    for folder, start in (("in", 0), ("give", 50)):
        (tmp_path / folder).mkdir()
        for i in range(3):
            Image.fromarray(smooth(start + i)).save(tmp_path / folder / f"{folder}{i}.png")
    apply(gray, "in", "out", ["swap"], "give")
    a, b = (images_of(gray, np.stack([smooth(start + i) for i in range(3)])) for start in (0, 50))
    made = np.stack([np.asarray(Image.open(tmp_path / f"out/swap/in{i}.png")) for i in range(3)])
    np.testing.assert_allclose(made.astype(int), pixels(gray.swap(a, b))[:, 0].astype(int), atol=1)
    with pytest.raises(AssertionError):  # not another order
        np.testing.assert_allclose(
            made.astype(int), pixels(gray.swap(a, b.flip(0)))[:, 0].astype(int), atol=1
        )
    (tmp_path / "give" / "give3.png").write_bytes((tmp_path / "give" / "give0.png").read_bytes())
    with pytest.raises(StudioError, match="4 images for the 3"):
        apply(gray, "in", "out2", ["swap"], "give")


MODES = {
    "1": ("gray", "L"),
    "L": ("gray", "L"),
    "LA": ("gray", "LA"),
    "P": ("colour", "RGB"),
    "RGB": ("colour", "RGB"),
    "RGBA": ("colour", "RGBA"),
}


@pytest.mark.parametrize("mode", MODES)
def test_the_mode_of_a_png_stays(mode: str, gray: Run, colour: Run, tmp_path: Path) -> None:
    run = {"gray": gray, "colour": colour}[MODES[mode][0]]
    image = (
        Image.fromarray(smooth(3, (SIDE, SIDE, 3)))
        .convert("RGB")
        .convert("RGBA" if mode == "LA" else "RGB")
        .convert(mode)
    )
    if mode.endswith("A"):
        image.putalpha(Image.fromarray(np.full((SIDE, SIDE), 255, np.uint8)))
    image.save(tmp_path / "x.png")
    apply(run, "x.png", "out", ["reconstruct"])
    with Image.open(tmp_path / "out/reconstruct/x.png") as made:
        assert made.mode == MODES[mode][1]
        np.testing.assert_array_equal(np.asarray(made), np.asarray(image.convert(made.mode)))


def test_what_is_transparent_is_opaque_where_the_model_saw_it(gray: Run, tmp_path: Path) -> None:
    values = np.stack(
        [np.full((SIDE, SIDE + 4), 200, np.uint8), np.full((SIDE, SIDE + 4), 51, np.uint8)], -1
    )
    values[0, 0, 0] = 90
    Image.fromarray(values).save(tmp_path / "x.png")
    apply(gray, "x.png", "out", ["reconstruct"])
    made = np.asarray(Image.open(tmp_path / "out/reconstruct/x.png"))
    np.testing.assert_array_equal(made[:, [0, 1, -2, -1]], values[:, [0, 1, -2, -1]])
    assert (made[:, 2:-2] == [40, 255]).all()  # on black


def test_sixteen_bits_stay_sixteen_bits(deep: Run, tmp_path: Path) -> None:
    low, high = deep.data.window
    assert high > 500
    values = smooth(7, high=900, dtype=np.uint16).clip(int(low) + 1, int(high) - 1)
    Image.fromarray(values).save(tmp_path / "x.png")
    apply(deep, "x.png", "out", ["reconstruct"])
    with Image.open(tmp_path / "out/reconstruct/x.png") as made:
        assert made.mode.startswith("I")
        np.testing.assert_array_equal(np.asarray(made), values)


@pytest.mark.parametrize(
    "dtype", [np.uint8, bool, np.int16, np.uint16, np.float16, np.float32, np.float64]
)
@pytest.mark.parametrize("shape", [(SIDE, SIDE), (1, SIDE, SIDE), (SIDE, SIDE, 1)])
def test_arrays_keep_type_and_shape(
    dtype: type, shape: tuple[int, ...], deep: Run, tmp_path: Path
) -> None:
    values = smooth(5, high=200, dtype=np.float64).clip(max(0, deep.data.window[0]) + 1)
    values = (values > 80 if dtype is bool else values).astype(dtype).reshape(shape)
    np.save(tmp_path / "x.npy", values)
    apply(deep, "x.npy", "out", ["reconstruct"])
    made = np.load(tmp_path / "out/reconstruct/x.npy")
    assert (made.dtype, made.shape) == (values.dtype, values.shape)
    np.testing.assert_allclose(made.astype(float), values.astype(float), rtol=1e-3, atol=1e-3)


def oblique() -> np.ndarray:
    """Returns an affine whose axes are stored as (front, feet, right), turned by ten degrees, with voxels of 2 x 2 x 3 mm."""
    turn = np.array([[np.cos(0.17), -np.sin(0.17), 0], [np.sin(0.17), np.cos(0.17), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.array([[0, 0, 2], [2, 0, 0], [0, -3, 0]])
    affine[:3, 3] = [-20, 31, 4.5]
    return affine


@pytest.mark.parametrize("scale", [None, (0.25, -10.0)])
@pytest.mark.parametrize("chosen", [None, "all"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_volumes_keep_affine_header_scale_and_all_other_voxels(
    suffix: str, chosen: str | None, scale: tuple[float, float] | None, deep: Run, tmp_path: Path
) -> None:
    low, high = deep.data.window
    units = np.random.default_rng(1).uniform(max(low, 0) + 2, high - 2, (SIDE, 6, SIDE))
    stored = ((units - scale[1]) / scale[0] if scale else units).round().astype(np.int16)
    image = nibabel.Nifti1Image(stored, oblique())
    image.header["descrip"] = b"of ours"
    if scale:
        image.header.set_slope_inter(*scale)
    nibabel.save(image, tmp_path / f"x{suffix}")
    done = apply(deep, f"x{suffix}", "out", ["reconstruct", "heal"], chosen=chosen)
    assert done["images"] == (6 if chosen else 1)
    assert bool(done["notes"]) == (chosen is None)
    for kind in ("reconstruct", "heal"):
        made = nibabel.load(tmp_path / "out" / kind / f"x{suffix}")
        np.testing.assert_array_equal(made.affine, nibabel.load(tmp_path / f"x{suffix}").affine)
        assert made.header["descrip"] == image.header["descrip"]
        assert made.get_data_dtype() == np.int16
        assert (made.dataobj.slope, made.dataobj.inter) == (scale or (1, 0))
        voxels = np.asarray(made.dataobj.get_unscaled())
        changed = np.flatnonzero((voxels != stored).any((0, 2)))
        if kind == "reconstruct":
            np.testing.assert_allclose(voxels, stored, atol=1)
        else:  # of six slices along the second stored axis, which runs to the feet, the middle one is the third
            assert changed.tolist() == ([0, 1, 2, 3, 4, 5] if chosen else [2])


def test_a_healed_slice_is_that_of_the_run(deep: Run, tmp_path: Path) -> None:
    low, high = deep.data.window
    units = (
        np.random.default_rng(2)
        .uniform(max(low, 0) + 2, high - 2, (SIDE, 6, SIDE))
        .astype(np.float32)
    )
    nibabel.save(nibabel.Nifti1Image(units, oblique()), tmp_path / "x.nii.gz")
    apply(deep, "x.nii.gz", "out", ["heal"], chosen="all")
    table = rows(tmp_path / "out/codes.csv")
    assert [row["slice"] for row in table] == [str(i) for i in range(6)]
    canonical = nibabel.as_closest_canonical(nibabel.load(tmp_path / "x.nii.gz")).get_fdata()
    made = nibabel.as_closest_canonical(nibabel.load(tmp_path / "out/heal/x.nii.gz")).get_fdata()
    planes = np.stack([canonical[:, :, i].T[::-1] for i in range(6)]).astype(np.float32)
    healed = deep.heal(torch.from_numpy((planes - low) / (high - low)).clamp(0, 1)[:, None] * 2 - 1)
    expected = (healed[:, 0].numpy() + 1) / 2 * (high - low) + low
    np.testing.assert_allclose(
        np.stack([made[:, :, i].T[::-1] for i in range(6)]), expected, atol=0.01
    )


def test_size_is_restored_and_what_the_model_did_not_see_stays(gray: Run, tmp_path: Path) -> None:
    large = np.asarray(Image.fromarray(smooth(11)).resize((40, 24), Image.Resampling.BICUBIC))
    Image.fromarray(large).save(tmp_path / "x.png")
    done = apply(gray, "x.png", "out", ["reconstruct"], difference=True)
    made = np.asarray(Image.open(tmp_path / "out/reconstruct/x.png"))
    assert made.shape == large.shape
    np.testing.assert_array_equal(made[:, :8], large[:, :8])
    np.testing.assert_array_equal(made[:, 32:], large[:, 32:])
    inside = fit(Picture(large[None], large.shape), SIDE)[0]
    back = np.asarray(
        Image.fromarray(inside.astype(np.float32)).resize((24, 24), Image.Resampling.BICUBIC)
    )
    np.testing.assert_allclose(made[:, 8:32], back.clip(0, 255), atol=1.01)
    assert "not 8 x 8" in done["notes"][0]
    assert not np.asarray(Image.open(tmp_path / "out/difference/x.png"))[:, :8].any()


def test_pixels_that_are_not_square_are_placed_where_they_were_read(
    deep: Run, tmp_path: Path
) -> None:
    low, high = deep.data.window
    affine = np.diag([1.0, 2.5, 3.0, 1.0])
    across, up = np.meshgrid(np.arange(24), np.arange(10), indexing="ij")
    units = ((across * 1.0 + up * 2.5) / 50 * 0.8 * (high - low) + low + 10).astype(
        np.float32
    )  # a ramp survives any resizing
    nibabel.save(nibabel.Nifti1Image(units[..., None], affine), tmp_path / "x.nii")
    apply(deep, "x.nii", "out", ["reconstruct"])
    made = nibabel.load(tmp_path / "out/reconstruct/x.nii").get_fdata()
    np.testing.assert_allclose(made[3:-3, 1:-1, 0], units[3:-3, 1:-1], atol=0.02 * (high - low))


def test_a_jpeg_stays_a_jpeg_and_converted_channels_come_back(tmp_path: Path) -> None:
    run = folders_run(tmp_path, convert=1)
    photo = np.asarray(Image.fromarray(smooth(4, (SIDE, SIDE, 3))).resize((64, 64)))
    Image.fromarray(photo).save(tmp_path / "x.jpg", quality=95)
    apply(run, tmp_path / "x.jpg", tmp_path / "out", ["reconstruct"])
    with Image.open(tmp_path / "out/reconstruct/x.jpg") as made:
        assert (made.format, made.mode, made.size) == ("JPEG", "RGB", (64, 64))
        values = np.asarray(made).astype(int)
    assert np.abs(values - values.mean(2, keepdims=True)).max() < 4  # gray in three channels


def bomb(path: Path, side: int) -> None:
    """A PNG of some kilobytes that says it has side x side pixels."""

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


def test_what_cannot_be_used_is_set_aside_and_listed(gray: Run, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    Image.fromarray(smooth(1)).save(tmp_path / "in/good.png")
    Image.fromarray(smooth(1, (SIDE, SIDE, 3))).save(tmp_path / "in/colour.png")
    (tmp_path / "in/text.png").write_text("not an image")
    (tmp_path / "in/empty.png").write_bytes(b"")
    bomb(tmp_path / "in/bomb.png", 50_000)
    bomb(tmp_path / "in/large.png", 10_000)
    np.save(tmp_path / "in/deep.npy", smooth(1, high=200, dtype=np.float32))
    np.save(tmp_path / "in/code.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    (tmp_path / "in/cut.png").write_bytes((tmp_path / "in/good.png").read_bytes()[:60])
    os.symlink(tmp_path / "nowhere.png", tmp_path / "in/dangling.png")
    done = apply(gray, "in", "out", ["heal"])
    reasons = dict(done["set_aside"])
    for name, words in {
        "colour.png": "3 channels",
        "text.png": "neither a PNG nor a JPEG",
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
    assert [row["file"] for row in rows(tmp_path / "out/codes.csv")] == ["good.png"]
    for name in ("text.png", "bomb.png", "deep.npy"):
        with pytest.raises(StudioError, match=name):
            apply(gray, f"in/{name}", "alone")
    assert not (tmp_path / "alone/codes.csv").exists()
    assert not list(tmp_path.rglob(".writing-*"))
    apply(gray, "in/deep.npy", "windowed", ["reconstruct"], window=(0.0, 255.0))
    np.testing.assert_allclose(
        np.load("windowed/reconstruct/deep.npy"), np.load("in/deep.npy"), atol=0.01
    )


def test_a_name_as_long_as_a_file_system_takes_is_written(gray: Run, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    names = [
        letter * length + ".png"
        for letter, length in (("n", 251), ("\u00e4", 125), ("m", 242), ("m", 243))
    ]
    for name in names:
        Image.fromarray(smooth(1)).save(tmp_path / "plain.png")
        (tmp_path / "plain.png").rename(tmp_path / "in" / name)
    done = apply(gray, "in", "out", ["reconstruct"])
    assert (done["files"], done["set_aside"]) == (4, [])
    assert sorted(path.name for path in (tmp_path / "out/reconstruct").iterdir()) == sorted(names)
    for name in names:
        made = np.asarray(Image.open(tmp_path / "out/reconstruct" / name)).astype(int)
        assert np.abs(made - smooth(1)).max() <= 1
    with pytest.raises(StudioError, match=r"n{253}\.png: cannot be written: File name too long"):
        write_text(tmp_path / ("n" * 253 + ".png"), "")


def test_it_writes_neither_into_nor_over_what_it_reads_nor_over_what_exists(
    gray: Run, tmp_path: Path
) -> None:
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


def test_batches_change_nothing_and_memory_holds_one_batch(
    gray: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    for i in range(7):
        Image.fromarray(smooth(i)).save(tmp_path / f"in/{i}.png")
    apply(gray, "in", "whole", ["heal"])
    sizes = []
    batches = applying._batches
    monkeypatch.setattr(applying, "BATCH", 3)
    monkeypatch.setattr(
        applying, "_batches", lambda loaded: (sizes.append(len(b)) or b for b in batches(loaded))
    )
    apply(gray, "in", "parts", ["heal"])
    assert sizes == [3, 3, 1]
    for i in range(7):
        assert (tmp_path / f"whole/heal/{i}.png").read_bytes() == (
            tmp_path / f"parts/heal/{i}.png"
        ).read_bytes()


def test_a_brats_run_reads_volumes_as_its_data_set_does(tmp_path: Path) -> None:
    write_brats(tmp_path / "brats", 8, side=64)
    raw = {
        "data": {
            "name": "brats",
            "root": str(tmp_path / "brats"),
            "resolution": 32,
            "slices": [82, 98],
            "min_tumour": 0.1,
            "test_share": 0.4,
        },
        "method": {"name": "cpca", "z": 4, "s": 2},
        "train": {"images": 16, "batch": 16, "threads": 1, "grid_every": 0},
    }
    train(resolve(raw, "b", "b"), tmp_path / "run")
    run = Run.open(tmp_path / "run")
    source = sorted((tmp_path / "brats").rglob("*_t1.nii.gz"))[0]
    slices = {}
    for split, domain in product(("train", "test"), DOMAINS):
        numbers = run.data.labels(split, domain)["slice"]
        for i, patient in enumerate(run.data.item_patients(split, domain)):
            if source.parent.name in patient.name:
                slices[numbers[i]] = run.data.images(split, domain, [i])[0]
    own = torch.stack([slices[number] for number in sorted(slices)])
    done = apply(run, source, tmp_path / "out", ["encode", "heal"])
    table = rows(tmp_path / "out/codes.csv")
    assert [float(row["slice"]) for row in table] == sorted(slices)
    code = run.encode(own)
    np.testing.assert_allclose(
        [[float(row[f"s{i}"]) for i in range(2)] for row in table], code.s, atol=1e-5
    )
    assert done["images"] == len(own)
    before, after = (
        nibabel.load(path).get_fdata() for path in (source, tmp_path / "out/heal" / source.name)
    )
    changed = np.flatnonzero((before != after).any((0, 1)))
    assert changed.tolist() == [int(number) for number in sorted(slices)]
    assert not after[before == 0].any()  # outside the head everything stays empty


def test_the_verb_prints_json_and_one_clear_line_for_each_mistake(
    gray: Run, tmp_path: Path
) -> None:
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
    "fields", [{"shape": (1, 8, 8, 8)}, {"shape": (20,)}, {"shape": (4, 8, 8)}]
)
def test_runs_of_other_things_than_images_are_refused(
    fields: dict, gray: Run, tmp_path: Path
) -> None:
    Image.fromarray(smooth(1)).save(tmp_path / "a.png")
    other = Run(gray.folder, gray.config, gray.method, 0, fields["shape"])
    with pytest.raises(StudioError, match="this run reads"):
        apply(other, "a.png", "out")
