"""The contrastive VAEs' losses against torch.distributions, scipy, POT, slow loops in double precision and closed forms."""

import itertools
import math

import numpy as np
import ot
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch.distributions import Independent, Normal, kl_divergence

import losses.transport as transport
from losses import (
    critic_bce,
    kl_estimate,
    kl_gaussians,
    kl_standard_normal,
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
from losses.distances import squared_distances
from losses.gaussian import LOGVAR_LIMIT
from losses.mmd import GAMMAS


def posterior(
    b: int = 6, n: int = 5, dtype: torch.dtype = torch.float64
) -> tuple[torch.Tensor, torch.Tensor]:
    mu, logvar = torch.randn(b, n, dtype=dtype) * 2, torch.randn(b, n, dtype=dtype) * 2
    return mu.requires_grad_(), logvar.requires_grad_()


def gaussian(mu: torch.Tensor | float, logvar: torch.Tensor | float, n: int = 5) -> Independent:
    mu, logvar = (torch.as_tensor(t, dtype=torch.float64).expand(6, n) for t in (mu, logvar))
    return Independent(Normal(mu, (logvar / 2).exp()), 1)


PRIORS = {
    "standard": (0.0, 0.0),
    "numbers": (0.3, math.log(0.025)),
    "one for all": (torch.linspace(-1, 1, 5), torch.linspace(-3, 2, 5)),
    "one each": (torch.linspace(-2, 2, 30).view(6, 5), torch.linspace(3, -3, 30).view(6, 5)),
}


@pytest.mark.parametrize("prior", PRIORS)
def test_kl_is_torchs_in_value_and_gradient(prior: str) -> None:
    (mu, logvar), (prior_mu, prior_logvar) = posterior(), PRIORS[prior]
    ours = (
        kl_standard_normal(mu, logvar)
        if prior == "standard"
        else kl_gaussians(mu, logvar, prior_mu, prior_logvar)
    )
    expected = kl_divergence(gaussian(mu, logvar), gaussian(prior_mu, prior_logvar))
    torch.testing.assert_close(ours, expected)
    weights = torch.rand(6, dtype=torch.float64)  # so that rows cannot stand in for each other
    got, want = (torch.autograd.grad((kl * weights).sum(), (mu, logvar)) for kl in (ours, expected))
    torch.testing.assert_close(got, want)
    assert ours.shape == (6,)


def test_kl_is_what_samples_say() -> None:
    mu, logvar = torch.tensor([[0.5, -1.0]]), torch.tensor([[-1.0, 0.5]])
    x = reparameterise(mu.expand(200_000, 2), logvar)
    q, p = Normal(mu, (logvar / 2).exp()), Normal(0.2, math.sqrt(0.6))
    ratio = (q.log_prob(x) - p.log_prob(x)).sum(1)
    kl = kl_gaussians(mu, logvar, 0.2, math.log(0.6)).item()
    assert ratio.mean().item() == pytest.approx(kl, abs=5 * ratio.std().item() / math.sqrt(200_000))
    assert ratio.std().item() / math.sqrt(200_000) < 0.01 * kl


def test_kl_near_the_prior_is_exact_and_never_negative() -> None:
    # exp(d) - 1 - d in float32 is wrong by 10 % here, and often negative.
    logvar = torch.linspace(-1e-3, 1e-3, 201).view(-1, 1)
    kl = kl_standard_normal(torch.zeros_like(logvar), logvar)
    torch.testing.assert_close(
        kl,
        kl_standard_normal(torch.zeros_like(logvar).double(), logvar.double()).float(),
        rtol=1e-3,
        atol=1e-12,
    )
    assert (kl >= 0).all()
    assert kl[100] == 0


def test_bounded_is_the_identity_around_zero_monotone_and_within_the_limit() -> None:
    x = torch.linspace(-1000, 1000, 20001, dtype=torch.float64)
    y = soft_clip_logvar(x)
    assert y.abs().max() <= LOGVAR_LIMIT
    assert (y.diff() >= 0).all()
    assert (y.diff()[x[:-1].abs() < 50] > 0).all()
    torch.testing.assert_close(y, -soft_clip_logvar(-x))
    near = x.abs() <= 1
    assert (y[near] - x[near]).abs().max() < 0.005
    assert soft_clip_logvar(torch.tensor([math.inf, -math.inf])).tolist() == [
        LOGVAR_LIMIT,
        -LOGVAR_LIMIT,
    ]
    assert soft_clip_logvar(torch.tensor([math.nan])).isnan().all()
    assert soft_clip_logvar(torch.ones(1, dtype=torch.bfloat16)).dtype == torch.float32


def test_reparameterised_samples_have_the_moments_and_the_gradients() -> None:
    mu, logvar = (
        torch.tensor([1.0, -2.0]).requires_grad_(),
        torch.tensor([-2.0, 1.5]).requires_grad_(),
    )
    x = reparameterise(mu.expand(100_000, 2), logvar.expand(100_000, 2))
    std = (logvar / 2).exp()
    assert ((x.mean(0) - mu).abs() < 5 * std / math.sqrt(100_000)).all()
    torch.testing.assert_close(x.std(0), std, rtol=0.02, atol=0)
    noise = ((x - mu) / std).detach()
    # d x / d mu = 1, d x / d logvar = sigma epsilon / 2
    by_mu, by_logvar = torch.autograd.grad((x * noise).sum(0).sum(), (mu, logvar))
    torch.testing.assert_close(by_mu, noise.sum(0), atol=0.1, rtol=1e-3)
    torch.testing.assert_close(
        by_logvar, (noise.square().sum(0) * std / 2).detach(), rtol=1e-3, atol=0
    )
    torch.manual_seed(3)
    again = reparameterise(
        torch.zeros(4, 3, dtype=torch.bfloat16), torch.zeros(4, 3, dtype=torch.bfloat16)
    )
    torch.manual_seed(3)
    torch.testing.assert_close(again, torch.randn(4, 3), rtol=0, atol=0)  # float32 noise


def slow_mmd(a: torch.Tensor, b: torch.Tensor) -> float:
    def mean(u: list, v: list) -> float:
        pairs = [
            sum((p - q) ** 2 for p, q in zip(i, j, strict=True)) for i, j in itertools.product(u, v)
        ]
        return math.fsum(math.exp(-(10.0**e) * d) for d in pairs for e in range(-6, 7)) / len(pairs)

    a, b = a.tolist(), b.tolist()
    return mean(a, a) + mean(b, b) - 2 * mean(a, b)


def test_mmd_is_the_slow_double_loop() -> None:
    for b, other, scale in [(7, 7, 1.0), (5, 9, 0.03), (4, 6, 30.0)]:
        x, y = (
            torch.randn(b, 3, dtype=torch.float64) * scale,
            torch.randn(other, 3, dtype=torch.float64) * scale + scale / 2,
        )
        assert mmd(x, y).item() == pytest.approx(slow_mmd(x, y), rel=1e-10)
        assert mmd(x.float(), y.float()).item() == pytest.approx(slow_mmd(x, y), rel=1e-4)
        assert mmd_to_point(x, y[0]).item() == pytest.approx(slow_mmd(x, y[:1]), rel=1e-10)
    assert len(GAMMAS) == 13
    assert (min(GAMMAS), max(GAMMAS)) == (1e-6, 1e6)


def test_mmd_of_gaussians_is_the_closed_form() -> None:
    # E exp(-g d^2) for d ~ N(m, 2 I) is (1 + 4 g)^(-n/2) exp(-g m^2 / (1 + 4 g)); the diagonal adds (1 - E) / B twice.
    b, n, shift = 600, 2, 1.0
    within = sum((1 + 4 * g) ** (-n / 2) for g in GAMMAS)
    between = sum(
        (1 + 4 * g) ** (-n / 2) * math.exp(-g * n * shift**2 / (1 + 4 * g)) for g in GAMMAS
    )
    expected = 2 * (within - between) + 2 * (13 - within) / b
    torch.manual_seed(1)
    assert mmd(torch.randn(b, n), torch.randn(b, n) + shift).item() == pytest.approx(
        expected, rel=0.1
    )


def test_mmd_has_the_gradient_of_finite_differences() -> None:
    a, b = torch.randn(5, 3, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64)
    b[0] = a[0] + 1e-3  # where the narrow kernels are not flat
    both = (a.requires_grad_(), b.requires_grad_())
    assert torch.autograd.gradcheck(mmd, both, eps=1e-8, atol=1e-3, rtol=1e-3)
    point = b[1].detach().requires_grad_()
    assert torch.autograd.gradcheck(mmd_to_point, (a, point), eps=1e-7, atol=1e-5)
    narrow = torch.autograd.grad(mmd(*both), both[0])[0][0].norm()
    assert narrow > 10  # the check saw them


def test_mmd_is_zero_on_the_same_codes_and_grows_with_the_shift() -> None:
    a = torch.randn(64, 8)
    assert torch.equal(squared_distances(a, a).diagonal(), torch.zeros(64))
    assert mmd(a, a).item() == 0
    assert abs(mmd(a, a.flip(0)).item()) < 1e-5
    far = a + 1e4  # a^2 + b^2 - 2ab is wrong by about 10 here
    assert mmd(far, far.clone()).item() == 0
    noise = mmd(a, torch.randn(64, 8)).item()
    shifts = [mmd(a, torch.randn(64, 8) + shift).item() for shift in (0.5, 1.0, 2.0, 8.0)]
    assert 0 < noise < shifts[0] < shifts[1] < shifts[2] < shifts[3] < 26


def test_mmd_to_a_point_is_mmd_to_its_copies() -> None:
    a, point = torch.randn(32, 6), torch.randn(6)
    torch.testing.assert_close(
        mmd_to_point(a, point), mmd(a, point.expand_as(a)), rtol=1e-6, atol=1e-6
    )
    assert mmd_to_point(point.expand_as(a), point).item() == 0
    assert (
        mmd_to_point(a, point).item() > mmd_to_point(point + 0.01 * (a - point), point).item() > 0.1
    )


def test_mmd_has_a_finite_gradient_at_coincident_points_and_a_useful_one_near_them() -> None:
    a = torch.zeros(8, 4).requires_grad_()
    mmd(a, torch.zeros(8, 4)).backward()
    assert torch.equal(a.grad, torch.zeros(8, 4))
    # The published code answers a constant 0 when rounding makes the estimate negative; ours never loses the gradient.
    b = torch.randn(8, 4)
    near = (b + 1e-3 * torch.randn(8, 4)).requires_grad_()
    mmd(near, b).backward()
    assert torch.isfinite(near.grad).all()
    assert near.grad.abs().max() > 1e-3


def test_w2_to_a_point_is_the_closed_form_and_what_samples_say() -> None:
    mu, logvar = posterior()
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


def matched(a: np.ndarray, b: np.ndarray) -> tuple[float, np.ndarray]:
    cost = ((a[:, None] - b[None]) ** 2).sum(2)
    rows, columns = linear_sum_assignment(cost)
    return cost[rows, columns].mean(), columns


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_w2_between_batches_is_the_best_assignment_in_value_and_gradient(scale: float) -> None:
    a, b = (torch.randn(48, 5, dtype=torch.float64) * scale for _ in range(2))
    value, columns = matched(a.numpy(), b.numpy())
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
    assert (
        got.item() < squared_distances(a, b).diagonal().mean().item() * 0.9
    )  # the order of the batch is not the plan


def test_w2_between_unequal_batches_is_the_assignment_of_their_copies() -> None:
    a, b = torch.randn(4, 3, dtype=torch.float64), torch.randn(6, 3, dtype=torch.float64)
    value, _ = matched(a.repeat(3, 1).numpy(), b.repeat(2, 1).numpy())
    assert w2_between(a, b).item() == pytest.approx(value, rel=1e-9)
    assert torch.autograd.gradcheck(w2_between, (a.requires_grad_(), b.requires_grad_()))


def test_w2_between_knows_shifts_orders_and_lines() -> None:
    a, order = torch.randn(40, 3), torch.randperm(40)
    assert w2_between(a, a[order]).item() == 0
    shift = torch.tensor([3.0, -4.0, 0.0])
    assert w2_between(a, a[order] + shift).item() == pytest.approx(
        25, rel=1e-5
    )  # a shift's distance is its length
    x, y = torch.randn(30, 1), torch.randn(30, 1).exp()
    torch.testing.assert_close(
        w2_between(x, y), (x.sort(0).values - y.sort(0).values).square().mean()
    )
    point = torch.randn(3)
    torch.testing.assert_close(w2_between(a, point[None]), (a - point).square().sum(1).mean())


@pytest.mark.filterwarnings("error")  # POT would answer an empty plan and a warning
@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan, 1e30])
def test_w2_between_is_not_finite_where_a_cost_is_not(bad: float) -> None:
    a, b = torch.randn(8, 3), torch.randn(8, 3)
    a[2, 1] = bad  # 1e30 squared is beyond float32
    assert not torch.isfinite(w2_between(a, b))
    assert torch.isfinite(w2_between(a.nan_to_num(0, 0, 0).clamp(-9, 9), b))


