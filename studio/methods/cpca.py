"""Contrastive principal component analysis (Abid et al. 2018), the linear baseline.

The method has a closed-form solution, which we take from Abid and Zou (2019). The salient
components are the leading eigenvectors of C_target - alpha * C_background: directions in which the
targets vary and the background does not. The common components are the principal components of the
remaining variation in both sets. All components are orthonormal, so that one matrix encodes and
decodes.

Differences from the published package:

* The eigenvectors of a symmetric matrix are real.
* New images are centred on the mean background image, as the training images are. Therefore s = 0
  is an average background image.
* The components and the variances that they explain are stored with the method.
* The signs of the components are fixed.
* Pixels are not standardised, because all have one unit.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from studio.data import Dataset
from studio.data.training_set import TrainingSet
from studio.errors import StudioError
from studio.limits import Most
from studio.method import DOMAINS, Code, Domain, Method, MethodConfig, Step
from studio.schema import NetsConfig

__all__ = ["CPCA", "CPCAConfig"]

# Images that are read at a time.
CHUNK = 1_000
# Covariances of images with more numbers than this are computed in a reduced basis.
WIDEST = 2_048
# Principal components of both sets in the reduced basis, the limit of the published package.
REDUCED = 1_000


class CPCAConfig(MethodConfig):
    """The section of contrastive PCA, which is fitted to the first `train.images` images."""

    train_defaults: ClassVar[Mapping[str, Any]] = {"images": 20_000}

    name: Literal["cpca"] = "cpca"
    """Name of the method."""
    z: int = Field(default=16, ge=1, le=Most.CHANNELS)
    """Number of common components.

    Unit: components.
    """
    s: int = Field(default=16, ge=1, le=Most.CHANNELS)
    """Number of salient components.

    Unit: components.
    """
    alpha: float = Field(default=1.0, ge=0, le=Most.WEIGHT, allow_inf_nan=False)
    """Weight of the background's covariance. 0: PCA of the target images.

    Unit: none.
    """


class CPCA(Method):
    """Creates the buffers that `fit` fills, for images of F numbers.

    Args:
        config: the `method` section of the config.
        nets: not used.
        shape: of one image.

    Attributes:
        mean: the mean background image, (F,).
        target_s: the mean salient code of target images, (m,).
        components_z: the common components, (F, n).
        components_s: the salient components, (F, m).
        variance_z: variance of each common component on background and on target images, (2, n).
        variance_s: variance of each salient component on background and on target images, (2, m).

    Raises:
        StudioError: an image has fewer numbers than both codes together.
    """

    paper = (
        "Abubakar Abid, Martin J. Zhang, Vivek K. Bagaria, James Zou. Exploring patterns enriched "
        "in a dataset with contrastive principal component analysis. Nature Communications, 2018."
    )
    Config = CPCAConfig
    config: CPCAConfig

    def __init__(self, config: CPCAConfig, nets: NetsConfig, shape: tuple[int, ...]) -> None:
        super().__init__(config)
        self.shape, size = shape, int(np.prod(shape))
        wanted, most = config.z + config.s, min(size, REDUCED)
        if wanted > most:
            raise StudioError(
                f"method.z + method.s: found {wanted} components, expected at most {most} for "
                f"images of {size} numbers"
            )
        self.mean = nn.Buffer(torch.zeros(size))
        self.target_s = nn.Buffer(torch.zeros(config.s))
        self.components_z = nn.Buffer(torch.eye(size, config.z))
        self.components_s = nn.Buffer(torch.eye(size, config.s))
        self.variance_z = nn.Buffer(torch.zeros(2, config.z))
        self.variance_s = nn.Buffer(torch.zeros(2, config.s))

    def steps(self) -> tuple[Step, ...]:
        return ()

    def fit(self, dataset: Dataset, images: int) -> None:
        """Computes the components from the first `images` / 2 training images of each domain.

        Raises:
            StudioError: there are fewer than two images of a domain, which have no covariance.
        """
        if images < 4:
            raise StudioError(
                f"train.images: found {images}, expected at least 4 (two of each domain) for cpca"
            )
        training = TrainingSet(dataset)
        sets = [_read_rows(training, domain, images // 2) for domain in DOMAINS]
        mean = sets[0].mean(0)
        basis = _principal_directions(np.concatenate(sets) - mean) if len(mean) > WIDEST else None
        reduced = [(rows - mean) if basis is None else (rows - mean) @ basis for rows in sets]
        background, target = (np.cov(rows, rowvar=False) for rows in reduced)
        salient = _leading_eigenvectors(target - self.config.alpha * background, self.config.s)
        rest = np.eye(len(salient)) - salient @ salient.T
        both = np.cov(np.concatenate(reduced), rowvar=False)
        common = _leading_eigenvectors(rest @ both @ rest, self.config.z)
        solution = [
            (self.mean, mean),
            (self.target_s, (reduced[1] @ salient).mean(0)),
            (self.components_z, common if basis is None else basis @ common),
            (self.components_s, salient if basis is None else basis @ salient),
            (self.variance_z, np.stack([(rows @ common).var(0) for rows in reduced])),
            (self.variance_s, np.stack([(rows @ salient).var(0) for rows in reduced])),
        ]
        with torch.no_grad():
            for buffer, value in solution:
                buffer.copy_(torch.from_numpy(value))

    def encode(self, images: Tensor) -> Code:
        centred = images.flatten(1) - self.mean
        return Code(centred @ self.components_z, centred @ self.components_s)

    def decode(self, code: Code) -> Tensor:
        flat = self.mean + code.z @ self.components_z.T + code.s @ self.components_s.T
        return flat.view(-1, *self.shape).clamp(-1, 1)

    def prior(self, n: int, domain: Domain) -> Code:
        """Draws codes from Gaussians with the means and variances of the domain's codes."""
        row = DOMAINS.index(domain)
        z = torch.randn(n, self.config.z, device=self.device) * self.variance_z[row].sqrt()
        if domain == "background":
            return Code(z, self.blank(n))
        noise = torch.randn(n, self.config.s, device=self.device)
        return Code(z, self.target_s + noise * self.variance_s[row].sqrt())

    def blank(self, n: int) -> Tensor:
        return torch.zeros(n, self.config.s, device=self.device)


def _read_rows(training: TrainingSet, domain: Domain, images: int) -> np.ndarray:
    """Returns the first images of a domain's training set as rows, (n, F) float64."""
    rows = np.arange(min(images, training.size(domain)))
    chunks = [
        training.images(domain, rows[i : i + CHUNK]).flatten(1).numpy()
        for i in range(0, len(rows), CHUNK)
    ]
    return np.concatenate(chunks).astype(np.float64)


def _principal_directions(rows: np.ndarray) -> np.ndarray:
    """Returns the leading principal directions of centred rows, (F, k)."""
    k = min(REDUCED, *rows.shape)
    from sklearn.utils.extmath import randomized_svd  # takes a second that others need not

    return randomized_svd(rows, k, random_state=0)[2].T


def _leading_eigenvectors(matrix: np.ndarray, k: int) -> np.ndarray:
    """Returns the eigenvectors of a symmetric matrix with the k largest eigenvalues as columns.

    The largest entry of each vector is positive.
    """
    vectors = np.linalg.eigh(matrix)[1][:, ::-1][:, :k]
    return vectors * np.sign(vectors[np.abs(vectors).argmax(0), np.arange(k)])
