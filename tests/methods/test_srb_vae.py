"""sRb-VAE: its reference code, its critics and its symmetric divergence."""

import torch
from support.experiments import tiny
from support.vaes import X, Y, method_of, model_terms, pair_of_noise

from studio.build import build_dataset
from studio.training.engine import Engine


def test_srb_vae_trains_the_reference_as_a_parameter() -> None:
    # Peers' trap 11.
    config = tiny("srb_vae")
    engine = Engine(config, build_dataset(config))
    before = engine.method.reference.code.detach().clone()
    assert "reference.code" in engine.method.state_dict()
    assert not torch.equal(before, torch.zeros(3))
    engine.advance(engine.pairs[0])
    assert not torch.equal(engine.method.reference.code, before)
    torch.testing.assert_close(
        engine.method.blank(2), engine.method.reference.code.detach().expand(2, -1)
    )


def test_srb_vae_trains_critics_alone_and_the_generator_against_them() -> None:
    method = method_of("srb_vae")
    draw = method.draw(pair_of_noise())
    own = method.ratio_terms(draw)
    model = [*method.E.parameters(), *method.G.parameters(), *method.reference.parameters()]
    for term in own.values():
        assert torch.autograd.grad(term.mean(), model, allow_unused=True, retain_graph=True) == (
            None,
        ) * len(model)
    terms = model_terms(method, draw)
    logits = torch.cat(
        [
            method.D_x(draw.fakes[X], draw.prior.z[X]),
            method.D_y(draw.fakes[Y], torch.cat(draw.prior, 1)[Y]),
        ]
    )
    torch.testing.assert_close(
        torch.cat([terms["reverse.background"], terms["reverse.target"]]), -logits
    )
    # The critics lower the log-ratio of fakes, and the generator raises it.
    caught = torch.autograd.grad(
        torch.nn.functional.softplus(logits).mean(), draw.fakes, retain_graph=True
    )[0]
    reverse = terms["reverse.target"].mean() + terms["reverse.background"].mean()
    wanted = torch.autograd.grad(reverse, draw.fakes, retain_graph=True)[0]
    assert (caught * wanted).sum() < 0


def test_srb_vae_codes_term_trains_the_encoder_alone() -> None:
    method = method_of("srb_vae").eval()
    draw = method.draw(pair_of_noise())
    terms = model_terms(method, draw)
    z, s = method.encode(draw.fakes)
    squares = (z - draw.prior.z).square().sum(1) / 2
    torch.testing.assert_close(terms["codes.background"], squares[X])
    torch.testing.assert_close(
        terms["codes.target"], squares[Y] + (s - draw.prior.s)[Y].square().sum(1) / 2
    )
    G = list(method.G.parameters())
    assert torch.autograd.grad(
        terms["codes.target"].mean(), G, allow_unused=True, retain_graph=True
    ) == (None,) * len(G)


def test_srb_vae_minimises_the_bound_alone_unless_symmetric() -> None:
    method = method_of("srb_vae", symmetric=False)
    assert not {"D_x", "D_y"} & {name for name, _ in method.named_children()}
    assert [step.name for step in method.steps()] == ["vae"]
    assert set(model_terms(method, method.draw(pair_of_noise()))) == {
        "recon.background",
        "recon.target",
        "kl_z.background",
        "kl_z.target",
        "kl_s.target",
    }
