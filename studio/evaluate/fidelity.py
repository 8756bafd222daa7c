"""FID, KID, IS, precision and recall of features, computed by torch-fidelity.

Every image passes through an extractor once. torch-fidelity then receives rows of features instead
of images, and an extractor that returns them unchanged. Its cache is not used, because it
identifies an input by its name alone and would return old numbers for new images. The first input
must be the generated images, the second the real ones.
"""

from math import isfinite, nan
from typing import Any, NamedTuple

import torch_fidelity
from torch import Tensor
from torch.utils.data import Dataset
from torch_fidelity.feature_extractor_base import FeatureExtractorBase

__all__ = ["KID_SUBSETS", "NEIGHBOURS", "Features", "compare_features", "kid_subset_size"]

KID_SUBSETS = 20  # The score is the mean over these subsets
LARGEST_SUBSET = 1_000  # as torch-fidelity and Binkowski et al. (2018)
NEIGHBOURS = 3  # of precision and recall (Kynkäänniemi et al. 2019)
SPLITS = 10  # of the inception score
LAYER, ROWS = "row", "studio-rows"
NUMBERS = {
    "fid": torch_fidelity.KEY_METRIC_FID,
    "kid": torch_fidelity.KEY_METRIC_KID_MEAN,
    "kid_error": torch_fidelity.KEY_METRIC_KID_STD,
    "is": torch_fidelity.KEY_METRIC_ISC_MEAN,
    "is_error": torch_fidelity.KEY_METRIC_ISC_STD,
    "precision": torch_fidelity.KEY_METRIC_PRECISION,
    "recall": torch_fidelity.KEY_METRIC_RECALL,
}


class Features(NamedTuple):
    """The output of an extractor: features (N, D), and logits (N, K) if it has any."""

    rows: Tensor
    logits: Tensor | None = None


def kid_subset_size(n: int) -> int:
    """Returns the size of a KID subset of n images.

    It is half of n, so that subsets differ, and at most 1,000.
    """
    return min(LARGEST_SUBSET, n // 2)


def compare_features(
    generated: Features, real: Features, seed: int, fid: bool = True
) -> dict[str, float | None]:
    """Compares generated images with real ones.

    Args:
        generated: features of at least 10 images.
        real: features of the same number of images by the same extractor.
        seed: of the KID subsets and the order in which the inception score splits the images.
        fid: whether to compute FID. The covariance is singular unless the images outnumber the
            features.

    Returns:
        a dict. A value that cannot be computed is None.

        - `fid` (Heusel et al. 2017).
        - `kid` (Binkowski et al. 2018): mean over 20 subsets. `kid_error`: their standard
          deviation.
        - `is` (Salimans et al. 2016): of the generated images. `is_error`: its standard deviation
          over ten splits.
        - `precision`: share of generated images that lie among the real ones. `recall`: share of
          real images that lie among the generated ones.
    """
    settings: dict[str, Any] = {
        "cuda": False,
        "cache": False,
        "verbose": False,
        "save_cpu_ram": True,
        "rng_seed": seed % 2**32,
    }
    size = kid_subset_size(min(len(generated.rows), len(real.rows)))
    found = torch_fidelity.calculate_metrics(
        input1=_Rows(generated.rows),
        input2=_Rows(real.rows),
        feature_extractor=ROWS,
        fid=fid,
        kid=True,
        prc=True,
        kid_subsets=KID_SUBSETS,
        kid_subset_size=size,
        prc_neighborhood=NEIGHBOURS,
        **settings,
    )
    if generated.logits is not None:
        found |= torch_fidelity.calculate_metrics(
            input1=_Rows(generated.logits),
            feature_extractor=ROWS,
            isc=True,
            isc_splits=SPLITS,
            **settings,
        )
    return {
        name: found[key] if isfinite(found.get(key, nan)) else None for name, key in NUMBERS.items()
    }


class _Rows(Dataset):
    """Rows of features as a data set for torch-fidelity."""

    def __init__(self, rows: Tensor) -> None:
        self.rows = rows.float().cpu()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Tensor:
        return self.rows[index]


class _Identity(FeatureExtractorBase):
    """An extractor for torch-fidelity that returns its rows unchanged."""

    def __init__(self, name: str, features_list: list[str], **_: object) -> None:
        super().__init__(name, features_list)

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        return (LAYER,)

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        return LAYER

    @staticmethod
    def can_be_compiled() -> bool:
        return False

    def forward(self, rows: Tensor) -> tuple[Tensor]:
        return (rows,)


torch_fidelity.register_feature_extractor(ROWS, _Identity)
