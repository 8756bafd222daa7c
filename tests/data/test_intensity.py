"""The rule of intensity: what it does to the values of one file."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
from pydantic import ValidationError
from support.folder_files import noise, write

from studio.data.folders import FoldersConfig
from studio.data.intensity import (
    EIGHT_BIT_RANGE,
    RANGES,
    Intensity,
    OtherTypeError,
    kept_intensity,
    measure_image,
    stated_intensity,
)
from studio.data.io.images import UnreadableError, read_image, scale_pixels

TYPES = (np.uint8, np.int16, np.uint16, np.int64, np.float32, np.float64)


def pixels(rule: Intensity, path: Path) -> np.ndarray:
    """Returns the values of a file in [-1, 1] at their own size."""
    picture, window = rule.read(read_image(path, measure=rule.measures))
    assert window is not None
    return scale_pixels(picture.values, window)


@pytest.mark.parametrize(
    "rule",
    [
        EIGHT_BIT_RANGE,
        Intensity("window", (20.0, 180.0)),
        Intensity("per_image"),
        Intensity("per_image", measure="zscore"),
    ],
    ids=lambda rule: rule.rule + rule.measure,
)
def test_read_gives_the_same_pixels_when_only_the_type_of_a_file_differs(
    rule: Intensity, tmp_path: Path
) -> None:
    values = noise(0)
    expected = pixels(rule, write(tmp_path / "a.png", values))
    assert np.ptp(expected) > 1
    for kind in TYPES:
        path = write(tmp_path / f"{kind.__name__}.npy", values.astype(kind))
        np.testing.assert_array_equal(pixels(rule, path), expected)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (noise(0) / 255, "float64 with values from 0"),
        (noise(0, high=4096, dtype=np.uint16), "uint16 with values from"),
        (noise(0).astype(np.int16) - 200, "int16 with values from -"),
        (noise(0) + 0.5, "float64"),
    ],
    ids=["unit", "deep", "negative", "fractions"],
)
def test_read_refuses_other_types_when_all_images_are_8_bit(
    values: np.ndarray, words: str, tmp_path: Path
) -> None:
    with pytest.raises(OtherTypeError, match=f"is not 8-bit as the images .* {words}"):
        pixels(EIGHT_BIT_RANGE, write(tmp_path / "a.npy", values))


def test_range_is_that_of_the_type_when_it_is_stated(tmp_path: Path) -> None:
    rule = Intensity("range", ranges={kind: RANGES[kind] for kind in ("uint8", "uint16")})
    values = noise(0)
    expected = pixels(rule, write(tmp_path / "a.png", values))
    deep = pixels(rule, write(tmp_path / "b.png", values.astype(np.uint16) * np.uint16(257)))
    np.testing.assert_allclose(deep, expected, atol=1e-6)
    np.testing.assert_allclose(expected[0], values / 127.5 - 1, atol=1e-6)
    with pytest.raises(OtherTypeError, match=r"is int64 .* data\.window states another range"):
        pixels(rule, write(tmp_path / "c.npy", values.astype(np.int64)))


def test_measure_image_is_percentiles_or_deviations_without_the_background() -> None:
    scan = np.full((32, 32), -2.0)
    inner = np.random.default_rng(0).normal(100, 10, (16, 16))
    scan[8:24, 8:24] = inner
    assert measure_image(scan, "percentiles") == pytest.approx(np.percentile(inner, (0.5, 99.5)))
    mean, sd = inner.mean(), inner.std()
    assert measure_image(scan, "zscore") == pytest.approx((mean - 3 * sd, mean + 3 * sd))
    plain = noise(0)
    assert measure_image(plain, "percentiles") == pytest.approx(np.percentile(plain, (0.5, 99.5)))
    mask = np.pad(np.ones((4, 4)), 4)
    assert measure_image(mask, "percentiles") == measure_image(mask, "zscore") == (0, 1)
    scan[0, 0] = np.nan
    assert measure_image(scan, "zscore")[1] == pytest.approx(mean + 3 * sd)
    with pytest.raises(UnreadableError, match="same value everywhere"):
        measure_image(np.ones((4, 4)), "percentiles")


@pytest.mark.parametrize("suffix", [".npy", ".nii", ".nii.gz"])
def test_per_image_measures_the_whole_volume_when_a_slice_is_read(
    suffix: str, tmp_path: Path
) -> None:
    values = noise(0, (8, 8, 6), high=900, dtype=np.int16)
    values[:, :, 5] += 3000
    path = tmp_path / f"a{suffix}"
    if suffix == ".npy":
        np.save(path, values)
    else:
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)
    rule = Intensity("per_image")
    found = [rule.read(read_image(path, at, measure=rule.measures))[1] for at in (0, 5)]
    assert found[0] == found[1] == measure_image(values, "percentiles")


@pytest.mark.parametrize(
    ("fields", "rule", "window"),
    [
        ({}, None, None),
        ({"window": [3, 7]}, "window", (3, 7)),
        ({"window": [3, 7], "normalise": "range"}, "window", (3, 7)),
        ({"window": [3, 7], "normalise": "window"}, "window", (3, 7)),
        ({"normalise": "window"}, "window", None),
        ({"normalise": "range"}, "range", None),
        ({"normalise": "per_image"}, "per_image", None),
    ],
)
def test_stated_intensity_is_what_the_config_says(
    fields: dict, rule: str | None, window: object
) -> None:
    found = stated_intensity(FoldersConfig(root="x", **fields))
    assert (found and found.rule, found and found.window) == (rule, window)


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"normalise": "per_image", "window": [0, 1]}, "normalise", "set window: auto"),
        ({"per_image": "zscore"}, "per_image", "needs normalise: per_image"),
        ({"normalise": "window", "per_image": "zscore"}, "per_image", "needs normalise"),
        ({"normalise": "minmax"}, "normalise", "'window' or 'per_image'"),
    ],
)
def test_config_refuses_options_that_would_have_no_effect(
    fields: dict, field: str, words: str
) -> None:
    with pytest.raises(ValidationError, match=words) as error:
        FoldersConfig(root="x", **fields)
    assert [fault["loc"] for fault in error.value.errors()] == [(field,)]
    FoldersConfig(root="x", normalise="per_image", per_image="zscore")


@pytest.mark.parametrize(
    "rule",
    [
        EIGHT_BIT_RANGE,
        Intensity("window", (2.0, 9.5)),
        Intensity("per_image", measure="zscore"),
        Intensity("per_file", (0.0, 900.0)),
    ],
)
def test_kept_intensity_is_the_stored_rule_unless_the_config_states_another(
    rule: Intensity,
) -> None:
    derived = {"window": rule.window and [*rule.window], "normalise": rule.to_json()}
    assert kept_intensity(FoldersConfig(root="x"), derived) == rule
    assert kept_intensity(FoldersConfig(root="x"), {"window": [0, 1]}) is None
    assert kept_intensity(FoldersConfig(root="x"), None) is None
    stated = FoldersConfig(root="x", normalise="per_image")
    assert kept_intensity(stated, derived) is None
