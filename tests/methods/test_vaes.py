"""The contrastive VAEs: each term is the paper's, computed here another way; opponents oppose; the conventions hold."""

import dataclasses
from math import log

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from support.experiments import VARIANTS, tiny
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from studio.build import build_dataset, build_method
from studio.config import load, resolve
from studio.data import PairStream
from studio.errors import StudioError
from studio.method import Code, Method, Pair
from studio.methods.vae import Draw, Gaussian
from studio.training.engine import Engine

CONTRASTIVE = ["cvae", "mm_cvae", "sepvae", "srb_vae", "principled"]
HALF = 8


def method_of(name: str, **options: object) -> Method:
    raw = {
        "data": {"name": "digits"},
        "nets": {"width": 4},
        "method": {"name": name, "z": 4, "s": 3, **options},
    }
    return build_method(resolve(raw, "t", "t"), (1, 32, 32))


def pair(half: int = HALF, severity: Tensor | None = None) -> Pair:
    torch.manual_seed(1)
    return Pair(torch.rand(half, 1, 32, 32) - 1, 2 * torch.rand(half, 1, 32, 32) - 1, severity)


def kl(posterior: Gaussian, mean: float = 0.0, deviation: Tensor | float = 1.0) -> Tensor:
    q = Normal(posterior.mu, (posterior.logvar / 2).exp())
    return kl_divergence(
        q, Normal(torch.full_like(q.mean, mean), torch.as_tensor(deviation).expand_as(q.mean))
    ).sum(1)


def rows(posterior: Gaussian, where: slice) -> Gaussian:
    return Gaussian(posterior.mu[where], posterior.logvar[where])


X, Y = slice(None, HALF), slice(HALF, None)


@pytest.mark.parametrize("name", ["vae", *CONTRASTIVE])
def test_bound_is_reconstruction_and_divergences_summed_per_image(name: str) -> None:
    method = method_of(name).eval()
    draw = method.draw(pair())
    terms = method.vae_terms(draw)
    s = draw.code.s.clone()
    if name != "vae":
        s[X] = method.blank(
            HALF
        )  # Eq. 4 of Abid and Zou: background images are decoded with nothing salient
    rebuilt = method.G(torch.cat([draw.code.z, s], 1))
    on_unit = (
        ((rebuilt + 1) / 2 - (draw.reals + 1) / 2).square().flatten(1).sum(1)
    )  # the papers' images are in [0, 1]
    for half, where in (("background", X), ("target", Y)):
        torch.testing.assert_close(terms[f"recon.{half}"], on_unit[where])
        torch.testing.assert_close(terms[f"kl_z.{half}"], kl(rows(draw.z, where)))
    torch.testing.assert_close(terms["kl_s.target"], kl(rows(draw.s, Y)))
    assert ("kl_s.background" in terms) == (name == "vae")


def test_the_plain_vae_has_one_posterior_split_by_position() -> None:
    method = method_of("vae").eval()
    images = pair().x
    read = method.E(images)
    code = method.encode(images)
    torch.testing.assert_close(torch.cat(code, 1), read["mu"])
    assert [name for name, _ in method.named_children()] == ["E", "G"]


@pytest.mark.parametrize("name", CONTRASTIVE)
def test_encoders_are_two_but_for_the_reference_based_one(name: str) -> None:
    names = {name for name, _ in method_of(name).named_children()}
    assert ({"E_z", "E_s"} <= names) == (name != "srb_vae")
    assert ("E" in names) == (name == "srb_vae")


@pytest.mark.parametrize("name", ["vae", "mm_cvae", "principled", "cvae", "sepvae"])
def test_weights_do_not_depend_on_the_batch_size(name: str) -> None:
    # Peers' trap 10: their sums over the batch make each weight mean something else at another batch size.
    options = {"severity": None, "weights": {"class": 1.0}} if name == "sepvae" else {}
    method = method_of(name, **options).eval()
    draw = method.draw(pair())
    order = torch.cat([torch.arange(HALF).repeat(3), HALF + torch.arange(HALF).repeat(3)])

    def thrice(value: object) -> object:
        return (
            type(value)(*(part[order] for part in value))
            if isinstance(value, tuple)
            else value[order]
        )

    fields = {f.name: getattr(draw, f.name) for f in dataclasses.fields(draw) if f.name != "pair"}
    images = Pair(draw.pair.x.repeat(3, 1, 1, 1), draw.pair.y.repeat(3, 1, 1, 1))
    longer = Draw(images, **{name: thrice(value) for name, value in fields.items()})
    totals = [float(method.total(method.vae_terms(d)).detach()) for d in (draw, longer)]
    assert totals[0] == pytest.approx(totals[1], rel=1e-4)


