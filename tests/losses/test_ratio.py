"""Density ratios of a critic, for Gaussians with a known mutual information."""

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

# z and s have two coordinates each. Coordinate k of z and of s have the correlation RHO.
RHO = 0.8

ANGLE = math.asin(RHO)

INFORMATION = -math.log(1 - RHO**2)  # 1.0217 nats

REVERSE = 2 * (RHO**2 / (1 - RHO**2)) - INFORMATION  # KL(q(z) q(s) || q(z, s)), 2.5339 nats


def encode(n: int, angle: Tensor | float) -> tuple[Tensor, Tensor]:
    """Encodes n images. The angle is the encoder's only weight: sin(angle) correlates z and s."""
    angle, z, noise = torch.as_tensor(angle), torch.randn(n, 2), torch.randn(n, 2)
    return z, angle.sin() * z + angle.cos() * noise


class Critic(nn.Sequential):
    """A small critic of [z, s]."""

    def __init__(self) -> None:
        super().__init__(
            nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1)
        )

    def logits(self, z: Tensor, s: Tensor) -> Tensor:
        return self(torch.cat([z, s], 1)).squeeze(1)


def train(critic: Critic, optimizer: torch.optim.Optimizer, angle: float, steps: int) -> None:
    """Trains the critic on joint and permuted codes of an encoder."""
    for _ in range(steps):
        z, s = encode(256, angle)
        optimizer.zero_grad()
        critic_bce(critic.logits(z, s), critic.logits(z, permute_codes(s))).mean().backward()
        optimizer.step()


@pytest.fixture(scope="module")
def critic() -> Critic:
    """A critic trained on codes with INFORMATION nats of mutual information."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    critic = Critic()
    train(critic, torch.optim.Adam(critic.parameters(), 1e-3), ANGLE, 2000)
    return critic.requires_grad_(False)


def test_mutual_information_of_a_trained_critic_is_the_true_one(critic: Critic) -> None:
    z, s = encode(20_000, ANGLE)
    joint, product = critic.logits(z, s), critic.logits(z, torch.randn_like(s))
    assert mutual_information(joint).mean().item() == pytest.approx(INFORMATION, rel=0.15)
    assert kl_estimate(joint).mean().item() == pytest.approx(INFORMATION, rel=0.15)
    assert kl_estimate(product, reverse=True).mean().item() == pytest.approx(REVERSE, rel=0.3)
    # The rectified estimate is too large by E[max(0, -log-ratio)] over joint codes, 0.1 here.
    assert (
        0.05
        < mutual_information(joint, rectified=True).mean().item()
        - mutual_information(joint).mean().item()
        < 0.2
    )
    # For independent codes, on which the critic was not trained, its logits are negative.
    assert mutual_information(product).mean().item() < -1


def test_mutual_information_of_independent_codes_is_zero() -> None:
    critic = Critic()
    train(critic, torch.optim.Adam(critic.parameters(), 1e-3), 0.0, 500)
    z, s = encode(20_000, 0.0)
    assert abs(mutual_information(critic.logits(z, s)).mean().item()) < 0.05
    assert critic_bce(
        critic.logits(z, s), critic.logits(z, permute_codes(s))
    ).mean().item() == pytest.approx(2 * math.log(2), abs=0.02)


def test_mutual_information_has_the_true_gradient_for_the_encoder(critic: Critic) -> None:
    # For the optimal ratio, d E[log ratio] / d angle = d I / d angle = 2 tan(angle), because
    # I = -2 log cos(angle).
    angle = torch.tensor(ANGLE, requires_grad=True)
    mutual_information(critic.logits(*encode(20_000, angle))).mean().backward()
    assert angle.grad.item() == pytest.approx(2 * math.tan(ANGLE), rel=0.25)


def true_information(angle: Tensor) -> float:
    """Returns the mutual information of the encoder's codes, in nats."""
    return -2 * math.log(math.cos(angle.item()))


