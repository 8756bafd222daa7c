"""The model card of an export: its README.md, in the form that the Hugging Face Hub reads.

It states only values that were measured or configured.
"""

from collections.abc import Mapping
from typing import Any

import yaml

from studio.data import dataset_class
from studio.data.folders_config import FoldersConfig
from studio.evaluate.probe_table import METRICS, separation_lines
from studio.evaluate.verdict import is_linear_only, judge
from studio.methods import METHODS
from studio.runs.run import Run
from studio.runs.start import Start

__all__ = ["describe_probe", "model_card"]

USE = """\
## Intended use

The model separates the content that only the *target* images have from the content that they share
with the *background* images. It encodes an image to a common code `z` and a salient code `s`. From
these it can reconstruct the image, *heal* it (synthesise its pseudo-healthy counterpart, without
salient content), swap salient content between images, and generate new images. It is meant for
research on images like those on which it was trained.

## Limitations

- **Not a medical device.** It must not be used for diagnosis, treatment or any decision about a
  person. The content that it removes or adds is the difference between the two sets of images,
  which need not be a disease. It can equally be the scanner, the site, the age or the sex, if these
  differ between the sets.
- **Bias.** Content that was rare or missing in the training images is generated badly or invented.
  Unintended differences between the two sets end up in `s`. No subgroup was examined beyond the
  table above.
- A healed image is an estimate of the model. It does not show how the same subject would look.
- Images of another kind (another scanner, resolution, intensity window or colour scale) were not
  tested.
- The model may reproduce training images. Ask for permission before you publish a model that was
  trained on images of people.
"""
RIGHTS = """\
## Licence

{licence} The rights in the training images decide whether the weights may be shared at all. The
studio's own code, such as `heal_onnx.py`, has the MIT licence.
"""
PRIVATE = """\
## Privacy

Exported with `--private`: this folder has no picture and no name of a file or subject. Do not add
pictures of subjects to this card. The weights may still reproduce training images.
"""
LOAD = """\
## How to load it

```python
from studio import Run

run = Run.open("{name}")          # this folder; its hashes are checked
z, s = run.encode(images)         # images: float32 {shape}, in [-1, 1]
healed = run.heal(images)
```

or without the studio, `encode(images) -> z, s`, `decode(z, s) -> images` and
`heal(images) -> images`, which decodes `z` with the blank code (`blank` in `manifest.json`).
`preprocessing.json` says how a file becomes an image.

```python
import torch

encode = torch.export.load("encode.pt2").module()
decode = torch.export.load("decode.pt2").module()
heal = torch.export.load("heal.pt2").module()
z, s = encode(images)
```
"""
LOAD_ONNX = """\
With ONNX, `python heal_onnx.py IN.png OUT.png` heals a picture. It needs numpy, onnxruntime and
pillow. The axis `batch` of all programs may have any length.
"""


def model_card(
    run: Run, manifest: Mapping[str, Any], probe: Mapping[str, Any] | None, name: str
) -> str:
    """Returns the text of the card.

    Args:
        run: the exported run.
        manifest: manifest of the export, with `parity`, `parity_images` and `onnx`.
        probe: `probe.json` of the same checkpoint, or None.
        name: name of the folder.

    Returns:
        Markdown with YAML front matter.
    """
    config = run.config
    front = {
        "library_name": "contrastive-studio",
        **({"license": manifest["license"]} if manifest["license"] else {}),
        "tags": ["contrastive-analysis", config.method.name, "safetensors", "pytorch"],
    }
    parts = [
        f"---\n{yaml.safe_dump(front, sort_keys=False)}---\n",
        f"# {config.name}: {config.method.name} on {config.data.name}\n",
        _about(run, manifest),
        describe_probe(probe, run.images_seen),
        USE,
        *([PRIVATE] if manifest["private"] else []),
        LOAD.format(name=name, shape=("B", *run.shape)).replace("'B'", "B"),
        *([LOAD_ONNX] if "heal.onnx" in manifest["parity"] and len(run.shape) == 3 else []),
        _parity_section(manifest),
        RIGHTS.format(licence=_licence(manifest["license"])),
    ]
    return "\n".join(parts)


