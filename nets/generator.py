"""The generator of Double InfoGAN, which is also every VAE's decoder."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nets.attention import SelfAttention
from nets.dimensions import LAYER_TYPES, code_to_map, same_conv, spatial_sides, transposed_conv
from nets.init import init_weights_
from nets.scale import output_layers
from nets.stages import Stages, attention_stage, plan_stages

__all__ = ["Generator"]


class Generator(nn.Module):
    """Creates a DCGAN generator: code -> image in [-1, 1].

    `transposed` is Carton et al. (2024), Table 4: a 4x4 transposed convolution of the code to 512 channels, then 4x4
    transposed convolutions of stride 2 to 256, 128, 64 and the image's channels, batch normalisation and ReLU after all
    but the last, tanh at the end, no biases. 64x64x3 with 100 latents: 3,576,704 parameters. Volumes get the same with a
    third dimension, vectors linear layers to 512, 512 and their length.

    `nearest` is their Table 5: a linear layer to 512 channels of 4x4 (the same as a transposed convolution of one pixel)
    with nothing behind it; blocks of nearest-neighbour upsampling, 3x3 convolution without bias, batch normalisation
    and ReLU to 1024, 512, 256, 256 channels; one to 128 without upsampling; a last one to 64; and a 3x3 convolution to
    the image, with a bias, before tanh. The authors' code has a seventh block, upsampling to 128 channels before the one
    to 64. 128x128x1 with 110 latents: 12,563,394 parameters with attention at 32. Other sides have the same blocks
    counted from the image inwards. Vectors have none.

    Args:
        latents: length of the code, that is z and s together.
        shape: of the image: (C, H, W), (C, D, H, W) or (F,).
        width: channels of the stage next to the image (64 in the paper).
        output: last activation, see `nets.scale`.
        init: `dcgan` or `torch`, see `nets.init`.
        upsample: `transposed` or `nearest`.
        attention: side of the map that attends to itself once it has been made (32 in Table 5); 0 for none.

    Raises:
        ValueError: the shape cannot be built.
    """

    def __init__(
        self,
        latents: int,
        shape: Sequence[int],
        width: int = 64,
        output: str = "tanh",
        init: str = "dcgan",
        upsample: str = "transposed",
        attention: int = 0,
    ) -> None:
        super().__init__()
        self.dims = len(spatial_sides(shape))
        plan = plan_stages(shape, width)
        self.attending = attention_stage(shape, plan, upsample, attention)
        spread = code_to_map(self.dims, latents, plan.widths[-1], plan.base)
        if upsample == "transposed":
            self.first = nn.Sequential(spread, *self._normalised(plan.widths[-1]))
            blocks, last = self._transposed(plan, shape[0])
        else:
            self.first = nn.Sequential(spread)
            blocks, last = self._nearest(plan, shape[0])
        self.doublings = nn.Sequential(*blocks)
        self.last = nn.Sequential(last, *output_layers(output))
        init_weights_(self, init)
        if self.attending is not None:
            norms = [m for m in blocks[self.attending] if isinstance(m, _BatchNorm)]
            self.attention = SelfAttention(self.dims, norms[-1].num_features, init)

    def _transposed(self, plan: Stages, channels: int) -> tuple[list[nn.Sequential], nn.Module]:
        """Makes the blocks of Table 4 behind the first layer, and the layer that makes the image."""
        pairs = zip(plan.widths[::-1], plan.widths[-2::-1], strict=False)
        blocks = [
            nn.Sequential(transposed_conv(self.dims, wide, narrow), *self._normalised(narrow))
            for wide, narrow in pairs
        ]
        return blocks, transposed_conv(self.dims, plan.widths[0], channels)

    def _nearest(self, plan: Stages, channels: int) -> tuple[list[nn.Sequential], nn.Module]:
        """Makes the blocks of Table 5, as many as there are doublings, and the layer that makes the image."""
        blocks, before, width = [], plan.widths[-1], plan.widths[0]
        for number in range(len(plan.widths))[::-1]:  # of the stage, from the image inwards
            after = width * min(2 ** max(number, 2), 16) if number else width
            parts = [
                nn.Upsample(scale_factor=2, mode="nearest"),
                same_conv(self.dims, before, after),
                *self._normalised(after),
            ]
            if number == 1:
                before, after = after, 2 * width
                parts += [same_conv(self.dims, before, after), *self._normalised(after)]
            blocks.append(nn.Sequential(*parts))
            before = after
        return blocks, same_conv(self.dims, before, channels, bias=True)

    def _normalised(self, channels: int) -> list[nn.Module]:
        return [LAYER_TYPES[self.dims].batch(channels), nn.ReLU(inplace=True)]

    def forward(self, code: Tensor) -> Tensor:
        """Maps codes (B, latents) to images (B, *shape) in [-1, 1], or beyond for a linear output."""
        maps = self.first(code.reshape(*code.shape, *(1,) * self.dims))
        for number, block in enumerate(self.doublings):
            maps = block(maps)
            if number == self.attending:
                maps = self.attention(maps)
        return self.last(maps)
