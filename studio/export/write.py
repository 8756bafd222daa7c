"""A run as a folder that can be shared: weights, config, programs and a model card.

The layout is that of the Hugging Face Hub. The folder holds `model.safetensors` (averaged weights),
`config.yaml`, `preprocessing.json`, the programs `encode.pt2`, `decode.pt2` and `heal.pt2`,
`README.md` and `manifest.json` with a hash of every file and the blank code. If the programs can be
converted it also holds them as ONNX, and `heal_onnx.py`, which runs one of them.

It is written under another name and renamed when it is complete and the programs have been compared
with the run. `Run.open(DIR)` reads it. Its `config.yaml` names no folder of this machine. The data
is found by STUDIO_DATA. Of the root of `folders` the last part is kept, relative to the current
folder.
"""

import copy
import os
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from studio import __version__, sampling
from studio.atomic import appearing, write_json
from studio.config import Config, dump
from studio.data import DataConfig
from studio.data.folders import FoldersConfig
from studio.errors import StudioError
from studio.export.graphs import onnx_programs, refuse_mismatch, torch_programs
from studio.export.model_card import model_card
from studio.export.preprocessing import PREPROCESSING, describe_preprocessing
from studio.runs.data_file import DataFile
from studio.runs.exported import FORMAT, KIND, WEIGHTS, find_export
from studio.runs.manifest import sha256
from studio.runs.probe_file import read_probe
from studio.runs.run import Run
from studio.runs.start import Start, read_start

__all__ = ["export", "push", "refuse_push"]

EXAMPLE = "heal_onnx.py"
PATTERNS = ("files", "exclude")  # fields of data sets that may name files and subjects
COMPARED = 8  # images of each domain for the comparison of programs with the run


def export(
    run: Run,
    folder: str | Path,
    onnx: bool = True,
    license: str | None = None,
    private: bool = False,
) -> dict[str, Any]:
    """Writes an export.

    Args:
        run: a run with averaged weights.
        folder: a new or an empty folder.
        onnx: whether to convert the programs to ONNX as well, if that is possible.
        license: licence of the weights for the model card, such as cc-by-4.0. None: the card says
            that none was chosen.
        private: whether to leave out the patterns of `data.files` and `data.exclude`, the folder
            of the images and the name of the run that the training started from, because these may
            name files and subjects. `data.show_names` becomes false where it exists.

    Returns:
        the manifest: `kind`, `format`, `name`, `method`, `dataset`, `images_seen`, `shape`,
        `codes`, `blank`, `license`, `private`, `started_from` (see `studio.runs.start`, or None),
        `parity`
        (file -> largest difference from the run, see `studio.export.graphs.TOLERANCE`),
        `parity_images`, `onnx` (the runtime that ran the ONNX files, or the reason why there are
        none), `versions` and `files` (name -> sha256).

    Raises:
        StudioError: the run has not its averaged weights, the folder is not empty or cannot be
            written, or a program differs from the run.
    """
    if not isinstance(run, Run):
        raise StudioError(f"run: found {type(run).__name__}, expected a Run: Run.open(folder)")
    if not run.averaged:
        raise StudioError("run: opened with ema=False, but an export has the averaged weights")
    place = Path(os.path.expanduser(folder))
    try:
        with appearing(place, "an export") as partial:
            return _write(run, partial, place.resolve().name, onnx, license, private)
    except OSError as error:
        raise StudioError(f"{place}: cannot be written: {error.strerror or error}") from None


