"""One battery over every method: who moves and who must not, terms and weights, codes, determinism, save and reopen."""

from collections.abc import Iterator

import pytest
import torch
from conftest import VARIANTS, tiny
from torch import Tensor, nn

from studio.build import build_dataset, build_method
from studio.engine import Engine, only
from studio.errors import StudioError
from studio.method import Code, Method, Pair, Step
from studio.methods import METHODS
from studio.methods.double_infogan import DoubleInfoGAN


@pytest.fixture(params=VARIANTS)
def engine(request: pytest.FixtureRequest) -> Engine:
    config = tiny(request.param)
    return Engine(config, build_dataset(config))


def pair_of(engine: Engine) -> Pair:
    return engine.pairs[0]


def snapshot(net: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in net.state_dict().items()}


def moved(net: nn.Module, before: dict[str, Tensor]) -> set[str]:
    return {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}


def _tensors(net: nn.Module) -> dict[str, Tensor]:
    return {**dict(net.named_parameters()), **dict(net.named_buffers())}


def each_step(engine: Engine) -> Iterator[tuple[Step, dict[str, Tensor]]]:
    """Runs one iteration step by step, yielding the state before each."""
    engine.method.train()
    steps = engine.method.steps()
    draw = engine.method.draw(pair_of(engine))
    for number, step in enumerate(steps):
        before = snapshot(engine.method)
        engine._step(step, draw, keep_graph=number + 1 < len(steps))
        yield step, before


def test_each_step_moves_its_nets_and_nothing_else(engine: Engine) -> None:
    # Peers' trap 6. Buffers are in the state as well: the opponents' running statistics must rest, too.
    for step, before in each_step(engine):
        own = {id(p) for net in step.trains for p in (*net.parameters(), *net.buffers())}
        changed = moved(engine.method, before)
        assert {name for name, p in engine.method.named_parameters() if id(p) in own} <= changed, step.name
        assert all(id(p) in own for name, p in _tensors(engine.method).items() if name in changed), step.name
        assert all(p.requires_grad for p in engine.method.parameters())


def test_every_parameter_is_trained_by_some_step(engine: Engine) -> None:
    trained = {id(p) for step in engine.method.steps() for net in step.trains for p in net.parameters()}
    assert trained == {id(p) for p in engine.method.parameters()}


def test_terms_are_weighted_by_name_and_each_weight_is_used(engine: Engine) -> None:
    method = engine.method
    draw = method.draw(pair_of(engine))
    used = set()
    for step in method.steps():
        terms = step.loss(draw)
        expected = sum(method.weight(name) * float(value.detach().float().mean()) for name, value in terms.items())
        assert float(method.total(terms).detach()) == pytest.approx(expected, rel=1e-5)
        used |= {part for name in terms for part in name.split(".")}
        for value in terms.values():
            assert value.ndim <= 1
            assert torch.isfinite(value).all()
    assert used == {name for name, weight in method.weights.items() if weight}


def test_a_weight_of_zero_takes_the_term_out_even_when_it_is_not_finite() -> None:
    config = tiny()
    method = build_method(config, (1, 32, 32))
    method.weights["image"] = 0.0
    terms = {"adv.target": torch.tensor([2.0, 4.0]), "image.target": torch.tensor([float("nan")])}
    assert float(method.total(terms)) == pytest.approx(0.5 * 1.0 * 3.0)
    with pytest.raises(StudioError, match="no weight 'imag'; did you mean 'image'"):
        method.total({"imag.target": torch.tensor(0.0)})


