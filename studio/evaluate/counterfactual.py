"""What would this image be without its salient content? Healed images, transplants and maps, checked against the truth.

Some data sets know where the salient content of a target image is (`MaskedDataset`: BraTS), some even what the image would
look like without it, or with another's (`CounterfactualDataset`: `brain_phantom`). For a target image y with code (z, s),

    reconstruction = decode(z, s),    healed = decode(z, blank),    map = |reconstruction - healed|,

and a transplant is decode(z of a background image a, s of a target image b). Errors are mean absolute differences of
images in [-1, 1], a mean per image first, so that a large tumour counts as a small one.

Four axioms need no truth. Composition, reversibility and effectiveness: Monteiro, De Sousa Ribeiro, Pawlowski, Castro,
Glocker, "Measuring axiomatic soundness of counterfactual image models" (ICLR 2023); they take L1 distances and a classifier
as the judge, as is done here. Minimality (a counterfactual changes no more than it must) is measured elsewhere in the latent
space of a model; here the masks say what must change.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from studio.data import Dataset
from studio.data.dataset import CounterfactualDataset, MaskedDataset, Split
from studio.evaluate.judge import Oracle, train_oracle
from studio.method import Code, Method
from studio.sampling import blank, decode, encode, reconstruct, salient_map

__all__ = ["best_threshold", "counterfactual", "dice"]

LIMIT = 1_000  # images of each kind; the standard error of a mean is then about a thirtieth of the images' spread
PIXELS = 1 << 24  # at most this many are scored together: 1,000 images of 128 px
CHUNK = 250  # images in memory at a time
THRESHOLDS = 100
WINDOW = 11  # pixels of the SSIM's Gaussian: Wang et al. (2004)

RATIOS = {
    "error_inside": "unhealed",
    "error_outside": "reconstructed",
    "transplant_error_inside": "untouched",
    "transplant_error_outside": "reconstructed",
}
Columns = dict[str, Tensor]  # name -> (n,), a value per image


def counterfactual(
    method: Method, dataset: Dataset, seed: int = 0, limit: int = LIMIT
) -> dict[str, Any] | None:
    """Measures what a method's healed images, transplants and maps are worth, on test images.

    Args:
        method: in eval mode.
        dataset: any; see Returns.
        seed: of the oracle.
        limit: images of each kind; fewer where images are large. Images whose mask is empty are left out.

    Returns:
        None where the data set has no masks. Else:
        `dice`, the mean Dice coefficient of thresholded maps and masks, `dice_error`, its standard error, and `threshold`,
        the one that has the highest mean Dice on training images; `auroc`, of the map's pixels, all images together;
        `error_outside`, of healed images outside the mask, where the image itself (the true healthy one, if known) is
        what they should be, `error_outside_reconstructed`, that of plain reconstructions, and `error_outside_ratio`, the
        first over the second;
        `composition`, the error of plain reconstructions, to which nothing has been done; `reversibility`, the error of
        healed images that are encoded again and given back their salient codes; `effectiveness`, the share of healed images
        that an oracle (`studio.evaluate.judge`) takes for background images, `effectiveness_background`, the same share of
        reconstructed background images, which is what a perfect method could reach with this decoder,
        `effectiveness_reconstructed`, the same share of reconstructed target images, to which nothing has been done, and
        `oracle_auc`, of the oracle on test images; `minimality`, which share of all that healing changes (the map's
        sum) is inside the mask, and `mask_share`, what that would be if the change were spread evenly;
        `n`, the number of images.

        With the truth also `error_inside`, of healed images inside the mask, `error_inside_unhealed`, that of the images as
        they are, `error_inside_reconstructed`, and `error_inside_ratio`, healed over unhealed; `ssim_inside` and
        `ssim_outside` with the same companions, means of the SSIM's map; and `transplant_error_inside`,
        `transplant_error_inside_untouched` (of the background image as it is), `transplant_error_inside_ratio`,
        `transplant_error_outside`, `transplant_error_outside_reconstructed` (of the background image's reconstruction),
        `transplant_error_outside_ratio`.

        A ratio over 0 is None. Where it cannot be measured, there are only `n` (0) and a `note`.

    Raises:
        StudioError: the method is in training mode.
    """
    if not isinstance(dataset, MaskedDataset):
        return None
    limit = max(1, min(limit, PIXELS // int(np.prod(dataset.shape[-2:]))))
    train, test = (_marked(dataset, split, limit) for split in ("train", "test"))
    background = np.arange(min(limit, dataset.size("test", "background")))
    if not len(train) or not len(test) or not len(background):
        return {
            "n": 0,
            "note": "not measured: a split has no background images, or no target images with anything marked",
        }
    known, known_masks = _maps(method, dataset, "train", train)
    maps, masks = _maps(method, dataset, "test", test)
    if not (known.isfinite().all() and maps.isfinite().all()):
        return {"n": 0, "note": "not measured: decoded images hold NaN or infinity"}
    threshold = best_threshold(known, known_masks)
    overlap, oracle = dice(maps > threshold, masks), train_oracle(dataset, method.device, seed)
    columns = _together(_healed(method, dataset, rows, oracle) for rows in _chunks(test))
    columns |= _together(_background(method, dataset, rows, oracle) for rows in _chunks(background))
    if isinstance(dataset, CounterfactualDataset):
        pairs = min(len(test), len(background))
        both = zip(_chunks(background[:pairs]), _chunks(test[:pairs]), strict=True)
        columns |= _together(_transplanted(method, dataset, *rows) for rows in both)
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
        "oracle_auc": oracle.auc(dataset, limit),
        "minimality": _quotient(float((maps * masks).double().sum()), float(maps.double().sum())),
        "mask_share": float(masks.double().mean()),
        "n": len(test),
    }


def dice(found: Tensor, masks: Tensor) -> Tensor:
    """Returns the Dice coefficient of each pair of masks (B, H, W): 2 |A and B| / (|A| + |B|), 1 where both are empty."""
    shared, sizes = (found & masks).sum((1, 2)), found.sum((1, 2)) + masks.sum((1, 2))
    return torch.where(sizes > 0, 2 * shared / sizes.clamp(min=1), 1.0)


def best_threshold(maps: Tensor, masks: Tensor) -> float:
    """Returns the threshold above which maps (B, H, W) have the highest mean Dice with masks.

    Candidates are quantiles of the maps, dense at the top, since salient content is small.
    """
    quantiles = 1 - np.logspace(-4, 0, THRESHOLDS)
    candidates = np.unique(np.quantile(maps.numpy(), quantiles))
    return float(max(candidates, key=lambda threshold: dice(maps > threshold, masks).mean()))


def _mean(values: Tensor) -> float | None:
    """Returns the mean of what is known, or None where nothing is, such as outside masks that cover all of every image."""
    mean = float(values.nanmean())
    return None if np.isnan(mean) else mean


def _quotient(a: float | None, b: float | None) -> float | None:
    return None if a is None or not b else a / b


def _marked(dataset: Any, split: Split, limit: int) -> np.ndarray:  # noqa: ANN401
    """Returns which of the first target images have anything in their mask."""
    rows = np.arange(min(limit, dataset.size(split, "target")))
    found = [dataset.masks(split, chunk).flatten(1).any(1).numpy() for chunk in _chunks(rows)]
    return rows[np.concatenate([np.empty(0, bool), *found])]


def _chunks(rows: np.ndarray) -> Iterator[np.ndarray]:
    return (rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK))


def _together(parts: Iterable[Columns]) -> Columns:
    found = list(parts)
    return {name: torch.cat([part[name] for part in found]) for name in (found[0] if found else ())}


def _decoded(method: Method, code: Code) -> tuple[Tensor, Tensor]:
    """Returns what codes are decoded to as they are, and with blank salient codes."""
    return decode(method, code), decode(method, Code(code.z, blank(method, len(code.z))))


def _maps(method: Method, dataset: Any, split: Split, rows: np.ndarray) -> tuple[Tensor, Tensor]:  # noqa: ANN401
    """Returns the maps and masks of target images, (n, H, W) both."""
    maps = [
        salient_map(*_decoded(method, encode(method, dataset.images(split, "target", chunk))))
        for chunk in _chunks(rows)
    ]
    return torch.cat(maps), torch.cat([dataset.masks(split, chunk) for chunk in _chunks(rows)])


def _healed(method: Method, dataset: Any, rows: np.ndarray, oracle: Oracle) -> Columns:  # noqa: ANN401
    """Compares healed target images with what they should be."""
    images, masks = dataset.images("test", "target", rows), dataset.masks("test", rows)
    code = encode(method, images)
    rebuilt, healed = _decoded(method, code)
    restored = decode(method, Code(encode(method, healed).z, code.s))
    truth = dataset.healthy("test", rows) if isinstance(dataset, CounterfactualDataset) else None
    wanted = images if truth is None else truth
    columns = {
        "error_outside": _within(~masks, (healed - wanted).abs()),
        "error_outside_reconstructed": _within(~masks, (rebuilt - wanted).abs()),
        "composition": (rebuilt - images).abs().flatten(1).mean(1),
        "reversibility": (restored - images).abs().flatten(1).mean(1),
        "effectiveness": (oracle(healed) < 0).float(),
        "effectiveness_reconstructed": (oracle(rebuilt) < 0).float(),
    }
    if truth is None:
        return columns
    for suffix, made in {"": healed, "_unhealed": images, "_reconstructed": rebuilt}.items():
        likeness = _ssim(made, truth)
        columns[f"error_inside{suffix}"] = _within(masks, (made - truth).abs())
        columns[f"ssim_inside{suffix}"], columns[f"ssim_outside{suffix}"] = (
            _within(masks, likeness),
            _within(~masks, likeness),
        )
    return columns


def _background(method: Method, dataset: Dataset, rows: np.ndarray, oracle: Oracle) -> Columns:
    rebuilt = reconstruct(method, dataset.images("test", "background", rows), "background")
    return {"effectiveness_background": (oracle(rebuilt) < 0).float()}


def _transplanted(method: Method, dataset: Any, a_rows: np.ndarray, b_rows: np.ndarray) -> Columns:  # noqa: ANN401
    """Compares background images with the salient codes of target images with what they should be."""
    a, b = dataset.images("test", "background", a_rows), dataset.images("test", "target", b_rows)
    truth, masks = dataset.transplant("test", a_rows, b_rows)
    code = encode(method, a)
    made, rebuilt = (
        decode(method, Code(code.z, encode(method, b).s)),
        reconstruct(method, a, "background"),
    )
    return {
        "transplant_error_inside": _within(masks, (made - truth).abs()),
        "transplant_error_inside_untouched": _within(masks, (a - truth).abs()),
        "transplant_error_outside": _within(~masks, (made - truth).abs()),
        "transplant_error_outside_reconstructed": _within(~masks, (rebuilt - truth).abs()),
    }


def _within(masks: Tensor, values: Tensor) -> Tensor:
    """Returns the mean of values (B, C, H, W) in each image's mask (B, H, W); NaN where that is empty."""
    return torch.where(masks, values.mean(1), 0).flatten(1).sum(1) / masks.flatten(1).sum(1)


def _ssim(a: Tensor, b: Tensor) -> Tensor:
    """Returns the map of the structural similarity of images in [-1, 1], (B, C, H, W)."""
    from kornia.metrics import ssim  # some seconds to import, which other data sets do without

    return ssim((a + 1) / 2, (b + 1) / 2, WINDOW, max_val=1.0)
