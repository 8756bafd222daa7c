"""A run as a folder to pass on: weights, config, programs and a model card, in the layout that the Hugging Face Hub expects.

`DIR` has `model.safetensors` (averaged weights), `config.yaml`, `encode.pt2` and `decode.pt2`, `encode.onnx` and
`decode.onnx` where they convert, `README.md` and `manifest.json` with a hash of every file. It is made beside its place and
renamed into it when all of it is there and the programs have been compared with the run. `Run.open(DIR)` reads it back, and
`config.yaml` then names no folder of this machine: data is found by STUDIO_DATA, and of `folders` the last part of its root
is kept, beneath the current folder.
"""

import copy
import json
import os
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from studio import __version__, sampling
from studio.atomic import appearing, write_json
from studio.config import dump
from studio.data import DataConfig
from studio.data.folders import Folders, FoldersConfig
from studio.errors import StudioError
from studio.export.graphs import onnx_programs, refuse_mismatch, torch_programs
from studio.export.model_card import model_card
from studio.runs.checkpoint import sha256
from studio.runs.exported import FORMAT, KIND, WEIGHTS, find
from studio.runs.run import Run

__all__ = ["export", "push", "refuse_push"]

COMPARED = 8  # images of each domain on which programs are compared with the run


def export(run: Run, folder: str | Path, onnx: bool = True) -> dict[str, Any]:
    """Writes an export.

    Args:
        run: opened with averaged weights.
        folder: new, or an empty one.
        onnx: also convert to ONNX, where that works.

    Returns:
        the manifest: `kind`, `format`, `name`, `method`, `dataset`, `images_seen`, `shape`, `codes`, `parity` (file -> largest
        difference from the run, see `studio.export.graphs.TOLERANCE`), `parity_images`, `onnx` (what ran the ONNX files, or
        why there are none), `versions` and `files` (name -> sha256).

    Raises:
        StudioError: the folder is not empty or cannot be written, or a program differs from the run.
    """
    place = Path(os.path.expanduser(folder))
    try:
        with appearing(place, "an export") as made:
            return _write(run, made, place.resolve().name, onnx)
    except OSError as error:
        raise StudioError(f"{place}: cannot be written: {error.strerror or error}") from None


def refuse_push(repository: str) -> None:
    """Says before anything is computed why an upload could not work.

    Raises:
        StudioError: huggingface_hub is missing, the name is no repository's, or there is no token.
    """
    try:
        import huggingface_hub
        from huggingface_hub.utils import HFValidationError, validate_repo_id
    except ImportError:
        raise StudioError(
            f"--push {repository}: needs huggingface_hub (pip install huggingface_hub)"
        ) from None
    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise StudioError(f"--push {repository}: {error}") from None
    if huggingface_hub.get_token() is None:
        raise StudioError(
            f"--push {repository}: no token: set HF_TOKEN, or log in with `hf auth login`"
        )


def push(folder: str | Path, repository: str) -> str:
    """Uploads an export's own files to the Hugging Face Hub with the user's token; the repository is made if it is missing.

    Args:
        folder: of the export; its hashes are checked first.
        repository: USER/NAME.

    Returns:
        its address.

    Raises:
        StudioError: see `refuse_push`; or the folder is no export, or the Hub cannot be reached or refuses.
    """
    refuse_push(repository)
    import huggingface_hub

    bundle = find(Path(folder))
    if bundle is None:
        raise StudioError(f"{folder}: not an export (no manifest.json in it)")
    try:
        hub = huggingface_hub.HfApi()
        address = hub.create_repo(repository, exist_ok=True)
        hub.upload_folder(
            repo_id=repository,
            folder_path=str(folder),
            allow_patterns=[*bundle.manifest["files"], "manifest.json"],
            commit_message="Export of Contrastive studio",
        )
    except Exception as error:  # of the Hub, httpx or requests, by version
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise StudioError(
            f"--push {repository}: {type(error).__name__}: {first}; {folder} itself is complete"
        ) from None
    return str(address)


def _write(run: Run, folder: Path, name: str, onnx: bool) -> dict[str, Any]:
    config, method = run.config, copy.deepcopy(run.method).cpu()
    weights = {key: value.detach().contiguous() for key, value in method.state_dict().items()}
    (folder / WEIGHTS).write_bytes(
        save(weights, metadata={"format": "pt"})
    )  # `save_file` lets nobody else read it
    passed_on = config.model_copy(update={"data": _passed_on(run)})
    (folder / "config.yaml").write_text(dump(passed_on), encoding="utf-8")
    images, which = _compared(run)
    programs, parity = torch_programs(method, images, folder)
    said = "no ONNX: not asked for"
    if onnx:
        differences, said = onnx_programs(method, programs, images, folder)
        said = f"ONNX was run by {said}" if differences else said
        parity |= differences
    refuse_mismatch(parity)
    manifest = {
        "kind": KIND,
        "format": FORMAT,
        "name": config.name,
        "method": config.method.name,
        "dataset": config.data.name,
        "images_seen": run.images_seen,
        "shape": list(run.shape),
        "codes": {"z": config.method.z, "s": config.method.s},
        "parity": parity,
        "parity_images": which,
        "onnx": said,
        "versions": {
            "studio": __version__,
            "torch": torch.__version__,
            "safetensors": version("safetensors"),
        },
    }
    (folder / "README.md").write_text(
        model_card(run, manifest, _probe(run), name), encoding="utf-8"
    )
    manifest["files"] = {file.name: sha256(file) for file in sorted(folder.iterdir())}
    write_json(folder / "manifest.json", manifest)
    return manifest


def _passed_on(run: Run) -> DataConfig:
    """Returns the data set's section without this machine's folders, and with what the training images decided."""
    config = run.config.data
    changes: dict[str, Any] = {}
    if isinstance(config, FoldersConfig):
        changes["root"] = Path(str(config.root)).name or "images"
        changes |= _decided(run, config)
    elif config.root is not None:
        changes["root"] = None
    changes |= {key: None for key in ("cache",) if getattr(config, key, None) is not None}
    return config.model_copy(update=changes)


def _decided(run: Run, config: FoldersConfig) -> dict[str, Any]:
    """Returns the window that `auto` found, for what is not 8-bit, where the training images are there."""
    if config.window != "auto":
        return {}
    try:
        data = run.data
    except StudioError:
        return {}
    assert isinstance(data, Folders)
    return {"window": data.window} if data.deep else {}


def _compared(run: Run) -> tuple[Tensor, str]:
    """Returns images to compare on: of the test split, or made up where the data is not there; and what they are."""
    try:
        data = run.data
    except StudioError:
        return sampling.sample(
            run.method, 2 * COMPARED, "target", 0
        ), f"{2 * COMPARED} images that the model made"
    parts = [
        data.images("test", d, range(min(COMPARED, data.size("test", d))))
        for d in ("background", "target")
    ]
    images = torch.cat(parts)
    return images, f"{len(images)} test images"


def _probe(run: Run) -> Mapping[str, Any] | None:
    """Returns the run's `probe.json`, if it is of this checkpoint."""
    path = run.folder / "probe.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return found if found["images_seen"] == run.images_seen and found["rows"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
