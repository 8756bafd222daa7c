"""The README.md of an export: a model card as the Hugging Face Hub reads it, with nothing in it that was not measured or set."""

from collections.abc import Mapping
from typing import Any

import yaml

from studio.data import DATASETS
from studio.evaluate.probe_table import METRICS, separation_lines, verdict
from studio.methods import METHODS
from studio.runs.run import Run

__all__ = ["model_card"]

LICENSE = "mit"  # of the studio; that of the weights depends on the data, and is the user's to say
USE = """\
## Intended use

To look at what only the *target* images have, and what they share with the *background* images: encode images to a common
code `z` and a salient code `s`, rebuild them, heal them (nothing salient), swap salient content, and sample new ones. It is
meant for research on images like those that it was trained on.

## Limits

- **Not a medical device.** It must not be used for diagnosis, treatment or any decision about a person. What it removes or
  adds is what tells two sets of images apart, which need not be a disease: scanner, site, age or sex do as well if they
  differ between the sets.
- **Bias.** Whatever was rare or missing in the training images is made badly or made up, and differences between the two sets
  that nobody intended end up in `s`. No subgroup was examined beyond the table above.
- A healed image is a guess of the model, not what the same subject would look like.
- Images of another kind (another scanner, resolution, window or colour scale) are outside what was measured.
- The models may reproduce training images; ask before you publish one that was trained on images of people.
"""
RIGHTS = """\
The license above is that of the studio's code. Whether these weights may be passed on depends on the training images.
"""
LOAD = """\
## How to load it

```python
from studio import Run

run = Run.open("{name}")          # this folder; its hashes are checked
z, s = run.encode(images)         # images: float32 {shape}, in [-1, 1]
healed = run.heal(images)
```

or without the studio, `encode(images) -> z, s` and `decode(z, s) -> images`:

```python
import torch

encode = torch.export.load("encode.pt2").module()
decode = torch.export.load("decode.pt2").module()
z, s = encode(images)
```
"""


def model_card(
    run: Run, manifest: Mapping[str, Any], probe: Mapping[str, Any] | None, name: str
) -> str:
    """Writes the card.

    Args:
        run: what is exported.
        manifest: of the export, as far as it is known: `parity`, `parity_images`, `images_seen`.
        probe: `probe.json` of the same checkpoint, or None.
        name: of the folder.

    Returns:
        Markdown with YAML front matter.
    """
    config = run.config
    front = {
        "library_name": "contrastive-studio",
        "license": LICENSE,
        "tags": ["contrastive-analysis", config.method.name, "safetensors", "pytorch"],
    }
    parts = [
        f"---\n{yaml.safe_dump(front, sort_keys=False)}---\n",
        f"# {config.name}: {config.method.name} on {config.data.name}\n",
        _about(run),
        _probe_section(probe, run.images_seen),
        USE,
        LOAD.format(name=name, shape=("B", *run.shape)).replace("'B'", "B"),
        _parity_section(manifest),
        RIGHTS,
    ]
    return "\n".join(parts)


def _about(run: Run) -> str:
    config, method = run.config, run.method
    paper = METHODS[config.method.name].paper.rstrip(".")
    data = " ".join(str(DATASETS[config.data.name].__doc__).strip().split("\n\n")[0].split())
    size = sum(value.numel() for value in method.state_dict().values())
    shape = " x ".join(map(str, run.shape))
    return (
        f"A contrastive analysis model made with Contrastive studio: `{config.method.name}` ({paper}).\n\n"
        f"- **Training data:** `{config.data.name}`. {data}\n"
        f"- **Images:** {shape}, in [-1, 1]. **Codes:** z {config.method.z}, s {config.method.s}.\n"
        f"- **Training:** {run.images_seen:,} images, both halves together, seed {config.seed}; see `config.yaml`.\n"
        f"- **Weights:** {size:,} numbers, averaged over training (EMA), nets of the training included.\n"
    )


def _probe_section(probe: Mapping[str, Any] | None, images_seen: int) -> str:
    if probe is None:
        return f"## Is the split clean?\n\nNot measured at {images_seen:,} images; `studio probe` does it where the data is.\n"
    lines = [
        "## Is the split clean?\n",
        f"Read from the codes of test images by `studio probe`, protocol `{probe['protocol']}`; arrows say what is wanted.\n",
        "| attribute | belongs | metric | salient | common | both | chance | s.e. | n |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in probe["rows"]:
        if row["salient"] is None:
            metric, numbers = "", ["-"] * 5
        else:
            up, metric = row["belongs"] == "salient", METRICS.get(row["metric"], str(row["metric"]))
            numbers = [
                f"{row['salient']:.3f} {'↑' if up else '↓'}",
                f"{row['common']:.3f} {'↓' if up else '↑'}",
            ]
            numbers += [f"{row[key]:.3f}" for key in ("whole", "chance", "error")]
        lines.append(
            f"| {' | '.join([row['attribute'], row['belongs'], metric, *numbers, format(row['n'], ',')])} |"
        )
    beside = separation_lines(probe["separation"]) if "separation" in probe else []
    return "\n".join(
        [*lines, "", *(f"- {line}" for line in [*map(verdict, probe["rows"]), *beside]), ""]
    )


def _parity_section(manifest: Mapping[str, Any]) -> str:
    lines = [
        "## Programs\n",
        f"Largest difference from the trained run on {manifest['parity_images']}:\n",
    ]
    lines += ["| file | difference |", "| --- | --- |"]
    lines += [f"| `{name}` | {value:.2g} |" for name, value in manifest["parity"].items()]
    return "\n".join([*lines, "", manifest["onnx"] + ".", ""])
