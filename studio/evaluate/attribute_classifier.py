"""The extractor `--features domain`: a small classifier of the data set's attributes.

With it, scoring needs no download. The classifier is trained on training images to predict the
domain and every attribute: categories as classes, numbers in standard deviations from their mean.
The 64 outputs before its last layer are the features. They are standardised on training images, so
that a difference of 1 is one standard deviation of real images. The classifier is stored with the
run, with its hash and its accuracy on test images.
"""

import hashlib
import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from sklearn.metrics import balanced_accuracy_score, r2_score
from torch import Tensor, nn
from torch.nn.functional import (
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
    cross_entropy,
    interpolate,
    mse_loss,
    relu,
)

from studio.atomic import write_file, write_json
from studio.data import Dataset
from studio.data.dataset import Split, is_known
from studio.errors import StudioError, reason_of, warn
from studio.evaluate.fit_classifier import fit_classifier
from studio.method import DOMAINS
from studio.pixels import quantise
from studio.seeds import seed_of

__all__ = [
    "IMAGES",
    "SIDE",
    "TARGET_HEAD",
    "TESTED",
    "AttributeClassifier",
    "StoredClassifier",
    "heads_of",
    "open_classifier",
    "rate_classifier",
    "read_classifier",
    "sample_images",
    "train_classifier",
]

VERSION = 1  # of this file. To be raised when a change alters the trained weights
SIDE = 64  # pixels. Larger images are scaled down, smaller ones are not scaled
SIDE_OF_VOLUMES = 32  # voxels. Larger volumes are scaled down, smaller ones are not scaled
FEATURES, WIDTH, STEPS, BATCH, RATE = 64, 16, 300, 128, 1e-3
BATCH_OF_VOLUMES = 32
NUMBERS = 1 << 25  # in the sampled images of a domain at most: 1,024 volumes
IMAGES = 4_000  # training images per domain
TESTED = 2_000  # test images per domain
CHUNK = 500
LOADED = 64  # volumes that are read together
TARGET_HEAD = "target"  # name of the head that classifies the domain


