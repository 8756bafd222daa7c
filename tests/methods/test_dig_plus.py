"""DIG+: swapped codes, the critic of common codes and the confusion term."""

import pytest
import torch
from support.experiments import tiny
from support.steps import first_pair

from losses import domain_confusion
from studio.build import build_dataset, build_method
from studio.method import Code, unstack_domains
from studio.methods.dig_plus import DIGPlus
from studio.training.engine import Engine, schedule

WITH_PREDICTOR = {**tiny("dig_plus").method.weights, "independence": 2.0}


def engine_of(**fields: object) -> Engine:
    config = tiny("dig_plus")
    method = config.method.model_copy(update=fields)
    config = config.model_copy(update={"method": method})
    return Engine(config, build_dataset(config))


def test_choose_codes_exchanges_the_domains_of_real_codes() -> None:
    method = build_method(tiny("dig_plus"), (1, 32, 32))
    assert isinstance(method, DIGPlus)
    n, prior = 8, Code(torch.randn(16, 4), torch.randn(16, 3))
    prior.s[:8] = 0
    outputs = {"z": torch.randn(16, 4), "s": torch.randn(16, 3)}
    chosen = method.choose_codes(prior, outputs)
    background, target = unstack_domains(chosen)
    real = unstack_domains(Code(outputs["z"], outputs["s"]))
    assert torch.equal(background.s, torch.zeros(n, 3))
    # Each row is swapped with the real row of its number, or that of the prior.
    swapped = (target.z == real.background.z).all(1)
    assert 0 < int(swapped.sum()) < n
    for rows, source, own in (
        (background.z, real.target.z, unstack_domains(prior).background.z),
        (target.z, real.background.z, unstack_domains(prior).target.z),
        (target.s, real.target.s, unstack_domains(prior).target.s),
    ):
        assert torch.equal(rows[swapped], source[swapped])
        assert torch.equal(rows[~swapped], own[~swapped])


@pytest.mark.parametrize("share", [0.0, 0.25, 0.9, 1.0])
def test_swap_share_is_the_share_of_fakes_with_real_codes(share: float) -> None:
    engine = engine_of(swap_share=share)
    n, method = 2_000, engine.method
    prior = Code(torch.randn(2 * n, 4), torch.randn(2 * n, 3))
    outputs = {"z": torch.randn(2 * n, 4), "s": torch.randn(2 * n, 3)}
    chosen = method.choose_codes(prior, outputs)
    background, target = (chosen.z != prior.z).any(1).chunk(2)
    assert torch.equal(background, target)
    error = 4 * (share * (1 - share) / n) ** 0.5
    assert float(target.float().mean()) == pytest.approx(share, abs=error)


def test_swapped_codes_carry_no_gradient() -> None:
    engine = engine_of(swap_share=1.0)
    draw = engine.method.draw(first_pair(engine))
    assert draw.outputs["z"].requires_grad
    assert not draw.code.z.requires_grad
    assert not draw.code.s.requires_grad


def test_schedule_repeats_the_critic_on_one_draw() -> None:
    groups = schedule(engine_of(critic_steps=3).method.steps())
    assert [[step.name for step in group] for group in groups] == [["R", "R", "R", "D", "G"]]


def test_critic_terms_leave_the_trunk_without_gradient() -> None:
    engine = engine_of()
    method = engine.method
    draw = method.draw(first_pair(engine))
    gradients = torch.autograd.grad(
        method.critic_terms(draw)["critic"].sum(), list(method.D.parameters()), allow_unused=True
    )
    assert all(gradient is None for gradient in gradients)


def test_confuse_pushes_the_logits_of_the_critic_towards_zero() -> None:
    engine = engine_of()
    method = engine.method
    draw = method.draw(first_pair(engine))
    z = draw.outputs["z"].detach().requires_grad_()
    before = method.R(z)
    (gradient,) = torch.autograd.grad(domain_confusion(before).sum(), z)
    after = method.R(z - 0.1 * gradient / gradient.norm())
    assert after.detach().abs().sum() < before.detach().abs().sum()