@pytest.mark.filterwarnings("error")
def test_w2_between_collapsed_batches_is_zero() -> None:
    a, b = torch.ones(6, 3, requires_grad=True), torch.ones(4, 3)
    w2_between(a, b).backward()
    assert w2_between(a, b).item() == 0
    assert torch.equal(a.grad, torch.zeros(6, 3))


def test_pot_is_not_imported_with_the_losses() -> None:
    assert not {
        name
        for name, thing in vars(transport).items()
        if getattr(thing, "__name__", "").split(".")[0] == "ot"
    }


@pytest.mark.parametrize("loss", [mmd, w2_between])
@pytest.mark.parametrize(
    "shapes", [((4, 3), (4, 1)), ((4, 3), (3,)), ((4, 3, 1), (4, 3)), ((4,), (4,))]
)
def test_batches_that_do_not_fit_are_refused_with_their_shapes(loss: object, shapes: tuple) -> None:
    a, b = (torch.zeros(shape) for shape in shapes)
    with pytest.raises(ValueError, match=r"expected two batches of codes.*found") as caught:
        loss(a, b)
    assert str(shapes[1]) in str(caught.value)


def test_a_point_that_is_a_batch_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected one point, shape \(n,\), found \(2, 3\)"):
        mmd_to_point(torch.zeros(4, 3), torch.zeros(2, 3))


