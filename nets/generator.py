"""The generator of Double InfoGAN, which is also the decoder of every VAE."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nets.attention import SelfAttention
from nets.dimensions import (
    code_to_map,
    norm_layer,
    same_conv,
    spatial_sides,
    transposed_conv,
    upsampled_conv,
)
from nets.init import init_weights_
from nets.recompute import Blocks
from nets.scale import output_layers
from nets.stages import Stages, find_attention_stage, plan_stages

__all__ = ["Generator"]


class Generator(nn.Module):
    """A DCGAN generator, which maps a code to an image in [-1, 1].

    With `upsample: transposed` it is that of Table 4, Carton et al. (2024). A 4x4 transposed
    convolution maps the code to 512 channels. Further 4x4 transposed convolutions of stride 2 lead
    to 256, 128 and 64 channels and to those of the image. Batch normalisation and ReLU follow each
    layer but the last, which tanh follows. No layer has a bias. For 64x64x3 images and 100 latents
    it has 3,576,704 parameters. Volumes get the same layers with a third dimension. Vectors get
    linear layers to 512, 512 and their own length.

    With `upsample: nearest` it is that of Table 5. A linear layer, implemented as a transposed
    convolution of a single pixel, maps the code to 512 channels of 4x4 without normalisation or
    activation. Each block that follows consists of a 3x3 convolution without bias, batch
    normalisation and ReLU. Blocks to 1024, 512, 256 and 256 channels start with nearest-neighbour
    upsampling. A block to 128 channels has no upsampling, and a last block to 64 channels has it.
    A 3x3 convolution with bias leads to the image, before tanh. The authors' code has a seventh
    block, with upsampling to 128 channels before the block to 64. For 128x128x1 images, 110 latents
    and attention at side 32 it has 12,563,394 parameters. Images of other sizes have the same
    blocks, counted from the image inwards. Vectors cannot be upsampled.

    Args:
        latents: length of z and s together.
        shape: of the image: (C, H, W), (C, D, H, W) or (F,).
        width: channels of the stage next to the image (64 in the paper).
        output: last activation (see `nets.scale`).
        init: `dcgan` or `torch` (see `nets.init`).
        upsample: `transposed` or `nearest`.
        attention: side of the feature map that gets self-attention (32 in Table 5). 0 for none.
        norm: `batch`, or `channel` (see `nets.dimensions.norm_layer`), which treats every image by
            itself.

    Raises:
        ValueError: no generator can be built for the shape.
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
        norm: str = "batch",
    ) -> None:
        super().__init__()
        self.norm = norm
        self.dims = len(spatial_sides(shape))
        plan = plan_stages(shape, width)
        self.attention_stage = find_attention_stage(shape, plan, upsample, attention)
        first = code_to_map(self.dims, latents, plan.widths[-1], plan.base)
        if upsample == "transposed":
            self.first = nn.Sequential(first, *self._norm_and_relu(plan.widths[-1]))
            blocks, last = self._transposed_blocks(plan, shape[0])
        else:
            self.first = nn.Sequential(first)
            blocks, last = self._nearest_blocks(plan, shape[0])
        self.doublings = Blocks(*blocks)
        self.last = nn.Sequential(last, *output_layers(output))
        init_weights_(self, init)
        if self.attention_stage is not None:
            norms = [
                m for m in blocks[self.attention_stage] if isinstance(m, _BatchNorm | nn.GroupNorm)
            ]
            self.attention = SelfAttention(self.dims, norms[-1].weight.shape[0], init)

    def _transposed_blocks(
        self, plan: Stages, channels: int
    ) -> tuple[list[nn.Sequential], nn.Module]:
        """Builds the blocks of Table 4 after the first layer, and the last layer."""
        pairs = zip(plan.widths[::-1], plan.widths[-2::-1], strict=False)
        blocks = [
            nn.Sequential(transposed_conv(self.dims, wide, narrow), *self._norm_and_relu(narrow))
            for wide, narrow in pairs
        ]
        return blocks, transposed_conv(self.dims, plan.widths[0], channels)

    def _nearest_blocks(self, plan: Stages, channels: int) -> tuple[list[nn.Sequential], nn.Module]:
        """Builds the blocks of Table 5, one for each doubling of the sides, and the last layer."""
        blocks, before, width, side = [], plan.widths[-1], plan.widths[0], plan.base
        for number in range(len(plan.widths))[::-1]:  # of the stage, counted from the image inwards
            after = width * min(2 ** max(number, 2), 16) if number else width
            parts = [
                *upsampled_conv(self.dims, before, after, side),
                *self._norm_and_relu(after),
            ]
            if number == 1:
                before, after = after, 2 * width
                parts += [same_conv(self.dims, before, after), *self._norm_and_relu(after)]
            blocks.append(nn.Sequential(*parts))
            before, side = after, 2 * side
        return blocks, same_conv(self.dims, before, channels, bias=True)

    def _norm_and_relu(self, channels: int) -> list[nn.Module]:
        return [norm_layer(self.norm, (channels, *(1,) * self.dims)), nn.ReLU(inplace=True)]

    def forward(self, code: Tensor) -> Tensor:
        """Maps codes to images.

        Args:
            code: z and s together, (B, latents).

        Returns:
            (B, *shape) in [-1, 1]. A linear output may exceed these limits.
        """
        maps = self.first(code.reshape(*code.shape, *(1,) * self.dims))
        for number, block in enumerate(self.doublings):
            maps = self.doublings.apply_block(block, maps)
            if number == self.attention_stage:
                maps = self.attention(maps)
        return self.last(maps)
