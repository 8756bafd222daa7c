"""The density ratio by a critic, on Gaussians whose mutual information is known."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from losses import (
    critic_bce,
    kl_estimate,
    mutual_information,
    permute_codes,
    tc_as_published,
)

# Two independent coordinates, each correlated by RHO with its fellow.
RHO = 0.8
ANGLE = math.asin(RHO)
INFORMATION = -math.log(1 - RHO**2)  # 1.0217 nats
REVERSE = 2 * (RHO**2 / (1 - RHO**2)) - INFORMATION  # KL(q(z) q(s) || q(z, s)), 2.5339 nats


def codes(n: int, angle: Tensor | float) -> tuple[Tensor, Tensor]:
    """An encoder of one parameter: s mixes what z knows with noise of its own, at a correlation of sin(angle)."""
    angle, z, noise = torch.as_tensor(angle), torch.randn(n, 2), torch.randn(n, 2)
    return z, angle.sin() * z + angle.cos() * noise


class Critic(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(
            nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1)
        )

    def on(self, z: Tensor, s: Tensor) -> Tensor:
        return self(torch.cat([z, s], 1)).squeeze(1)


def train(critic: Critic, optimizer: torch.optim.Optimizer, angle: float, steps: int) -> None:
    for _ in range(steps):
        z, s = codes(256, angle)
        optimizer.zero_grad()
        critic_bce(critic.on(z, s), critic.on(z, permute_codes(s))).mean().backward()
        optimizer.step()


@pytest.fixture(scope="module")
def critic() -> Critic:
    """A critic trained on codes of INFORMATION nats."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    critic = Critic()
    train(critic, torch.optim.Adam(critic.parameters(), 1e-3), ANGLE, 2000)
    return critic.requires_grad_(False)


def test_a_trained_critic_measures_the_information(critic: Critic) -> None:
    z, s = codes(20_000, ANGLE)
    joint, product = critic.on(z, s), critic.on(z, torch.randn_like(s))
    assert mutual_information(joint).mean().item() == pytest.approx(INFORMATION, rel=0.15)
    assert kl_estimate(joint).mean().item() == pytest.approx(INFORMATION, rel=0.15)
    assert kl_estimate(product, reverse=True).mean().item() == pytest.approx(REVERSE, rel=0.3)
    # Rectified, the estimate is too large: by E[max(0, -log-ratio)] under the joint, 0.1 here.
    assert (
        0.05
        < mutual_information(joint, rectified=True).mean().item()
        - mutual_information(joint).mean().item()
        < 0.2
    )
    # And a critic answers for the codes that it saw: on independent ones its logits say the opposite.
    assert mutual_information(product).mean().item() < -1


def test_a_critic_finds_nothing_in_independent_codes() -> None:
    critic = Critic()
    train(critic, torch.optim.Adam(critic.parameters(), 1e-3), 0.0, 500)
    z, s = codes(20_000, 0.0)
    assert abs(mutual_information(critic.on(z, s)).mean().item()) < 0.05
    assert critic_bce(
        critic.on(z, s), critic.on(z, permute_codes(s))
    ).mean().item() == pytest.approx(2 * math.log(2), abs=0.02)


def test_the_encoders_gradient_is_that_of_the_information(critic: Critic) -> None:
    # With the ratio at its optimum, d E[log ratio] / d angle = d I / d angle = 2 tan(angle) for I = -2 log cos(angle).
    angle = torch.tensor(ANGLE, requires_grad=True)
    mutual_information(critic.on(*codes(20_000, angle))).mean().backward()
    assert angle.grad.item() == pytest.approx(2 * math.tan(ANGLE), rel=0.25)


def left(angle: Tensor) -> float:
    return -2 * math.log(math.cos(angle.item()))


@pytest.mark.parametrize("rectified", [False, True])
def test_an_encoder_that_minimises_the_information_really_lowers_it(
    critic: Critic, rectified: bool
) -> None:
    opponent = Critic()
    opponent.load_state_dict(critic.state_dict())
    angle = torch.tensor(ANGLE, requires_grad=True)
    moves, adam = torch.optim.SGD([angle], 0.02), torch.optim.Adam(opponent.parameters(), 2e-3)
    for _ in range(200):
        moves.zero_grad()
        mutual_information(opponent.on(*codes(256, angle)), rectified).mean().backward()
        moves.step()
        train(opponent, adam, angle.item(), 1)
    assert left(angle) < 0.1 < 1 < INFORMATION


