"""Contrastive principal component analysis. Abubakar Abid et al. Nature Communications, 2018; as cited in Abid and Zou (2019).

The linear baseline, in closed form: s are the leading eigenvectors of C_target - alpha * C_background, directions in which
the targets vary and the background does not, and z are the principal components of what they leave over in both sets.
All components are orthonormal, so codes are read and images made by the same matrix.

Where the published package leaves something to be wished for: the eigenvectors of a symmetric matrix are real here; a new image
is centred as the fit was, on the mean background image, so that s = 0 is an average background image; the components and
the variances that they explain stay with the method; signs are fixed. Pixels are not standardised, since all have one unit.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from sklearn.utils.extmath import randomized_svd
from torch import Tensor, nn

from studio.data import Dataset
from studio.errors import StudioError
from studio.method import DOMAINS, Code, Domain, Method, MethodConfig, Step
from studio.schema import NetsConfig

__all__ = ["CPCA", "CPCAConfig"]

CHUNK = 1_000  # images read at a time
WIDEST = 2_048  # numbers per image up to which covariances are taken of the images themselves
REDUCED = 1_000  # principal components of both sets that stand for larger images; the published package's limit


class CPCAConfig(MethodConfig):
    """The method's section; `train.images` says how many images, of both sets together, are looked at."""

    train_defaults: ClassVar[Mapping[str, Any]] = {"images": 20_000}

    name: Literal["cpca"] = "cpca"
    z: int = Field(default=16, ge=1)
    s: int = Field(default=16, ge=1)
    alpha: float = Field(default=1.0, ge=0, allow_inf_nan=False)  # 0: plain PCA of the targets


class CPCA(Method):
    """Creates the buffers that `fit` fills: `mean` (F,), `components_s` (F, m), `components_z` (F, n) and variances.

    `variance_s` and `variance_z` are (2, m) and (2, n): each component's variance on background and on target images.

    Args:
        config: the method's section.
        nets: not used.
        shape: of the images.

    Raises:
        StudioError: an image has fewer numbers than the codes together.
    """

    paper = (
        "Abid, Zhang, Bagaria, Zou. "
        "Exploring patterns enriched in a dataset with contrastive principal component analysis. Nature Communications, 2018."
    )
    Config = CPCAConfig
    config: CPCAConfig

    def __init__(self, config: CPCAConfig, nets: NetsConfig, shape: tuple[int, ...]) -> None:
        super().__init__(config)
        self.shape, size = shape, int(np.prod(shape))
        wanted, most = config.z + config.s, min(size, REDUCED)
        if wanted > most:
            raise StudioError(
                f"method.z + method.s: found {wanted} components, expected at most {most} for images of {size} numbers"
            )
        self.mean = nn.Buffer(torch.zeros(size))
        self.target_s = nn.Buffer(torch.zeros(config.s))
        self.components_z, self.components_s = (
            nn.Buffer(torch.eye(size, length)) for length in (config.z, config.s)
        )
        self.variance_z, self.variance_s = (
            nn.Buffer(torch.zeros(2, length)) for length in (config.z, config.s)
        )

    def steps(self) -> tuple[Step, ...]:
        return ()

    def fit(self, dataset: Dataset, images: int) -> None:
        """Finds the components on the first `images` / 2 training images of each domain.

        Raises:
            StudioError: fewer than two images of a domain have no covariance.
        """
        if images < 4:
            raise StudioError(
                f"train.images: found {images}, expected at least 4 (two of each domain) for cpca"
            )
        sets = [_matrix(dataset, domain, images // 2) for domain in DOMAINS]
        mean = sets[0].mean(0)
        basis = _basis(np.concatenate(sets) - mean) if sets[0].shape[1] > WIDEST else None
        reduced = [(rows - mean) if basis is None else (rows - mean) @ basis for rows in sets]
        background, target = (np.cov(rows, rowvar=False) for rows in reduced)
        salient = _leading(target - self.config.alpha * background, self.config.s)
        rest = np.eye(len(salient)) - salient @ salient.T
        common = _leading(
            rest @ np.cov(np.concatenate(reduced), rowvar=False) @ rest, self.config.z
        )
        found = {"mean": mean, "target_s": (reduced[1] @ salient).mean(0)}
        for name, components in (("s", salient), ("z", common)):
            found[f"components_{name}"] = components if basis is None else basis @ components
            found[f"variance_{name}"] = np.stack([(rows @ components).var(0) for rows in reduced])
        with torch.no_grad():
            for name, value in found.items():
                getattr(self, name).copy_(torch.from_numpy(value))

    def encode(self, images: Tensor) -> Code:
        centred = images.flatten(1) - self.mean
        return Code(centred @ self.components_z, centred @ self.components_s)

    def decode(self, code: Code) -> Tensor:
        flat = self.mean + code.z @ self.components_z.T + code.s @ self.components_s.T
        return flat.view(-1, *self.shape).clamp(-1, 1)

    def prior(self, n: int, domain: Domain) -> Code:
        """Draws codes from Gaussians with the sets' own means and variances."""
        row = DOMAINS.index(domain)
        z = torch.randn(n, self.config.z, device=self.device) * self.variance_z[row].sqrt()
        if domain == "background":
            return Code(z, self.blank(n))
        return Code(
            z,
            self.target_s
            + torch.randn(n, self.config.s, device=self.device) * self.variance_s[row].sqrt(),
        )

    def blank(self, n: int) -> Tensor:
        return torch.zeros(n, self.config.s, device=self.device)


def _matrix(dataset: Dataset, domain: Domain, images: int) -> np.ndarray:
    """Returns the first training images of a domain as rows, (n, F) float64."""
    indices = np.arange(min(images, dataset.size("train", domain)))
    chunks = [
        dataset.images("train", domain, indices[i : i + CHUNK]).flatten(1).numpy()
        for i in range(0, len(indices), CHUNK)
    ]
    return np.concatenate(chunks).astype(np.float64)


def _basis(rows: np.ndarray) -> np.ndarray:
    """Returns the leading principal directions of centred rows, (F, k)."""
    k = min(REDUCED, *rows.shape)
    return randomized_svd(rows, k, random_state=0)[2].T


def _leading(matrix: np.ndarray, k: int) -> np.ndarray:
    """Returns the k eigenvectors of a symmetric matrix with the largest eigenvalues as columns, largest entry positive."""
    vectors = np.linalg.eigh(matrix)[1][:, ::-1][:, :k]
    return vectors * np.sign(vectors[np.abs(vectors).argmax(0), np.arange(k)])
