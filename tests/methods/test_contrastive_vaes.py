"""The terms of cVAE, MM-cVAE and Choudhuri et al. (2020), each computed in a second way."""

from math import log

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from support.vaes import X, Y, method_of, model_terms, pair_of_noise
from torch import Tensor


def test_cvae_trains_critic_on_detached_codes_and_encoders_against_it() -> None:
    method = method_of("cvae")
    draw = method.draw(pair_of_noise())
    critic = method.critic_terms(draw)["critic"]
    encoders = [*method.E_z.parameters(), *method.E_s.parameters()]
    grads = torch.autograd.grad(critic.mean(), encoders, allow_unused=True)
    assert grads == (None,) * len(encoders)
    joint = method.R(torch.cat(draw.code, 1)[Y])
    term = model_terms(method, draw)["tc.target"]
    torch.testing.assert_close(term, joint)
    # The encoders lower the logit that the critic raises for the same codes.
    up = torch.autograd.grad(
        torch.nn.functional.softplus(-joint).mean(), draw.code.s, retain_graph=True
    )[0]
    down = torch.autograd.grad(term.mean(), draw.code.s, retain_graph=True)[0]
    assert (up * down).sum() < 0


def test_cvae_as_published_trains_a_logistic_regression_in_one_objective() -> None:
    # Peers' trap 7.
    method = method_of("cvae", as_published=True)
    assert [step.name for step in method.steps()] == ["vae"]
    assert [p.shape for p in method.R.parameters()] == [(1, 7), (1,)]
    assert any(net is method.R for net in method.steps()[0].trains)
    assert not hasattr(method_of("cvae", weights={"tc": 0.0}), "R")
    draw = method.draw(pair_of_noise())
    z, s = draw.code.z[Y], draw.code.s[Y]
    torch.manual_seed(3)
    term = model_terms(method, draw)["tc.target"]
    # log(q / (1 - q)) and the loss of the classifier, as in the paper, in double precision.
    q = torch.sigmoid(method.R(torch.cat([z, s], 1)).double())
    rest = term.double() + (1 - q).log()
    assert rest.min() > 0  # -log(1 - q') of the permuted codes remains
    assert float(rest.mean().detach()) == pytest.approx(log(2), abs=0.6)


def test_mm_cvae_terms_equal_loops_over_thirteen_kernels() -> None:
    method = method_of("mm_cvae")
    draw = method.draw(pair_of_noise())
    terms = model_terms(method, draw)

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


def test_principled_terms_are_the_distances_of_the_paper() -> None:
    method = method_of("principled")
    draw = method.draw(pair_of_noise())
    terms = model_terms(method, draw)
    mu, sigma = draw.s.mu[X], (draw.s.logvar[X] / 2).exp()
    torch.testing.assert_close(
        terms["salient_zero.background"], mu.square().sum(1) + sigma.square().sum(1)
    )  # Lemma 2
    z = draw.code.z.detach().double()
    cost = (z[X][:, None] - z[Y][None]).square().sum(2).numpy()
    best = linear_sum_assignment(cost)
    assert float(terms["w2"].detach()) == pytest.approx(cost[best].mean(), rel=1e-5)
    alone = method_of("principled", weights={"w2": 0.0})
    assert "w2" not in model_terms(alone, alone.draw(pair_of_noise()))  # Eq. 7
    assert method.weights["kl_z"] == method.weights["kl_s"] == 2.0  # App. A.3