def test_weights_do_not_depend_on_the_batch_size() -> None:
    # Peers' trap 10: sums over the batch make every weight mean something else at another batch size.
    method = dig(noise=0.0).eval()  # running statistics, so that an image's terms do not depend on its neighbours
    half = torch.rand(4, 1, 32, 32)
    totals = []
    for times in (1, 3):
        torch.manual_seed(0)
        draw = method.draw(Pair(half, half))
        rows = torch.cat([torch.arange(4).repeat(times), 4 + torch.arange(4).repeat(times)])
        draw = type(draw)(
            draw.pair,
            draw.reals[rows],
            Code(draw.code.z[rows], draw.code.s[rows]),
            draw.fakes[rows],
            {name: out[rows] for name, out in draw.read.items()},
            draw.rebuilt[rows],
            None,
        )
        totals.append([float(method.total(step.loss(draw)).detach()) for step in method.steps()])
    assert totals[0] == pytest.approx(totals[1], rel=1e-5)


def test_codes_and_images_have_the_right_shapes(engine: Engine) -> None:
    method, config = engine.method.eval(), engine.config.method
    x, _ = pair_of(engine)
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


def test_background_is_drawn_with_blank_salient_codes_and_target_is_not(engine: Engine) -> None:
    assert torch.equal(engine.method.prior(5, "background").s, engine.method.blank(5))
    assert not torch.equal(engine.method.prior(5, "target").s, engine.method.blank(5))


def test_encoding_in_eval_mode_is_deterministic_and_each_image_on_its_own(engine: Engine) -> None:
    # Peers' traps 1 and 2: noise and batch statistics at evaluation.
    method = engine.method.eval()
    x, y = pair_of(engine)
    both = method.encode(torch.cat([x, y]))
    again = method.encode(torch.cat([x, y]))
    assert torch.equal(both.z, again.z)
    assert torch.equal(both.s, again.s)
    torch.testing.assert_close(method.encode(x[:1]).z, both.z[:1], rtol=1e-4, atol=1e-5)
    method.train()
    assert not torch.equal(method.encode(x).z, method.encode(x).z)


def test_training_changes_what_is_drawn_and_every_term_stays_finite(engine: Engine) -> None:
    before = engine.method.eval().decode(Code(torch.ones(1, 4), torch.ones(1, 3))).detach()
    for iteration in range(3):
        means = engine.advance(engine.pairs[iteration])
        assert all(torch.isfinite(value) for value in means.values())
        assert {name.split("/")[0] for name in means} == {step.name for step in engine.method.steps()}
    after = engine.method.eval().decode(Code(torch.ones(1, 4), torch.ones(1, 3)))
    assert not torch.allclose(before, after)


def test_only_unfreezes_again_after_an_error(engine: Engine) -> None:
    step = engine.method.steps()[0]
    with pytest.raises(RuntimeError, match="inside"), only(step.trains, engine.method):  # noqa: PT012
        assert sum(p.requires_grad for p in engine.method.parameters()) == sum(1 for n in step.trains for _ in n.parameters())
        raise RuntimeError("inside")
    assert all(p.requires_grad for p in engine.method.parameters())


def test_the_battery_runs_over_every_method() -> None:
    assert {name.split("+")[0] for name in VARIANTS} == set(METHODS)


# Double InfoGAN


def dig(**options: object) -> DoubleInfoGAN:
    raw = {
        "data": {"name": "digits"},
        "nets": {"width": 4},
        "method": {"name": "dig", "z": 4, "s": 3, **options},
        "train": {"batch": 16},
    }
    from studio.config import resolve

    return build_method(resolve(raw, "tiny", "tiny"), (1, 32, 32))


def test_double_infogan_has_table_6_and_its_latents_as_defaults() -> None:
    config = DoubleInfoGAN.Config()
    assert (config.z, config.s) == (64, 64)
    assert config.weights == {
        "adv": 0.5, "class": 0.5, "info_z": 1.0, "info_s": 1.0, "info_real": 1.0, "image": 1.0,
        "cr": 0.0, "background": 0.5, "target": 1.0
    }  # fmt: skip
    assert dig().weight("adv.background") == 0.25
    assert dig().weight("info_real") == 1.0  # times neither half's weight


def test_terms_of_each_step_are_the_papers() -> None:
    method = dig()
    draw = method.draw(Pair(torch.rand(8, 1, 32, 32), torch.rand(8, 1, 32, 32)))
    both = {f"{term}.{half}" for term in ("adv", "class", "info_z", "info_s", "image") for half in ("background", "target")}
    assert set(method.discriminator_terms(draw)) == both | {"info_real"}
    assert set(method.generator_terms(draw)) == both


