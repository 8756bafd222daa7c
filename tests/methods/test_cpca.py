"""Contrastive PCA on a data set with one common and one salient direction."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch import Tensor

from studio.config import resolve
from studio.data import DataConfig, Dataset
from studio.errors import StudioError
from studio.method import Code
from studio.methods import cpca
from studio.methods.cpca import CPCA

SIDE = 8


class Planted(Dataset):
    """Both sets vary strongly along one direction. Only targets vary, weakly, along another."""

    def __init__(self) -> None:
        super().__init__(DataConfig(name="planted"))
        self.shape = (1, SIDE, SIDE)
        self.attributes = {}
        rng = np.random.default_rng(0)
        self.shared, self.own = np.linalg.qr(rng.normal(size=(SIDE * SIDE, 2)))[0].T
        self.rows = {}
        for domain in ("background", "target"):
            noise = rng.normal(size=(500, SIDE * SIDE)) * 0.01
            rows = 0.1 + noise + 0.5 * rng.normal(size=(500, 1)) * self.shared
            self.rows[domain] = (
                rows + (domain == "target") * 0.2 * rng.normal(size=(500, 1)) * self.own
            )

    def size(self, split: str, domain: str) -> int:
        return 500

    def labels(self, split: str, domain: str) -> dict:
        return {}

    def images(self, split: str, domain: str, indices: np.ndarray) -> Tensor:
        return (
            torch.from_numpy(self.rows[domain][np.asarray(indices)]).float().view(-1, 1, SIDE, SIDE)
        )


def fitted(**options: object) -> tuple[CPCA, Planted]:
    raw = {"data": {"name": "digits"}, "method": {"name": "cpca", "z": 2, "s": 1, **options}}
    config, data = resolve(raw, "t", "t"), Planted()
    method = CPCA(config.method, config.nets, data.shape)
    method.fit(data, 1000)
    return method.eval(), data


def along(component: Tensor, direction: np.ndarray) -> float:
    return abs(float(component.double().numpy() @ direction))


def test_cpca_finds_the_salient_and_the_common_direction() -> None:
    method, data = fitted()
    assert along(method.components_s[:, 0], data.own) > 0.99
    assert along(method.components_z[:, 0], data.shared) > 0.99
    assert method.variance_s[1, 0] > 50 * method.variance_s[0, 0]
    images = data.images("train", "target", range(500))
    code = method.encode(images)
    torch.testing.assert_close(
        code.s.var(0, correction=0), method.variance_s[1], rtol=1e-3, atol=1e-6
    )
    assert (method.decode(code) - images).abs().mean() < 0.012
    assert (method.decode(Code(code.z, method.blank(500))) - images).abs().mean() > 0.012


def test_cpca_is_pca_of_the_targets_for_alpha_zero() -> None:
    method, data = fitted(alpha=0.0)
    assert along(method.components_s[:, 0], data.shared) > 0.99
    expected = PCA(1).fit(data.rows["target"]).components_[0]
    assert along(method.components_s[:, 0], expected) > 0.9999


def test_cpca_components_are_orthonormal_with_fixed_signs() -> None:
    method, _ = fitted(z=3, s=2)
    both = torch.cat([method.components_z, method.components_s], 1)
    torch.testing.assert_close(both.T @ both, torch.eye(5), rtol=0, atol=1e-4)
    again, _ = fitted(z=3, s=2)
    assert torch.equal(again.components_s, method.components_s)
    for column in both.T:
        assert column[column.abs().argmax()] > 0


def test_encode_centres_images_on_the_mean_background() -> None:
    method, data = fitted()
    mean = data.rows["background"].mean(0)
    torch.testing.assert_close(method.mean, torch.from_numpy(mean).float())
    code = method.encode(torch.from_numpy(mean).float().view(1, 1, SIDE, SIDE))
    assert code.z.abs().max() < 1e-5
    assert code.s.abs().max() < 1e-5


def test_fit_gives_the_same_components_in_the_reduced_basis(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    narrow, _ = fitted()
    monkeypatch.setattr(cpca, "WIDEST", 10)
    wide, data = fitted()
    assert along(wide.components_s[:, 0], narrow.components_s[:, 0].double().numpy()) > 0.999
    assert along(wide.components_z[:, 0], data.shared) > 0.99


def test_cpca_refuses_more_components_than_numbers() -> None:
    with pytest.raises(
        StudioError, match=r"found 80 components, expected at most 64 for images of 64 numbers"
    ):
        fitted(z=70, s=10)


def test_fit_refuses_a_single_image_per_domain() -> None:
    config = resolve(
        {"data": {"name": "digits"}, "method": {"name": "cpca", "z": 2, "s": 1}}, "t", "t"
    )
    with pytest.raises(StudioError, match=r"train.images: found 2, expected at least 4"):
        CPCA(config.method, config.nets, (1, SIDE, SIDE)).fit(Planted(), 2)
