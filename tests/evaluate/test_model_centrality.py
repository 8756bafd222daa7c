"""ModelCentrality on linear models: those that agree up to order and sign are central, a scrambled
one is not."""

import json

import numpy as np
import pytest
import torch
from torch import Tensor

from studio.errors import StudioError
from studio.evaluate.disentanglement.model_centrality import centrality
from studio.method import Code, Domain, Method, MethodConfig
from studio.methods import DoubleInfoGAN
from studio.methods.double_infogan import DoubleInfoGANConfig
from studio.schema import NetsConfig

Z, S = 3, 4
SMALL = {"images": 1_600, "levels": 8, "group": 50, "votes": 200}


def orthogonal(size: int, seed: int) -> Tensor:
    return torch.linalg.qr(torch.randn(size, size, generator=torch.Generator().manual_seed(seed)))[
        0
    ]


HADAMARD = (
    torch.tensor([[1.0, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]) / 2
)  # mixes four alike
WORLD = orthogonal(Z + S, 0)  # how the true factors make images, the same for all models


class Linear(Method):
    """Images (1, 1, 7) = WORLD (z, turn s), encoded exactly. `turn` mixes the true factors."""

    def __init__(self, turn: Tensor, side: int = 1) -> None:
        super().__init__(MethodConfig(name="linear", z=Z, s=len(turn)))
        self.turn, self.side = torch.nn.Parameter(turn), side

    def decode(self, code: Code) -> Tensor:
        return (
            (torch.cat([code.z, code.s @ self.turn.T], 1) @ WORLD.T)
            .view(-1, 1, 1, Z + S)
            .repeat(1, 1, self.side, 1)
        )

    def encode(self, images: Tensor) -> Code:
        z, s = (images[:, 0, 0] @ WORLD).split([Z, S], 1)
        return Code(z, s @ self.turn)

    def prior(self, n: int, domain: Domain) -> Code:
        return Code(torch.randn(n, Z), torch.randn(n, S))


class Blind(Linear):
    """Makes images like the others and reads nothing from them."""

    def encode(self, images: Tensor) -> Code:
        code = super().encode(images)
        return Code(code.z, code.s * 1e-3)


def aligned(seed: int) -> Linear:
    rng = np.random.default_rng(seed)
    signs = torch.from_numpy(rng.choice([-1.0, 1.0], S)).float()
    return Linear(torch.eye(S)[:, torch.from_numpy(rng.permutation(S))] * signs).eval()


@pytest.fixture(scope="module")
def models() -> dict[str, Method]:
    return {
        "scrambled": Linear(HADAMARD).eval(),
        "one": aligned(1),
        "two": aligned(2),
        "three": aligned(3),
    }


@pytest.fixture(scope="module")
def result(models: dict[str, Method]) -> dict:
    return centrality(models, **SMALL)


def test_centrality_ignores_order_and_sign(result: dict) -> None:
    directed = np.array(result["directed"])
    assert result["models"] == ["scrambled", "one", "two", "three"]
    assert (directed[1:, 1:] == 1).all()
    assert directed[0, 0] == 1  # its score on its own images does not count
    # To others each of its coordinates is a quarter of every one of theirs, and no vote is better
    # than a guess.
    assert directed[0, 1:] == pytest.approx(1 / S, abs=0.15)
    assert directed[1:, 0] == pytest.approx(1 / S, abs=0.15)
    assert result["winner"] != "scrambled"
    assert (
        min(result["scores"][name] for name in ("one", "two", "three"))
        > result["scores"]["scrambled"] + 0.3
    )


def test_centrality_takes_the_first_of_equals(models: dict[str, Method]) -> None:
    for names in (("one", "two", "three"), ("three", "one", "two")):
        assert centrality({name: models[name] for name in names}, **SMALL)["winner"] == names[0]
    renamed = centrality({"x": models["scrambled"], "y": models["one"]}, **SMALL)["directed"]
    assert (
        renamed == centrality({"a": models["scrambled"], "b": models["one"]}, **SMALL)["directed"]
    )


def test_centrality_scores_are_means_of_the_symmetric_matrix(result: dict) -> None:
    directed, matrix = np.array(result["directed"]), np.array(result["matrix"])
    assert np.array_equal(matrix, (directed + directed.T) / 2)
    for i, name in enumerate(result["models"]):
        assert result["scores"][name] == pytest.approx(np.mean(np.delete(matrix[i], i)))
    assert result["winner"] == max(result["scores"], key=result["scores"].get)
    said = ("images", "levels", "group", "votes_train", "votes_test")
    assert [result[name] for name in said] == [1_600, 8, 50, 200, 200]
    json.dumps(result, allow_nan=False)


def test_centrality_is_chance_for_a_model_without_information(models: dict[str, Method]) -> None:
    blind = centrality({"blind": Blind(torch.eye(S)).eval(), "one": models["one"]}, **SMALL)
    directed = np.array(blind["directed"])
    assert blind["chance"] == {"blind": 1 / S, "one": 1 / S}
    assert directed[:, 0].tolist() == [1 / S, 1 / S]  # dead all over
    assert directed[0, 1] == 1  # its images are like the others'


def test_centrality_depends_on_the_seed_alone(models: dict[str, Method], result: dict) -> None:
    state = torch.get_rng_state(), np.random.get_state()[1].copy()
    assert centrality(models, **SMALL) == result
    assert centrality(models, seed=-7, **SMALL)["directed"] != result["directed"]
    assert torch.equal(torch.get_rng_state(), state[0])
    assert np.array_equal(np.random.get_state()[1], state[1])


def test_centrality_refuses_models_that_cannot_be_compared(models: dict[str, Method]) -> None:
    one = models["one"]
    for given, options, message in (
        ({"one": one}, {}, "at least 2 models, found 1: one"),
        ({}, {}, "found 0: none"),
        (
            {"one": one, "tall": Linear(torch.eye(S), side=2).eval()},
            {},
            r"one \(1, 1, 7\), tall \(1, 2, 7\)",
        ),
        (models, {"levels": 1}, "levels"),
        (models, {"group": 101}, "at least 101 images of each class"),
        (models, {"votes": 2}, "votes"),
        (models, {"images": -1}, "among 0"),
        ({"one": one, "training": Linear(torch.eye(S)).train()}, {}, "training mode"),
    ):
        with pytest.raises(StudioError, match=message):
            centrality(given, **SMALL | options)
    single = DoubleInfoGAN(DoubleInfoGANConfig(z=4, s=1), NetsConfig(width=4), (1, 32, 32)).eval()
    with pytest.raises(StudioError, match="single has a single salient coordinate"):
        centrality({"single": single, "same": single}, **SMALL)


def test_centrality_compares_gans_of_different_code_lengths() -> None:
    torch.manual_seed(0)
    gans = {
        f"s{s}": DoubleInfoGAN(
            DoubleInfoGANConfig(z=4, s=s), NetsConfig(width=4), (1, 32, 32)
        ).eval()
        for s in (2, 5)
    }
    result = centrality(gans, images=160, levels=4, group=10, votes=20)
    assert result["chance"] == {"s2": 0.5, "s5": 0.2}
    assert np.array(result["directed"]).shape == (2, 2)
    json.dumps(result, allow_nan=False)
