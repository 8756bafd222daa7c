"""Files of weights from elsewhere: found, compared with their hash, and read without running anything that is in them."""

import hashlib
import os
import pickle
import re
import warnings
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

from studio.errors import StudioError

__all__ = ["INCEPTION_FILE", "inception_weights", "read_weights"]

INCEPTION_FILE = URL_INCEPTION_V3.rsplit("/", 1)[1]
CODE = re.compile(r"GLOBAL ([\w.]+)")  # as torch.load names what it refuses to import
HASHED_NAME = re.compile(
    r"-([0-9a-f]{8,64})\.(?:pth?|safetensors)$"
)  # torch.hub's rule: the name ends with the hash


def read_weights(path: Path) -> tuple[dict[str, Tensor], str]:
    """Reads tensors by name from a safetensors file or from one that `torch.save` wrote.

    Args:
        path: of the file; where its name ends with a hash, as torch.hub's do, its content must have that hash.

    Returns:
        name -> tensor, and the file's sha256.

    Raises:
        StudioError: no such file, another hash, or a file that holds anything but tensors; nothing in it is run.
    """
    if not path.is_file():
        raise StudioError(f"{path}: no such file of weights")
    try:
        with path.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise StudioError(f"{path}: cannot be read: {error.strerror}") from None
    named = HASHED_NAME.search(path.name)
    if named and not sha256.startswith(named[1]):
        raise StudioError(
            f"{path}: damaged, or another file: sha256 expected {named[1]}..., found {sha256[:12]}..."
        )
    try:
        with warnings.catch_warnings(
            action="ignore"
        ):  # of a pickle's protocol, which is no matter of the user's
            state = (
                load_file(path)
                if path.suffix == ".safetensors"
                else torch.load(path, weights_only=True, map_location="cpu")
            )
    except (
        OSError,
        EOFError,
        RuntimeError,
        ValueError,
        KeyError,
        pickle.UnpicklingError,
        SafetensorError,
    ) as error:
        raise StudioError(
            f"{path}: not a file of tensors, which is all that is read here: {_reason(error)}"
        ) from None
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if (
        not isinstance(state, dict)
        or not state
        or not all(isinstance(value, Tensor) for value in state.values())
    ):
        raise StudioError(
            f"{path}: expected tensors by name, as of torch.save(net.state_dict()); found {type(state).__name__}"
        )
    return dict(state), sha256


def _reason(error: Exception) -> str:
    """Returns what is wrong with a file, without torch's advice to load it in a way that runs what is in it."""
    if isinstance(error, pickle.UnpicklingError):
        code = CODE.search(str(error))
        return (
            f"it calls for {code[1]}, which could run code; nothing was run"
            if code
            else "it is damaged, or of another kind"
        )
    said = str(error).strip()
    return (
        said.splitlines()[0][:160]
        if said
        else "it is empty, or cut off"
        if isinstance(error, EOFError)
        else type(error).__name__
    )


def inception_weights(given: Path | None) -> Path:
    """Returns where Inception's weights are: the file given, or in $STUDIO_WEIGHTS, or in torch.hub's folder.

    Raises:
        StudioError: it is in none of them; says what to put where.
    """
    if given is not None:
        return given
    folders = [Path(os.environ["STUDIO_WEIGHTS"])] if os.environ.get("STUDIO_WEIGHTS") else []
    places = [
        folder / INCEPTION_FILE for folder in (*folders, Path(torch.hub.get_dir()) / "checkpoints")
    ]
    for place in places:
        if place.is_file():
            return place
    expected = HASHED_NAME.search(INCEPTION_FILE)
    looked = "\n".join(f"  looked for {place}" for place in places)
    raise StudioError(
        f"--features inception: its weights are not there, and nothing is downloaded\n{looked}\n"
        f"  get {URL_INCEPTION_V3} (sha256 begins with {expected[1] if expected else '?'}) and put it there, or name it with "
        "--weights; --features domain needs no file"
    )