def test_d_step_judges_reals_and_fakes_and_learns_class_from_reals_only() -> None:
    method = dig(noise=0.0)
    pair = Pair(torch.rand(8, 1, 32, 32) - 1, torch.rand(8, 1, 32, 32))
    draw = method.draw(pair)
    terms = method.discriminator_terms(draw)
    with torch.no_grad():
        real, fake = method.D(torch.cat(pair)), method.D(draw.fakes)
    softplus = nn.functional.softplus
    adv = softplus(-real["D"][:, 0]) + softplus(fake["D"][:, 0])
    torch.testing.assert_close(terms["adv.background"], adv[:8])
    torch.testing.assert_close(terms["adv.target"], adv[8:])
    torch.testing.assert_close(terms["class.background"], softplus(real["C"][:8, 0]))
    torch.testing.assert_close(terms["class.target"], softplus(-real["C"][8:, 0]))
    torch.testing.assert_close(terms["info_real"], real["s"][:8].abs().mean(1))
    torch.testing.assert_close(terms["info_s.background"], fake["s"][:8].abs().mean(1))
    torch.testing.assert_close(terms["info_z.target"], (fake["z"] - draw.code.z)[8:].abs().mean(1))
    rebuilt = method.G(torch.cat([real["z"], torch.cat([torch.zeros(8, 3), real["s"][8:]])], 1))
    torch.testing.assert_close(terms["image.target"], (rebuilt - torch.cat(pair)).abs().flatten(1).mean(1)[8:])


def test_g_step_wants_its_fakes_called_real_and_of_their_class() -> None:
    method = dig(noise=0.0)
    draw = method.draw(Pair(torch.rand(8, 1, 32, 32), torch.rand(8, 1, 32, 32)))
    terms = method.generator_terms(draw)
    fake = method.D(draw.fakes)
    softplus = nn.functional.softplus
    torch.testing.assert_close(terms["adv.target"], softplus(-fake["D"][8:, 0]))
    torch.testing.assert_close(terms["class.background"], softplus(fake["C"][:8, 0]))
    torch.testing.assert_close(terms["class.target"], softplus(-fake["C"][8:, 0]))


def test_image_term_moves_q_in_ds_step_and_g_in_gs_step_but_the_code_carries_nothing_to_q_there() -> None:
    method = dig(noise=0.0)
    draw = method.draw(Pair(torch.rand(8, 1, 32, 32), torch.rand(8, 1, 32, 32)))
    image = method.discriminator_terms(draw)["image.target"].mean()
    heads = torch.autograd.grad(image, list(method.D.heads["s"].parameters()), retain_graph=True)
    assert heads[0].abs().sum() > 0
    G = torch.autograd.grad(image, list(method.G.parameters()), retain_graph=True)
    assert all(g.abs().sum() > 0 for g in G)


def test_statistics_come_from_reals_for_the_trunk_and_from_prior_samples_for_the_generator() -> None:
    method = dig(noise=0.0)
    norm = method.D.trunk.halvings[1][2]
    norm.momentum = 1.0  # the running mean is the last tracked batch's
    draw = method.draw(Pair(torch.rand(8, 1, 32, 32), torch.rand(8, 1, 32, 32)))
    after_draw = norm.running_mean.clone()
    method.discriminator_terms(draw)
    assert torch.equal(norm.running_mean, after_draw)
    method.eval()
    norm_inputs = method.D.trunk.halvings[1][1](method.D.trunk.halvings[0](draw.reals))
    torch.testing.assert_close(after_draw, norm_inputs.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("order", "names"), [("D-G", ["D", "G"]), ("G-D", ["G", "D"])])
def test_order_of_the_steps(order: str, names: list[str]) -> None:
    steps = dig(order=order).steps()
    assert [step.name for step in steps] == names
    assert steps[1].fresh == (order == "G-D")


