"""Scores of a run: how far what it makes is from real images.

Half of the test images of each set go into the model, the other half is what its output is compared with, in equal
numbers. So no image is ever compared with itself, and the floor of a score, which is what the first half scores itself, is
what a perfect model would reach. The halves are drawn at random: images of one subject may be in both.

A score is kept in `RUN/score.json` under a hash of the very pixels it was computed from, real and made, and of everything
else that decides it. Another model, data set, seed or extractor has other pixels or another hash, so that an old number is
never returned for them.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
from studio.errors import StudioError, warn
from studio.evaluate.extractors import Extractor, extract, open_extractor
from studio.evaluate.fidelity import (
    KID_SUBSETS,
    NEIGHBOURS,
    Features,
    distance,
    kid_subset_size,
)
from studio.method import DOMAINS, Code, Domain, Method
from studio.pixels import quantise
from studio.runs import checkpoint
from studio.runs.run import Run
from studio.seeds import seed_of

__all__ = ["GROUPS", "read_scores", "score", "whole"]

VERSION = 1  # of everything here that decides a number
MOST, FEWEST = 2_000, 10  # images of each set, by default and at least
CHUNK = 250  # images made at a time
WINDOW = "[-1, 1] to 0..255"
# What is made, and the set of real images against which it is scored.
GROUPS: dict[str, Domain] = {
    "background samples": "background",
    "target samples": "target",
    "background reconstructions": "background",
    "target reconstructions": "target",
    "healed targets": "background",
    "swaps": "target",
}
SHARED = ("fid", "kid", "is", "precision", "recall")
Tell = Callable[[str], object]


def score(
    folder: Path,
    features: str = "domain",
    weights: Path | None = None,
    numbers: list[int] | None = None,
    n: int | None = None,
    seed: int = 0,
    ema: bool = True,
    tell: Tell = lambda line: None,
) -> list[dict[str, Any]]:
    """Scores checkpoints of a run, and keeps the scores in `RUN/score.json`.

    Args:
        folder: the run's directory.
        features: the extractor, see `studio.evaluate.extractors`.
        weights: its file of weights, where it is not the usual one.
        numbers: of the checkpoints, that is images seen; the newest whole one when None.
        n: images of each set to compare; 2,000 when None, or twice the extractor's features where that is more, or half of
            the smaller test set where that is less.
        seed: of the halves, the new images and everything else that is drawn.
        ema: score the averaged weights rather than the last ones.
        tell: called with a line on what is going on.

    Returns:
        one object per checkpoint as `studio score --json` prints it.

    Raises:
        StudioError: not a run, no checkpoint, no such extractor, or too few images.
    """
    opened = Run.open(folder, numbers[0] if numbers else None, ema)
    dataset = opened.data
    if len(dataset.shape) != 3:
        raise StudioError(
            f"{folder}: scores are of images (channels, height, width), these are {tuple(dataset.shape)}"
        )
    half = min(dataset.size("test", domain) for domain in DOMAINS) // 2
    _enough(dataset, n, half)
    extractor = open_extractor(features, weights, dataset, folder / "score", opened.method.device)
    width = extractor.width(dataset.shape)
    n = n or min(half, max(MOST, 2 * width))
    settings = _settings(extractor, dataset, width, n, seed, ema)
    reals: dict[Domain, _Real] = {
        d: _Real(dataset, d, n, seed, extractor, settings["fid_possible"]) for d in DOMAINS
    }
    kept = (
        {row.get("key"): row for entry in read_scores(folder) for row in entry["rows"]}
        if extractor.reusable
        else {}
    )
    entries = []
    for number in numbers or [opened.images_seen]:
        run = opened if number == opened.images_seen else Run.open(folder, number, ema)
        rows = []
        for group in GROUPS:
            tell(f"checkpoint {number:,}: {group}, {n:,} images by {extractor.name}")
            rows.append(_row(group, run.method, reals, settings, kept))
        entries.append(
            {"run": str(folder), **_described(run), **_shown(settings, extractor), "rows": rows}
        )
        _merge(folder, entries[-1])
    return entries


def read_scores(folder: Path) -> list[dict[str, Any]]:
    """Returns what is in a run's `score.json`, one object per checkpoint and extractor, by extractor and images seen.

    Raises:
        StudioError: the file is not what the studio wrote.
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
            f"{path}: not scores that `studio score` wrote ({error}); delete it and score again"
        ) from None


def whole(folder: Path) -> list[int]:
    """Returns the numbers of a run's whole checkpoints; damaged ones are passed over with a warning.

    Raises:
        StudioError: there is none.
    """
    checkpoint.newest(folder)  # says what is wrong where all are damaged
    numbers = []
    for there in checkpoint.every(folder):
        try:
            there.verify()
        except StudioError as error:
            warn(f"{error}; passed over")
        else:
            numbers.append(there.images_seen)
    return numbers


