"""One battery over every method: moved nets, terms, weights, codes, determinism, resume and verbs.

"Peers' trap" refers to mistakes that other implementations make.
"""

import re
from pathlib import Path

import pytest
import torch
from support.experiments import TRAINED, VARIANTS, tiny
from support.steps import (
    changed_names,
    changes_by_step,
    copy_state,
    engine_of,
    first_pair,
)
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


def test_step_moves_its_nets_and_nothing_else(engine: Engine) -> None:
    # Peers' traps 6 and 11. The state includes buffers, because a step must not change the running
    # statistics of its opponents.
    changes = changes_by_step(engine)
    for step, changed in changes:
        own = {id(p) for net in step.trains for p in (*net.parameters(), *net.buffers())}
        weights = {name for name, p in engine.method.named_parameters() if id(p) in own}
        assert weights
        assert weights <= changed, (step.name, weights - changed)
        assert all(
            id(p) in own for name, p in _tensors(engine.method).items() if name in changed
        ), step.name
    assert all(p.requires_grad for p in engine.method.parameters())
    expected = [step.name for step in engine.method.steps() for _ in range(step.times)]
    assert [step.name for step, _ in changes] == expected
    assert changes


def test_method_trains_every_parameter_in_exactly_one_step(engine: Engine) -> None:
    trained = [
        id(p) for step in engine.method.steps() for net in step.trains for p in net.parameters()
    ]
    assert len(trained) == len(set(trained))
    assert set(trained) == {id(p) for p in engine.method.parameters()}


def test_total_weights_terms_by_name_and_uses_each_weight(engine: Engine) -> None:
    method = engine.method
    draw = method.draw(first_pair(engine))
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


def test_method_does_not_compute_terms_of_weight_zero(engine: Engine) -> None:
    optional = {"cr", "confuse", "tc", "mi", "class", "mmd_z", "mmd_s", "w2", "salient_zero"} & {
        name for name, weight in engine.method.weights.items() if weight
    }
    if engine.config.method.name in ("dig", "dig_plus"):
        optional &= {"cr", "confuse"}  # the classifier is one of the heads of D
    config = engine.config.method
    for name in optional:
        other = config.model_copy(update={"weights": {**config.weights, name: 0.0}})
        method = METHODS[config.name](other, engine.config.nets, engine.dataset.shape)
        draw = method.draw(first_pair(engine))
        terms = [term for step in method.steps() for term in step.loss(draw)]
        assert name not in {part for term in terms for part in term.split(".")}


def test_total_leaves_out_a_term_of_weight_zero_even_if_it_is_nan() -> None:
    config = tiny()
    method = build_method(config, (1, 32, 32))
    method.weights["image"] = 0.0
    terms = {"adv.target": torch.tensor([2.0, 4.0]), "image.target": torch.tensor([float("nan")])}
    assert float(method.total(terms)) == pytest.approx(0.5 * 1.0 * 3.0)
    with pytest.raises(StudioError, match="no weight 'imag'; did you mean 'image'"):
        method.total({"imag.target": torch.tensor(0.0)})


def test_method_returns_codes_and_images_of_the_right_shapes(any_engine: Engine) -> None:
    method, config = any_engine.method.eval(), any_engine.config.method
    x = first_pair(any_engine).x
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


def test_prior_blanks_the_salient_codes_of_background_only(any_engine: Engine) -> None:
    method = any_engine.method.eval()
    assert torch.equal(method.prior(5, "background").s, method.blank(5)) == method.contrastive
    assert not torch.equal(method.prior(5, "target").s, method.blank(5))
    assert method.contrastive == (any_engine.config.method.name != "vae")


def test_sampling_uses_the_blank_code_of_the_method(any_engine: Engine) -> None:
    # Peers' trap 11: "nothing salient" is the method's own blank code, which may be learnt, and not
    # a zero that a verb inserts.
    method = any_engine.method.eval()
    x = first_pair(any_engine).x
    code = sampling.encode(method, x)
    blank = method.blank(len(x)).detach()
    healed = sampling.decode(method, Code(code.z, blank))
    torch.testing.assert_close(sampling.heal(method, x), healed)
    expected = healed if method.contrastive else sampling.decode(method, code)
    torch.testing.assert_close(sampling.reconstruct(method, x, "background"), expected)


