"""Heals a picture with the ONNX program of this folder, without the studio.

    python -m pip install numpy onnxruntime pillow
    python heal_onnx.py IN OUT

IN is a picture, or an .npy array (channels, height, width) that is prepared as preprocessing.json
says. OUT is a picture or an .npy array of the model's resolution. Not for diagnosis.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["heal", "main", "read", "write"]

HERE = Path(__file__).resolve().parent


def read(path: str, facts: dict[str, Any]) -> tuple[np.ndarray, tuple[float, float]]:
    """Returns an image (channels, height, width) in [-1, 1], and the values of -1 and 1."""
    if path.endswith(".npy"):
        return np.load(path).astype(np.float32), (-1.0, 1.0)
    from PIL import Image

    channels, height, width = facts["shape"]
    picture = Image.open(path)
    if picture.mode[0] not in "IF":  # more than 8 bits
        picture = picture.convert("L" if channels == 1 else "RGB")
    values = np.atleast_3d(np.asarray(picture))
    low, high = find_window(values, facts["intensity"])
    tall, wide = values.shape[:2]
    box = (0, 0, wide, tall)
    if facts["fit"] == "crop":
        side = min(tall, wide)
        left, top = (wide - side) // 2, (tall - side) // 2
        box = (left, top, left + side, top + side)
    elif facts["fit"] == "pad" and tall != wide:
        sys.exit("heal_onnx: data.fit is pad: pad the picture to a square first")
    planes = [
        Image.fromarray(values[..., i].astype(np.float32)).resize(
            (width, height), Image.Resampling.BICUBIC, box
        )
        for i in range(values.shape[2])
    ]
    image = np.stack([np.asarray(plane) for plane in planes])
    if values.dtype == np.uint8 and (low, high) == (0, 255):
        image = image.round()
    image = np.broadcast_to(image, (channels, height, width))
    return ((image - low) / (high - low)).clip(0, 1) * 2 - 1, (low, high)


def find_window(values: np.ndarray, intensity: dict[str, Any] | None) -> tuple[float, float]:
    """Returns the values of a picture that become -1 and 1."""
    rule = intensity or {"rule": "unknown"}
    kind = values.dtype.name
    if rule["rule"] in ("range", "per_file") and kind in rule["ranges"]:
        low, high = rule["ranges"][kind]
    elif rule.get("window"):
        low, high = rule["window"]
    else:
        sys.exit(f"heal_onnx: {kind} by the rule {rule['rule']}: give a prepared .npy array")
    return float(low), float(high)


def heal(images: np.ndarray) -> np.ndarray:
    """Maps images (n, channels, height, width) in [-1, 1] to their healed counterparts."""
    try:
        import onnxruntime  # pyright: ignore[reportMissingImports] - optional
    except ImportError:
        sys.exit("heal_onnx: needs onnxruntime: python -m pip install onnxruntime")
    session = onnxruntime.InferenceSession(
        str(HERE / "heal.onnx"), providers=["CPUExecutionProvider"]
    )
    (healed,) = session.run(None, {"images": images.astype(np.float32)})
    return np.asarray(healed)


def write(path: str, image: np.ndarray, window: tuple[float, float]) -> None:
    """Writes an image (channels, height, width) in [-1, 1]."""
    low, high = window
    values = (image + 1) / 2 * (high - low) + low
    if path.endswith(".npy"):
        np.save(path, values)
        return
    from PIL import Image

    kind = np.uint8 if high <= 255 else np.uint16
    pixels = np.moveaxis(values.round().clip(0, np.iinfo(kind).max).astype(kind), 0, -1)
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(path)


def main() -> None:
    """Heals the picture that the command line names."""
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    facts = json.loads((HERE / "preprocessing.json").read_text(encoding="utf-8"))
    image, window = read(sys.argv[1], facts)
    write(sys.argv[2], heal(image[None])[0], window)


if __name__ == "__main__":
    main()
