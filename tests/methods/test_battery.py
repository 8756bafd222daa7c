"""One battery over every method: who moves and who must not, terms and weights, codes, determinism, resume, every verb."""

from pathlib import Path

import pytest
import torch
from support.experiments import VARIANTS, tiny
from support.steps import TRAINED, each_step, engine_of, moved, pair_of, snapshot
from torch import Tensor, nn

from studio import Run, sampling
from studio.build import build_method
from studio.config import resolve
from studio.errors import StudioError
from studio.evaluate.probes import ProbeOptions, probe
from studio.method import Code
from studio.methods import METHODS
from studio.render.registry import pictures_of
from studio.training.engine import Engine, only
from studio.training.session import train


def _tensors(net: nn.Module) -> dict[str, Tensor]:
    return {**dict(net.named_parameters()), **dict(net.named_buffers())}


def test_each_step_moves_its_nets_and_nothing_else(engine: Engine) -> None:
    # Peers' traps 6 and 11. Buffers are in the state as well: the opponents' running statistics must rest, too.
    seen = 0
    for step, before in each_step(engine):
        own = {id(p) for net in step.trains for p in (*net.parameters(), *net.buffers())}
        changed = moved(engine.method, before)
        weights = {name for name, p in engine.method.named_parameters() if id(p) in own}
        assert weights
        assert weights <= changed, (step.name, weights - changed)
        assert all(
            id(p) in own for name, p in _tensors(engine.method).items() if name in changed
        ), step.name
        assert all(p.requires_grad for p in engine.method.parameters())
        seen += 1
    assert seen == len(engine.method.steps()) > 0


def test_every_parameter_is_trained_by_exactly_one_step(engine: Engine) -> None:
    trained = [
        id(p) for step in engine.method.steps() for net in step.trains for p in net.parameters()
    ]
    assert len(trained) == len(set(trained))
    assert set(trained) == {id(p) for p in engine.method.parameters()}


def test_terms_are_weighted_by_name_and_each_weight_is_used(engine: Engine) -> None:
    method = engine.method
    draw = method.draw(pair_of(engine))
    used = set()
    for step in method.steps():
        terms = step.loss(draw)
        expected = sum(
            method.weight(name) * float(value.detach().float().mean())
            for name, value in terms.items()
        )
        torch.manual_seed(0)
        assert float(method.total(terms).detach()) == pytest.approx(expected, rel=1e-5)
        used |= {part for name in terms for part in name.split(".")}
        for value in terms.values():
            assert value.ndim <= 1
            assert value.dtype == torch.float32
            assert torch.isfinite(value).all()
    assert used == {name for name, weight in method.weights.items() if weight}


def test_weights_of_zero_compute_nothing_of_their_term(engine: Engine) -> None:
    optional = {"cr", "tc", "mi", "class", "mmd_z", "mmd_s", "w2", "salient_zero"} & {
        name for name, weight in engine.method.weights.items() if weight
    }
    if engine.config.method.name == "dig":
        optional &= {"cr"}  # the classifier is a head of the one reader
    config = engine.config.method
    for name in optional:
        other = config.model_copy(update={"weights": {**config.weights, name: 0.0}})
        method = METHODS[config.name](other, engine.config.nets, engine.dataset.shape)
        draw = method.draw(pair_of(engine))
        parts = {
            part for step in method.steps() for term in step.loss(draw) for part in term.split(".")
        }
        assert name not in parts


def test_a_weight_of_zero_takes_the_term_out_even_when_it_is_not_finite() -> None:
    config = tiny()
    method = build_method(config, (1, 32, 32))
    method.weights["image"] = 0.0
    terms = {"adv.target": torch.tensor([2.0, 4.0]), "image.target": torch.tensor([float("nan")])}
    assert float(method.total(terms)) == pytest.approx(0.5 * 1.0 * 3.0)
    with pytest.raises(StudioError, match="no weight 'imag'; did you mean 'image'"):
        method.total({"imag.target": torch.tensor(0.0)})


def test_codes_and_images_have_the_right_shapes(any_engine: Engine) -> None:
    method, config = any_engine.method.eval(), any_engine.config.method
    x = pair_of(any_engine).x
    code = method.encode(x)
    assert code.z.shape == (len(x), config.z)
    assert code.s.shape == (len(x), config.s)
    images = method.decode(code)
    assert images.shape == x.shape
    assert images.abs().max() <= 1
    for domain in ("background", "target"):
        drawn = method.prior(5, domain)
        assert drawn.z.shape == (5, config.z)
        assert drawn.s.shape == method.blank(5).shape == (5, config.s)


def test_background_is_drawn_with_blank_salient_codes_and_target_is_not(any_engine: Engine) -> None:
    method = any_engine.method.eval()
    assert torch.equal(method.prior(5, "background").s, method.blank(5)) == method.contrastive
    assert not torch.equal(method.prior(5, "target").s, method.blank(5))
    assert method.contrastive == (any_engine.config.method.name != "vae")


