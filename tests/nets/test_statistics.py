"""Frozen running statistics and singular vectors."""

import pytest
import torch
from support.architectures import headed_trunk, singular_vectors, spectral_trunk
from support.steps import changed_names, copy_state

from nets import frozen_statistics


@pytest.mark.parametrize("shape", [(1, 32, 32), (1, 16, 16, 16), (9,)], ids=str)
def test_frozen_statistics_normalises_by_the_batch_without_updates(shape: tuple[int, ...]) -> None:
    D = headed_trunk(shape, noise=0.0)
    x = torch.randn(6, *shape) * 3 + 1
    before = {k: v.clone() for k, v in D.named_buffers()}
    with frozen_statistics(D):
        inside = D(x)["z"]
    assert all(torch.equal(v, before[k]) for k, v in D.named_buffers())
    torch.testing.assert_close(D(x)["z"], inside)
    assert all(not torch.equal(v, before[k]) for k, v in D.named_buffers())
    with frozen_statistics(D, except_for=[D.trunk.halvings[1]]):
        moved = {k: v.clone() for k, v in D.named_buffers()}
        D(x)
    changed = {k for k, v in D.named_buffers() if not torch.equal(v, moved[k])}
    assert changed
    assert all(k.startswith("trunk.halvings.1.") for k in changed)


def test_singular_vectors_are_constant_in_eval_mode_and_when_frozen() -> None:
    D, x = spectral_trunk(), torch.randn(4, 1, 32, 32)
    before = singular_vectors(D)
    assert before
    D.eval()
    first, second = D(x)["z"], D(x)["z"]
    assert torch.equal(first, second)
    assert changed_names(D, before | copy_state(D)) == set()
    D.train()
    with frozen_statistics(D):
        D(x)
        assert all(torch.equal(value, before[name]) for name, value in singular_vectors(D).items())
    with frozen_statistics(D, except_for=[D.trunk.halvings[1]]):
        D(x)
    assert {
        name for name, v in singular_vectors(D).items() if not torch.equal(v, before[name])
    } == {f"trunk.halvings.1.1.parametrizations.weight.0.{side}" for side in ("_u", "_v")}
    D(x)
    assert all(
        not torch.equal(value, before[name])
        for name, value in singular_vectors(D).items()
        if len(value) > 1
    )
    D.eval()
    with frozen_statistics(D):
        pass
    assert not any(m.training for m in D.modules())