def test_without_confusion_there_is_no_critic() -> None:
    weights = {**tiny("dig_plus").method.weights, "confuse": 0.0}
    method = engine_of(weights=weights).method
    assert [step.name for step in method.steps()] == ["D", "G"]
    assert not hasattr(method, "R")


def parts_with_gradient(term: torch.Tensor, method: DIGPlus) -> set[str]:
    """Returns which nets, and which heads of D, a term has a gradient for."""
    names, parameters = zip(*method.named_parameters(), strict=True)
    gradients = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)
    return {
        name.removeprefix("D.heads.").removeprefix("D.").split(".")[0]
        for name, gradient in zip(names, gradients, strict=True)
        if gradient is not None and gradient.any()
    }


def test_predictor_learns_from_targets_and_leaves_the_codes_alone() -> None:
    engine = engine_of(weights=WITH_PREDICTOR)
    draw = engine.method.draw(first_pair(engine))
    term = engine.method.critic_terms(draw)["independence"]
    assert term.shape == (len(draw.reals) // 2,)
    assert parts_with_gradient(term.mean(), engine.method) == {"P"}
    z, s = (unstack_domains(draw.outputs[head].detach()).target for head in ("z", "s"))
    errors = (engine.method.P(z) - s).square() + (engine.method.P.constant - s).square()
    torch.testing.assert_close(term, errors.mean(1) / 2)


def test_independence_moves_z_and_not_s() -> None:
    engine = engine_of(weights=WITH_PREDICTOR)
    draw = engine.method.draw(first_pair(engine))
    term = engine.method.discriminator_terms(draw)["independence"].mean()
    assert parts_with_gradient(term, engine.method) >= {"trunk", "z"}
    assert not parts_with_gradient(term, engine.method) & {"s", "C", "D", "G", "R"}


def test_independence_ends_where_the_predictor_says_the_constant() -> None:
    engine = engine_of(weights=WITH_PREDICTOR)
    draw = engine.method.draw(first_pair(engine))
    with torch.no_grad():
        last = engine.method.P.layers[-1]
        last.weight.zero_()
        last.bias.fill_(0.3)
        engine.method.P.constant.fill_(0.3)
    terms = engine.method.discriminator_terms(draw)
    torch.testing.assert_close(terms["independence"], torch.zeros_like(terms["independence"]))
    with torch.no_grad():
        engine.method.P.constant.fill_(0.1)
    terms = engine.method.discriminator_terms(draw)
    torch.testing.assert_close(terms["independence"], torch.full_like(terms["independence"], 0.02))


@pytest.mark.parametrize(
    ("confuse", "independence", "nets"),
    [(1.0, 0.0, ["R"]), (0.0, 2.0, ["P"]), (1.0, 2.0, ["R", "P"])],
)
def test_step_r_trains_the_nets_that_exist(
    confuse: float, independence: float, nets: list[str]
) -> None:
    weights = {**WITH_PREDICTOR, "confuse": confuse, "independence": independence}
    engine = engine_of(weights=weights)
    first = engine.method.steps()[0]
    assert first.name == "R"
    assert list(first.trains) == [getattr(engine.method, name) for name in nets]
    before = {name: value.clone() for name, value in engine.method.state_dict().items()}
    logged = engine.advance(first_pair(engine))
    assert ("R/independence" in logged, "R/critic" in logged) == ("P" in nets, "R" in nets)
    for name in nets:
        for key, value in getattr(engine.method, name).state_dict().items():
            assert not torch.equal(value, before[f"{name}.{key}"]), key


def test_without_swaps_and_confusion_the_terms_are_those_of_double_infogan() -> None:
    fields = {"noise": 0.2, "z": 4, "s": 3, "swap_share": 0.0}
    weights = {**tiny("dig_plus").method.weights, "confuse": 0.0}
    plus, dig = (
        engine_of(**fields, weights=weights),
        Engine(tiny("dig"), build_dataset(tiny("dig"))),
    )
    dig.method.load_state_dict(plus.method.state_dict())
    ours, theirs = (e.advance(first_pair(e)) for e in (plus, dig))
    assert {name: float(value) for name, value in ours.items()} == {
        name: float(value) for name, value in theirs.items()
    }
