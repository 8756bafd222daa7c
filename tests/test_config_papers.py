"""Shipped configs: numbers that the papers print, and that a config once had wrong."""

from typing import Any

import pytest
import yaml

from studio.config import FOLDERS, load

SALIENT, COMMON = 100, 1000  # MM-cVAE's weights: Louiset et al. (2024), App. E.1
PAIRS = 64  # the published loss is a sum over the pairs of a batch


def weights(name: str) -> dict[str, float]:
    root = ["data.root=somewhere"] if name.startswith("brats") else []
    return dict(load(name, root).method.weights)


def sweep(name: str) -> dict[str, Any]:
    path = next(f / "sweeps" / f"{name}.yaml" for f in FOLDERS if (f / "sweeps").is_dir())
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def test_mm_cvae_weighs_the_common_code_ten_times_the_salient_one() -> None:
    for name in ("cifar_mnist_mm_cvae_32", "digits_mm_cvae"):
        found = weights(name)
        assert found["mmd_z"] == 10 * found["mmd_s"]
    found = weights("cifar_mnist_mm_cvae_32")
    assert found["mmd_z"] == COMMON / PAIRS
    assert found["mmd_s"] == SALIENT / PAIRS


@pytest.mark.parametrize(
    ("name", "beta_c", "beta_s", "kappa", "sigma_p"),
    [
        ("digits_sepvae", 0.5, 0.5, 2, 0.025),  # App. E.1
        ("digits_sepvae_celeba", 0.5, 0.5, 2, 0.025),
        ("digits_sepvae_pneumonia", 0.5, 0.1, 2, 0.05),  # App. E.2
        ("brats_sepvae", 1, 0.1, 10, 0.01),  # App. E.3
        ("brain_phantom_sepvae", 0.5, 0.5, 2, 0.025),
        ("cifar_mnist_sepvae_32", 0.5, 0.5, 2, 0.01),
        ("cifar_mnist_sepvae_32_louiset", 0.5, 0.5, 2, 0.01),
    ],
)
def test_sepvae_has_the_weights_of_the_appendix(
    name: str, beta_c: float, beta_s: float, kappa: float, sigma_p: float
) -> None:
    found = weights(name)
    assert found["kl_z"] == beta_c
    assert found["kl_s"] == found["prior_s"] == beta_s
    assert found["mi"] == kappa
    root = ["data.root=somewhere"] if name.startswith("brats") else []
    assert load(name, root).method.sigma_p == sigma_p


@pytest.mark.parametrize(
    ("name", "per_domain"),
    [
        ("digits_sepvae", 25_000),
        ("digits_sepvae_celeba", 25_000),
        ("digits_sepvae_pneumonia", 25_000),
        ("brain_phantom_sepvae", 100_000),
        ("cifar_mnist_sepvae_32", 25_000),
        ("cifar_mnist_sepvae_32_louiset", 25_000),
    ],
)
def test_sepvae_renews_its_optimisers_at_each_epoch(name: str, per_domain: int) -> None:
    assert load(name).train.reset_optimizers == 2 * per_domain


def test_principled_keeps_the_ratios_of_eq_8_with_both_nets() -> None:
    own, papers = weights("grassy_mnist_principled"), weights("grassy_mnist_principled_6")
    assert own == papers
    assert own["salient_zero"] == own["w2"] == own["recon"] == 5
    assert own["kl_z"] == own["kl_s"] == 2


def test_fig6_has_lambda_z_0_and_1_on_the_scale_of_its_base() -> None:
    found = sweep("choudhuri_fig6")
    recon = weights(found["base"])["recon"]
    lambdas = [w2 / recon for w2 in found["grid"]["method.weights.w2"]]
    assert lambdas == [0, 0.1, 0.5, 1, 2, 5]


def test_fig11_gives_its_baselines_the_weights_of_the_method() -> None:
    found = sweep("choudhuri_fig11")
    own = weights(found["base"])
    baselines = [row["method"] for row in found["rows"].values() if "method" in row]
    assert {method["name"] for method in baselines} == {"cvae", "srb_vae"}
    for method in baselines:
        assert method["weights"] == {name: own[name] for name in ("recon", "kl_z", "kl_s")}


def test_vae_of_abid_has_two_dimensions_and_learns_from_targets_alone() -> None:
    config = load("grassy_mnist_vae_abid")
    assert config.method.z + config.method.s == 2
    assert config.method.weights["background"] == 0
    shown = "separation.attributes.digit.silhouette_whole"
    assert shown in sweep("abid_fig7a")["show"]


def test_table_9_is_compared_at_700_epochs() -> None:
    epoch = 2 * 737_280 // 10  # images of both domains: a tenth of the sprites in each
    config = load("dsprites_mnist_dig")
    assert config.paper is not None
    assert config.paper.images == 700 * epoch
    assert sweep("carton_cr")["rows"]["no CR"]["paper.images"] == 700 * epoch


@pytest.mark.parametrize("condition", ["schizophrenia", "autism"])
def test_vbm_configs_have_the_settings_of_app_e_3_and_five_folds(condition: str) -> None:
    names = sweep(f"vbm_{condition}")["base"]
    lr = {"schizophrenia": 5e-5, "autism": 2e-5}[condition]
    for name in names:
        config = load(name)
        assert (config.train.lr, config.train.batch, config.data.target) == (lr, 32, (condition,))
        assert (config.method.z, config.method.s, config.data.resolution) == (128, 128, 128)
        assert (config.method.weights["kl_z"], config.method.weights["kl_s"]) == (1, 0.1)
        assert config.data.test_share == 0.25
        shown = {*sweep(f"vbm_{condition}")["show"]}
        assert set(config.paper.numbers) == shown
    assert sweep(f"vbm_{condition}")["each"] == {"data.fold": [0, 1, 2, 3, 4]}
    sepvae = load(names[-1]).method
    assert (sepvae.weights["mi"], sepvae.sigma_p) == (10, 0.01)
    mm_cvae = load(names[1]).method.weights
    assert mm_cvae["mmd_z"] * 16 == COMMON
    assert mm_cvae["mmd_s"] * 16 == SALIENT
