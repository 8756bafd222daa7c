"""The verbs `studio data list`, `check` and `init`."""

import csv
import json
import os
import shlex
from pathlib import Path
from typing import TypedDict

import numpy as np

from studio.atomic import appearing
from studio.data import DATASETS, dataset_class
from studio.data.dataset import (
    SPLITS,
    Attribute,
    DataConfig,
    Split,
    describe_shape,
    label_notes,
)
from studio.data.folders import QuarantineError
from studio.data.io.attribute_table import MOST_CLASSES
from studio.data.io.names import LISTED, join_names
from studio.data.textured_digits import TexturedDigits, TexturedDigitsConfig
from studio.data.training_set import TrainingSet
from studio.domains import DOMAINS
from studio.errors import StudioError

__all__ = [
    "AttributeReport",
    "DataReport",
    "DatasetRow",
    "check",
    "describe",
    "init_example",
    "list_datasets",
    "report_unusable",
]

EXAMPLE: dict[Split, int] = {"train": 160, "test": 40}  # images per folder

ABOUT = """\
An example of the layout that `studio` reads as the data set `folders`.

  background/     images without the content that interests you: photographs
  target/         images with it: photographs with a handwritten digit over them
  attributes.csv  optional, one row per image. Only the column `file` is required.
    file          path of the image in this folder
    split         train or test. Without it, the studio divides the subjects four to one.
    subject       person or object of the image. All images of a subject are in the same split.
    digit         an attribute: a known property, used for measuring and never for training
    texture       another attribute
  folders_dig_plus.yaml  a config. Its data.attributes says which code should encode each attribute.

Replace these files by your own images or volumes (png, jpg, tif, webp, bmp, npy, dcm, nrrd, mha,
nii or nii.gz), in as many subfolders as you like. Then:

  studio data check {config}
  studio train --cfg {config}

The photographs come with scikit-image, the digits with scikit-learn.
"""
CONFIG = """\
# DIG+ on your own two folders, with the settings that were best on real chest X-rays.
# `studio train --cfg THIS_FILE --dry-run` shows all fields.
data:
  name: folders
  root: {root}
  resolution: 32
  attributes: {{digit: salient, texture: common}} # salient: in target images only, common: in both
nets: {{width: 32}}
method: {{name: dig_plus, z: 32, s: 16, weights: {{image: 20.0}}}}
train: {{images: 60_000, batch: 64, lr: 8e-4}}
"""


class DatasetRow(TypedDict):
    """A row of `studio data list --json`.

    Attributes:
        name: name of the data set.
        what: description in one sentence.
        needs_files: whether it reads files.
        expected: files that it expects.
    """

    name: str
    what: str
    needs_files: bool
    expected: str


class AttributeReport(TypedDict):
    """An attribute in the report of `studio data check --json`, see `Attribute`."""

    belongs: str
    classes: list[str]
    target_only: bool


class DataReport(TypedDict):
    """The report of `studio data check --json`. All keys are always present.

    Attributes:
        name: name of the data set.
        ok: whether it can be used.
        root: folder of its files, or None.
        expected: files that it expects.
        counts: split -> domain -> number of images.
        shape: shape of the images, or None.
        attributes: name -> attribute.
        notes: facts that a user should know.
        quarantined: [file, reason] for each file that is set aside.
        problems: reasons why it cannot be used.
    """

    name: str
    ok: bool
    root: str | None
    expected: str
    counts: dict[str, dict[str, int]]
    shape: list[int] | None
    attributes: dict[str, AttributeReport]
    notes: list[str]
    quarantined: list[list[str]]
    problems: list[str]


def list_datasets() -> list[DatasetRow]:
    """Returns one row per data set, as `studio data list --json` prints it."""
    rows: list[DatasetRow] = []
    for name, cls in DATASETS.items():
        needs_files = cls.Config.model_fields["root"].annotation is not type(None)
        summary = " ".join(str(cls.__doc__).strip().split("\n\n")[0].split())
        rows.append(
            {
                "name": name,
                "what": summary,
                "needs_files": needs_files,
                "expected": DATASETS[name].LAYOUT,
            }
        )
    return rows


