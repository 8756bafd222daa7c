"""Small files in the layouts of CelebA, of Kermany's X-rays and of AffectNet."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

CELEBA = ("5_o_Clock_Shadow", "Eyeglasses", "Male", "Smiling", "Wearing_Hat", "Young")
FACE = (218, 178)
XRAY = (60, 80)
EXPRESSIONS = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "anger", "contempt")


def write_picture(
    path: Path, number: int, size: Sequence[int] = (40, 48), gray: bool = False
) -> Path:
    """Writes a smooth picture of which no other number has an equal."""
    rng = np.random.default_rng(number)
    few = rng.integers(0, 256, (4, 4) if gray else (4, 4, 3)).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(few).resize((size[1], size[0])).save(path, quality=90)
    return path


def celeba_rows(n: int) -> list[dict[str, int]]:
    """Returns the attributes of n faces: in turn glasses, hat, and two without either."""
    rng = np.random.default_rng(3)
    return [
        {
            **{name: int(rng.integers(2)) for name in CELEBA},
            "Eyeglasses": int(i % 4 == 0),
            "Wearing_Hat": int(i % 4 == 1),
        }
        for i in range(n)
    ]


def write_celeba(root: Path, n: int = 80, rows: Sequence[Mapping[str, int]] | None = None) -> Path:
    """Writes the files as CelebA's authors distribute them.

    Of six groups of eight pictures, one is CelebA's validation part and one its test part.
    """
    rows = celeba_rows(n) if rows is None else rows
    names = [f"{i:06}.jpg" for i in range(1, len(rows) + 1)]
    for i, name in enumerate(names):
        write_picture(root / "img_align_celeba" / name, i, FACE)
    lines = [str(len(rows)), " ".join(CELEBA) + " "]
    for name, row in zip(names, rows, strict=True):
        lines.append(f"{name} " + " ".join(f"{2 * row[key] - 1:2}" for key in CELEBA))
    (root / "list_attr_celeba.txt").write_text("\n".join(lines) + "\n")
    # Pictures 1 and 5, 2 and 6, ... are of one person, so that persons have one accessory.
    persons = [i % 4 + 4 * (i // 8) for i in range(len(rows))]
    text = "".join(f"{name} {person}\n" for name, person in zip(names, persons, strict=True))
    (root / "identity_CelebA.txt").write_text(text)
    parts = [{4: 1, 5: 2}.get(i // 8 % 6, 0) for i in range(len(rows))]
    text = "".join(f"{name} {part}\n" for name, part in zip(names, parts, strict=True))
    (root / "list_eval_partition.txt").write_text(text)
    return root


def write_xrays(root: Path, train: int = 12, test: int = 6, val: int = 2) -> Path:
    """Writes Kaggle's folders, with so many healthy, bacterial and viral images in each."""
    number = 0
    for part, count in (("train", train), ("test", test), ("val", val)):
        for i in range(count):
            number += 1
            # Persons of training have numbers below 1000, persons of testing above.
            person = i // 2 + 1 + {"train": 0, "test": 1000, "val": 2000}[part]
            normal = root / "chest_xray" / part / "NORMAL"
            sick = root / "chest_xray" / part / "PNEUMONIA"
            write_picture(normal / f"IM-{person:04}-{i:04}.jpeg", 3 * number, XRAY, True)
            name = f"person{person}_bacteria_{number}.jpeg"
            write_picture(sick / name, 3 * number + 1, XRAY, gray=number % 3 > 0)
            name = f"person{person + 500}_virus_{number}.jpeg"
            write_picture(sick / name, 3 * number + 2, XRAY, True)
    return root


def write_affectnet(root: Path, train: int = 4, test: int = 2) -> Path:
    """Writes the tables and images of the first edition, so many of each expression."""
    header = (
        "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,"
        "valence,arousal"
    )
    number = 0
    for stem, count in (("training", train), ("validation", test)):
        lines = [header] if stem == "training" else []
        for i in range(count):
            for code in range(11):
                number += 1
                name = f"{number % 7}/{number:05}.jpg"
                if code < len(EXPRESSIONS):
                    images = root / "Manually_Annotated_Images"
                    write_picture(images / name, number, (100, 120))
                feeling = "-2,-2" if i == 0 and code == 1 else f"{code / 10 - 0.5:.3f},{i / 10:.3f}"
                marks = ";".join(["1.0;2.0"] * 68)
                lines.append(f"{name},10,5,90,90,{marks},{code},{feeling}")
        lists = root / "Manually_Annotated_file_lists"
        lists.mkdir(parents=True, exist_ok=True)
        (lists / f"{stem}.csv").write_text("\n".join(lines) + "\n")
    return root


def write_affectnet_arrays(root: Path, train: int = 3, test: int = 2) -> Path:
    """Writes the arrays and images of the second edition."""
    number = 0
    for part, count in (("train_set", train), ("val_set", test)):
        for code in range(len(EXPRESSIONS) * count):
            number += 1
            write_picture(root / part / "images" / f"{number}.jpg", number)
            notes = root / part / "annotations"
            notes.mkdir(exist_ok=True)
            np.save(notes / f"{number}_exp.npy", np.array(str(code % len(EXPRESSIONS))))
            np.save(notes / f"{number}_val.npy", np.array("0.25"))
            np.save(notes / f"{number}_aro.npy", np.array("-2"))
    return root


def write_affectnet_folders(root: Path, parts: Sequence[str] = ("train", "val")) -> Path:
    """Writes a folder per expression."""
    for place, part in enumerate(parts):
        for code, name in enumerate(EXPRESSIONS):
            for i in range(6):
                write_picture(root / part / name / f"{i}.png", 1000 * place + 10 * code + i)
    return root
