"""Losses on logits against the likelihoods of torch.distributions, and at extreme logits."""

import math
from typing import Literal

import pytest
import torch
from torch.distributions import Bernoulli, Categorical

from losses import (
    bce,
    contrastive_regulariser,
    discriminator_logistic,
    domain_confusion,
    generator_nonsaturating,
)

LOGITS = torch.tensor([-3.0, -0.5, 0.0, 0.7, 4.0], dtype=torch.float64)

ON_LOGITS = {
    "bce 0": lambda x: bce(x, 0),
    "bce 1": lambda x: bce(x, 1),
    "generator": generator_nonsaturating,
    "discriminator": lambda x: discriminator_logistic(x, x),
}


@pytest.mark.parametrize("label", [0, 1])
def test_bce_is_a_bernoulli_likelihood(label: Literal[0, 1]) -> None:
    expected = -Bernoulli(logits=LOGITS).log_prob(torch.full_like(LOGITS, label))
    torch.testing.assert_close(bce(LOGITS, label), expected)
    slow = [
        -math.log(1 / (1 + math.exp(-x)) if label else 1 - 1 / (1 + math.exp(-x)))
        for x in LOGITS.tolist()
    ]
    torch.testing.assert_close(bce(LOGITS, label), torch.tensor(slow, dtype=torch.float64))
    assert bce(LOGITS, label).shape == LOGITS.shape


def test_adversarial_losses_are_bernoulli_likelihoods() -> None:
    ones, zeros, fake = torch.ones_like(LOGITS), torch.zeros_like(LOGITS), LOGITS.flip(0)
    real = Bernoulli(logits=LOGITS).log_prob(ones)
    torch.testing.assert_close(
        discriminator_logistic(LOGITS, fake), -real - Bernoulli(logits=fake).log_prob(zeros)
    )
    torch.testing.assert_close(generator_nonsaturating(LOGITS), -real)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ON_LOGITS)
def test_losses_on_logits_stay_finite_and_keep_a_gradient(name: str, dtype: torch.dtype) -> None:
    # A sigmoid is exactly 1 beyond a logit of 17. A loss computed from it would have no gradient.
    logits = torch.tensor([-1e4, -100.0, 100.0, 1e4], dtype=dtype, requires_grad=True)
    value = ON_LOGITS[name](logits)
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert torch.isfinite(logits.grad).all()
    assert value.max().item() == pytest.approx(1e4, rel=1e-2)
    assert logits.grad.abs().max().item() == pytest.approx(1.0)


def test_bce_of_opposite_labels_differs_by_the_logit() -> None:
    torch.testing.assert_close(bce(LOGITS, 0) - bce(LOGITS, 1), LOGITS)


def test_contrastive_regulariser_is_a_categorical_likelihood() -> None:
    logits, k = torch.randn(5, 3) * 4, torch.tensor([0, 2, 1, 1, 0])
    torch.testing.assert_close(
        contrastive_regulariser(logits, k), -Categorical(logits=logits).log_prob(k)
    )
    assert torch.isfinite(
        contrastive_regulariser(torch.tensor([[1e4, -1e4]]), torch.tensor([1]))
    ).all()


def test_domain_confusion_is_the_cross_entropy_against_one_half() -> None:
    half = torch.full_like(LOGITS, 0.5)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(LOGITS, half, reduction="none")
    torch.testing.assert_close(domain_confusion(LOGITS), expected)
    assert float(domain_confusion(torch.zeros(1))) == pytest.approx(math.log(2))
