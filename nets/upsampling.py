"""Nearest-neighbour upsampling and a 3x3 convolution, computed as one transposed convolution.

Each number of the small map is seen four times by the large one (eight times in volumes), so that
the 3x3 kernel adds the same number several times. Adding the weights first gives a 4x4 kernel of
stride 2: 16 products for each number of the small map where the two layers need 36, and 64 where
they need 216 for volumes. The result and the gradients are the same but for rounding.
"""

from torch import Tensor, nn
from torch.nn.functional import conv_transpose2d, conv_transpose3d, pad

__all__ = ["UpsampledConv2d", "UpsampledConv3d", "fold_upsampling"]


def fold_upsampling(weight: Tensor) -> Tensor:
    """Returns the kernel of the transposed convolution that upsampling and a convolution make.

    The layer has stride 2 and padding 1.

    Args:
        weight: of the convolution, (outputs, inputs, 3, 3) or (outputs, inputs, 3, 3, 3).

    Returns:
        (inputs, outputs, 4, 4) or (inputs, outputs, 4, 4, 4).
    """
    sides = range(2, weight.dim())
    folded = weight.transpose(0, 1).flip(*sides)
    for axis in sides:
        before = [0, 0] * (weight.dim() - 1 - axis)  # `pad` counts from the last axis
        folded = pad(folded, [*before, 0, 1]) + pad(folded, [*before, 1, 0])
    return folded


class UpsampledConv2d(nn.Conv2d):
    """Doubles the sides by repeating each number, then convolves with 3x3 and padding 1.

    The weights are those of the convolution, as in Table 5 of Carton et al. (2024).
    """

    def forward(self, input: Tensor) -> Tensor:
        """Maps (B, inputs, H, W) to (B, outputs, 2 H, 2 W)."""
        return conv_transpose2d(input, fold_upsampling(self.weight), self.bias, 2, 1)


class UpsampledConv3d(nn.Conv3d):
    """The same as `UpsampledConv2d` for volumes, with 3x3x3."""

    def forward(self, input: Tensor) -> Tensor:
        """Maps (B, inputs, D, H, W) to (B, outputs, 2 D, 2 H, 2 W)."""
        return conv_transpose3d(input, fold_upsampling(self.weight), self.bias, 2, 1)
