"""Properties of every loss: finite, independent of precision and batch size, with a citation."""

import itertools
import math
import re

import pytest
import torch

import losses
from losses import (
    bce,
    contrastive_regulariser,
    critic_bce,
    discriminator_logistic,
    generator_nonsaturating,
    kl_estimate,
    kl_gaussians,
    kl_standard_normal,
    l1_per_pixel,
    latent_regression,
    mmd,
    mmd_to_point,
    mutual_information,
    reparameterise,
    soft_clip_logvar,
    sse_unit_scale,
    tc_as_published,
    w2_between,
    w2_to_point,
)

OF_TWO_BATCHES = {"mmd": mmd, "mmd to point": lambda a, b: mmd_to_point(a, b[0]), "w2": w2_between}

OF_POSTERIORS = {
    "kl standard normal": kl_standard_normal,
    "kl gaussians": lambda m, v: kl_gaussians(m, v, 0.1, -4.0),
    "w2": w2_to_point,
    "sample": reparameterise,
}

OF_LOGITS = {
    "critic": critic_bce,
    "information": lambda j, p: mutual_information(j),
    "rectified": lambda j, p: mutual_information(j, rectified=True),
    "published": tc_as_published,
    "forward": lambda j, p: kl_estimate(j),
    "reverse": lambda j, p: kl_estimate(p, reverse=True),
}


def is_finite(value: torch.Tensor, *inputs: torch.Tensor) -> bool:
    """Returns whether a float32 value and its gradients are finite."""
    gradients = torch.autograd.grad(value.sum(), inputs, allow_unused=True)
    assert value.dtype == torch.float32
    return all(t is None or torch.isfinite(t).all().item() for t in (value, *gradients))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", OF_LOGITS)
def test_losses_of_a_critic_stay_finite_for_extreme_logits(name: str, dtype: torch.dtype) -> None:
    extremes = [-1e4, -100.0, 0.0, 100.0, 1e4]
    joint, permuted = (
        torch.tensor(t, dtype=dtype, requires_grad=True)
        for t in zip(*itertools.product(extremes, repeat=2), strict=True)
    )
    value = OF_LOGITS[name](joint, permuted)
    assert value.shape == (25,)
    assert is_finite(value, joint, permuted)
    assert value.max().item() >= 9e3


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", OF_POSTERIORS)
def test_losses_of_posteriors_stay_finite_after_soft_clip_logvar(
    name: str, dtype: torch.dtype
) -> None:
    extremes = [-1e4, -20.0, 0.0, 20.0, 1e4]
    mu, raw = (
        torch.tensor(t, dtype=dtype, requires_grad=True).view(5, 5)
        for t in zip(*itertools.product(extremes, [*extremes[:-1], math.inf]), strict=True)
    )
    assert is_finite(OF_POSTERIORS[name](mu, soft_clip_logvar(raw)), mu, raw)
    # Without the limits the loss overflows.
    assert not torch.isfinite(OF_POSTERIORS[name](mu, raw.clamp(max=1e4))).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", OF_TWO_BATCHES)
def test_batch_statistics_stay_finite_for_huge_codes(name: str, dtype: torch.dtype) -> None:
    for scale in (1e-4, 1.0, 1e4):
        a, b = ((torch.randn(8, 3) * scale).to(dtype).requires_grad_() for _ in range(2))
        assert is_finite(OF_TWO_BATCHES[name](a, b), a, b)
        assert is_finite(OF_TWO_BATCHES[name](a, a), a)
        assert OF_TWO_BATCHES[name](a, b).shape == ()


IN_FLOAT64 = OF_LOGITS | {
    "bce": lambda a, b: bce(a, 0) + bce(b, 1),
    "adversarial": lambda a, b: discriminator_logistic(a, b) + generator_nonsaturating(b),
    "contrastive regulariser": lambda a, b: contrastive_regulariser(
        torch.stack([a, b], 1), torch.zeros(len(a), dtype=torch.int64)
    ),
    "l1 regression": lambda a, b: latent_regression(a[None], b[None]),
    "l2 regression": lambda a, b: latent_regression(a[None], b[None], "l2"),
    "l1 per pixel": lambda a, b: l1_per_pixel(a[None], b[None]),
    "sse unit scale": lambda a, b: sse_unit_scale(a[None], b[None]),
    "kl standard normal": lambda a, b: kl_standard_normal(a[None], soft_clip_logvar(b[None])),
    "kl gaussians": lambda a, b: kl_gaussians(a[None], soft_clip_logvar(b[None]), 0.1, -1.0),
    "w2 to point": lambda a, b: w2_to_point(a[None], soft_clip_logvar(b[None])),
    "w2 between": lambda a, b: w2_between(a[:, None], b[:, None]),
}


@pytest.mark.parametrize("name", IN_FLOAT64)
def test_losses_keep_float64_and_have_the_gradient_of_finite_differences(name: str) -> None:
    a, b = (torch.randn(6, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert IN_FLOAT64[name](a, b).dtype == torch.float64
    assert torch.autograd.gradcheck(IN_FLOAT64[name], (a, b))


@pytest.mark.parametrize("name", [*OF_TWO_BATCHES, *OF_POSTERIORS])
def test_losses_are_unchanged_under_autocast(name: str) -> None:
    loss = (OF_TWO_BATCHES | OF_POSTERIORS)[name]
    a, b = torch.randn(16, 4), torch.randn(16, 4)
    torch.manual_seed(0)
    expected = loss(a, b)
    torch.manual_seed(0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(loss(a, b), expected, rtol=0, atol=0)


def test_losses_do_not_depend_on_the_size_of_the_batch() -> None:
    a, b = torch.randn(12, 4), torch.randn(12, 4) + 1
    twice = torch.cat([a, a]), torch.cat([b, b])
    for loss in (mmd, w2_between, lambda x, y: mmd_to_point(x, y[0])):
        torch.testing.assert_close(loss(*twice), loss(a, b), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(w2_between(twice[0], b), w2_between(a, b), rtol=1e-5, atol=1e-6)
    for loss in (
        kl_standard_normal,
        w2_to_point,
        sse_unit_scale,
        lambda m, v: kl_gaussians(m, v, 0.2, -1.0),
    ):
        torch.testing.assert_close(loss(*twice), loss(a, b).repeat(2), rtol=0, atol=0)
    for loss in OF_LOGITS.values():
        torch.testing.assert_close(
            loss(twice[0][:, 0], twice[1][:, 0]), loss(a[:, 0], b[:, 0]).repeat(2), rtol=0, atol=0
        )


def test_every_loss_cites_its_equation() -> None:
    for name in losses.__all__:
        loss = getattr(losses, name)
        assert callable(loss), f"{name}: a module of the package hides the function"
        doc = re.sub(r"\s+", " ", loss.__doc__)
        assert re.search(r"(Eq\.|Alg\.|App\.|Lemma|Table) [A-Z0-9]", doc), name
        assert re.search(r"[A-Z][a-z]+ (et al\.|and [A-Z][a-z]+) \(20\d\d\)", doc), name