@pytest.mark.parametrize("shape", [(3, 7), (3, 2, 4, 5), (3, 1, 2, 3, 4)])
def test_squared_error_is_the_sum_on_images_in_0_1(shape: tuple[int, ...]) -> None:
    made, real = torch.rand(shape, dtype=torch.float64), torch.rand(shape, dtype=torch.float64)
    slow = [
        math.fsum(
            (p - q) ** 2 for p, q in zip(x.flatten().tolist(), y.flatten().tolist(), strict=True)
        )
        for x, y in zip(made, real, strict=True)
    ]
    torch.testing.assert_close(
        sse_unit_scale(2 * made - 1, 2 * real - 1), torch.tensor(slow, dtype=torch.float64)
    )


CODES = {"mmd": mmd, "mmd to a point": lambda a, b: mmd_to_point(a, b[0]), "w2": w2_between}
POSTERIORS = {
    "standard": kl_standard_normal,
    "to": lambda m, v: kl_gaussians(m, v, 0.1, -4.0),
    "w2": w2_to_point,
    "sample": reparameterise,
}
PAIRS = {
    "critic": critic_bce,
    "information": lambda j, s: mutual_information(j),
    "rectified": lambda j, s: mutual_information(j, True),
    "published": tc_as_published,
    "forward": lambda j, s: kl_estimate(j),
    "reverse": lambda j, s: kl_estimate(s, reverse=True),
}