def test_the_loss_is_that_of_a_pair() -> None:
    method = method_of("principled", weights={"w2": 0.0})
    draw = method.draw(pair())
    terms = method.vae_terms(draw)
    by_hand = sum(
        terms[f"recon.{h}"].mean() + 2 * terms[f"kl_z.{h}"].mean() for h in ("background", "target")
    )
    by_hand = by_hand + 2 * terms["kl_s.target"].mean() + terms["salient_zero.background"].mean()
    torch.testing.assert_close(method.total(terms), by_hand)


# Adam's rate, and starting anew


def test_the_papers_rates_are_the_defaults_and_a_config_beats_them() -> None:
    raw = {"data": {"name": "digits"}, "method": {"name": "cvae"}}
    assert resolve(raw, "t", "t").train.lr == 1e-3
    assert resolve(raw, "t", "t").train.betas == (0.9, 0.999)
    assert resolve({**raw, "train": {"lr": 0.1}}, "t", "t").train.lr == 0.1
    assert resolve(raw, "t", "t", ["train.betas=[0.5,0.6]"]).train.betas == (0.5, 0.6)
    assert resolve({**raw, "method": {"name": "dig"}}, "t", "t").train.lr == 2e-4
    assert load("digits_dig").train.betas == (0.5, 0.999)


def test_optimisers_start_anew_where_asked() -> None:
    config = tiny("cvae", images=160, reset_optimizers=48)
    engine = Engine(config, build_dataset(config))
    counts = []
    for _ in engine.iterations(160):
        counts.append(_steps_of(engine))
    assert counts == [1, 2, 3, 1, 2, 3, 1, 2, 3, 1]


def _steps_of(engine: Engine) -> int:
    return int(next(iter(engine.optimizers["vae"].state_dict()["state"].values()))["step"])


# cVAE


def test_cvae_critic_learns_from_codes_without_gradient_and_the_encoders_move_against_it() -> None:
    method = method_of("cvae")
    draw = method.draw(pair())
    critic = method.critic_terms(draw)["critic"]
    encoders = [*method.E_z.parameters(), *method.E_s.parameters()]
    grads = torch.autograd.grad(critic.mean(), encoders, allow_unused=True)
    assert grads == (None,) * len(encoders)
    joint = method.R(torch.cat(draw.code, 1)[Y])
    term = method.vae_terms(draw)["tc.target"]
    torch.testing.assert_close(term, joint)
    # The encoders lower the logit that the critic raises on the same codes.
    up = torch.autograd.grad(
        torch.nn.functional.softplus(-joint).mean(), draw.code.s, retain_graph=True
    )[0]
    down = torch.autograd.grad(term.mean(), draw.code.s, retain_graph=True)[0]
    assert (up * down).sum() < 0


def test_cvae_as_published_is_one_objective_of_a_logistic_regression() -> None:
    # Peers' trap 7.
    method = method_of("cvae", as_published=True)
    assert [step.name for step in method.steps()] == ["vae"]
    assert [p.shape for p in method.R.parameters()] == [(1, 7), (1,)]
    assert any(net is method.R for net in method.steps()[0].trains)
    assert method_of("cvae", weights={"tc": 0.0}).R is None
    draw = method.draw(pair())
    z, s = draw.code.z[Y], draw.code.s[Y]
    torch.manual_seed(3)
    term = method.vae_terms(draw)["tc.target"]
    # log(q / (1 - q)) and the classifier's own loss, as the paper has them, in double precision.
    q = torch.sigmoid(method.R(torch.cat([z, s], 1)).double())
    rest = term.double() + (1 - q).log()
    assert rest.min() > 0  # -log(1 - q') of the shuffled codes is what is left
    assert float(rest.mean().detach()) == pytest.approx(log(2), abs=0.6)


# MM-cVAE


