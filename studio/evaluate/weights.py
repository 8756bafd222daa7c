"""Weight files from other projects: located, checked against their hash and read safely.

No code in such a file is ever run.
"""

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
CODE = re.compile(r"GLOBAL ([\w.]+)")  # how torch.load names a class that it refuses to import
# torch.hub: the name of a file ends with its hash.
HASHED_NAME = re.compile(r"-([0-9a-f]{8,64})\.(?:pth?|safetensors)$")


def read_weights(path: Path) -> tuple[dict[str, Tensor], str]:
    """Reads tensors by name from a safetensors file or from one that `torch.save` wrote.

    Args:
        path: of the file. If its name ends with a hash, as in torch.hub, its content must have this
            hash.

    Returns:
        name -> tensor, and the file's sha256.

    Raises:
        StudioError: the file is missing, has another hash, or holds anything but tensors.
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
            f"{path}: damaged, or another file: sha256 expected {named[1]}..., "
            f"found {sha256[:12]}..."
        )
    try:
        # A warning about the pickle protocol is of no use to the user.
        with warnings.catch_warnings(action="ignore"):
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
        raise StudioError(f"{path}: not a file of tensors: {_reason(error)}") from None
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if (
        not isinstance(state, dict)
        or not state
        or not all(isinstance(value, Tensor) for value in state.values())
    ):
        raise StudioError(
            f"{path}: expected tensors by name, as written by torch.save(net.state_dict()); "
            f"found {type(state).__name__}"
        )
    return dict(state), sha256


def _reason(error: Exception) -> str:
    """Returns the defect of a file, without torch's advice to load it in an unsafe way."""
    if isinstance(error, pickle.UnpicklingError):
        code = CODE.search(str(error))
        return (
            f"it needs {code[1]}, which could run code; nothing was run"
            if code
            else "it is damaged, or has another format"
        )
    message = str(error).strip()
    return (
        message.splitlines()[0][:160]
        if message
        else "it is empty or truncated"
        if isinstance(error, EOFError)
        else type(error).__name__
    )


def inception_weights(given: Path | None) -> Path:
    """Returns the path of Inception's weights.

    It is the given file, or is looked for in $STUDIO_WEIGHTS and in torch.hub's folder.

    Raises:
        StudioError: the file is in none of the folders. The message lists them and the URL.
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
    prefix = expected[1] if expected else "?"
    raise StudioError(
        f"--features inception: its weights are missing, and nothing is downloaded\n{looked}\n"
        f"  get {URL_INCEPTION_V3} (sha256 begins with {prefix}) and put it there, or give its "
        "path with --weights; --features domain needs no file"
    )
