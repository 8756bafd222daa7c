"""Features -> statistic -> number: FID, KID, IS, precision and recall, all by torch-fidelity.

Every image goes through an extractor once; torch-fidelity then gets rows of features instead of images, by an extractor
that hands them on. Nothing of its cache is used: that knows an input by its name alone and returns old numbers for new
images. It counts on images made as first and real ones as second input.
"""

from math import isfinite, nan
from typing import Any, NamedTuple

import torch_fidelity
from torch import Tensor
from torch.utils.data import Dataset
from torch_fidelity.feature_extractor_base import FeatureExtractorBase

__all__ = ["KID_SUBSETS", "NEIGHBOURS", "Features", "distance", "kid_subset_size"]

KID_SUBSETS = 20  # whose mean is the score
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
    """What an extractor reads of images: features (N, D), and logits (N, K) where it has any."""

    rows: Tensor
    logits: Tensor | None = None


def kid_subset_size(n: int) -> int:
    """Returns how many of n images a subset of KID has: half of them, so that subsets differ, and at most 1,000."""
    return min(LARGEST_SUBSET, n // 2)


def distance(
    made: Features, real: Features, seed: int, fid: bool = True
) -> dict[str, float | None]:
    """Compares images that were made with real ones.

    Args:
        made: features of at least 10 images.
        real: features of as many, by the same extractor.
        seed: of KID's subsets and the order in which the inception score splits the images.
        fid: whether there are enough images for it; their covariance is singular unless they outnumber the features.

    Returns:
        `fid` (Heusel et al. 2017); `kid` (Binkowski et al. 2018), a mean over 20 subsets, and `kid_error`, their standard
        deviation; `is` (Salimans et al. 2016) of the images made, and `is_error` over ten splits; `precision`, the share of
        images made that lie among the real ones, and `recall`, the share of real ones that lie among those made. What
        cannot be had is None.
    """
    settings: dict[str, Any] = {
        "cuda": False,
        "cache": False,
        "verbose": False,
        "save_cpu_ram": True,
        "rng_seed": seed % 2**32,
    }
    size = kid_subset_size(min(len(made.rows), len(real.rows)))
    found = torch_fidelity.calculate_metrics(
        input1=_Rows(made.rows),
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
    if made.logits is not None:
        found |= torch_fidelity.calculate_metrics(
            input1=_Rows(made.logits),
            feature_extractor=ROWS,
            isc=True,
            isc_splits=SPLITS,
            **settings,
        )
    return {
        name: found[key] if isfinite(found.get(key, nan)) else None for name, key in NUMBERS.items()
    }


class _Rows(Dataset):
    """Rows of features in place of images."""

    def __init__(self, rows: Tensor) -> None:
        self.rows = rows.float().cpu()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Tensor:
        return self.rows[index]


class _HandOn(FeatureExtractorBase):
    """What torch-fidelity takes for an extractor: returns its rows."""

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


torch_fidelity.register_feature_extractor(ROWS, _HandOn)
