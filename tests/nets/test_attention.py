"""Self-attention against the formula of SAGAN."""

import torch
from torch import nn
from torch.nn.functional import max_pool2d

from nets import Generator, SelfAttention


def test_generator_applies_attention_to_the_map_of_the_given_side() -> None:
    for upsample in ("transposed", "nearest"):
        for side in (8, 16, 32):
            seen = []
            G = Generator(5, (1, 64, 64), 4, upsample=upsample, attention=side)
            G.attention.register_forward_hook(
                lambda _, given, __, seen=seen: seen.append(given[0].shape[2:])
            )
            assert G(torch.randn(2, 5)).shape == (2, 1, 64, 64)
            assert seen == [(side, side)]


def test_attention_equals_the_formula_of_sagan() -> None:
    block, x = SelfAttention(2, 16), torch.randn(2, 16, 6, 4)
    assert torch.equal(block(x), x)  # the gain starts at 0
    block.eval()
    nn.init.constant_(block.gain, 0.7)
    flat = x.flatten(2)
    query = block.query.weight[:, :, 0, 0] @ flat
    key, value = (max_pool2d(part(x), 2).flatten(2) for part in (block.key, block.value))
    beta = torch.softmax(query.transpose(1, 2) @ key, dim=2)  # (B, 24, 6): over the keys
    assert beta.sum(2).allclose(torch.ones(2, 24))
    seen = block.out.weight[:, :, 0, 0] @ (value @ beta.transpose(1, 2))
    torch.testing.assert_close(block(x), (flat + 0.7 * seen).view_as(x))
    assert [
        tuple(m.weight.shape[:2]) for m in (block.query, block.key, block.value, block.out)
    ] == [(2, 16), (2, 16), (8, 16), (16, 8)]


def test_attention_connects_opposite_corners_of_a_map() -> None:
    block, x = SelfAttention(2, 16), torch.randn(1, 16, 32, 32)
    nn.init.ones_(block.gain)
    block.eval()
    other = x.clone()
    other[..., -1, -1] += 10
    assert (block(other) - block(x))[..., 0, 0].abs().max() > 1e-4


def test_attention_of_a_volume_equals_that_of_its_repeated_slice() -> None:
    image = SelfAttention(2, 16)
    volume = SelfAttention(3, 16)
    nn.init.ones_(image.gain)
    volume.load_state_dict(
        {k: v.unsqueeze(-1) if v.ndim == 4 else v for k, v in image.state_dict().items()}
    )
    x = torch.randn(2, 16, 4, 4)
    image.eval(), volume.eval()
    torch.testing.assert_close(volume(x[:, :, None].expand(-1, -1, 2, -1, -1))[:, :, 0], image(x))
