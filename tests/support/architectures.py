"""Small nets, and configs of listed layers and of the nets of Table 5."""

import pytest
from torch import Tensor, nn

from nets import HeadedTrunk, Trunk
from studio.config import Config, resolve
from studio.errors import StudioError
from studio.schema import NetsConfig

RAW = {"data": {"name": "digits"}, "method": {"name": "dig", "z": 4, "s": 3}}

# Fully connected encoder and decoder, as fields of the `nets` section.
FULLY_CONNECTED = {
    "encoder": [{"flatten": True}, {"linear": 16, "act": "relu"}],
    "decoder": [{"linear": 16, "act": "relu"}, {"linear": "image"}],
    "output": "linear",
}


def section(**fields: object) -> NetsConfig:
    """Returns a valid `nets` section."""
    return resolve(RAW | {"nets": fields}, "x", "x").nets


def fault(**fields: object) -> str:
    """Returns the error message of an invalid `nets` section."""
    with pytest.raises(StudioError) as caught:
        section(**fields)
    return str(caught.value)


def count(net: nn.Module) -> int:
    """Returns the number of parameters."""
    return sum(p.numel() for p in net.parameters())


def conv(
    inputs: int, outputs: int, kernel: int, dims: int = 2, bias: bool = True, norm: bool = False
) -> int:
    """Returns the number of parameters of a convolution with an optional normalisation."""
    return inputs * outputs * kernel**dims + outputs * bias + 2 * outputs * norm


def headed_trunk(
    shape: tuple[int, ...] = (1, 32, 32), width: int = 4, noise: float = 0.2
) -> HeadedTrunk:
    """Returns a small discriminator and encoder of Table 4."""
    return HeadedTrunk(Trunk(shape, width, noise), {"D": 1, "C": 1, "z": 5, "s": 2})


def spectral_trunk(shape: tuple[int, ...] = (1, 32, 32)) -> HeadedTrunk:
    """Returns a small discriminator and encoder of Table 5."""
    return HeadedTrunk(
        Trunk(shape, 4, norm="spectral"),
        {"D": 1, "z": 5},
        without_bottleneck=("D",),
        unnormalised=("D",),
    )


def singular_vectors(net: nn.Module) -> dict[str, Tensor]:
    """Returns copies of the left and right singular vectors of spectral normalisation, by name."""
    return {
        name: value.clone() for name, value in net.named_buffers() if name.endswith(("_u", "_v"))
    }


def table_5_config(name: str = "dig", **train: object) -> Config:
    """Returns an experiment with narrow nets of Table 5, H included, which takes a second."""
    weights = {"weights": {"cr": 1.0}} if name == "dig" else {}
    raw = {
        "data": {"name": "digits", "resolution": 32},
        "nets": {"width": 4, "norm": "spectral", "upsample": "nearest", "attention": 16},
        "method": {"name": name, "z": 4, "s": 3, **weights},
        "train": {
            "images": 64,
            "batch": 16,
            "threads": 1,
            "grid_every": 0,
            "save_every": 0,
            **train,
        },
    }
    return resolve(raw, "t", "t")