def finite(value: torch.Tensor, *inputs: torch.Tensor) -> bool:
    gradients = torch.autograd.grad(value.sum(), inputs, allow_unused=True)
    assert value.dtype == torch.float32
    return all(t is None or torch.isfinite(t).all().item() for t in (value, *gradients))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", PAIRS)
def test_ratios_stay_finite_for_any_logit(name: str, dtype: torch.dtype) -> None:
    extremes = [-1e4, -100.0, 0.0, 100.0, 1e4]
    j, s = (
        torch.tensor(t, dtype=dtype, requires_grad=True)
        for t in zip(*itertools.product(extremes, repeat=2), strict=True)
    )
    value = PAIRS[name](j, s)
    assert value.shape == (25,)
    assert finite(value, j, s)
    assert value.max().item() >= 9e3


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", POSTERIORS)
def test_posteriors_stay_finite_once_the_log_variance_is_bounded(
    name: str, dtype: torch.dtype
) -> None:
    extremes = [-1e4, -20.0, 0.0, 20.0, 1e4]
    mu, raw = (
        torch.tensor(t, dtype=dtype, requires_grad=True).view(5, 5)
        for t in zip(*itertools.product(extremes, [*extremes[:-1], math.inf]), strict=True)
    )
    assert finite(POSTERIORS[name](mu, soft_clip_logvar(raw)), mu, raw)
    # Not for nothing: without the bound it does overflow.
    assert not torch.isfinite(POSTERIORS[name](mu, raw.clamp(max=1e4))).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", CODES)
def test_batch_statistics_stay_finite_for_huge_codes(name: str, dtype: torch.dtype) -> None:
    for scale in (1e-4, 1.0, 1e4):
        a, b = ((torch.randn(8, 3) * scale).to(dtype).requires_grad_() for _ in range(2))
        assert finite(CODES[name](a, b), a, b)
        assert finite(CODES[name](a, a), a)
        assert CODES[name](a, b).shape == ()


@pytest.mark.parametrize("name", [*CODES, *POSTERIORS])
def test_autocast_to_bfloat16_changes_nothing(name: str) -> None:
    loss = (CODES | POSTERIORS)[name]
    a, b = torch.randn(16, 4), torch.randn(16, 4)
    torch.manual_seed(0)
    plain = loss(a, b)
    torch.manual_seed(0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(loss(a, b), plain, rtol=0, atol=0)


def test_no_term_depends_on_the_size_of_the_batch() -> None:
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
    for loss in PAIRS.values():
        torch.testing.assert_close(
            loss(twice[0][:, 0], twice[1][:, 0]), loss(a[:, 0], b[:, 0]).repeat(2), rtol=0, atol=0
        )
