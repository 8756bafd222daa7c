"""The end of a decoder, and the two scales: the studio's images are in [-1, 1], most papers' in [0, 1]."""

from torch import Tensor, nn

__all__ = ["FromUnit", "ToUnit", "output_layers"]


class FromUnit(nn.Module):
    """Maps the papers' scale to the studio's: [0, 1] -> [-1, 1], exactly -1 where there is 0."""

    def forward(self, x: Tensor) -> Tensor:
        """Takes and returns a tensor of any shape."""
        return 2 * x - 1


class ToUnit(nn.Module):
    """Maps the studio's scale to the papers': [-1, 1] -> [0, 1], exactly 0 where there is -1."""

    def forward(self, x: Tensor) -> Tensor:
        """Takes and returns a tensor of any shape."""
        return (x + 1) / 2


def output_layers(output: str) -> list[nn.Module]:
    """Makes a decoder's last activation.

    Args:
        output: `tanh`; or, on the papers' scale, `sigmoid` or `linear`, which are then mapped by 2 v - 1, so that a
            linear decoder's 0 is black.
    """
    return {"tanh": [nn.Tanh()], "sigmoid": [nn.Sigmoid(), FromUnit()], "linear": [FromUnit()]}[
        output
    ]