def test_fakes_are_shared_by_d_and_g_in_our_order_and_drawn_again_in_the_authors() -> None:
    for order, draws in (("D-G", 1), ("G-D", 2)):
        config = tiny()
        config = config.model_copy(update={"method": config.method.model_copy(update={"order": order})})
        engine = Engine(config, build_dataset(config))
        count = 0
        original = type(engine.method).draw

        def counted(self: Method, pair: Pair, original: object = original) -> object:
            nonlocal count
            count += 1
            return original(self, pair)

        engine.method.draw = counted.__get__(engine.method)
        engine.advance(engine.pairs[0])
        assert count == draws


def test_priors_have_the_papers_supports() -> None:
    method = dig(prior_z="uniform", prior_s="uniform")
    code = method.prior(4000, "target")
    assert code.z.min() < -0.99
    assert code.z.max() > 0.99
    assert code.z.abs().max() <= 1
    assert code.s.min() > 0
    assert code.s.max() <= 1
    assert code.s.mean().item() == pytest.approx(0.5, abs=0.02)
    normal = dig().prior(4000, "target")
    assert normal.s.std().item() == pytest.approx(1, abs=0.03)
    assert normal.z.mean().item() == pytest.approx(0, abs=0.03)


def test_times_repeats_a_step_on_a_draw_of_its_own() -> None:
    config = tiny()
    times = config.method.times.model_copy(update={"G": 3})
    config = config.model_copy(update={"method": config.method.model_copy(update={"times": times})})
    engine = Engine(config, build_dataset(config))
    engine.advance(engine.pairs[0])
    counts = {name: int(next(iter(o.state_dict()["state"].values()))["step"]) for name, o in engine.optimizers.items()}
    assert counts == {"D": 1, "G": 3}


def test_contrast_shares_z_and_one_coordinate_and_nothing_else() -> None:
    method = dig(weights={"cr": 1.0})
    codes = []
    method.decode = lambda code: codes.append(code) or method.G(code.joined())
    contrast = method.contrast(32)
    assert contrast.images.shape == (32, 2, 32, 32)
    z, s = codes[0]
    assert torch.equal(z[:32], z[32:])
    same = s[:32] == s[32:]
    assert torch.equal(same.sum(1), torch.ones(32, dtype=torch.long))
    assert torch.equal(same.long().argmax(1), contrast.k)
    assert set(contrast.k.tolist()) == {0, 1, 2}


def test_contrast_of_weight_zero_costs_nothing_and_has_no_net() -> None:
    # Peers' trap 15: their CR forward runs in every G step even where its weight is 0.
    method = dig(weights={"cr": 0.0})
    assert method.H is None
    assert [step.name for step in method.steps()] == ["D", "G"]
    calls = []
    method.G.register_forward_hook(lambda *_: calls.append(1))
    draw = method.draw(Pair(torch.rand(4, 1, 32, 32), torch.rand(4, 1, 32, 32)))
    assert draw.contrast is None
    assert len(calls) == 2
    assert "cr" not in method.generator_terms(draw)


def test_contrast_refuses_a_single_salient_coordinate() -> None:
    with pytest.raises(StudioError, match=r"weights.cr needs at least two salient coordinates"):
        dig(s=1, weights={"cr": 1.0})
    assert dig(s=1).H is None


def test_contrast_teaches_g_through_h_and_h_never_through_g() -> None:
    method = dig(weights={"cr": 1.0})
    assert [step.name for step in method.steps()] == ["D", "CR", "G"]
    draw = method.draw(Pair(torch.rand(4, 1, 32, 32), torch.rand(4, 1, 32, 32)))
    own = method.contrast_terms(draw)["cr"].mean()
    assert torch.autograd.grad(own, list(method.G.parameters()), allow_unused=True) == (None,) * len(list(method.G.parameters()))
    through = method.generator_terms(draw)["cr"].mean()
    assert all(g.abs().sum() > 0 for g in torch.autograd.grad(through, list(method.G.parameters())))