def test_mm_cvae_terms_are_slow_loops_over_thirteen_kernels() -> None:
    method = method_of("mm_cvae")
    draw = method.draw(pair())
    terms = method.vae_terms(draw)

    def kernel(a: Tensor, b: Tensor) -> float:
        return float(
            np.mean(
                [
                    [
                        sum(np.exp(-(10.0**p) * ((u - v) ** 2).sum()) for p in range(-6, 7))
                        for v in b
                    ]
                    for u in a
                ]
            )
        )

    z, s = (part.detach().double().numpy() for part in draw.code)
    expected_z = kernel(z[X], z[X]) + kernel(z[Y], z[Y]) - 2 * kernel(z[X], z[Y])
    zeros = np.zeros((1, 3))
    expected_s = kernel(s[X], s[X]) + 13 - 2 * kernel(s[X], zeros)
    assert float(terms["mmd_z"].detach()) == pytest.approx(expected_z, rel=1e-4, abs=1e-5)
    assert float(terms["mmd_s"].detach()) == pytest.approx(expected_s, rel=1e-4)
    assert method.weights["mmd_z"] == 1e4 / 64
    assert method.weights["mmd_s"] == 1e3 / 64


# SepVAE


def test_sepvae_freezes_the_background_posterior_and_decodes_background_with_the_reference() -> (
    None
):
    method = method_of("sepvae", weights={"class": 1.0})
    draw = method.draw(pair())
    torch.testing.assert_close(draw.s.logvar[X], torch.full((HALF, 3), log(0.1)))
    assert not torch.allclose(draw.s.logvar[Y], torch.full((HALF, 3), log(0.1)))
    noisy = method.draw(Pair(*(torch.zeros(512, 1, 32, 32),) * 2))
    spread = (noisy.code.s - noisy.s.mu)[:512].std()
    assert float(spread.detach()) == pytest.approx(
        0.1**0.5, rel=0.1
    )  # what critic and classifier see
    terms = method.vae_terms(draw)
    narrow = kl(rows(draw.s, X), 0.0, 0.025**0.5)  # sigma_p is a variance
    torch.testing.assert_close(terms["prior_s.background"], narrow)
    mean_part = draw.s.mu[X].square().sum(1) / (
        2 * 0.025
    )  # App. B, with the half of the divergence
    torch.testing.assert_close(
        terms["prior_s.background"] - mean_part, (narrow - mean_part)[:1].expand(HALF)
    )


def test_sepvae_terms_of_critic_and_classifier() -> None:
    method = method_of("sepvae", weights={"class": 1.0})
    draw = method.draw(pair())
    terms = method.vae_terms(draw)
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


def test_sepvae_ablations_are_weights_of_zero() -> None:
    bare = method_of("sepvae", weights={"class": 0.0, "mi": 0.0})
    assert [step.name for step in bare.steps()] == ["vae"]
    assert bare.R is None
    assert bare.C is None
    with pytest.raises(StudioError, match="no salient classifier"):
        bare.classify_salient(torch.zeros(2, 3))
    assert method_of("sepvae").config.weights["class"] == 1e-10  # App. E.1


def test_sepvae_with_severity_widens_the_prior_with_it_and_learns_the_background_variance() -> None:
    method = method_of("sepvae", severity="depth")
    severity = torch.tensor([1.0, 0.5, 0.2, 0.1, 0.0, float("nan"), 0.9, 0.3])
    draw = method.draw(pair(severity=severity))
    assert not torch.allclose(draw.s.logvar[X], torch.full((HALF, 3), log(0.1)))
    terms = method.vae_terms(draw)
    deviation = severity.nan_to_num(1.0).clamp(min=0.025**0.5)[:, None]
    torch.testing.assert_close(terms["kl_s.target"], kl(rows(draw.s, Y), 0.0, deviation))
    torch.testing.assert_close(terms["prior_s.background"], kl(rows(draw.s, X), 0.0, 0.025**0.5))


def test_severity_comes_with_the_pairs_and_must_be_a_number_of_the_targets() -> None:
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


# sRb-VAE


def test_srb_reference_is_a_parameter_that_moves_and_that_background_is_decoded_with() -> None:
    # Peers' trap 11.
    config = tiny("srb_vae")
    engine = Engine(config, build_dataset(config))
    before = engine.method.reference.code.detach().clone()
    assert "reference.code" in engine.method.state_dict()
    assert not torch.equal(before, torch.zeros(3))
    engine.advance(engine.pairs[0])
    assert not torch.equal(engine.method.reference.code, before)
    torch.testing.assert_close(
        engine.method.blank(2), engine.method.reference.code.detach().expand(2, -1)
    )


