"""Configs of CelebA, the X-rays and AffectNet: published sizes and values, twenty steps of each."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch
from support.picture_files import write_affectnet, write_celeba, write_xrays

from studio.build import build_dataset, build_method
from studio.config import list_configs, load
from studio.data import Dataset
from studio.training.engine import Engine

FILES = {
    "celeba_accessories": write_celeba,
    "pneumonia": write_xrays,
    "affectnet": write_affectnet,
}
NAMES = [n.removesuffix(".yaml") for n in list_configs() if n.startswith(tuple(FILES))]
STEPS = 20
SMALL = "data.resolution=16"
SHORT = ("train.batch=4", f"train.images={4 * STEPS}", "train.threads=1")
TINY = (*SHORT, "method.z=2", "method.s=2", "nets={width: 4}", SMALL)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: write(tmp_path_factory.mktemp(name)) for name, write in FILES.items()}


@pytest.fixture(scope="module")
def opened() -> dict[str, Dataset]:
    """Data sets by their section of the config, so that equal ones decode their files once."""
    return {}


def data_of(name: str) -> str:
    return next(data for data in FILES if name.startswith(data))


def open_once(
    name: str, files: Mapping[str, Path], opened: dict[str, Dataset], *settings: str
) -> Dataset:
    config = load(name, [f"data.root={files[data_of(name)]}", *settings])
    key = config.data.model_dump_json()
    if key not in opened:
        opened[key] = build_dataset(config)
    return opened[key]


def train_twenty_steps(name: str, dataset: Dataset, settings: Sequence[str]) -> None:
    engine = Engine(load(name, settings), dataset)
    before = {key: value.clone() for key, value in engine.method.state_dict().items()}
    terms = {}
    for iteration in range(STEPS):
        terms = engine.advance(engine.pairs[iteration])
    assert all(torch.as_tensor(value).isfinite().all() for value in terms.values())
    after = engine.method.state_dict()
    assert any(not torch.equal(after[key], value) for key, value in before.items())


@pytest.mark.parametrize("name", NAMES)
def test_config_fits_its_data_and_trains_twenty_steps_with_narrow_nets(
    name: str, files: Mapping[str, Path], opened: dict[str, Dataset]
) -> None:
    dataset = open_once(name, files, opened)
    with torch.device("meta"):  # the nets of the paper, without their memory
        method = build_method(load(name), dataset.shape)
    assert sum(p.numel() for p in method.parameters()) > 10_000
    train_twenty_steps(name, open_once(name, files, opened, SMALL), TINY)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_config_trains_twenty_steps_with_the_papers_nets(
    name: str, files: Mapping[str, Path], opened: dict[str, Dataset]
) -> None:
    train_twenty_steps(name, open_once(name, files, opened), SHORT)


def weights(name: str) -> dict[str, float]:
    return dict(load(name).method.weights)


@pytest.mark.parametrize(
    ("names", "beta_s", "sigma_p", "images", "epoch", "z"),
    [
        (
            ("celeba_accessories_sepvae", "celeba_accessories_sepvae_convae"),
            0.5,
            0.025,
            5e6,
            2e4,
            16,
        ),
        (("pneumonia_sepvae", "pneumonia_sepvae_convae"), 0.1, 0.05, 402_300, 4_023, 128),
    ],
)
def test_sepvae_and_convae_have_the_numbers_of_appendix_e(
    names: tuple[str, str], beta_s: float, sigma_p: float, images: float, epoch: float, z: int
) -> None:
    for name in names:
        config, found = load(name), weights(name)
        assert (found["kl_z"], found["kl_s"], found["mi"]) == (0.5, beta_s, 2)
        assert (config.method.z, config.method.s, config.method.sigma_p) == (z, z, sigma_p)
        assert (config.train.batch, config.train.reset_optimizers) == (512, epoch)
        assert images <= config.train.images < images + 512
        assert config.train.lr == 1e-3
    assert weights(names[0])["prior_s"] == beta_s
    assert (weights(names[1])["prior_s"], weights(names[1])["class"]) == (0, 0)


@pytest.mark.parametrize(
    ("name", "pairs", "beta_s"),
    [("celeba_accessories_mm_cvae_louiset", 256, 0.5), ("pneumonia_mm_cvae", 256, 0.1)],
)
def test_mm_cvae_of_louiset_has_the_numbers_of_appendix_e(
    name: str, pairs: int, beta_s: float
) -> None:
    found = weights(name)
    assert load(name).train.batch == 2 * pairs
    assert (found["mmd_z"], found["mmd_s"]) == (1000 / pairs, 100 / pairs)
    assert (found["kl_z"], found["kl_s"]) == (0.5, beta_s)


@pytest.mark.parametrize(
    "name", [n for n in NAMES if "principled" in n or "srb" in n or "chou" in n]
)
def test_choudhuris_methods_have_beta_2_and_the_papers_latent_sizes(name: str) -> None:
    config = load(name)
    assert weights(name)["kl_z"] == weights(name)["kl_s"] == 2
    assert (config.method.z, config.method.s) == ((16, 6) if "celeba" in name else (32, 32))
    assert config.train.batch == 128
    assert config.paper is not None
    assert config.paper.numbers["separation.w2_common"].average is not None