def test_the_published_objective_carries_no_signal() -> None:
    together, angle = Critic(), torch.tensor(ANGLE, requires_grad=True)
    moves, adam = torch.optim.SGD([angle], 0.02), torch.optim.Adam(together.parameters(), 2e-3)
    for _ in range(300):
        z, s = codes(256, angle)
        joint, product = together.on(z, s), together.on(z, permute_codes(s))
        moves.zero_grad(), adam.zero_grad()
        tc_as_published(joint, product).mean().backward()
        moves.step(), adam.step()
    # All is called shuffled, dependent as the codes still are, and the encoder has nothing left to follow.
    assert max(joint.mean().item(), product.mean().item()) < -7
    assert left(angle) > 0.9 * INFORMATION
    assert abs(angle.grad.item()) < 0.01 < 2 * math.tan(ANGLE)


def test_the_published_terms_cancel_to_the_published_sum() -> None:
    joint, product = (
        torch.randn(9, dtype=torch.float64) * 5,
        torch.randn(9, dtype=torch.float64) * 5,
    )
    q, q_bar = joint.sigmoid(), product.sigmoid()
    published = (q / (1 - q)).log() + (-q.log() - (1 - q_bar).log())
    torch.testing.assert_close(tc_as_published(joint, product), published)
    torch.testing.assert_close(mutual_information(joint) + critic_bce(joint, product), published)
    # Alike to joint and shuffled codes: swapping them changes nothing. The critic's own loss does tell them apart.
    torch.testing.assert_close(tc_as_published(product, joint), published)
    assert not torch.allclose(critic_bce(product, joint), critic_bce(joint, product))


def test_critic_loss_is_binary_cross_entropy_with_label_1_for_the_joint() -> None:
    joint, product = torch.randn(9) * 5, torch.randn(9) * 5
    expected = binary_cross_entropy_with_logits(joint, torch.ones(9), reduction="none")
    expected = expected + binary_cross_entropy_with_logits(
        product, torch.zeros(9), reduction="none"
    )
    torch.testing.assert_close(critic_bce(joint, product), expected)


def test_information_is_the_logit_and_rectified_has_no_gradient_below_zero() -> None:
    logits = torch.tensor([-2.0, -0.5, 0.5, 30.0], requires_grad=True)
    assert torch.equal(mutual_information(logits), logits)
    mutual_information(logits, rectified=True).sum().backward()
    assert mutual_information(logits, rectified=True).tolist() == [0, 0, 0.5, 30]
    assert logits.grad.tolist() == [0, 0, 1, 1]
    assert torch.equal(kl_estimate(logits), logits)
    assert torch.equal(kl_estimate(logits, reverse=True), -logits)


@pytest.mark.parametrize("b", [2, 3, 8, 33])
def test_shuffled_leaves_nobody_in_place_and_loses_nobody(b: int) -> None:
    rows = torch.arange(b)
    for _ in range(50):
        order = permute_codes(rows)
        assert (order != rows).all()
        assert torch.equal(order.sort().values, rows)
    codes = torch.randn(b, 2, 3, requires_grad=True)
    weights = torch.rand(b, 2, 3)
    torch.manual_seed(b)
    (permute_codes(codes) * weights).sum().backward()
    torch.manual_seed(b)
    torch.testing.assert_close(weights, codes.grad[permute_codes(rows)])


def test_shuffled_mixes_the_halves_of_a_batch_that_holds_one_domain_after_the_other() -> None:
    domain = torch.arange(400) // 200
    crossed = (
        torch.stack([(permute_codes(domain) != domain).float().mean() for _ in range(20)])
        .mean()
        .item()
    )
    assert crossed == pytest.approx(
        200 / 399, abs=0.03
    )  # moving up by one in the given order: 2 / 400


def test_shuffled_refuses_a_batch_of_one() -> None:
    with pytest.raises(ValueError, match="expected at least 2 codes to permute, found 1"):
        permute_codes(torch.zeros(1, 4))
