"""The maximum mean discrepancy against a slow loop, a closed form and finite differences."""

import itertools
import math

import pytest
import torch

from losses import mmd, mmd_to_point
from losses.distances import squared_distances
from losses.mmd import GAMMAS


def slow_mmd(a: torch.Tensor, b: torch.Tensor) -> float:
    def mean(u: list, v: list) -> float:
        pairs = [
            sum((p - q) ** 2 for p, q in zip(i, j, strict=True)) for i, j in itertools.product(u, v)
        ]
        return math.fsum(math.exp(-(10.0**e) * d) for d in pairs for e in range(-6, 7)) / len(pairs)

    a, b = a.tolist(), b.tolist()
    return mean(a, a) + mean(b, b) - 2 * mean(a, b)


def test_mmd_equals_a_slow_double_loop() -> None:
    for b, other, scale in [(7, 7, 1.0), (5, 9, 0.03), (4, 6, 30.0)]:
        x, y = (
            torch.randn(b, 3, dtype=torch.float64) * scale,
            torch.randn(other, 3, dtype=torch.float64) * scale + scale / 2,
        )
        assert mmd(x, y).item() == pytest.approx(slow_mmd(x, y), rel=1e-10)
        assert mmd(x.float(), y.float()).item() == pytest.approx(slow_mmd(x, y), rel=1e-4)
        assert mmd_to_point(x, y[0]).item() == pytest.approx(slow_mmd(x, y[:1]), rel=1e-10)
    assert len(GAMMAS) == 13
    assert (min(GAMMAS), max(GAMMAS)) == (1e-6, 1e6)


def test_mmd_of_gaussians_equals_the_closed_form() -> None:
    # For d ~ N(m, 2 I), E exp(-g d^2) = (1 + 4 g)^(-n/2) exp(-g m^2 / (1 + 4 g)). The diagonal
    # adds (1 - E) / B twice.
    b, n, shift = 600, 2, 1.0
    within = sum((1 + 4 * g) ** (-n / 2) for g in GAMMAS)
    between = sum(
        (1 + 4 * g) ** (-n / 2) * math.exp(-g * n * shift**2 / (1 + 4 * g)) for g in GAMMAS
    )
    expected = 2 * (within - between) + 2 * (13 - within) / b
    torch.manual_seed(1)
    assert mmd(torch.randn(b, n), torch.randn(b, n) + shift).item() == pytest.approx(
        expected, rel=0.1
    )


def test_mmd_has_the_gradient_of_finite_differences() -> None:
    a, b = torch.randn(5, 3, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64)
    b[0] = a[0] + 1e-3  # close enough for the narrow kernels to have a gradient
    both = (a.requires_grad_(), b.requires_grad_())
    assert torch.autograd.gradcheck(mmd, both, eps=1e-8, atol=1e-3, rtol=1e-3)
    point = b[1].detach().requires_grad_()
    assert torch.autograd.gradcheck(mmd_to_point, (a, point), eps=1e-7, atol=1e-5)
    narrow = torch.autograd.grad(mmd(*both), both[0])[0][0].norm()
    assert narrow > 10  # the narrow kernels contributed to the check


def test_mmd_is_zero_for_the_same_codes_and_grows_with_a_shift() -> None:
    a = torch.randn(64, 8)
    assert torch.equal(squared_distances(a, a).diagonal(), torch.zeros(64))
    assert mmd(a, a).item() == 0
    assert abs(mmd(a, a.flip(0)).item()) < 1e-5
    far = a + 1e4  # a^2 + b^2 - 2ab would have an error of about 10 here
    assert mmd(far, far.clone()).item() == 0
    noise = mmd(a, torch.randn(64, 8)).item()
    shifts = [mmd(a, torch.randn(64, 8) + shift).item() for shift in (0.5, 1.0, 2.0, 8.0)]
    assert 0 < noise < shifts[0] < shifts[1] < shifts[2] < shifts[3] < 26


def test_mmd_to_point_equals_mmd_to_copies_of_the_point() -> None:
    a, point = torch.randn(32, 6), torch.randn(6)
    torch.testing.assert_close(
        mmd_to_point(a, point), mmd(a, point.expand_as(a)), rtol=1e-6, atol=1e-6
    )
    assert mmd_to_point(point.expand_as(a), point).item() == 0
    assert (
        mmd_to_point(a, point).item() > mmd_to_point(point + 0.01 * (a - point), point).item() > 0.1
    )


def test_mmd_has_a_finite_gradient_at_and_near_equal_codes() -> None:
    a = torch.zeros(8, 4).requires_grad_()
    mmd(a, torch.zeros(8, 4)).backward()
    assert torch.equal(a.grad, torch.zeros(8, 4))
    # The published code returns a constant 0 if rounding makes the estimate negative. Here the
    # gradient is kept.
    b = torch.randn(8, 4)
    near = (b + 1e-3 * torch.randn(8, 4)).requires_grad_()
    mmd(near, b).backward()
    assert torch.isfinite(near.grad).all()
    assert near.grad.abs().max() > 1e-3


def test_mmd_to_point_refuses_a_batch_of_points() -> None:
    with pytest.raises(ValueError, match=r"expected one point, shape \(n,\), found \(2, 3\)"):
        mmd_to_point(torch.zeros(4, 3), torch.zeros(2, 3))
