"""Wasserstein distances against closed forms, scipy's assignments and POT."""

import math

import numpy as np
import ot
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from support.warned import no_warning
from torch.distributions import Normal

import losses.transport as transport
from losses import mmd, reparameterise, w2_between, w2_to_point
from losses.distances import squared_distances


def test_w2_to_point_equals_the_closed_form_and_the_mean_over_samples() -> None:
    mu, logvar = ((torch.randn(6, 5, dtype=torch.float64) * 2).requires_grad_() for _ in range(2))
    for point in (0.0, 1.5, torch.linspace(-1, 1, 5, dtype=torch.float64)):
        normal = Normal(mu, (logvar / 2).exp())
        expected = ((normal.mean - point).square() + normal.variance).sum(1)
        torch.testing.assert_close(w2_to_point(mu, logvar, point), expected)
        x = reparameterise(mu.expand(50_000, 6, 5), logvar).sub(point).square().sum(2)
        error = x.std(0) / math.sqrt(50_000)
        assert ((x.mean(0) - w2_to_point(mu, logvar, point)).abs() < 5 * error).all()
    by_mu, by_logvar = torch.autograd.grad(w2_to_point(mu, logvar, 1.5).sum(), (mu, logvar))
    torch.testing.assert_close(by_mu, 2 * (mu - 1.5))
    torch.testing.assert_close(by_logvar, logvar.exp())
    assert w2_to_point(torch.full((1, 3), 2.0), torch.full((1, 3), -math.inf), 2.0).item() == 0


def best_assignment(a: np.ndarray, b: np.ndarray) -> tuple[float, np.ndarray]:
    """Returns the mean cost of the best assignment, and the row of b assigned to each row of a."""
    cost = ((a[:, None] - b[None]) ** 2).sum(2)
    rows, columns = linear_sum_assignment(cost)
    return cost[rows, columns].mean(), columns


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_w2_between_equals_the_best_assignment_in_value_and_gradient(scale: float) -> None:
    a, b = (torch.randn(48, 5, dtype=torch.float64) * scale for _ in range(2))
    value, columns = best_assignment(a.numpy(), b.numpy())
    a.requires_grad_(), b.requires_grad_()
    got = w2_between(a, b)
    got.backward()
    assert got.item() == pytest.approx(value, rel=1e-9)
    assert got.item() == pytest.approx(
        ot.emd2([], [], squared_distances(a, b).detach().numpy() / scale**2) * scale**2, rel=1e-9
    )
    torch.testing.assert_close(
        a.grad, 2 / 48 * (a - b[columns]).detach(), atol=1e-9 * scale, rtol=1e-9
    )
    torch.testing.assert_close(b.grad[columns], -a.grad, atol=1e-9 * scale, rtol=1e-9)
    # The plan is not the order of the batch.
    assert got.item() < squared_distances(a, b).diagonal().mean().item() * 0.9


def test_w2_between_batches_of_different_sizes_assigns_their_copies() -> None:
    a, b = torch.randn(4, 3, dtype=torch.float64), torch.randn(6, 3, dtype=torch.float64)
    value, _ = best_assignment(a.repeat(3, 1).numpy(), b.repeat(2, 1).numpy())
    assert w2_between(a, b).item() == pytest.approx(value, rel=1e-9)
    assert torch.autograd.gradcheck(w2_between, (a.requires_grad_(), b.requires_grad_()))


def test_w2_between_equals_closed_forms_of_shifts_orders_and_lines() -> None:
    a, order = torch.randn(40, 3), torch.randperm(40)
    assert w2_between(a, a[order]).item() == 0
    shift = torch.tensor([3.0, -4.0, 0.0])
    # The distance of a shift is its length, here squared.
    assert w2_between(a, a[order] + shift).item() == pytest.approx(25, rel=1e-5)
    x, y = torch.randn(30, 1), torch.randn(30, 1).exp()
    torch.testing.assert_close(
        w2_between(x, y), (x.sort(0).values - y.sort(0).values).square().mean()
    )
    point = torch.randn(3)
    torch.testing.assert_close(w2_between(a, point[None]), (a - point).square().sum(1).mean())


@no_warning  # POT would return an empty plan with a warning
@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan, 1e30])
def test_w2_between_is_not_finite_if_a_distance_is_not(bad: float) -> None:
    a, b = torch.randn(8, 3), torch.randn(8, 3)
    a[2, 1] = bad  # the square of 1e30 overflows float32
    assert not torch.isfinite(w2_between(a, b))
    assert torch.isfinite(w2_between(a.nan_to_num(0, 0, 0).clamp(-9, 9), b))


@no_warning
def test_w2_between_is_zero_for_batches_of_one_repeated_code() -> None:
    a, b = torch.ones(6, 3, requires_grad=True), torch.ones(4, 3)
    w2_between(a, b).backward()
    assert w2_between(a, b).item() == 0
    assert torch.equal(a.grad, torch.zeros(6, 3))


def test_losses_do_not_import_pot() -> None:
    assert not {
        name
        for name, thing in vars(transport).items()
        if getattr(thing, "__name__", "").split(".")[0] == "ot"
    }


@pytest.mark.parametrize("loss", [mmd, w2_between])
@pytest.mark.parametrize(
    "shapes", [((4, 3), (4, 1)), ((4, 3), (3,)), ((4, 3, 1), (4, 3)), ((4,), (4,))]
)
def test_mmd_and_w2_between_refuse_mismatched_shapes(loss: object, shapes: tuple) -> None:
    a, b = (torch.zeros(shape) for shape in shapes)
    with pytest.raises(ValueError, match=r"expected two batches of codes.*found") as caught:
        loss(a, b)
    assert str(shapes[1]) in str(caught.value)
