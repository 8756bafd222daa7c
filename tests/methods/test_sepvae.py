"""SepVAE: its terms, its opponents, and the severity of targets."""

import dataclasses
from math import log

import numpy as np
import pytest
import torch
from support.experiments import tiny
from support.vaes import HALF, X, Y, kl, method_of, model_terms, pair_of_noise, rows

from studio.build import build_dataset
from studio.data import PairStream
from studio.errors import StudioError
from studio.method import Pair
from studio.training.engine import Engine


def test_sepvae_freezes_the_variance_of_the_background_posterior() -> None:
    method = method_of("sepvae", weights={"class": 1.0})
    draw = method.draw(pair_of_noise())
    torch.testing.assert_close(draw.s.logvar[X], torch.full((HALF, 3), log(0.1)))
    assert not torch.allclose(draw.s.logvar[Y], torch.full((HALF, 3), log(0.1)))
    noisy = method.draw(Pair(*(torch.zeros(512, 1, 32, 32),) * 2))
    spread = (noisy.code.s - noisy.s.mu)[:512].std()
    # Critic and classifier see samples with this spread.
    assert float(spread.detach()) == pytest.approx(0.1**0.5, rel=0.1)
    terms = model_terms(method, draw)
    narrow = kl(rows(draw.s, X), 0.0, 0.025**0.5)  # sigma_p is a variance
    torch.testing.assert_close(terms["prior_s.background"], narrow)
    # App. B, with the factor 1/2 of the divergence.
    mean_part = draw.s.mu[X].square().sum(1) / (2 * 0.025)
    torch.testing.assert_close(
        terms["prior_s.background"] - mean_part, (narrow - mean_part)[:1].expand(HALF)
    )


def test_sepvae_has_terms_of_critic_and_classifier() -> None:
    method = method_of("sepvae", weights={"class": 1.0})
    draw = method.draw(pair_of_noise())
    terms = model_terms(method, draw)
    logits = method.R(torch.cat(draw.code, 1))
    torch.testing.assert_close(terms["mi.target"], logits[Y].relu())
    torch.testing.assert_close(terms["mi.background"], logits[X].relu())
    bce = torch.nn.functional.binary_cross_entropy_with_logits
    labels = torch.cat([torch.zeros(HALF), torch.ones(HALF)])
    expected = bce(method.classify_salient(draw.code.s), labels, reduction="none")
    torch.testing.assert_close(
        torch.cat([terms["class.background"], terms["class.target"]]), expected
    )
    own = method.critic_terms(draw)
    encoder = list(method.E_s.parameters())
    assert torch.autograd.grad(own["classifier.target"].mean(), encoder, allow_unused=True) == (
        None,
    ) * len(encoder)
    assert all(g is not None for g in torch.autograd.grad(terms["class.target"].mean(), encoder))


def test_sepvae_has_no_critic_and_no_classifier_for_weights_of_zero() -> None:
    bare = method_of("sepvae", weights={"class": 0.0, "mi": 0.0})
    assert [step.name for step in bare.steps()] == ["vae"]
    assert not {"R", "C"} & {name for name, _ in bare.named_children()}
    assert method_of("sepvae").config.weights["class"] == 1e-10  # App. E.1


def test_classify_salient_returns_none_unless_sepvae_trains_its_classifier() -> None:
    codes = torch.zeros(2, 3)
    for weights in ({"class": 0.0}, {"classifier": 0.0}):
        assert method_of("sepvae", weights=weights).classify_salient(codes) is None
    logits = method_of("sepvae").classify_salient(codes)
    assert logits is not None
    assert logits.shape == (2,)


def test_sepvae_widens_the_salient_prior_with_the_severity() -> None:
    method = method_of("sepvae", severity="depth")
    severity = torch.tensor([1.0, 0.5, 0.2, 0.1, 0.0, float("nan"), 0.9, 0.3])
    draw = method.draw(pair_of_noise(severity=severity))
    assert not torch.allclose(draw.s.logvar[X], torch.full((HALF, 3), log(0.1)))
    terms = model_terms(method, draw)
    deviation = severity.nan_to_num(1.0).clamp(min=0.025**0.5)[:, None]
    torch.testing.assert_close(terms["kl_s.target"], kl(rows(draw.s, Y), 0.0, deviation))
    torch.testing.assert_close(terms["prior_s.background"], kl(rows(draw.s, X), 0.0, 0.025**0.5))


def test_pair_stream_returns_the_severity_of_the_targets_and_checks_it() -> None:
    data = build_dataset(tiny())
    data.attributes = {
        **data.attributes,
        "depth": dataclasses.replace(data.attributes["digit"], classes=()),
    }
    known = data.labels

    def labels(split: str, domain: str) -> dict:
        extra = {"depth": np.linspace(0, 1, data.size(split, domain))} if domain == "target" else {}
        return {**known(split, domain), **extra}

    data.labels = labels
    stream = PairStream(data, 8, 0, severity="depth")
    drawn = stream[3]
    torch.testing.assert_close(
        drawn.severity, torch.linspace(0, 1, 25_000)[stream.indices(3, "target")]
    )
    assert PairStream(data, 8, 0)[3].severity is None
    with pytest.raises(
        StudioError, match="no attribute 'dept' of its targets; did you mean 'depth'"
    ):
        PairStream(data, 8, 0, severity="dept")
    with pytest.raises(StudioError, match="texture is a category"):
        PairStream(data, 8, 0, severity="texture")
    data.labels = lambda split, domain: {"depth": np.array([0.0, 2.0])}
    with pytest.raises(StudioError, match="depth runs from 0 to 2, expected 0"):
        PairStream(data, 8, 0, severity="depth")
    config = tiny("sepvae")
    config = config.model_copy(
        update={"method": config.method.model_copy(update={"severity": "depth"})}
    )
    data.labels = labels
    engine = Engine(config, data)
    for terms in engine.iterations(32):
        if not all(torch.isfinite(t) for t in terms.values()):
            break
    assert engine.iteration == 2
