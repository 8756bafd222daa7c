"""Self-attention of a feature map, so that what is far apart in an image can agree."""

import torch
from einops import einsum, rearrange, reduce
from torch import Tensor, nn

from nets.dimensions import LAYER_TYPES
from nets.init import init_weights_
from nets.spectral import apply_spectral_norm_

__all__ = ["SelfAttention"]

HALVED = {
    2: "b c (h i) (w j) -> b c (h w)",
    3: "b c (d i) (h j) (w k) -> b c (d h w)",
}  # maximum over 2x2, or 2x2x2
TWO = {2: {"i": 2, "j": 2}, 3: {"i": 2, "j": 2, "k": 2}}


class SelfAttention(nn.Module):
    """Creates the self-attention block of Zhang et al. (2019, SAGAN), as in Table 5 of Carton et al. (2024).

    Spectrally normalised 1x1 convolutions without biases give queries and keys of an eighth of the channels and values of
    half of them; keys and values are maxima over 2x2 pixels; scores are dot products as they are, not divided by anything.
    What comes out is added to the map, multiplied by a learnt gain that starts at 0.

    Args:
        dims: spatial dimensions of the map, 2 or 3.
        channels: of the map; at least 8 give the paper's proportions, fewer have one channel of queries and keys.
        init: `dcgan` or `torch`, see `nets.init`.
    """

    def __init__(self, dims: int, channels: int, init: str = "dcgan") -> None:
        super().__init__()
        self.dims = dims
        narrow, half = max(channels // 8, 1), max(channels // 2, 1)
        conv = LAYER_TYPES[dims].conv
        self.query, self.key = (conv(channels, narrow, 1, bias=False) for _ in range(2))
        self.value, self.out = (
            conv(channels, half, 1, bias=False),
            conv(half, channels, 1, bias=False),
        )
        init_weights_(self, init)
        apply_spectral_norm_(self)
        self.gain = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, ...) with even sides to the same shape."""
        query = rearrange(self.query(x), "b c ... -> b c (...)")
        key, value = (
            reduce(part(x), HALVED[self.dims], "max", **TWO[self.dims])
            for part in (self.key, self.value)
        )
        weights = einsum(query, key, "b c q, b c k -> b q k").softmax(-1)
        seen = einsum(weights, value, "b q k, b c k -> b c q")
        return x + self.gain * self.out(seen.reshape(*seen.shape[:2], *x.shape[2:]))