def _enough(dataset: Dataset, n: int | None, half: int) -> None:
    sizes = " and ".join(f"{dataset.size('test', domain):,} {domain}" for domain in DOMAINS)
    if half < FEWEST:
        raise StudioError(
            f"{dataset.config.name}: {sizes} test images are too few to score; expected at least {2 * FEWEST} each"
        )
    if n is not None and not FEWEST <= n <= half:
        raise StudioError(
            f"--n {n}: expected {FEWEST} to {half}; of {sizes} test images one half goes into the model and the other is what "
            "its images are compared with"
        )


def _settings(
    extractor: Extractor, dataset: Dataset, width: int, n: int, seed: int, ema: bool
) -> dict[str, Any]:
    """Returns everything but the pixels that decides a score."""
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
class _Real:
    """The real images of a set: `inputs` go into the model, `reference` is what its images are compared with."""

    dataset: Dataset
    domain: Domain
    n: int
    seed: int
    extractor: Extractor
    fid: bool

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
        """Yields images (B, C, H, W) in [-1, 1], some at a time."""
        for chunk in _chunks(indices):
            yield self.dataset.images("test", self.domain, chunk)

    def pixels(self, indices: np.ndarray) -> Tensor:
        """Returns images as they are scored, uint8."""
        return torch.cat(
            [_quantise_group(part, f"{self.domain} test images") for part in self.images(indices)]
        )

    @cached_property
    def sha256(self) -> str:
        return _sha256(self.pixels(self.inputs)) + _sha256(self.pixels(self.reference))

    @cached_property
    def features(self) -> Features:
        return extract(self.extractor, self.pixels(self.reference), self.domain)

    @cached_property
    def floor(self) -> dict[str, float | None]:
        """What one half of the real images scores against the other."""
        half = extract(self.extractor, self.pixels(self.inputs), self.domain)
        return distance(half, self.features, self.seed, self.fid)


def _row(
    group: str,
    method: Method,
    reals: dict[Domain, _Real],
    settings: dict[str, Any],
    kept: dict[str, dict[str, Any]],
) -> dict[str, Any]:
    """Scores one group of images against a set of real ones, or takes what is known of just these pixels."""
    domain = GROUPS[group]
    made, real = torch.cat([*_made(group, method, reals, settings["seed"])]), reals[domain]
    key = hashlib.sha256(
        repr((group, sorted(settings.items()), _sha256(made), real.sha256)).encode()
    ).hexdigest()
    if key in kept:
        return kept[key]
    n, seed, fid = settings["n"], settings["seed"], settings["fid_possible"]
    found = distance(extract(real.extractor, made, domain), real.features, seed, fid)
    floors = {"floor" if name == "fid" else f"floor_{name}": real.floor[name] for name in SHARED}
    return {"group": group, "against": domain, **found, **floors, "n": n, "key": key}


def _made(group: str, method: Method, reals: dict[Domain, _Real], seed: int) -> Iterator[Tensor]:
    """Yields the images of a group as they are scored, some at a time."""
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
        yield _quantise_group(part, group)


def _chunks(indices: np.ndarray) -> list[np.ndarray]:
    return np.split(indices, range(CHUNK, len(indices), CHUNK))


def _quantise_group(images: Tensor, what: str) -> Tensor:
    try:
        return quantise(images)
    except StudioError as error:
        raise StudioError(f"{what}: {error}") from None


def _sha256(images: Tensor) -> str:
    return hashlib.sha256(
        repr(tuple(images.shape)).encode() + images.contiguous().numpy().tobytes()
    ).hexdigest()


def _described(run: Run) -> dict[str, Any]:
    about = run.describe()
    return {"method": about["method"], "dataset": about["dataset"], "checkpoint": run.images_seen}


def _shown(settings: dict[str, Any], extractor: Extractor) -> dict[str, Any]:
    """Returns what is said of a score beside its rows."""
    notes = []
    if not settings["fid_possible"]:
        notes.append(
            f"no FID: it needs more images than the extractor has features ({settings['features']:,}), since their covariance "
            f"is singular otherwise; n is {settings['n']:,}. KID has no such bound"
        )
    return {**settings, "about": extractor.about, "notes": notes}


def _merge(folder: Path, entry: dict[str, Any]) -> None:
    """Puts an entry into `score.json` in the place of that of the same checkpoint, extractor and kind of weights."""
    same = ("checkpoint", "extractor", "averaged")
    others = [old for old in read_scores(folder) if any(old[name] != entry[name] for name in same)]
    together = {**entry, "scores": [*others, entry]}
    write_json(folder / "score.json", together)
