"""Terms, conventions and training of all VAEs."""

import dataclasses

import numpy as np
import pytest
import torch
from support.experiments import VARIANTS, tiny
from support.vaes import CONTRASTIVE, HALF, X, Y, kl, method_of, model_terms, pair_of_noise, rows

from studio.build import build_dataset
from studio.config import load, resolve
from studio.method import Code, Pair
from studio.methods.vae import VAEDraw
from studio.training.engine import Engine


@pytest.mark.parametrize("name", ["vae", *CONTRASTIVE])
def test_vae_terms_are_sums_per_image_as_in_the_bound(name: str) -> None:
    method = method_of(name).eval()
    draw = method.draw(pair_of_noise())
    terms = model_terms(method, draw)
    s = draw.code.s.clone()
    if name != "vae":
        s[X] = method.blank(HALF)  # Abid and Zou (2019), Eq. 4
    rebuilt = method.G(torch.cat([draw.code.z, s], 1))
    # The papers' images are in [0, 1].
    on_unit = ((rebuilt + 1) / 2 - (draw.reals + 1) / 2).square().flatten(1).sum(1)
    for half, where in (("background", X), ("target", Y)):
        torch.testing.assert_close(terms[f"recon.{half}"], on_unit[where])
        torch.testing.assert_close(terms[f"kl_z.{half}"], kl(rows(draw.z, where)))
    torch.testing.assert_close(terms["kl_s.target"], kl(rows(draw.s, Y)))
    assert ("kl_s.background" in terms) == (name == "vae")


def test_plain_vae_has_one_posterior_split_by_position() -> None:
    method = method_of("vae").eval()
    images = pair_of_noise().x
    read = method.E(images)
    code = method.encode(images)
    torch.testing.assert_close(torch.cat(code, 1), read["mu"])
    assert [name for name, _ in method.named_children()] == ["E", "G"]


@pytest.mark.parametrize("name", CONTRASTIVE)
def test_contrastive_vae_has_two_encoders_except_srb_vae(name: str) -> None:
    names = {name for name, _ in method_of(name).named_children()}
    assert ({"E_z", "E_s"} <= names) == (name != "srb_vae")
    assert ("E" in names) == (name == "srb_vae")


@pytest.mark.parametrize("name", ["vae", "mm_cvae", "principled", "cvae", "sepvae"])
def test_vae_total_does_not_depend_on_the_batch_size(name: str) -> None:
    # Peers' trap 10: with a sum over the batch, a weight has another effect at another batch size.
    options = {"severity": None, "weights": {"class": 1.0}} if name == "sepvae" else {}
    method = method_of(name, **options).eval()
    draw = method.draw(pair_of_noise())
    order = torch.cat([torch.arange(HALF).repeat(3), HALF + torch.arange(HALF).repeat(3)])

    def thrice(value: object) -> object:
        return (
            type(value)(*(part[order] for part in value))
            if isinstance(value, tuple)
            else value[order]
        )

    fields = {f.name: getattr(draw, f.name) for f in dataclasses.fields(draw) if f.name != "pair"}
    images = Pair(draw.pair.x.repeat(3, 1, 1, 1), draw.pair.y.repeat(3, 1, 1, 1))
    longer = VAEDraw(images, **{name: thrice(value) for name, value in fields.items()})
    totals = [float(method.total(model_terms(method, d)).detach()) for d in (draw, longer)]
    assert totals[0] == pytest.approx(totals[1], rel=1e-4)


def test_vae_total_is_the_loss_of_one_pair() -> None:
    method = method_of("principled", weights={"w2": 0.0})
    draw = method.draw(pair_of_noise())
    terms = model_terms(method, draw)
    by_hand = sum(
        terms[f"recon.{h}"].mean() + 2 * terms[f"kl_z.{h}"].mean() for h in ("background", "target")
    )
    by_hand = by_hand + 2 * terms["kl_s.target"].mean() + terms["salient_zero.background"].mean()
    torch.testing.assert_close(method.total(terms), by_hand)


def test_config_has_adam_settings_of_the_paper_unless_it_states_others() -> None:
    raw = {"data": {"name": "digits"}, "method": {"name": "cvae"}}
    assert resolve(raw, "t", "t").train.lr == 1e-3
    assert resolve(raw, "t", "t").train.betas == (0.9, 0.999)
    assert resolve({**raw, "train": {"lr": 0.1}}, "t", "t").train.lr == 0.1
    assert resolve(raw, "t", "t", ["train.betas=[0.5,0.6]"]).train.betas == (0.5, 0.6)
    assert resolve({**raw, "method": {"name": "dig"}}, "t", "t").train.lr == 2e-4
    assert load("digits_dig").train.betas == (0.5, 0.999)


def test_engine_resets_optimisers_at_the_given_interval() -> None:
    config = tiny("cvae", images=160, reset_optimizers=48)
    engine = Engine(config, build_dataset(config))
    counts = []
    for _ in engine.iterations(160):
        counts.append(_steps_of(engine))
    assert counts == [1, 2, 3, 1, 2, 3, 1, 2, 3, 1]


def _steps_of(engine: Engine) -> int:
    return int(next(iter(engine.optimizers["vae"].state_dict()["state"].values()))["step"])


def test_every_vae_lowers_its_reconstruction_error_in_sixty_steps() -> None:
    for name in ("vae", *CONTRASTIVE):
        assert name in VARIANTS
        config = tiny(name, images=960, lr=2e-3)
        engine = Engine(config, build_dataset(config))
        errors = []
        for terms in engine.iterations(960):
            errors.append(float(terms["vae/recon.background"]))
        assert np.mean(errors[-5:]) < 0.6 * errors[0], name


def test_decode_is_clamped_to_black_and_white() -> None:
    method = method_of("vae").eval()
    assert method.decode(Code(torch.full((2, 4), 1e3), torch.full((2, 3), -1e3))).abs().max() <= 1


def test_notes_warn_of_settings_without_effect() -> None:
    assert any("as published" in line for line in method_of("cvae", as_published=True).notes())
    assert any("weights.class = 1e-10" in line for line in method_of("sepvae").notes())
    for name in ("vae", *CONTRASTIVE):
        options = {"weights": {"class": 1.0}} if name == "sepvae" else {}
        assert method_of(name, **options).notes() == []
