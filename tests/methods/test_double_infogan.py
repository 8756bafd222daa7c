"""Double InfoGAN: its terms, the nets that they train, its steps and its CR."""

import pytest
import torch
from support.experiments import tiny
from torch import nn

from studio.build import build_dataset, build_method
from studio.config import resolve
from studio.errors import StudioError
from studio.method import Code, Method, Pair
from studio.methods.double_infogan import DoubleInfoGAN
from studio.training.engine import Engine


def dig(**options: object) -> DoubleInfoGAN:
    raw = {
        "data": {"name": "digits"},
        "nets": {"width": 4},
        "method": {"name": "dig", "z": 4, "s": 3, **options},
        "train": {"batch": 16},
    }
    return build_method(resolve(raw, "tiny", "tiny"), (1, 32, 32))


def test_dig_total_does_not_depend_on_the_batch_size() -> None:
    # Peers' trap 10: with a sum over the batch, a weight has another effect at another batch size.
    # Running statistics make the terms of an image independent of the other images.
    method = dig(noise=0.0).eval()
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
            {name: out[rows] for name, out in draw.outputs.items()},
            draw.reconstructions[rows],
            None,
        )
        totals.append([float(method.total(step.loss(draw)).detach()) for step in method.steps()])
    assert totals[0] == pytest.approx(totals[1], rel=1e-5)


def test_dig_defaults_are_those_of_table_6() -> None:
    config = DoubleInfoGAN.Config()
    assert (config.z, config.s) == (64, 64)
    assert config.weights == {
        "adv": 0.5,
        "class": 0.5,
        "info_z": 1.0,
        "info_s": 1.0,
        "info_real": 1.0,
        "image": 1.0,
        "cr": 0.0,
        "background": 0.5,
        "target": 1.0,
    }
    assert dig().weight("adv.background") == 0.25
    assert dig().weight("info_real") == 1.0  # without the weight of a domain


def test_dig_steps_have_the_terms_of_the_paper() -> None:
    method = dig()
    draw = method.draw(Pair(torch.rand(8, 1, 32, 32), torch.rand(8, 1, 32, 32)))
    both = {
        f"{term}.{half}"
        for term in ("adv", "class", "info_z", "info_s", "image")
        for half in ("background", "target")
    }
    assert set(method.discriminator_terms(draw)) == both | {"info_real"}
    assert set(method.generator_terms(draw)) == both


def test_discriminator_terms_classify_reals_only_and_judge_reals_and_fakes() -> None:
    method = dig(noise=0.0)
    pair = Pair(torch.rand(8, 1, 32, 32) - 1, torch.rand(8, 1, 32, 32))
    draw = method.draw(pair)
    terms = method.discriminator_terms(draw)
    with torch.no_grad():
        real, fake = method.D(torch.cat([pair.x, pair.y])), method.D(draw.fakes)
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
    torch.testing.assert_close(
        terms["image.target"], (rebuilt - torch.cat([pair.x, pair.y])).abs().flatten(1).mean(1)[8:]
    )


def test_info_l2_holds_for_real_images_too() -> None:
    method = dig(noise=0.0, info="l2")
    pair = Pair(torch.rand(8, 1, 32, 32) - 1, torch.rand(8, 1, 32, 32))
    draw = method.draw(pair)
    terms = method.discriminator_terms(draw)
    real = method.D(torch.cat([pair.x, pair.y]))["s"][:8]
    torch.testing.assert_close(terms["info_real"], real.square().mean(1) / 2)


def test_generator_terms_want_fakes_real_and_of_their_class() -> None:
    method = dig(noise=0.0)
    draw = method.draw(Pair(torch.rand(8, 1, 32, 32), torch.rand(8, 1, 32, 32)))
    terms = method.generator_terms(draw)
    fake = method.D(draw.fakes)
    softplus = nn.functional.softplus
    torch.testing.assert_close(terms["adv.target"], softplus(-fake["D"][8:, 0]))
    torch.testing.assert_close(terms["class.background"], softplus(fake["C"][:8, 0]))
    torch.testing.assert_close(terms["class.target"], softplus(-fake["C"][8:, 0]))


def test_image_term_has_gradients_to_q_and_to_g() -> None:
    method = dig(noise=0.0)
    draw = method.draw(Pair(torch.rand(8, 1, 32, 32), torch.rand(8, 1, 32, 32)))
    image = method.discriminator_terms(draw)["image.target"].mean()
    heads = torch.autograd.grad(image, list(method.D.heads["s"].parameters()), retain_graph=True)
    assert heads[0].abs().sum() > 0
    G = torch.autograd.grad(image, list(method.G.parameters()), retain_graph=True)
    assert all(g.abs().sum() > 0 for g in G)


