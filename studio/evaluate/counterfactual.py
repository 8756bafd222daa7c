"""Counterfactuals: healed images, transplants and maps, compared with the truth where it is known.

Some data sets know where the salient content of a target image is (`MaskedDataset`: BraTS). Some
also know the image without it, or with that of another image (`CounterfactualDataset`:
`brain_phantom`). For a target image y with code (z, s),

    reconstruction = decode(z, s),    healed = decode(z, blank),    map = |reconstruction - healed|,

and a transplant is decode(z of a background image a, s of a target image b). Errors are mean
absolute differences of images in [-1, 1]. They are averaged per image first, so that a large tumour
counts as much as a small one.

Four axioms need no truth. Composition, reversibility and effectiveness are those of Monteiro, De
Sousa Ribeiro, Pawlowski, Castro, Glocker, "Measuring axiomatic soundness of counterfactual image
models" (ICLR 2023). As there, distances are L1 and a classifier judges the effectiveness.
Minimality (a counterfactual changes no more than it must) is elsewhere measured in the latent space
of a model. Here the masks mark the region that must change.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from studio.data import Dataset
from studio.data.dataset import CounterfactualDataset, MaskedDataset, Split
from studio.evaluate.judge import Judge, train_judge
from studio.method import Code, Method
from studio.sampling import blank, decode, encode, reconstruct, salient_map

__all__ = ["best_threshold", "counterfactual", "dice"]

# Images of each kind. The standard error of a mean is then about a thirtieth of the images' spread.
LIMIT = 1_000
PIXELS = 1 << 24  # scored together at most: 1,000 images of 128 px, 512 volumes of 32 voxels
CHUNK = 250  # images in memory at a time
THRESHOLDS = 100
WINDOW = 11  # pixels of the SSIM's Gaussian: Wang et al. (2004)

# Ratio -> suffix of the error in its denominator.
RATIOS = {
    "error_inside": "unhealed",
    "error_outside": "reconstructed",
    "transplant_error_inside": "untouched",
    "transplant_error_outside": "reconstructed",
}
Columns = dict[str, Tensor]  # name -> (n,), a value per image
MapsAndMasks = tuple[Tensor, Tensor]  # (n, *space) each


class ImageSource(Protocol):
    """The images of a `Dataset`."""

    def size(self, split: Split, domain: str) -> int:
        """Returns the number of images of a domain in a split."""
        ...

    def images(self, split: Split, domain: str, indices: Sequence[int] | np.ndarray) -> Tensor:
        """Returns images (len(indices), C, H, W) in [-1, 1]."""
        ...


class MaskedImages(ImageSource, MaskedDataset, Protocol):
    """A `Dataset` that knows masks."""


class CounterfactualImages(ImageSource, CounterfactualDataset, Protocol):
    """A `Dataset` that knows counterfactuals."""


def counterfactual(
    method: Method, dataset: Dataset, seed: int = 0, limit: int = LIMIT
) -> dict[str, Any] | None:
    """Measures the healed images, transplants and maps of a method on test images.

    Args:
        method: in eval mode.
        dataset: any data set. See Returns.
        seed: of the judge.
        limit: images of each kind, fewer if images are large. Images with an empty mask are left
            out.

    Returns:
        None if the data set has no masks. Otherwise a dict with these keys. A ratio over 0 is None.
        If nothing can be measured, the only keys are `n` (0) and `note`.

        Maps:

        - `dice`: mean Dice coefficient of thresholded maps and masks. `dice_error`: its standard
          error.
        - `threshold`: the one with the highest mean Dice on training images.
        - `auroc`: of the pixels of all maps together.

        Healed images:

        - `error_outside`: their error outside the mask, compared with the true healthy image if it
          is known and with the image itself otherwise.
        - `error_outside_reconstructed`: that of plain reconstructions.
        - `error_outside_ratio`: the first divided by the second.

        Axioms:

        - `composition`: error of plain reconstructions.
        - `reversibility`: error of healed images that are encoded again and decoded with their
          original salient codes.
        - `effectiveness`: share of healed images that a judge (`studio.evaluate.judge`) classifies
          as background.
        - `effectiveness_background`: this share of reconstructed background images, which is the
          best possible value with this decoder.
        - `effectiveness_reconstructed`: this share of plain reconstructions of target images.
        - `oracle_auc`: AUC of the judge on test images.
        - `minimality`: share of the change by healing (the sum of the map) that lies inside the
          mask.
        - `mask_share`: value of `minimality` for an evenly spread change.
        - `n`: number of images.

        Only if the true counterfactuals are known:

        - `dice_attainable`: `dice` of |reconstruction - reconstruction of the true healthy image|,
          which is the map of a method that heals perfectly with the same decoder.
        - `error_inside`: error of healed images inside the mask.
        - `error_inside_unhealed`: that of the original images.
        - `error_inside_reconstructed`: that of plain reconstructions.
        - `error_inside_ratio`: healed divided by unhealed.
        - `ssim_inside` and `ssim_outside`: means of the SSIM map, with the same suffixes.
        - `transplant_error_inside` and `transplant_error_outside`: errors of transplants.
        - `transplant_error_inside_untouched`: error of the original background image.
        - `transplant_error_outside_reconstructed`: error of the reconstructed background image.
        - `transplant_error_inside_ratio` and `transplant_error_outside_ratio`: the errors of
          transplants divided by these two.

    Raises:
        StudioError: the method is in training mode.
    """
    if not isinstance(dataset, MaskedDataset):
        return None
    limit = max(1, min(limit, PIXELS // int(np.prod(dataset.shape[1:]))))
    train, test = (_find_marked(dataset, split, limit) for split in ("train", "test"))
    background = np.arange(min(limit, dataset.size("test", "background")))
    if not len(train) or not len(test) or not len(background):
        return {
            "n": 0,
            "note": "not measured: a split has no background images, or no target images with a "
            "nonempty mask",
        }
    known, known_masks = _maps(method, dataset, "train", train)
    maps, masks = _maps(method, dataset, "test", test)
    if not (known.isfinite().all() and maps.isfinite().all()):
        return {"n": 0, "note": "not measured: decoded images are NaN or infinite"}
    overlap, threshold = _overlap((known, known_masks), (maps, masks))
    judge = train_judge(dataset, method.device, seed)
    columns = _concatenate(_measure_healed(method, dataset, rows, judge) for rows in _chunks(test))
    columns |= _concatenate(
        _measure_background(method, dataset, rows, judge) for rows in _chunks(background)
    )
    if isinstance(dataset, CounterfactualDataset):
        pairs = min(len(test), len(background))
        both = zip(_chunks(background[:pairs]), _chunks(test[:pairs]), strict=True)
        columns |= _concatenate(_measure_transplants(method, dataset, *rows) for rows in both)
        columns["dice_attainable"], _ = _overlap(
            (_true_maps(method, dataset, "train", train), known_masks),
            (_true_maps(method, dataset, "test", test), masks),
        )
    means = {name: _mean(column) for name, column in columns.items()}
    return {
        "dice": float(overlap.mean()),
        "dice_error": float(overlap.std(correction=0) / len(overlap) ** 0.5),
        "threshold": threshold,
        "auroc": float(roc_auc_score(masks.flatten().numpy(), maps.flatten().numpy())),
        **means,
        **{
            f"{name}_ratio": _quotient(means[name], means[f"{name}_{than}"])
            for name, than in RATIOS.items()
            if name in means
        },
        "oracle_auc": judge.auc(dataset, limit),
        "minimality": _quotient(float((maps * masks).double().sum()), float(maps.double().sum())),
        "mask_share": float(masks.double().mean()),
        "n": len(test),
    }


def dice(found: Tensor, masks: Tensor) -> Tensor:
    """Returns the Dice coefficient 2 |A and B| / (|A| + |B|) of each pair of masks (B, *space).

    It is 1 if both masks are empty.
    """
    found, masks = found.flatten(1), masks.flatten(1)
    shared, sizes = (found & masks).sum(1), found.sum(1) + masks.sum(1)
    return torch.where(sizes > 0, 2 * shared / sizes.clamp(min=1), 1.0)


def best_threshold(maps: Tensor, masks: Tensor) -> float:
    """Returns the threshold of maps (B, *space) that has the highest mean Dice with the masks.

    Candidates are quantiles of the maps, dense at the top, because salient content is small.
    """
    quantiles = 1 - np.logspace(-4, 0, THRESHOLDS)
    candidates = np.unique(np.quantile(maps.numpy(), quantiles))
    return float(max(candidates, key=lambda threshold: dice(maps > threshold, masks).mean()))


def _overlap(train: MapsAndMasks, test: MapsAndMasks) -> tuple[Tensor, float]:
    """Returns the Dice of each test image, and the threshold that training images chose."""
    threshold = best_threshold(*train)
    return dice(test[0] > threshold, test[1]), threshold


def _mean(values: Tensor) -> float | None:
    """Returns the mean of the values that are not NaN, or None if all are NaN.

    All are NaN outside of masks that cover every image completely.
    """
    mean = float(values.nanmean())
    return None if np.isnan(mean) else mean


def _quotient(a: float | None, b: float | None) -> float | None:
    return None if a is None or not b else a / b


def _find_marked(dataset: MaskedImages, split: Split, limit: int) -> np.ndarray:
    """Returns the indices of those of the first target images whose mask is not empty."""
    rows = np.arange(min(limit, dataset.size(split, "target")))
    found = [dataset.masks(split, chunk).flatten(1).any(1).numpy() for chunk in _chunks(rows)]
    return rows[np.concatenate([np.empty(0, bool), *found])]


def _chunks(rows: np.ndarray) -> Iterator[np.ndarray]:
    return (rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK))


def _concatenate(parts: Iterable[Columns]) -> Columns:
    columns = list(parts)
    names = columns[0] if columns else ()
    return {name: torch.cat([part[name] for part in columns]) for name in names}


def _decode_with_blank(method: Method, code: Code) -> tuple[Tensor, Tensor]:
    """Returns the images of codes, and the images with blank salient codes."""
    return decode(method, code), decode(method, Code(code.z, blank(method, len(code.z))))


def _maps(
    method: Method, dataset: MaskedImages, split: Split, rows: np.ndarray
) -> tuple[Tensor, Tensor]:
    """Returns the maps and masks of target images, (n, *space) both."""
    maps = [
        salient_map(
            *_decode_with_blank(method, encode(method, dataset.images(split, "target", chunk)))
        )
        for chunk in _chunks(rows)
    ]
    return torch.cat(maps), torch.cat([dataset.masks(split, chunk) for chunk in _chunks(rows)])


def _true_maps(
    method: Method, dataset: CounterfactualImages, split: Split, rows: np.ndarray
) -> Tensor:
    """Returns the maps if healing turned each reconstruction into that of the healthy image."""
    maps = [
        salient_map(
            reconstruct(method, dataset.images(split, "target", chunk), "target"),
            reconstruct(method, dataset.healthy(split, chunk), "background"),
        )
        for chunk in _chunks(rows)
    ]
    return torch.cat(maps)


def _measure_healed(
    method: Method, dataset: MaskedImages, rows: np.ndarray, judge: Judge
) -> Columns:
    """Compares healed target images with the truth, or with themselves outside the masks."""
    images, masks = dataset.images("test", "target", rows), dataset.masks("test", rows)
    code = encode(method, images)
    rebuilt, healed = _decode_with_blank(method, code)
    restored = decode(method, Code(encode(method, healed).z, code.s))
    truth = dataset.healthy("test", rows) if isinstance(dataset, CounterfactualDataset) else None
    wanted = images if truth is None else truth
    columns = {
        "error_outside": _within(~masks, (healed - wanted).abs()),
        "error_outside_reconstructed": _within(~masks, (rebuilt - wanted).abs()),
        "composition": (rebuilt - images).abs().flatten(1).mean(1),
        "reversibility": (restored - images).abs().flatten(1).mean(1),
        "effectiveness": (judge(healed) < 0).float(),
        "effectiveness_reconstructed": (judge(rebuilt) < 0).float(),
    }
    if truth is None:
        return columns
    for suffix, image in {"": healed, "_unhealed": images, "_reconstructed": rebuilt}.items():
        likeness = _ssim(image, truth)
        columns[f"error_inside{suffix}"] = _within(masks, (image - truth).abs())
        columns[f"ssim_inside{suffix}"] = _within(masks, likeness)
        columns[f"ssim_outside{suffix}"] = _within(~masks, likeness)
    return columns


def _measure_background(
    method: Method, dataset: Dataset, rows: np.ndarray, judge: Judge
) -> Columns:
    rebuilt = reconstruct(method, dataset.images("test", "background", rows), "background")
    return {"effectiveness_background": (judge(rebuilt) < 0).float()}


def _measure_transplants(
    method: Method, dataset: CounterfactualImages, a_rows: np.ndarray, b_rows: np.ndarray
) -> Columns:
    """Compares decoded transplants with the true ones."""
    a, b = dataset.images("test", "background", a_rows), dataset.images("test", "target", b_rows)
    truth, masks = dataset.transplant("test", a_rows, b_rows)
    code = encode(method, a)
    transplant, rebuilt = (
        decode(method, Code(code.z, encode(method, b).s)),
        reconstruct(method, a, "background"),
    )
    return {
        "transplant_error_inside": _within(masks, (transplant - truth).abs()),
        "transplant_error_inside_untouched": _within(masks, (a - truth).abs()),
        "transplant_error_outside": _within(~masks, (transplant - truth).abs()),
        "transplant_error_outside_reconstructed": _within(~masks, (rebuilt - truth).abs()),
    }


def _within(masks: Tensor, values: Tensor) -> Tensor:
    """Returns the mean of values (B, C, *space) in the mask (B, *space) of each image.

    It is NaN for an empty mask.
    """
    return torch.where(masks, values.mean(1), 0).flatten(1).sum(1) / masks.flatten(1).sum(1)


def _ssim(a: Tensor, b: Tensor) -> Tensor:
    """Returns the map of the structural similarity of images in [-1, 1], (B, C, *space)."""
    from kornia.metrics import ssim, ssim3d  # take seconds to import, and few data sets need them

    measure = ssim3d if a.ndim == 5 else ssim
    return measure((a + 1) / 2, (b + 1) / 2, WINDOW, max_val=1.0)
