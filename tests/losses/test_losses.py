"""Every loss against torch.distributions, a closed form or a slow loop; finite at extreme logits."""

import math
import re

import pytest
import torch
from torch.distributions import Bernoulli, Categorical, Laplace, Normal

import losses
from losses import (
    code_error,
    image_error,
    is_background,
    is_target,
    looks_fake,
    looks_real,
    shared_coordinate,
)

LOGITS = torch.tensor([-3.0, -0.5, 0.0, 0.7, 4.0], dtype=torch.float64)


@pytest.mark.parametrize(
    ("loss", "label"),
    [(looks_real, 1.0), (looks_fake, 0.0), (is_target, 1.0), (is_background, 0.0)],
)
def test_adversarial_and_class_losses_are_bernoulli_likelihoods(loss: object, label: float) -> None:
    expected = -Bernoulli(logits=LOGITS).log_prob(torch.full_like(LOGITS, label))
    torch.testing.assert_close(loss(LOGITS), expected.float())
    slow = [
        -math.log(1 / (1 + math.exp(-x)) if label else 1 - 1 / (1 + math.exp(-x)))
        for x in LOGITS.tolist()
    ]
    torch.testing.assert_close(loss(LOGITS), torch.tensor(slow))
    assert loss(LOGITS).shape == LOGITS.shape


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("loss", [looks_real, looks_fake, is_background, is_target])
def test_losses_on_logits_stay_finite_with_a_useful_gradient(
    loss: object, dtype: torch.dtype
) -> None:
    # Peers' trap 4: a sigmoid is exactly 1 beyond a logit of 17, and the loss of a saturated D has no gradient.
    logits = torch.tensor([-1e4, -100.0, 100.0, 1e4], dtype=dtype, requires_grad=True)
    value = loss(logits)
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert torch.isfinite(logits.grad).all()
    assert value.max().item() == pytest.approx(1e4, rel=1e-2)
    assert logits.grad.abs().max().item() == pytest.approx(1.0)


def test_opposite_losses_differ_by_the_logit() -> None:
    torch.testing.assert_close(looks_fake(LOGITS) - looks_real(LOGITS), LOGITS.float())
    torch.testing.assert_close(is_background(LOGITS) - is_target(LOGITS), LOGITS.float())


def test_code_error_is_a_laplace_or_gaussian_likelihood_per_element() -> None:
    read, true = torch.randn(4, 6), torch.randn(4, 6)
    laplace = -Laplace(read, 1.0).log_prob(true) - math.log(2)
    gaussian = -Normal(read, 1.0).log_prob(true) - math.log(2 * math.pi) / 2
    torch.testing.assert_close(code_error(read, true), laplace.mean(1))
    torch.testing.assert_close(code_error(read, true, "l2"), gaussian.mean(1))
    assert code_error(read, true).shape == (4,)
    assert not torch.allclose(code_error(read, true), code_error(read, true, "l2"))


def test_image_error_is_an_element_mean_per_image() -> None:
    made, real = torch.rand(3, 2, 4, 5), torch.rand(3, 2, 4, 5)
    slow = [
        sum(abs(a - b) for a, b in zip(x.flatten().tolist(), y.flatten().tolist(), strict=True))
        / 40
        for x, y in zip(made, real, strict=True)
    ]
    torch.testing.assert_close(image_error(made, real), torch.tensor(slow))


def test_shared_coordinate_is_a_categorical_likelihood() -> None:
    logits, k = torch.randn(5, 3) * 4, torch.tensor([0, 2, 1, 1, 0])
    torch.testing.assert_close(
        shared_coordinate(logits, k), -Categorical(logits=logits).log_prob(k)
    )
    assert torch.isfinite(shared_coordinate(torch.tensor([[1e4, -1e4]]), torch.tensor([1]))).all()


def test_every_loss_cites_its_equation() -> None:
    for name in losses.__all__:
        loss = getattr(losses, name)
        assert callable(loss), f"{name}: a module of the package hides the function"
        doc = re.sub(r"\s+", " ", loss.__doc__)
        assert re.search(r"(Eq\.|Alg\.|App\.|Lemma|Table) [A-Z0-9]", doc), name
        assert re.search(r"[A-Z][a-z]+ (et al\.|and [A-Z][a-z]+) \(20\d\d\)", doc), name
