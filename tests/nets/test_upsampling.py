"""Upsampling and convolution in one layer, against the two layers."""

import pytest
import torch
from torch import nn

from nets import Generator
from nets.dimensions import upsampled_conv
from nets.upsampling import UpsampledConv2d, UpsampledConv3d

CASES = [
    pytest.param(UpsampledConv2d, nn.Conv2d, (8, 9), id="image"),
    pytest.param(UpsampledConv3d, nn.Conv3d, (4, 5, 3), id="volume"),
]


@pytest.mark.parametrize(("folded", "plain", "sides"), CASES)
@pytest.mark.parametrize("bias", [True, False])
def test_folded_layer_equals_two_layers_with_their_gradients(
    folded: type[nn.Module], plain: type[nn.Module], sides: tuple[int, ...], bias: bool
) -> None:
    generator = torch.Generator().manual_seed(0)
    one = folded(3, 5, 3, padding=1, bias=bias).double()
    two = nn.Sequential(nn.Upsample(scale_factor=2), plain(3, 5, 3, padding=1, bias=bias)).double()
    two[1].load_state_dict(one.state_dict())  # the names are those of the convolution
    maps = torch.randn(2, 3, *sides, generator=generator, dtype=torch.float64)
    inputs = [maps.clone().requires_grad_() for _ in range(2)]
    outputs = [one(inputs[0]), two(inputs[1])]
    torch.testing.assert_close(outputs[0], outputs[1], rtol=1e-10, atol=1e-12)
    for output in outputs:
        output.square().sum().backward()
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad, rtol=1e-10, atol=1e-10)
    for mine, theirs in zip(one.parameters(), two[1].parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-10, atol=1e-10)


def test_only_large_maps_are_folded_and_parameters_have_the_same_names() -> None:
    kinds = [type(upsampled_conv(2, 4, 2, side)[1]) for side in (4, 8, 32)]
    assert kinds == [nn.Conv2d, UpsampledConv2d, UpsampledConv2d]
    names = [{*nn.Sequential(*upsampled_conv(2, 4, 2, side)).state_dict()} for side in (4, 8)]
    assert names == [{"1.weight"}] * 2


@pytest.mark.parametrize("shape", [(1, 64, 64), (1, 32, 32, 32)])
def test_generator_gives_the_images_of_plain_upsampling(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    G = Generator(5, shape, 4, upsample="nearest").double()
    code = torch.randn(2, 5, dtype=torch.float64)
    expected = G(code)
    folded = [m for m in G.modules() if isinstance(m, UpsampledConv2d | UpsampledConv3d)]
    assert len(folded) == {2: 3, 3: 2}[len(shape) - 1]
    for block in G.doublings:
        if type(block[1]) in (UpsampledConv2d, UpsampledConv3d):
            plain = (nn.Conv2d, nn.Conv3d)[len(shape) - 3](1, 1, 3, padding=1, bias=False)
            plain.weight = block[1].weight
            block[0], block[1] = nn.Upsample(scale_factor=2), plain
    torch.testing.assert_close(G(code), expected, rtol=1e-9, atol=1e-12)