@pytest.mark.parametrize("rectified", [False, True])
def test_mutual_information_decreases_when_an_encoder_minimises_it(
    critic: Critic, rectified: bool
) -> None:
    opponent = Critic()
    opponent.load_state_dict(critic.state_dict())
    angle = torch.tensor(ANGLE, requires_grad=True)
    sgd, adam = torch.optim.SGD([angle], 0.02), torch.optim.Adam(opponent.parameters(), 2e-3)
    for _ in range(200):
        sgd.zero_grad()
        mutual_information(opponent.logits(*encode(256, angle)), rectified).mean().backward()
        sgd.step()
        train(opponent, adam, angle.item(), 1)
    assert true_information(angle) < 0.1 < 1 < INFORMATION


def test_tc_as_published_carries_no_signal_for_the_encoder() -> None:
    both, angle = Critic(), torch.tensor(ANGLE, requires_grad=True)
    sgd, adam = torch.optim.SGD([angle], 0.02), torch.optim.Adam(both.parameters(), 2e-3)
    for _ in range(300):
        z, s = encode(256, angle)
        joint, permuted = both.logits(z, s), both.logits(z, permute_codes(s))
        sgd.zero_grad(), adam.zero_grad()
        tc_as_published(joint, permuted).mean().backward()
        sgd.step(), adam.step()
    # The critic calls everything permuted, although the codes still depend on each other, and the
    # encoder has no gradient left.
    assert max(joint.mean().item(), permuted.mean().item()) < -7
    assert true_information(angle) > 0.9 * INFORMATION
    assert abs(angle.grad.item()) < 0.01 < 2 * math.tan(ANGLE)


def test_tc_as_published_is_the_sum_of_the_published_terms() -> None:
    joint, permuted = (
        torch.randn(9, dtype=torch.float64) * 5,
        torch.randn(9, dtype=torch.float64) * 5,
    )
    q, q_bar = joint.sigmoid(), permuted.sigmoid()
    published = (q / (1 - q)).log() + (-q.log() - (1 - q_bar).log())
    torch.testing.assert_close(tc_as_published(joint, permuted), published)
    torch.testing.assert_close(mutual_information(joint) + critic_bce(joint, permuted), published)
    # It is symmetric in joint and permuted codes. The critic's own loss is not.
    torch.testing.assert_close(tc_as_published(permuted, joint), published)
    assert not torch.allclose(critic_bce(permuted, joint), critic_bce(joint, permuted))


def test_critic_bce_is_binary_cross_entropy_with_label_1_for_joint_codes() -> None:
    joint, permuted = torch.randn(9) * 5, torch.randn(9) * 5
    expected = binary_cross_entropy_with_logits(joint, torch.ones(9), reduction="none")
    expected = expected + binary_cross_entropy_with_logits(
        permuted, torch.zeros(9), reduction="none"
    )
    torch.testing.assert_close(critic_bce(joint, permuted), expected)


def test_mutual_information_rectified_has_no_gradient_below_zero() -> None:
    logits = torch.tensor([-2.0, -0.5, 0.5, 30.0], requires_grad=True)
    assert torch.equal(mutual_information(logits), logits)
    mutual_information(logits, rectified=True).sum().backward()
    assert mutual_information(logits, rectified=True).tolist() == [0, 0, 0.5, 30]
    assert logits.grad.tolist() == [0, 0, 1, 1]
    assert torch.equal(kl_estimate(logits), logits)
    assert torch.equal(kl_estimate(logits, reverse=True), -logits)


@pytest.mark.parametrize("b", [2, 3, 8, 33])
def test_permute_codes_moves_every_row_and_loses_none(b: int) -> None:
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


def test_permute_codes_mixes_the_domains_of_a_batch() -> None:
    domain = torch.arange(400) // 200
    crossed = (
        torch.stack([(permute_codes(domain) != domain).float().mean() for _ in range(20)])
        .mean()
        .item()
    )
    # Moving every code up by one in the given order would give 2 / 400.
    assert crossed == pytest.approx(200 / 399, abs=0.03)


def test_permute_codes_refuses_a_batch_of_one() -> None:
    with pytest.raises(ValueError, match="expected at least 2 codes to permute, found 1"):
        permute_codes(torch.zeros(1, 4))
