"""Scores of a run: the distance between its generated images and real ones.

Half of the test images of each domain are fed to the model. Its outputs are compared with the other
half, with equal numbers of images. No image is therefore compared with itself. The floor of a score
is the score of the first half itself, the best that a model could reach. The halves are drawn at
random, so images of one subject may be in both.

A score is stored in `RUN/score.json` under a hash of the pixels that it was computed from, real and
generated, and of all settings that it depends on. A stored score is reused only if this hash is the
same, and never for another model, data set, seed or extractor.

Of volumes the middle plane is scored, because the nets read pictures. The name of the extractor
states which one.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch_fidelity
from torch import Tensor

from studio import sampling
from studio.atomic import write_json
from studio.data import Dataset
from studio.errors import StudioError, reason_of, warn
from studio.evaluate.extractors import Extractor, extract, open_extractor
from studio.evaluate.fidelity import (
    KID_SUBSETS,
    NEIGHBOURS,
    Features,
    compare_features,
    kid_subset_size,
)
from studio.evaluate.plane_view import PlaneView, view_plane
from studio.method import DOMAINS, Code, Domain, Method
from studio.pixels import quantise
from studio.runs import checkpoint
from studio.runs.run import Run
from studio.seeds import seed_of

__all__ = ["GROUPS", "RealImages", "intact_checkpoints", "read_scores", "score"]

VERSION = 1  # of this file. To be raised when a change alters the numbers
MOST, FEWEST = 2_000, 10  # images of each domain, by default and at least
CHUNK = 250  # images generated at a time
WINDOW = "[-1, 1] to 0..255"
# Group of generated images -> domain of the real images that it is compared with.
GROUPS: dict[str, Domain] = {
    "background samples": "background",
    "target samples": "target",
    "background reconstructions": "background",
    "target reconstructions": "target",
    "healed targets": "background",
    "swaps": "target",
}
SHARED = ("fid", "kid", "is", "precision", "recall")
Log = Callable[[str], object]


def score(
    folder: Path,
    features: str = "domain",
    weights: Path | None = None,
    numbers: list[int] | None = None,
    n: int | None = None,
    seed: int = 0,
    ema: bool = True,
    log: Log = lambda line: None,
    data_root: Path | None = None,
    plane: str | None = None,
) -> list[dict[str, Any]]:
    """Scores checkpoints of a run, and stores the scores in `RUN/score.json`.

    Args:
        folder: the run's directory.
        features: name of the extractor, see `studio.evaluate.extractors`.
        weights: file of its weights. None takes the usual file.
        numbers: images seen by the checkpoints to score. None scores the newest intact one.
        n: images of each domain to compare. The default is 2,000, or twice the number of features
            if that is more, but at most half of the smaller test set.
        seed: of the halves, the generated images and all other random draws.
        ema: score the averaged weights instead of the last ones.
        log: receives progress messages.
        data_root: folder of the data, if it is not that of the run's config.
        plane: of volumes, whose middle plane is scored: axial (default), coronal or sagittal.

    Returns:
        one object per checkpoint, as `studio score --json` prints it.

    Raises:
        StudioError: the folder is no run or has no checkpoint, the extractor is unknown, or there
            are too few images.
    """
    opened = Run.open(folder, numbers[0] if numbers else None, ema, data_root=data_root)
    dataset = opened.data
    try:
        view = view_plane(dataset, plane)
    except StudioError as error:
        raise StudioError(f"{folder}: {error}") from None
    half = min(dataset.size("test", domain) for domain in DOMAINS) // 2
    _check_counts(dataset, n, half)
    extractor = _open_extractor(features, weights, view or dataset, folder, opened.method.device)
    width = extractor.width((view or dataset).shape)
    n = n or min(half, max(MOST, 2 * width))
    settings = _settings(extractor, dataset, width, n, seed, ema)
    reals: dict[Domain, RealImages] = {
        d: RealImages(dataset, d, n, seed, extractor, settings["fid_possible"], view)
        for d in DOMAINS
    }
    stored = (
        {row.get("key"): row for entry in read_scores(folder) for row in entry["rows"]}
        if extractor.reusable
        else {}
    )
    entries = []
    for number in numbers or [opened.images_seen]:
        run = opened if number == opened.images_seen else Run.open(folder, number, ema)
        rows = []
        for group in GROUPS:
            log(f"checkpoint {number:,}: {group}, {n:,} images by {extractor.name}")
            rows.append(_row(group, run.method, reals, settings, stored))
        entries.append(
            {
                "run": str(folder),
                **_describe(run),
                "data_sha256": opened.data_sha256,
                **_state_settings(settings, extractor),
                "rows": rows,
            }
        )
        _merge(folder, entries[-1])
    return entries


def read_scores(folder: Path) -> list[dict[str, Any]]:
    """Returns the objects of a run's `score.json`, sorted by extractor and images seen.

    Each object belongs to one checkpoint and one extractor.

    Raises:
        StudioError: the file was not written by `studio score`.
    """
    path = folder / "score.json"
    if not path.exists():
        return []
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["scores"]
        return sorted(
            entries,
            key=lambda entry: (
                entry["extractor"],
                entry["averaged"],
                entry["checkpoint"],
                len(entry["rows"]),
            ),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StudioError(
            f"{path}: expected scores written by `studio score` ({reason_of(error)}); delete the "
            "file and score again"
        ) from None


def intact_checkpoints(folder: Path) -> list[int]:
    """Returns the numbers of a run's intact checkpoints. Warns about damaged ones.

    Raises:
        StudioError: the run has no intact checkpoint.
    """
    checkpoint.newest(folder)  # raises an error if all are damaged
    numbers = []
    for there in checkpoint.every(folder):
        try:
            there.verify()
        except StudioError as error:
            warn(f"{error}; skipped")
        else:
            numbers.append(there.images_seen)
    return numbers


def _open_extractor(
    name: str, weights: Path | None, dataset: Dataset, folder: Path, device: torch.device
) -> Extractor:
    """Opens an extractor. Its name and its way of resizing state the plane of volumes."""
    if not isinstance(dataset, PlaneView):
        return open_extractor(name, weights, dataset, folder / "score", device)
    plane = dataset.name.split()[0]
    found = open_extractor(name, weights, dataset, folder / "score" / plane, device)
    resize = f"{dataset.name}, then {found.resize}" if found.resize != "none" else dataset.name
    return replace(found, name=f"{found.name}, {plane}", resize=resize)


def _check_counts(dataset: Dataset, n: int | None, half: int) -> None:
    sizes = " and ".join(f"{dataset.size('test', domain):,} {domain}" for domain in DOMAINS)
    if half < FEWEST:
        raise StudioError(
            f"{dataset.config.name}: {sizes} test images are too few to score; "
            f"expected at least {2 * FEWEST} of each domain"
        )
    if n is not None and not FEWEST <= n <= half:
        raise StudioError(
            f"--n {n}: expected {FEWEST} to {half}, because of {sizes} test images one half is "
            "fed to the model and the other half is compared with its images"
        )


def _settings(
    extractor: Extractor, dataset: Dataset, width: int, n: int, seed: int, ema: bool
) -> dict[str, Any]:
    """Returns everything that a score depends on, except for the pixels."""
    return {
        "version": VERSION,
        "torch_fidelity": torch_fidelity.__version__,
        "extractor": extractor.name,
        "weights_sha256": extractor.sha256,
        "features": width,
        "resize": extractor.resize,
        "window": WINDOW,
        "seed": seed,
        "n": n,
        "split": "test",
        "averaged": ema,
        "kid_subsets": KID_SUBSETS,
        "kid_subset_size": kid_subset_size(n),
        "neighbours": NEIGHBOURS,
        "fid_possible": n > width,
    }


@dataclass
class RealImages:
    """The real test images of a domain, split into two halves.

    The model receives `inputs`. Its images are compared with `reference`.
    """

    dataset: Dataset
    domain: Domain
    n: int
    seed: int
    extractor: Extractor
    fid: bool
    view: PlaneView | None = None

    @cached_property
    def _order(self) -> np.ndarray:
        size = self.dataset.size("test", self.domain)
        return np.random.default_rng(seed_of("score", self.seed, self.domain)).permutation(size)

    @property
    def inputs(self) -> np.ndarray:
        return self._order[: self.n]

    @property
    def reference(self) -> np.ndarray:
        return self._order[self.n : 2 * self.n]

    def images(self, indices: np.ndarray) -> Iterator[Tensor]:
        """Yields images (B, C, H, W) in [-1, 1] in chunks."""
        for chunk in _chunks(indices):
            yield self.dataset.images("test", self.domain, chunk)

    def pixels(self, indices: np.ndarray) -> Tensor:
        """Returns images as they are scored, uint8."""
        return torch.cat(
            [
                _quantise_group(part, f"{self.domain} test images", self.view, generated=False)
                for part in self.images(indices)
            ]
        )

    @cached_property
    def sha256(self) -> str:
        return _sha256(self.pixels(self.inputs)) + _sha256(self.pixels(self.reference))

    @cached_property
    def features(self) -> Features:
        return extract(self.extractor, self.pixels(self.reference), self.domain)

    @cached_property
    def floor(self) -> dict[str, float | None]:
        """The scores of one half of the real images against the other."""
        half = extract(self.extractor, self.pixels(self.inputs), self.domain)
        return compare_features(half, self.features, self.seed, self.fid)


def _row(
    group: str,
    method: Method,
    reals: dict[Domain, RealImages],
    settings: dict[str, Any],
    stored: dict[str, dict[str, Any]],
) -> dict[str, Any]:
    """Scores a group of generated images, or returns the stored score of the same pixels."""
    domain = GROUPS[group]
    generated, real = torch.cat([*_generate(group, method, reals, settings["seed"])]), reals[domain]
    key = hashlib.sha256(
        repr((group, sorted(settings.items()), _sha256(generated), real.sha256)).encode()
    ).hexdigest()
    if key in stored:
        return stored[key]
    n, seed, fid = settings["n"], settings["seed"], settings["fid_possible"]
    features = extract(real.extractor, generated, domain)
    found = compare_features(features, real.features, seed, fid)
    floors = {"floor" if name == "fid" else f"floor_{name}": real.floor[name] for name in SHARED}
    return {"group": group, "against": domain, **found, **floors, "n": n, "key": key}


def _generate(
    group: str, method: Method, reals: dict[Domain, RealImages], seed: int
) -> Iterator[Tensor]:
    """Yields the images of a group in chunks, as they are scored."""
    background, target = (reals[domain] for domain in DOMAINS)
    if group.endswith("samples"):
        domain = GROUPS[group]
        code = sampling.prior(method, target.n, domain, seed_of("score", seed, domain, "samples"))
        parts = (
            sampling.decode(method, Code(z, s))
            for z, s in zip(*(part.split(CHUNK) for part in code), strict=True)
        )
    elif group.endswith("reconstructions"):
        domain = GROUPS[group]
        parts = (
            sampling.reconstruct(method, part, domain)
            for part in reals[domain].images(reals[domain].inputs)
        )
    elif group == "healed targets":
        parts = (sampling.heal(method, part) for part in target.images(target.inputs))
    else:
        pairs = zip(background.images(background.inputs), target.images(target.inputs), strict=True)
        parts = (sampling.swap(method, x, y) for x, y in pairs)
    for part in parts:
        yield _quantise_group(part, group, target.view)


def _chunks(indices: np.ndarray) -> list[np.ndarray]:
    return np.split(indices, range(CHUNK, len(indices), CHUNK))


def _quantise_group(
    images: Tensor, what: str, view: PlaneView | None, generated: bool = True
) -> Tensor:
    """Returns images, or a plane of volumes, as they are scored."""
    try:
        return quantise(images if view is None else view.cut(images), generated)
    except StudioError as error:
        raise StudioError(f"{what}: {error}") from None


def _sha256(images: Tensor) -> str:
    return hashlib.sha256(
        repr(tuple(images.shape)).encode() + images.contiguous().numpy().tobytes()
    ).hexdigest()


def _describe(run: Run) -> dict[str, Any]:
    about = run.describe()
    return {"method": about["method"], "dataset": about["dataset"], "checkpoint": run.images_seen}


def _state_settings(settings: dict[str, Any], extractor: Extractor) -> dict[str, Any]:
    """Returns the settings and notes that are stored with the rows of a score."""
    notes = []
    if not settings["fid_possible"]:
        notes.append(
            f"no FID, because with n = {settings['n']:,} images and {settings['features']:,} "
            "features the covariance of the features is singular. KID has no such limit"
        )
    return {**settings, "about": extractor.about, "notes": notes}


def _merge(folder: Path, entry: dict[str, Any]) -> None:
    """Adds an entry to `score.json`. It replaces that of the same checkpoint, extractor and
    weights."""
    same = ("checkpoint", "extractor", "averaged")
    others = [old for old in read_scores(folder) if any(old[name] != entry[name] for name in same)]
    together = {**entry, "scores": [*others, entry]}
    write_json(folder / "score.json", together)
