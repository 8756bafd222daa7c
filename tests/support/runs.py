"""Calls of the command line, and comparison of run directories."""

import hashlib
from pathlib import Path

import torch
from typer.testing import CliRunner

from studio import cli
from studio.config import Config
from studio.errors import StudioError


def studio(*arguments: object, code: int = 0) -> tuple[str, str]:
    """Runs a verb in this process as `main` would, and returns (stdout, stderr)."""
    runner = CliRunner()
    result = runner.invoke(cli.app, [str(a) for a in arguments])
    if isinstance(result.exception, StudioError):
        assert code == 2, result.exception
        return result.stdout, str(result.exception)
    assert result.exit_code == code, (result.output, result.exception)
    return result.stdout, result.stderr


def digest(folder: Path, number: int) -> dict[str, str]:
    """Returns hashes of the weights, averaged weights and optimisers of a checkpoint."""
    path = folder / "checkpoints" / f"{number:08d}"
    state = torch.load(path / "training.pt", weights_only=True)
    tensors = sorted(
        (n, i, k, v)
        for n, o in state["optimizers"].items()
        for i, s in o["state"].items()
        for k, v in s.items()
    )
    optimisers = hashlib.sha256(b"".join(v.numpy().tobytes() for *_, v in tensors)).hexdigest()
    files = {
        f: hashlib.sha256((path / f).read_bytes()).hexdigest()
        for f in ("weights.safetensors", "ema.safetensors")
    }
    return files | {"optimisers": optimisers, "iteration": str(state["iteration"])}


def with_train_fields(config: Config, **train_fields: object) -> Config:
    """Returns a config with other values of fields of `train`."""
    return config.model_copy(update={"train": config.train.model_copy(update=train_fields)})