def test_encode_is_deterministic_and_per_image_in_eval_mode(any_engine: Engine) -> None:
    # Peers' traps 1 and 2: noise and batch statistics at evaluation.
    method = any_engine.method.eval()
    x, y, _ = first_pair(any_engine)
    both = method.encode(torch.cat([x, y]))
    again = method.encode(torch.cat([x, y]))
    assert torch.equal(both.z, again.z)
    assert torch.equal(both.s, again.s)
    torch.testing.assert_close(method.encode(x[:1]).z, both.z[:1], rtol=1e-4, atol=1e-5)


def test_advance_changes_the_decoded_images_with_finite_terms(engine: Engine) -> None:
    before = engine.method.eval().decode(Code(torch.ones(1, 4), torch.ones(1, 3))).detach()
    for iteration in range(3):
        means = engine.advance(engine.pairs[iteration])
        assert all(torch.isfinite(value) for value in means.values())
        assert {name.split("/")[0] for name in means} == {
            step.name for step in engine.method.steps()
        }
    after = engine.method.eval().decode(Code(torch.ones(1, 4), torch.ones(1, 3)))
    assert not torch.allclose(before, after)


def test_only_unfreezes_every_net_after_an_error(engine: Engine) -> None:
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
def test_train_resumes_exactly_and_its_run_opens_for_every_verb(name: str) -> None:
    config = tiny(name, images=96, save_every=32, keep=9)
    straight = train(config, Path("straight"))
    stopped = train(config, Path("stopped"), stop_after=0.0)
    if stopped.engine.method.steps():
        assert stopped.engine.images_seen == 16
    resumed = train(config, Path("stopped"), resume=True)
    assert changed_names(straight.engine.method, copy_state(resumed.engine.method)) == set()
    assert changed_names(straight.engine.ema.method, copy_state(resumed.engine.ema.method)) == set()
    run = Run.open("straight")
    assert changed_names(run.method, copy_state(straight.engine.ema.method)) == set()
    for kind, draw in pictures_of(run.data).items():
        assert draw(run.method, run.data, 2, 0).size > (50, 50), kind
    rows = probe(run.method, run.data, ProbeOptions(limit=200))["rows"]
    assert [row["attribute"] for row in rows] == ["digit", "texture", "target"]
    assert all(0 <= row[space] <= 1 for row in rows for space in ("salient", "common", "whole"))


@pytest.mark.parametrize("name", TRAINED)
def test_terms_stay_finite_for_codes_of_extreme_size(name: str) -> None:
    # The means and log-variances of the encoders are in the thousands.
    engine = engine_of(name)
    method = engine.method
    with torch.no_grad():
        for parameter_name, parameter in method.named_parameters():
            if parameter_name.startswith(("E", "D.heads", "R", "C")):
                parameter.mul_(1e3 if parameter_name.startswith("E") else 30)
    for low in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            draw = method.draw(first_pair(engine))
            terms = {
                name: value for step in method.steps() for name, value in step.loss(draw).items()
            }
        assert all(torch.isfinite(value).all() for value in terms.values()), terms


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
def test_training_stays_finite_for_two_thousand_steps(name: str) -> None:
    # About one training in ten of MM-cVAE's published code ends in NaN. The engine refuses a step
    # with a value that is not finite.
    engine = engine_of(name, images=32_000, lr=1e-3)
    for terms in engine.iterations(32_000):
        if not all(torch.isfinite(value) for value in terms.values()):
            break
    assert engine.iteration == 2_000
    assert all(torch.isfinite(value).all() for value in engine.ema.method.state_dict().values())


def test_variants_contain_every_method() -> None:
    assert {name.split("+")[0] for name in VARIANTS} == set(METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_resolve_refuses_a_wrong_method_section(name: str) -> None:
    def fault(*assignments: str) -> str:
        with pytest.raises(StudioError) as caught:
            resolve(
                {"data": {"name": "digits"}, "method": {"name": name}}, "x", "x.yaml", assignments
            )
        return str(caught.value)

    assert "method.z: found 0" in fault("method.z=0")
    assert "method.weights: no term is called 'recno'" in fault("method.weights.recno=1")
    assert "method.width: no such field" in fault("method.width=3")


def test_method_cites_authors_title_venue_and_year() -> None:
    for name, method in METHODS.items():
        assert re.fullmatch(r"\w.+, \w.+\. .+\. .+20[012]\d\.", method.paper), name