def check(config: DataConfig) -> DataReport:
    """Opens a data set and reports its contents.

    Faults of the user's files are reported as problems and not raised.

    Args:
        config: the data set's section.
    """
    report = _report(config.name, config.root)
    try:
        dataset = dataset_class(config)(config)
        # Labels are read here for the first time, so a damaged file of labels shows here.
        chosen = TrainingSet(dataset).notes()
        notes = [*dict.fromkeys([*dataset.notes(), *chosen, *label_notes(dataset)])]
    except QuarantineError as error:
        quarantined = [list(pair) for pair in error.quarantined]
        return {**report, "quarantined": quarantined, "problems": [str(error)]}
    except StudioError as error:
        return {**report, "problems": [str(error)]}
    return {
        **report,
        "ok": True,
        "counts": {
            split: {domain: dataset.size(split, domain) for domain in DOMAINS} for split in SPLITS
        },
        "shape": list(dataset.shape),
        "attributes": {
            name: _describe(attribute) for name, attribute in dataset.attributes.items()
        },
        "notes": notes,
        "quarantined": [list(pair) for pair in dataset.quarantined],
    }


def report_unusable(name: str, problem: str) -> DataReport:
    """Returns the report of `check` for a data set with an invalid section of the config."""
    return {**_report(name, None), "problems": [problem]}


def _report(name: str, root: str | None) -> DataReport:
    return {
        "name": name,
        "ok": False,
        "root": root,
        "expected": DATASETS[name].LAYOUT,
        "counts": {},
        "shape": None,
        "attributes": {},
        "notes": [],
        "quarantined": [],
        "problems": [],
    }


def _describe(attribute: Attribute) -> AttributeReport:
    return {
        "belongs": attribute.belongs,
        "classes": list(attribute.classes),
        "target_only": attribute.target_only,
    }


def describe(report: DataReport) -> str:
    """Returns the report of `check` as plain lines."""
    lines = [f"{report['name']}: {'ready' if report['ok'] else 'not usable'}"]
    if report["shape"] is not None:
        kind = {1: "vectors", 4: "volumes"}.get(len(report["shape"]), "images")
        lines.append(f"{kind}: {describe_shape(report['shape'])}")
    for split, counts in report["counts"].items():
        lines.append(
            f"{split}: " + ", ".join(f"{count} {domain}" for domain, count in counts.items())
        )
    for name, attribute in report["attributes"].items():
        classes = attribute["classes"]
        shown = join_names(classes, MOST_CLASSES if len(classes) <= MOST_CLASSES else LISTED)
        kind = f"one of {shown}" if classes else "a number"
        lines.append(
            f"attribute {name}: {attribute['belongs']}, "
            f"{kind}{', target only' * attribute['target_only']}"
        )
    lines += [f"note: {note}" for note in report["notes"]]
    lines += [f"set aside: {name} {reason}" for name, reason in report["quarantined"]]
    lines += [f"problem: {problem}" for problem in report["problems"]]
    return "\n".join(lines)


def init_example(root: str | Path) -> None:
    """Writes an example of the layout of `folders`: a few hundred small images, a table, a config
    and a README.

    Args:
        root: a folder that does not exist or is empty. It appears complete or not at all.

    Raises:
        StudioError: the folder is not empty, or it cannot be written.
    """
    root = Path(os.path.expanduser(root)).resolve()
    try:
        with appearing(root, "the example") as folder:
            _write_images(folder)
            about = ABOUT.format(config=shlex.quote(str(root / "folders_dig_plus.yaml")))
            (folder / "README.txt").write_text(about, encoding="utf-8")
            (folder / "folders_dig_plus.yaml").write_text(
                CONFIG.format(root=json.dumps(str(root))), encoding="utf-8"
            )
    except OSError as error:
        raise StudioError(f"{root}: cannot be written: {error.strerror or error}") from None


def _write_images(folder: Path) -> None:
    from PIL import Image

    from studio.pixels import to_pixels

    dataset = TexturedDigits(TexturedDigitsConfig(resolution=64))
    with (folder / "attributes.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, ["file", "split", "subject", *dataset.attributes])
        table.writeheader()
        for domain in DOMAINS:
            (folder / domain).mkdir()
            for split, count in EXAMPLE.items():
                labels = dataset.labels(split, domain)
                for i, pixels in enumerate(
                    to_pixels(dataset.images(split, domain, np.arange(count)), generated=False)
                ):
                    name = f"{domain}/{split}_{i:03}.png"
                    Image.fromarray(pixels[:, :, 0]).save(folder / name)
                    values = {
                        key: dataset.attributes[key].classes[column[i]]
                        for key, column in labels.items()
                    }
                    # Each subject has two images here, one in each folder, as a patient might.
                    table.writerow(
                        {"file": name, "split": split, "subject": f"{split}_{i:03}", **values}
                    )
