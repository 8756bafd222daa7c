"""Fingerprints: equal for equal content, and different for another one, each by its own test."""

import numpy as np
from support.experiments import tiny

from studio.build import build_dataset
from studio.data.fingerprint import Fingerprint, hash_cells, hash_pixels, project
from studio.data.splits import keep_splits


def of(items: dict, **fields: object) -> Fingerprint:
    return Fingerprint("x", "file", items, **fields)


def test_fingerprint_survives_json_and_names_at_most_five_files() -> None:
    before = of({f"{i}.png": "a" for i in range(9)}, labels={"0.png": "l"}, columns=["v"])
    again = Fingerprint.from_json(before.to_json())
    assert again.sha256 == before.sha256
    assert before.changes(again) == ""
    now = of({f"{i}.png": "b" for i in range(9)}, labels={"0.png": "l"}, columns=["v"])
    assert before.changes(now) == ("9 files changed (0.png, 1.png, 2.png, 3.png, 4.png and 4 more)")
    assert now.sha256 != before.sha256


def test_labels_count_only_if_the_columns_are_the_same() -> None:
    before = of({"a": "x"}, labels={"a": "1"}, columns=["v"])
    assert before.changes(of({"a": "x"}, labels={"a": "2"}, columns=["v"])) == (
        "1 file with other labels (a)"
    )
    assert before.changes(of({"a": "x"}, labels={"a": "2"}, columns=["v", "w"])) == ""


def test_computed_pixels_are_equal_up_to_rounding() -> None:
    image = np.random.default_rng(0).uniform(-1, 1, (1, 8, 8))
    before = of({"a": project(image)})
    assert before.changes(of({"a": project(image + 1e-6)})) == ""
    assert "changed" in before.changes(of({"a": project(image[:, ::-1])}))


def test_hashes_depend_on_shape_values_and_stated_cells() -> None:
    pixels = np.arange(6, dtype=np.uint8)
    assert hash_pixels(pixels) == hash_pixels(pixels.copy())
    assert hash_pixels(pixels) != hash_pixels(pixels.reshape(2, 3))
    assert hash_cells({"v": "1", "w": "2"}, ["v"]) == hash_cells({"v": "1", "w": "3"}, ["v"])
    assert hash_cells({"v": ""}, ["v"]) == hash_cells({}, ["v"])


def test_bundled_data_have_one_fingerprint_and_nothing_derived() -> None:
    first, second = (build_dataset(tiny("cvae")) for _ in range(2))
    assert first.fingerprint().changes(second.fingerprint()) == ""
    assert first.derived() == {}


def test_keep_splits_sends_new_images_of_a_subject_to_its_split() -> None:
    stored = {"a": "test", "gone": "train"}
    found = keep_splits(
        {"a": "train", "b": "train", "c": "train"}, {"a": "s", "b": "s", "c": "other"}, stored
    )
    assert found == {"a": "test", "b": "test", "c": "train"}