def test_srb_critics_learn_alone_and_the_generator_moves_against_them() -> None:
    method = method_of("srb_vae")
    draw = method.draw(pair())
    own = method.ratio_terms(draw)
    model = [*method.E.parameters(), *method.G.parameters(), *method.reference.parameters()]
    for term in own.values():
        assert torch.autograd.grad(term.mean(), model, allow_unused=True, retain_graph=True) == (
            None,
        ) * len(model)
    terms = method.vae_terms(draw)
    logits = method._logits(draw.fakes, draw.prior)
    torch.testing.assert_close(
        torch.cat([terms["reverse.background"], terms["reverse.target"]]), -logits
    )
    # The critics raise the loss of fakes taken for read images; the generator wants them taken so.
    caught = torch.autograd.grad(
        torch.nn.functional.softplus(logits).mean(), draw.fakes, retain_graph=True
    )[0]
    reverse = terms["reverse.target"].mean() + terms["reverse.background"].mean()
    wanted = torch.autograd.grad(reverse, draw.fakes, retain_graph=True)[0]
    assert (caught * wanted).sum() < 0


def test_srb_codes_term_teaches_the_encoder_alone_to_read_its_own_images() -> None:
    method = method_of("srb_vae").eval()
    draw = method.draw(pair())
    terms = method.vae_terms(draw)
    z, s = method.encode(draw.fakes)
    squares = (z - draw.prior.z).square().sum(1) / 2
    torch.testing.assert_close(terms["codes.background"], squares[X])
    torch.testing.assert_close(
        terms["codes.target"], squares[Y] + (s - draw.prior.s)[Y].square().sum(1) / 2
    )
    G = list(method.G.parameters())
    assert torch.autograd.grad(
        terms["codes.target"].mean(), G, allow_unused=True, retain_graph=True
    ) == (None,) * len(G)


def test_rb_vae_is_the_bound_alone() -> None:
    method = method_of("srb_vae", symmetric=False)
    assert method.D_x is None
    assert [step.name for step in method.steps()] == ["vae"]
    assert set(method.vae_terms(method.draw(pair()))) == {
        "recon.background",
        "recon.target",
        "kl_z.background",
        "kl_z.target",
        "kl_s.target",
    }


# Principled


def test_principled_terms_are_the_papers_distances() -> None:
    method = method_of("principled")
    draw = method.draw(pair())
    terms = method.vae_terms(draw)
    mu, sigma = draw.s.mu[X], (draw.s.logvar[X] / 2).exp()
    torch.testing.assert_close(
        terms["salient_zero.background"], mu.square().sum(1) + sigma.square().sum(1)
    )  # Lemma 2
    z = draw.code.z.detach().double()
    cost = (z[X][:, None] - z[Y][None]).square().sum(2).numpy()
    best = linear_sum_assignment(cost)
    assert float(terms["w2"].detach()) == pytest.approx(cost[best].mean(), rel=1e-5)
    alone = method_of("principled", weights={"w2": 0.0})
    assert "w2" not in alone.vae_terms(alone.draw(pair()))  # Eq. 7
    assert method.weights["kl_z"] == method.weights["kl_s"] == 2.0  # App. A.3


def test_every_vae_lowers_its_reconstruction_error_within_sixty_steps() -> None:
    for name in ("vae", *CONTRASTIVE):
        assert name in VARIANTS
        config = tiny(name, images=960, lr=2e-3)
        engine = Engine(config, build_dataset(config))
        errors = []
        for terms in engine.iterations(960):
            errors.append(float(terms["vae/recon.background"]))
        assert np.mean(errors[-5:]) < 0.6 * errors[0], name


def test_decode_stays_within_black_and_white() -> None:
    method = method_of("vae").eval()
    assert method.decode(Code(torch.full((2, 4), 1e3), torch.full((2, 3), -1e3))).abs().max() <= 1


def test_what_cannot_work_as_published_says_so() -> None:
    assert any("as published" in line for line in method_of("cvae", as_published=True).notes())
    assert any("weights.class = 1e-10" in line for line in method_of("sepvae").notes())
    for name in ("vae", *CONTRASTIVE):
        options = {"weights": {"class": 1.0}} if name == "sepvae" else {}
        assert method_of(name, **options).notes() == []