class AttributeClassifier(nn.Module):
    """Creates four convolutions of stride 2, a linear layer to 64 features, and linear heads.

    The convolutions have 16, 32, 64 and 64 channels.

    Args:
        channels: of the images.
        heads: attribute -> number of classes, or 0 for a number.
        axes: 2 for images, 3 for volumes.
    """

    def __init__(self, channels: int, heads: dict[str, int], axes: int = 2) -> None:
        super().__init__()
        widths = (channels, WIDTH, 2 * WIDTH, 4 * WIDTH, 4 * WIDTH)
        self.stages = nn.Sequential(
            *(_stage(before, after, axes) for before, after in pairwise(widths))
        )
        self.features = nn.Linear(4 * WIDTH * 2**axes, FEATURES)
        self.heads = nn.ModuleList(
            nn.Linear(FEATURES, max(1, classes)) for classes in heads.values()
        )
        self.names, self.channels = tuple(heads), channels
        self.mean = nn.Buffer(torch.zeros(FEATURES))
        self.deviation = nn.Buffer(torch.ones(FEATURES))

    def forward(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Maps images to features and outputs.

        Args:
            images: (B, C, H, W) or (B, C, D, H, W), uint8.

        Returns:
            standardised features (B, 64), and attribute -> outputs (B, classes or 1).
        """
        pool = adaptive_avg_pool3d if images.ndim == 5 else adaptive_avg_pool2d
        features = self.features(pool(self.stages(_shrink(images) / 127.5 - 1), 2).flatten(1))
        heads = {
            name: head(relu(features)) for name, head in zip(self.names, self.heads, strict=True)
        }
        return (features - self.mean) / self.deviation, heads

    @torch.no_grad()
    def read(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """As `forward`, without gradients, in chunks. The results are on the CPU."""
        parts = [self(part.to(self.mean.device)) for part in images.split(CHUNK)]
        heads = {
            name: torch.cat([outputs[name] for _, outputs in parts]).cpu() for name in self.names
        }
        return torch.cat([features for features, _ in parts]).cpu(), heads


def _shrink(images: Tensor) -> Tensor:
    """Returns images of any type as floats of at most 64 x 64 pixels or 32 x 32 x 32 voxels."""
    if images.ndim == 5:
        large = max(images.shape[-3:]) > SIDE_OF_VOLUMES
        return adaptive_avg_pool3d(images.float(), SIDE_OF_VOLUMES) if large else images.float()
    if max(images.shape[-2:]) <= SIDE:
        return images.float()
    return interpolate(images.float(), (SIDE, SIDE), mode="bilinear", antialias=True)


def _stage(before: int, after: int, axes: int) -> nn.Sequential:
    convolution, norm = (nn.Conv3d, nn.BatchNorm3d) if axes == 3 else (nn.Conv2d, nn.BatchNorm2d)
    return nn.Sequential(convolution(before, after, 3, 2, 1, bias=False), norm(after), nn.ReLU())


class StoredClassifier(NamedTuple):
    """A classifier that is stored with a run.

    Attributes:
        net: in eval mode.
        sha256: of its file.
        manifest: the content of its JSON file: `heads`, `accuracy` and more.
    """

    net: AttributeClassifier
    sha256: str
    manifest: dict[str, Any]


class _Sample(NamedTuple):
    """Images of both domains with their labels.

    Attributes:
        images: (2N, C, *space), uint8.
        values: attribute -> (2N,), -1 or NaN where unknown.
    """

    images: Tensor
    values: dict[str, np.ndarray]

    def sha256(self) -> str:
        digest = hashlib.sha256(self.images.numpy().tobytes())
        for name, values in sorted(self.values.items()):
            digest.update(name.encode() + np.ascontiguousarray(values).tobytes())
        return digest.hexdigest()


def open_classifier(dataset: Dataset, folder: Path, device: torch.device) -> StoredClassifier:
    """Opens the classifier of a folder, or trains it if the folder has none for these images.

    Args:
        dataset: with the attributes that it predicts.
        folder: of `domain.safetensors` and `domain.json`.
        device: where to put it.

    Raises:
        StudioError: the folder cannot be written.
    """
    training = sample_images(dataset, "train", IMAGES)
    key = hashlib.sha256(
        repr((VERSION, sorted(heads_of(dataset).items()), training.sha256())).encode()
    ).hexdigest()
    test = sample_images(dataset, "test", TESTED)
    path = folder / "domain.safetensors"
    if path.exists():
        try:
            kept = read_classifier(path, device)
        except StudioError as error:
            warn(f"{error}; it is trained again")
        else:
            tested = kept.manifest.get("tested_sha256")
            if kept.manifest.get("key") == key and tested in (None, test.sha256()):
                return kept
    net = train_classifier(training.images, training.values, heads_of(dataset), device)
    accuracy = [*rate_classifier(net, dataset, test, training.values)]
    content = save({name: value.cpu().contiguous() for name, value in net.state_dict().items()})
    sha256 = hashlib.sha256(content).hexdigest()
    manifest = {
        "version": VERSION,
        "key": key,
        "sha256": sha256,
        "channels": net.channels,
        "heads": heads_of(dataset),
        "n_train": len(training.images),
        "seed": 0,
        "tested_sha256": test.sha256(),
        "accuracy": accuracy,
    }
    write_file(path, lambda partial: partial.write_bytes(content))
    write_file(path.with_suffix(".json"), lambda partial: write_json(partial, manifest))
    return StoredClassifier(net, sha256, manifest)


def read_classifier(path: Path, device: torch.device) -> StoredClassifier:
    """Reads a classifier and its manifest.

    Two runs can be compared if both are scored with the classifier of one of them.

    Raises:
        StudioError: one of the two files is missing or damaged, or they do not belong together.
    """
    manifest_path = path.with_suffix(".json")
    try:
        manifest = json.loads(manifest_path.read_text(encoding="utf-8"))
        expected, heads, channels = (
            manifest["sha256"],
            dict(manifest["heads"]),
            int(manifest["channels"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StudioError(
            f"{manifest_path}: not the manifest of a classifier that `studio score` wrote "
            f"({reason_of(error)})"
        ) from None
    try:
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        if sha256 != expected:
            raise StudioError(
                f"{path}: damaged: sha256 expected {expected[:12]}..., found {sha256[:12]}"
            )
        net = AttributeClassifier(channels, heads)
        net.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise StudioError(
            f"{path}: not a classifier that `studio score` wrote ({reason_of(error)})"
        ) from None
    return StoredClassifier(net.to(device).eval().requires_grad_(False), sha256, manifest)


def train_classifier(
    images: Tensor, values: dict[str, np.ndarray], heads: dict[str, int], device: torch.device
) -> AttributeClassifier:
    """Trains a classifier, always with the same seed. The global random state is not changed.

    Args:
        images: (2N, C, *space), uint8. Half of each batch is drawn from either domain.
        values: attribute -> (2N,), with the domain as `target`.
        heads: attribute -> number of classes, or 0 for a number.
        device: where to train it.
    """
    goals = {name: _to_goal(values[name], classes) for name, classes in heads.items()}
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed_of("domain classifier", 0))
        net = AttributeClassifier(images.shape[1], heads, images.ndim - 2).to(device).train()
    order = torch.Generator().manual_seed(seed_of("domain classifier's order", 0))
    members = [torch.from_numpy(np.flatnonzero(values[TARGET_HEAD] == which)) for which in (0, 1)]

    def loss(rows: Tensor) -> Tensor:
        outputs = net(images[rows].to(device))[1]
        batch = {name: goal[rows].to(device) for name, goal in goals.items()}
        return torch.stack([*_losses(outputs, batch, heads)]).sum()

    def decay(step: int) -> float:
        return min(1.0, 2 * (1 - step / STEPS))

    batch = BATCH_OF_VOLUMES if images.ndim == 5 else BATCH
    fit_classifier(net, loss, members, STEPS, batch, RATE, order, decay)
    net.eval().requires_grad_(False)
    features = net.read(images)[0]
    net.mean.copy_(features.mean(0))
    # A feature that is constant on real images keeps its unit, because a deviation of 0 would make
    # it infinitely sensitive.
    net.deviation.copy_(torch.where(features.std(0) > 1e-6, features.std(0), 1.0))
    return net


def _losses(
    outputs: dict[str, Tensor], goals: dict[str, Tensor], heads: dict[str, int]
) -> Iterator[Tensor]:
    """Yields a loss for each attribute that is known on at least one image of the batch."""
    for name, classes in heads.items():
        has = goals[name] >= 0 if classes else goals[name].isfinite()
        if has.any():
            found, goal = outputs[name][has], goals[name][has]
            yield cross_entropy(found, goal) if classes else mse_loss(found[:, 0], goal)


def _to_goal(values: np.ndarray, classes: int) -> Tensor:
    """Returns class numbers (n,), or numbers (n,) in standard deviations from their mean."""
    if classes:
        return torch.from_numpy(values.astype(np.int64))
    mean, deviation = _scale(values)
    return torch.from_numpy((values - mean) / deviation).float()


def _scale(values: np.ndarray) -> tuple[float, float]:
    """Returns the mean and the standard deviation of the known values."""
    finite = values[np.isfinite(values)]
    return (float(finite.mean()), float(finite.std()) or 1.0) if len(finite) else (0.0, 1.0)


def heads_of(dataset: Dataset) -> dict[str, int]:
    """Returns attribute -> number of classes, or 0 for a number, with the domain as `target`."""
    return {
        **{name: len(attribute.classes) for name, attribute in dataset.attributes.items()},
        TARGET_HEAD: 2,
    }


def sample_images(dataset: Dataset, split: Split, limit: int) -> _Sample:
    """Returns the first images of both domains of a split with their labels."""
    images, values = [], {}
    volumes = len(dataset.shape) == 4
    if volumes:
        limit = min(limit, max(1, NUMBERS // (dataset.shape[0] * SIDE_OF_VOLUMES**3)))
    sizes = {domain: min(limit, dataset.size(split, domain)) for domain in DOMAINS}
    for domain, size in sizes.items():
        chunks = np.array_split(np.arange(size), max(1, size // (LOADED if volumes else CHUNK)))
        images += [
            _shrink(quantise(dataset.images(split, domain, chunk), generated=False))
            .round()
            .to(torch.uint8)
            for chunk in chunks
        ]
    labels = {domain: dataset.labels(split, domain) for domain in DOMAINS}
    for name, attribute in dataset.attributes.items():
        absent = -1 if attribute.classes else np.nan
        halves = [
            labels[d].get(name, np.full(dataset.size(split, d), absent))[: sizes[d]]
            for d in DOMAINS
        ]
        values[name] = np.concatenate(halves)
    values[TARGET_HEAD] = np.repeat([0, 1], [*sizes.values()])
    return _Sample(torch.cat(images), values)


def rate_classifier(
    net: AttributeClassifier, dataset: Dataset, tested: _Sample, training: dict[str, np.ndarray]
) -> Iterator[dict[str, Any]]:
    """Yields the accuracy on each attribute that has more than one value on test images."""
    outputs = net.read(tested.images)[1]
    for name, classes in heads_of(dataset).items():
        has = is_known(tested.values[name])
        values, found = tested.values[name][has], outputs[name][torch.from_numpy(has)].numpy()
        distinct = len(np.unique(values))
        if distinct < 2:
            continue
        mean, deviation = _scale(training[name])
        score = (
            balanced_accuracy_score(values, found.argmax(1))
            if classes
            else r2_score(values, mean + deviation * found[:, 0])
        )
        metric, chance = ("balanced_accuracy", 1 / distinct) if classes else ("r2", 0.0)
        yield {
            "attribute": name,
            "metric": metric,
            "value": float(score),
            "chance": chance,
            "n": len(values),
        }