def test_background_is_rebuilt_as_in_training_and_healed_with_the_blank_code(
    any_engine: Engine,
) -> None:
    # Peers' trap 11: "nothing salient" is the method's own blank, a learnt reference too, and never a zero of the verb's.
    method = any_engine.method.eval()
    x = pair_of(any_engine).x
    code = sampling.encode(method, x)
    blank = method.blank(len(x)).detach()
    healed = sampling.decode(method, Code(code.z, blank))
    torch.testing.assert_close(sampling.heal(method, x), healed)
    expected = healed if method.contrastive else sampling.decode(method, code)
    torch.testing.assert_close(sampling.reconstruct(method, x, "background"), expected)


def test_encoding_in_eval_mode_is_deterministic_and_each_image_on_its_own(
    any_engine: Engine,
) -> None:
    # Peers' traps 1 and 2: noise and batch statistics at evaluation.
    method = any_engine.method.eval()
    x, y, _ = pair_of(any_engine)
    both = method.encode(torch.cat([x, y]))
    again = method.encode(torch.cat([x, y]))
    assert torch.equal(both.z, again.z)
    assert torch.equal(both.s, again.s)
    torch.testing.assert_close(method.encode(x[:1]).z, both.z[:1], rtol=1e-4, atol=1e-5)


def test_training_changes_what_is_drawn_and_every_term_stays_finite(engine: Engine) -> None:
    before = engine.method.eval().decode(Code(torch.ones(1, 4), torch.ones(1, 3))).detach()
    for iteration in range(3):
        means = engine.advance(engine.pairs[iteration])
        assert all(torch.isfinite(value) for value in means.values())
        assert {name.split("/")[0] for name in means} == {
            step.name for step in engine.method.steps()
        }
    after = engine.method.eval().decode(Code(torch.ones(1, 4), torch.ones(1, 3)))
    assert not torch.allclose(before, after)


def test_only_unfreezes_again_after_an_error(engine: Engine) -> None:
    step = engine.method.steps()[0]
    with (  # noqa: PT012
        pytest.raises(RuntimeError, match="inside"),
        only(step.trains, engine.method),
    ):
        assert sum(p.requires_grad for p in engine.method.parameters()) == sum(
            1 for n in step.trains for _ in n.parameters()
        )
        raise RuntimeError("inside")
    assert all(p.requires_grad for p in engine.method.parameters())


@pytest.mark.parametrize("name", VARIANTS)
def test_resuming_is_exact_and_a_run_reopens_for_every_verb(name: str) -> None:
    config = tiny(name, images=96, save_every=32, keep=9)
    straight = train(config, Path("straight"))
    stopped = train(config, Path("stopped"), stop_after=0.0)
    if stopped.engine.method.steps():
        assert stopped.engine.images_seen == 16
    resumed = train(config, Path("stopped"), resume=True)
    assert moved(straight.engine.method, snapshot(resumed.engine.method)) == set()
    assert moved(straight.engine.ema.method, snapshot(resumed.engine.ema.method)) == set()
    run = Run.open("straight")
    assert moved(run.method, snapshot(straight.engine.ema.method)) == set()
    for kind, draw in pictures_of(run.data).items():
        assert draw(run.method, run.data, 2, 0).size > (50, 50), kind
    rows = probe(run.method, run.data, ProbeOptions(limit=200))["rows"]
    assert [row["attribute"] for row in rows] == ["digit", "texture", "target"]
    assert all(0 <= row[space] <= 1 for row in rows for space in ("salient", "common", "whole"))


@pytest.mark.parametrize("name", TRAINED)
def test_codes_of_extreme_size_leave_every_term_finite(name: str) -> None:
    # Encoders whose means and log-variances are in the thousands, in float32 and under bfloat16 autocast.
    engine = engine_of(name)
    method = engine.method
    with torch.no_grad():
        for parameter_name, parameter in method.named_parameters():
            if parameter_name.startswith(("E", "D.heads", "R", "C")):
                parameter.mul_(1e3 if parameter_name.startswith("E") else 30)
    for low in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            draw = method.draw(pair_of(engine))
            terms = {
                name: value for step in method.steps() for name, value in step.loss(draw).items()
            }
        assert all(torch.isfinite(value).all() for value in terms.values()), terms


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
def test_two_thousand_steps_without_a_value_that_is_not_finite(name: str) -> None:
    # MM-cVAE's published code ends in NaN in about one training of ten. The engine refuses a step that is not finite.
    engine = engine_of(name, images=32_000, lr=1e-3)
    for terms in engine.iterations(32_000):
        if not all(torch.isfinite(value) for value in terms.values()):
            break
    assert engine.iteration == 2_000
    assert all(torch.isfinite(value).all() for value in engine.ema.method.state_dict().values())


def test_the_battery_runs_over_every_method() -> None:
    assert {name.split("+")[0] for name in VARIANTS} == set(METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_wrong_sections_are_refused_before_anything_starts(name: str) -> None:
    def fault(*assignments: str) -> str:
        with pytest.raises(StudioError) as caught:
            resolve(
                {"data": {"name": "digits"}, "method": {"name": name}}, "x", "x.yaml", assignments
            )
        return str(caught.value)

    assert "method.z: found 0" in fault("method.z=0")
    assert "method.weights: no term is called 'recno'" in fault("method.weights.recno=1")
    assert "method.width: no such field" in fault("method.width=3")
