"""Self-attention on feature maps, which lets distant parts of an image depend on each other."""

import torch
from einops import einsum, rearrange, reduce
from torch import Tensor, nn

from nets.dimensions import LAYER_TYPES
from nets.init import init_weights_
from nets.spectral import apply_spectral_norm_

__all__ = ["SelfAttention"]

# Patterns of a maximum over blocks of 2x2 pixels, or 2x2x2 voxels.
HALVE_AND_FLATTEN = {
    2: "b c (h i) (w j) -> b c (h w)",
    3: "b c (d i) (h j) (w k) -> b c (d h w)",
}
BLOCK_SIDES = {2: {"i": 2, "j": 2}, 3: {"i": 2, "j": 2, "k": 2}}


class SelfAttention(nn.Module):
    """Adds self-attention to a feature map: Zhang et al. (2019, SAGAN).

    This is the block in Table 5 of Carton et al. (2024). Spectrally normalised 1x1 convolutions
    without biases compute queries and keys with 1/8 of the channels and values with 1/2 of them.
    Keys and values are maxima over blocks of 2x2 pixels. The scores are unscaled dot products. The
    result is multiplied by a learnt gain, which starts at 0, and added to the input.

    Args:
        dims: spatial dimensions of the map, 2 or 3.
        channels: of the map. With fewer than 8, queries and keys have one channel.
        init: `dcgan` or `torch` (see `nets.init`).
    """

    def __init__(self, dims: int, channels: int, init: str = "dcgan") -> None:
        super().__init__()
        self.dims = dims
        narrow, half = max(channels // 8, 1), max(channels // 2, 1)
        conv = LAYER_TYPES[dims].conv
        self.query, self.key = (conv(channels, narrow, 1, bias=False) for _ in range(2))
        self.value = conv(channels, half, 1, bias=False)
        self.out = conv(half, channels, 1, bias=False)
        init_weights_(self, init)
        apply_spectral_norm_(self)
        self.gain = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, ...) with even sides to the same shape."""
        query = rearrange(self.query(x), "b c ... -> b c (...)")
        key, value = (
            reduce(layer(x), HALVE_AND_FLATTEN[self.dims], "max", **BLOCK_SIDES[self.dims])
            for layer in (self.key, self.value)
        )
        weights = einsum(query, key, "b c q, b c k -> b q k").softmax(-1)
        attended = einsum(weights, value, "b q k, b c k -> b c q")
        return x + self.gain * self.out(attended.reshape(*attended.shape[:2], *x.shape[2:]))