def test_discriminator_terms_leave_the_trunks_statistics_to_reals() -> None:
    method = dig(noise=0.0)
    norm = method.D.trunk.halvings[1][2]
    norm.momentum = 1.0  # then the running mean is that of the last tracked batch
    draw = method.draw(Pair(torch.rand(8, 1, 32, 32), torch.rand(8, 1, 32, 32)))
    after_draw = norm.running_mean.clone()
    method.discriminator_terms(draw)
    assert torch.equal(norm.running_mean, after_draw)
    method.eval()
    norm_inputs = method.D.trunk.halvings[1][1](method.D.trunk.halvings[0](draw.reals))
    torch.testing.assert_close(after_draw, norm_inputs.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("order", "names"), [("D-G", ["D", "G"]), ("G-D", ["G", "D"])])
def test_dig_steps_follow_the_configured_order(order: str, names: list[str]) -> None:
    steps = dig(order=order).steps()
    assert [step.name for step in steps] == names
    assert steps[1].fresh == (order == "G-D")


def test_dig_shares_fakes_between_d_and_g_unless_g_comes_first() -> None:
    for order, draws in (("D-G", 1), ("G-D", 2)):
        config = tiny()
        config = config.model_copy(
            update={"method": config.method.model_copy(update={"order": order})}
        )
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


def test_dig_priors_have_the_supports_of_the_paper() -> None:
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


def test_dig_repeats_a_step_as_often_as_times_says() -> None:
    config = tiny()
    times = config.method.times.model_copy(update={"G": 3})
    config = config.model_copy(update={"method": config.method.model_copy(update={"times": times})})
    engine = Engine(config, build_dataset(config))
    engine.advance(engine.pairs[0])
    counts = {
        name: int(next(iter(o.state_dict()["state"].values()))["step"])
        for name, o in engine.optimizers.items()
    }
    assert counts == {"D": 1, "G": 3}


def test_draw_contrast_shares_z_and_one_coordinate_alone() -> None:
    method = dig(weights={"cr": 1.0})
    codes = []
    method.decode = lambda code: codes.append(code) or method.G(code.concat())
    contrast = method.draw_contrast(32)
    assert contrast.images.shape == (32, 2, 32, 32)
    z, s = codes[0]
    assert torch.equal(z[:32], z[32:])
    same = s[:32] == s[32:]
    assert torch.equal(same.sum(1), torch.ones(32, dtype=torch.long))
    assert torch.equal(same.long().argmax(1), contrast.k)
    assert set(contrast.k.tolist()) == {0, 1, 2}


def test_dig_has_no_contrast_and_no_net_for_it_at_weight_zero() -> None:
    # Peers' trap 15: CR's forward pass in every step G, even if its weight is 0.
    method = dig(weights={"cr": 0.0})
    assert [name for name, _ in method.named_children()] == ["G", "D"]
    assert [step.name for step in method.steps()] == ["D", "G"]
    calls = []
    method.G.register_forward_hook(lambda *_: calls.append(1))
    draw = method.draw(Pair(torch.rand(4, 1, 32, 32), torch.rand(4, 1, 32, 32)))
    assert draw.contrast is None
    assert len(calls) == 2
    assert "cr" not in method.generator_terms(draw)


def test_resolve_refuses_contrast_with_a_single_salient_coordinate() -> None:
    with pytest.raises(StudioError, match=r"weights.cr needs at least two salient coordinates"):
        dig(s=1, weights={"cr": 1.0})
    assert not hasattr(dig(s=1), "H")


def test_contrast_terms_have_no_gradient_to_g_but_generator_terms_have() -> None:
    method = dig(weights={"cr": 1.0})
    assert [step.name for step in method.steps()] == ["D", "CR", "G"]
    draw = method.draw(Pair(torch.rand(4, 1, 32, 32), torch.rand(4, 1, 32, 32)))
    own = method.contrast_terms(draw)["cr"].mean()
    assert torch.autograd.grad(own, list(method.G.parameters()), allow_unused=True) == (
        None,
    ) * len(list(method.G.parameters()))
    through = method.generator_terms(draw)["cr"].mean()
    assert all(g.abs().sum() > 0 for g in torch.autograd.grad(through, list(method.G.parameters())))