def refuse_push(repository: str) -> None:
    """Checks the conditions of an upload before anything is computed.

    Raises:
        StudioError: huggingface_hub is missing, the name of the repository is invalid, or there is
            no token.
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
    """Uploads the files of an export to the Hugging Face Hub with the user's token.

    A missing repository is created. Other files in the folder are not uploaded.

    Args:
        folder: folder of the export. Its hashes are checked first.
        repository: USER/NAME.

    Returns:
        the address of the repository.

    Raises:
        StudioError: see `refuse_push`. Also if the folder is not an export, or the Hub cannot be
            reached or refuses the upload.
    """
    refuse_push(repository)
    import huggingface_hub

    bundle = find_export(Path(folder))
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


def _write(
    run: Run, folder: Path, name: str, onnx: bool, license: str | None, private: bool
) -> dict[str, Any]:
    config, method = run.config, copy.deepcopy(run.method).cpu()
    weights = {key: value.detach().contiguous() for key, value in method.state_dict().items()}
    # Not `save_file`, because other users could not read its file.
    (folder / WEIGHTS).write_bytes(save(weights, metadata={"format": "pt"}))
    shareable = _shareable_config(run, private)
    (folder / "config.yaml").write_text(dump(shareable), encoding="utf-8")
    images, which = _comparison_images(run)
    write_json(folder / PREPROCESSING, describe_preprocessing(run))
    programs, parity = torch_programs(method, images, folder)
    outcome = "no ONNX: not asked for"
    if onnx:
        differences, outcome = onnx_programs(method, programs, images, folder)
        outcome = f"ONNX was run by {outcome}" if differences else outcome
        parity |= differences
        if differences and len(run.shape) == 3:
            (folder / EXAMPLE).write_bytes((Path(__file__).parent / EXAMPLE).read_bytes())
    refuse_mismatch(parity)
    start = _start(run, private)
    manifest = {
        "kind": KIND,
        "format": FORMAT,
        "name": config.name,
        "method": config.method.name,
        "dataset": config.data.name,
        "images_seen": run.images_seen,
        "shape": list(run.shape),
        "codes": {"z": config.method.z, "s": config.method.s},
        "blank": sampling.blank(method, 1)[0].tolist(),
        "license": license,
        "private": private,
        "started_from": None if start is None else start.to_json(),
        "parity": parity,
        "parity_images": which,
        "onnx": outcome,
        "versions": {
            "studio": __version__,
            "torch": torch.__version__,
            "safetensors": version("safetensors"),
        },
    }
    probe = read_probe(run.folder, run.images_seen)
    if facts := {key: value for key, value in _stored_facts(run).items() if key != "split"}:
        DataFile(config.data.name, facts, None).write(folder)  # no names of files or subjects
    card = model_card(run, manifest, probe if probe and probe["rows"] else None, name)
    (folder / "README.md").write_text(card, encoding="utf-8")
    manifest["files"] = {file.name: sha256(file) for file in sorted(folder.iterdir())}
    write_json(folder / "manifest.json", manifest)
    return manifest


def _shareable_config(run: Run, private: bool) -> Config:
    """Returns the config without folders of this machine, and if asked without names."""
    analysis, atlas = run.config.analysis, run.config.analysis.atlas
    if atlas is not None:
        kept = None if private else Path(atlas).name
        analysis = analysis.model_copy(update={"atlas": kept})
    data = _shareable_data_config(run, private)
    return run.config.model_copy(update={"data": data, "analysis": analysis})


def _shareable_data_config(run: Run, private: bool) -> DataConfig:
    """Returns the section of the data set without folders of this machine.

    Values that were derived from the training images are filled in.
    """
    config = run.config.data
    changes: dict[str, Any] = {}
    if isinstance(config, FoldersConfig):
        changes["root"] = ("" if private else Path(str(config.root)).name) or "images"
        changes |= _derived_window(run, config)
    elif config.root is not None:
        changes["root"] = None
    changes |= {key: None for key in ("cache",) if getattr(config, key, None) is not None}
    if private:
        fields = type(config).model_fields
        changes |= {key: fields[key].get_default() for key in PATTERNS if key in fields}
        changes |= {key: False for key in ("show_names",) if key in fields}
    return config.model_copy(update=changes)


def _start(run: Run, private: bool) -> Start | None:
    """Returns the nets from which the run started, without folders of this machine."""
    start = _named_start(run)
    return start and replace(start, run="another run") if private else start


def _named_start(run: Run) -> Start | None:
    start = read_start(run.folder)
    if start is None and (bundle := find_export(run.folder)) is not None:
        known = bundle.manifest.get("started_from")
        return known and Start(**known)
    return start and replace(start, run=Path(start.run).name)


def _stored_facts(run: Run) -> Mapping[str, Any]:
    """Returns the facts that were derived from the data, or nothing if they are unknown."""
    try:
        return run.derived
    except StudioError:
        return {}


def _derived_window(run: Run, config: FoldersConfig) -> dict[str, Any]:
    """Returns the window that `auto` derived from images that are not 8-bit, if any."""
    if config.window != "auto":
        return {}
    window = _stored_facts(run).get("window")
    return {} if window is None else {"window": tuple(window)}


def _comparison_images(run: Run) -> tuple[Tensor, str]:
    """Returns images for the comparison, and their description.

    They come from the test split, or are generated if the data is not available.
    """
    try:
        data = run.data
    except StudioError:
        return sampling.sample(
            run.method, 2 * COMPARED, "target", 0
        ), f"{2 * COMPARED} images that the model generated"
    parts = [
        data.images("test", d, range(min(COMPARED, data.size("test", d))))
        for d in ("background", "target")
    ]
    images = torch.cat(parts)
    return images, f"{len(images)} test images"
