"""Output activations, and conversion between two pixel scales.

Images of this project are in [-1, 1]. Those of most papers are in [0, 1].
"""

from torch import Tensor, nn

__all__ = ["FromUnit", "ToUnit", "output_layers"]


class FromUnit(nn.Module):
    """Maps [0, 1] to [-1, 1], and 0 to exactly -1."""

    def forward(self, x: Tensor) -> Tensor:
        """Maps a tensor of any shape to the same shape."""
        return 2 * x - 1


class ToUnit(nn.Module):
    """Maps [-1, 1] to [0, 1], and -1 to exactly 0."""

    def forward(self, x: Tensor) -> Tensor:
        """Maps a tensor of any shape to the same shape."""
        return (x + 1) / 2


def output_layers(output: str) -> list[nn.Module]:
    """Builds the last activation of a decoder.

    Args:
        output: `tanh`, `sigmoid` or `linear`. The last two give values on the scale [0, 1], which
            `FromUnit` converts. The 0 of a linear decoder is then black.
    """
    return {"tanh": [nn.Tanh()], "sigmoid": [nn.Sigmoid(), FromUnit()], "linear": [FromUnit()]}[
        output
    ]
