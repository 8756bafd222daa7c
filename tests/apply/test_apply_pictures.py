"""`studio apply` on PNG, JPEG and npy files: format, mode, size and unseen pixels are kept."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.applied import code_values, read_codes, to_images, to_pixels
from support.own_files import SIDE, folders_run, smooth

from studio.apply import apply
from studio.atomic import write_text
from studio.data.io.fitting import fit
from studio.data.io.images import Picture
from studio.errors import StudioError
from studio.runs.run import Run


def test_apply_writes_the_images_of_the_runs_own_verbs(gray: Run, tmp_path: Path) -> None:
    names = ["a.png", "sub/b b.png", "sub/täst/c.png"]
    for i, name in enumerate(names):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(smooth(500 + i)).save(tmp_path / "in" / name)
    (tmp_path / "in" / "notes.txt").write_text("nothing")
    Image.fromarray(donor := smooth(900)).save(tmp_path / "donor.png")
    done = apply(gray, "in", "out", ["reconstruct", "heal", "swap"], "donor.png", difference=True)
    assert (done["files"], done["images"], done["ignored"], done["set_aside"]) == (3, 3, 1, [])
    stack = to_images(gray, np.stack([smooth(500 + i) for i in range(3)]))
    given = to_images(gray, donor[None]).expand(3, -1, -1, -1)
    expected = {
        "reconstruct": to_pixels(gray.reconstruct(stack)),
        "heal": to_pixels(gray.heal(stack)),
        "swap": to_pixels(gray.swap(stack, given)),
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
    table = read_codes(tmp_path / "out" / "codes.csv")
    assert [row["file"] for row in table] == names
    code = gray.encode(stack)
    codes = [*(f"z{i}" for i in range(48)), *(f"s{i}" for i in range(16))]
    assert list(table[0]) == ["file", *codes, "subject", "distance", "change"]
    read = np.array([[float(value) for value in code_values(row)] for row in table], np.float32)
    np.testing.assert_allclose(read, code.concat().numpy(), rtol=1e-5, atol=1e-6)
    assert not list((tmp_path / "out").rglob(".writing-*"))


def test_apply_takes_donors_in_the_order_of_names(gray: Run, tmp_path: Path) -> None:
    for folder, start in (("in", 0), ("give", 50)):
        (tmp_path / folder).mkdir()
        for i in range(3):
            Image.fromarray(smooth(start + i)).save(tmp_path / folder / f"{folder}{i}.png")
    apply(gray, "in", "out", ["swap"], "give")
    a, b = (to_images(gray, np.stack([smooth(start + i) for i in range(3)])) for start in (0, 50))
    made = np.stack([np.asarray(Image.open(tmp_path / f"out/swap/in{i}.png")) for i in range(3)])
    np.testing.assert_allclose(
        made.astype(int), to_pixels(gray.swap(a, b))[:, 0].astype(int), atol=1
    )
    with pytest.raises(AssertionError):  # not another order
        np.testing.assert_allclose(
            made.astype(int), to_pixels(gray.swap(a, b.flip(0)))[:, 0].astype(int), atol=1
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
def test_apply_keeps_the_mode_of_a_png(mode: str, gray: Run, colour: Run, tmp_path: Path) -> None:
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


def test_apply_makes_transparent_pixels_opaque_in_the_square(gray: Run, tmp_path: Path) -> None:
    values = np.stack(
        [np.full((SIDE, SIDE + 4), 200, np.uint8), np.full((SIDE, SIDE + 4), 51, np.uint8)], -1
    )
    values[0, 0, 0] = 90
    Image.fromarray(values).save(tmp_path / "x.png")
    apply(gray, "x.png", "out", ["reconstruct"])
    made = np.asarray(Image.open(tmp_path / "out/reconstruct/x.png"))
    np.testing.assert_array_equal(made[:, [0, 1, -2, -1]], values[:, [0, 1, -2, -1]])
    assert (made[:, 2:-2] == [40, 255]).all()  # on black


def test_apply_keeps_16_bits(deep: Run, tmp_path: Path) -> None:
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
def test_apply_keeps_type_and_shape_of_arrays(
    dtype: type, shape: tuple[int, ...], deep: Run, tmp_path: Path
) -> None:
    values = smooth(5, high=200, dtype=np.float64).clip(max(0, deep.data.window[0]) + 1)
    values = (values > 80 if dtype is bool else values).astype(dtype).reshape(shape)
    np.save(tmp_path / "x.npy", values)
    apply(deep, "x.npy", "out", ["reconstruct"])
    made = np.load(tmp_path / "out/reconstruct/x.npy")
    assert (made.dtype, made.shape) == (values.dtype, values.shape)
    np.testing.assert_allclose(made.astype(float), values.astype(float), rtol=1e-3, atol=1e-3)


def test_apply_restores_the_size_and_keeps_unseen_pixels(gray: Run, tmp_path: Path) -> None:
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


def test_apply_keeps_jpeg_and_restores_converted_channels(tmp_path: Path) -> None:
    run = folders_run(tmp_path, convert=1)
    photo = np.asarray(Image.fromarray(smooth(4, (SIDE, SIDE, 3))).resize((64, 64)))
    Image.fromarray(photo).save(tmp_path / "x.jpg", quality=95)
    apply(run, tmp_path / "x.jpg", tmp_path / "out", ["reconstruct"])
    with Image.open(tmp_path / "out/reconstruct/x.jpg") as made:
        assert (made.format, made.mode, made.size) == ("JPEG", "RGB", (64, 64))
        values = np.asarray(made).astype(int)
    assert np.abs(values - values.mean(2, keepdims=True)).max() < 4  # gray in three channels


def test_apply_writes_the_longest_file_names(gray: Run, tmp_path: Path) -> None:
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


def test_apply_takes_gray_whatever_it_is_saved_as(gray: Run, colour: Run, tmp_path: Path) -> None:
    values = smooth(3)
    rgb = np.stack([values] * 3, -1)
    nearly, tinted = rgb.copy(), rgb.copy()
    nearly[..., 0] = values + 3 * (values < 250)
    tinted[..., 0] = values + 5 * (values < 250)
    (tmp_path / "in").mkdir()
    for name, pixels in {"gray": values, "rgb": rgb, "nearly": nearly, "tinted": tinted}.items():
        Image.fromarray(pixels).save(tmp_path / f"in/{name}.png")
    done = apply(gray, "in", "out", ["reconstruct"])
    assert [name for name, _ in done["set_aside"]] == ["tinted.png"]
    for name in ("gray", "rgb", "nearly"):
        made = np.asarray(Image.open(f"out/reconstruct/{name}.png"))
        np.testing.assert_array_equal(made, rgb if made.ndim == 3 else values)
    done = apply(colour, "in", "coloured", ["reconstruct"])
    assert (done["files"], done["set_aside"]) == (4, [])
    assert Image.open("coloured/reconstruct/gray.png").mode == "L"
