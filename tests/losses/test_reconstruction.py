"""Losses on codes and images against torch.distributions and slow loops."""

import math

import pytest
import torch
from torch.distributions import Laplace, Normal

from losses import l1_per_pixel, latent_regression, sse_unit_scale


def test_latent_regression_is_a_laplace_or_gaussian_likelihood() -> None:
    read, true = torch.randn(4, 6), torch.randn(4, 6)
    laplace = -Laplace(read, 1.0).log_prob(true) - math.log(2)
    gaussian = -Normal(read, 1.0).log_prob(true) - math.log(2 * math.pi) / 2
    torch.testing.assert_close(latent_regression(read, true), laplace.mean(1))
    torch.testing.assert_close(latent_regression(read, true, "l2"), gaussian.mean(1))
    assert latent_regression(read, true).shape == (4,)
    assert not torch.allclose(latent_regression(read, true), latent_regression(read, true, "l2"))


def test_l1_per_pixel_is_the_mean_over_each_image() -> None:
    reconstructed, real = torch.rand(3, 2, 4, 5), torch.rand(3, 2, 4, 5)
    slow = [
        sum(abs(a - b) for a, b in zip(x.flatten().tolist(), y.flatten().tolist(), strict=True))
        / 40
        for x, y in zip(reconstructed, real, strict=True)
    ]
    torch.testing.assert_close(l1_per_pixel(reconstructed, real), torch.tensor(slow))


@pytest.mark.parametrize("shape", [(3, 7), (3, 2, 4, 5), (3, 1, 2, 3, 4)])
def test_sse_unit_scale_is_the_sum_over_images_in_0_1(shape: tuple[int, ...]) -> None:
    reconstructed, real = (
        torch.rand(shape, dtype=torch.float64),
        torch.rand(shape, dtype=torch.float64),
    )
    slow = [
        math.fsum(
            (p - q) ** 2 for p, q in zip(x.flatten().tolist(), y.flatten().tolist(), strict=True)
        )
        for x, y in zip(reconstructed, real, strict=True)
    ]
    torch.testing.assert_close(
        sse_unit_scale(2 * reconstructed - 1, 2 * real - 1), torch.tensor(slow, dtype=torch.float64)
    )