def _licence(chosen: str | None) -> str:
    if chosen:
        return f"The weights have the licence `{chosen}`."
    return "Nobody has chosen a licence for these weights, so none is granted."


def _about(run: Run, manifest: Mapping[str, Any]) -> str:
    config, method = run.config, run.method
    paper = METHODS[config.method.name].paper.rstrip(".")
    data = " ".join(str(dataset_class(config.data).__doc__).strip().split("\n\n")[0].split())
    size = sum(value.numel() for value in method.parameters())
    if config.data.name == "folders":
        data = "Two folders of images, `background` and `target`."
    shape = " x ".join(map(str, run.shape))
    return (
        f"A contrastive analysis model, trained with Contrastive studio: `{config.method.name}` "
        f"({paper}).\n\n"
        f"- **Training data:** `{config.data.name}`. {data}\n"
        f"- **Images:** {shape}, in [-1, 1]. **Codes:** common z with {config.method.z} numbers, "
        f"salient s with {config.method.s}.\n{_values(run)}"
        f"- **Training:** {run.images_seen:,} images of both sets together, seed {config.seed}. "
        f"See `config.yaml`.\n{_start(manifest)}"
        f"- **Weights:** {size:,} parameters, averaged over the training (EMA). They include nets "
        "that only the training needs.\n"
    )


def _start(manifest: Mapping[str, Any]) -> str:
    """Returns a line on the trained nets that the training started from, or nothing."""
    known = manifest.get("started_from")
    return "" if known is None else f"- **Start:** {Start(**known).describe()}.\n"


def _values(run: Run) -> str:
    """Returns a line on the values of a user's files, or nothing for a data set without files."""
    if not isinstance(run.config.data, FoldersConfig):
        return ""
    return f"- **Values of the files:** {run.intensity.describe()}.\n"


def describe_probe(probe: Mapping[str, Any] | None, images_seen: int) -> str:
    """Returns the section about the codes: the probe table and a verdict per attribute."""
    if probe is None:
        return (
            f"## How well do the codes separate?\n\nNot measured at {images_seen:,} images. "
            "`studio probe` measures it on the data.\n"
        )
    lines = [
        "## How well do the codes separate?\n",
        "Linear and, behind the slash, non-linear probes on the codes of test images (`studio "
        f"probe`, protocol `{probe['protocol']}`). ↑ should be high, ↓ at the chance level.\n",
        "| attribute | belongs in | metric | salient | common | both | chance | "
        "standard error | n |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in probe["rows"]:
        if row["salient"] is None:
            metric, numbers = "", ["-"] * 5
        else:
            up, metric = row["belongs"] == "salient", METRICS.get(row["metric"], str(row["metric"]))
            numbers = [
                f"{_both_readers(row, 'salient')} {'↑' if up else '↓'}",
                f"{_both_readers(row, 'common')} {'↓' if up else '↑'}",
            ]
            numbers += [f"{row[key]:.3f}" for key in ("whole", "chance", "error")]
        cells = [row["attribute"], row["belongs"], metric, *numbers, f"{row['n']:,}"]
        lines.append(f"| {' | '.join(cells)} |")
    if is_linear_only(probe):
        lines += ["", "An older studio measured them without the non-linear probes."]
    separation = separation_lines(probe["separation"]) if "separation" in probe else []
    sentences = [judge(row).line for row in probe["rows"]]
    return "\n".join([*lines, "", *(f"- {line}" for line in [*sentences, *separation]), ""])


def _both_readers(row: Mapping[str, Any], code: str) -> str:
    values = [row[code], row["also"].get(f"{code}_nonlinear")]
    return " / ".join(f"{value:.3f}" for value in values if value is not None)


def _parity_section(manifest: Mapping[str, Any]) -> str:
    lines = [
        "## Programs\n",
        f"Largest difference from the trained run on {manifest['parity_images']}:\n",
    ]
    lines += ["| file | difference |", "| --- | --- |"]
    lines += [f"| `{name}` | {value:.2g} |" for name, value in manifest["parity"].items()]
    return "\n".join([*lines, "", manifest["onnx"] + ".", ""])
