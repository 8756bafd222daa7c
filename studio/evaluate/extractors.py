"""What reads features of images for a score: `domain`, `inception`, or a class of the user's own.

An extractor gets every image as uint8, (B, C, H, W), by the window of `studio.evaluate.fidelity`.
"""

import hashlib
import importlib
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from studio.data import Dataset
from studio.errors import StudioError, nearest
from studio.evaluate.domain_classifier import SIDE, open_classifier, read_classifier
from studio.evaluate.fidelity import Features
from studio.evaluate.weights import inception_weights, read_weights
from studio.method import Domain

__all__ = ["EXTRACTORS", "Extractor", "extract", "open_extractor"]

EXTRACTORS = ("domain", "inception")
BATCH = 50  # images at a time; the result does not depend on it
Reading = tuple[Tensor, Tensor | None]


@dataclass(frozen=True)
class Extractor:
    """A net that reads images, and all that a score must say of it.

    Attributes:
        name: as the option `--features` has it.
        sha256: of its weights.
        resize: what becomes of an image's size, in words.
        read: from images (B, C, H, W) uint8 and the domain they are scored in to features (B, D) and logits (B, K) or None.
        reusable: whether its name and hash say everything of it, so that a score need not be computed twice.
        about: what else a score says of it.
    """

    name: str
    sha256: str
    resize: str
    read: Callable[[Tensor, Domain], Reading]
    reusable: bool = True
    about: dict[str, Any] = field(default_factory=dict)

    def width(self, shape: Sequence[int]) -> int:
        """Returns how many features it reads of an image of a shape.

        Raises:
            StudioError: it cannot read such images, or what it returns are not features.
        """
        width = extract(self, torch.zeros(2, *shape, dtype=torch.uint8), "target").rows.shape[1]
        if width < 2:
            raise StudioError(
                f"--features {self.name}: expected at least 2 features, found {width}"
            )
        return width


@torch.no_grad()
def extract(extractor: Extractor, images: Tensor, domain: Domain, batch: int = BATCH) -> Features:
    """Reads the features of images (N, C, H, W) uint8, some at a time.

    Raises:
        StudioError: what the extractor returns are not finite features (N, D).
    """
    parts = [extractor.read(part, domain) for part in images.split(batch)]
    for part, (rows, logits) in zip(images.split(batch), parts, strict=True):
        for what, found in (("features", rows), ("logits", logits)):
            if found is None and what == "logits":
                continue
            if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != len(part):
                shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
                raise StudioError(
                    f"--features {extractor.name}: expected {what} of shape ({len(part)}, D), found {shape}"
                )
            if not found.isfinite().all():
                raise StudioError(f"--features {extractor.name}: some {what} are not finite")
    logits = [found.float().cpu() for _, found in parts if found is not None]
    return Features(
        torch.cat([rows.float().cpu() for rows, _ in parts]), torch.cat(logits) if logits else None
    )


def open_extractor(
    name: str, weights: Path | None, dataset: Dataset, folder: Path, device: torch.device
) -> Extractor:
    """Opens an extractor by its name.

    Args:
        name: `domain`, `inception`, or `module:Class` of the user's own, found as Python finds it or in the current folder:
            a `torch_fidelity.FeatureExtractorBase` (uint8 images of three channels), or any `torch.nn.Module` that can be
            made without arguments, from images (N, C, H, W), float32 in [-1, 1], to features (N, D), or to features and
            logits (N, K) by which the inception score is then taken.
        weights: a file to read instead of what the extractor reads by itself.
        dataset: whose images will be scored.
        folder: where the classifier of `domain` is kept.
        device: where to put the net.

    Raises:
        StudioError: no such extractor, or its weights are missing, damaged or unsafe.
    """
    if name == "domain":
        return _domain(weights, dataset, folder, device)
    if name == "inception":
        return _inception(inception_weights(weights), dataset, device)
    if not all(name.partition(":")):
        raise StudioError(
            f"--features {name}: no such extractor{nearest(name, (*EXTRACTORS, 'module:Class'))}"
        )
    return _own(name, weights, dataset, device)


def _domain(
    weights: Path | None, dataset: Dataset, folder: Path, device: torch.device
) -> Extractor:
    kept = (
        open_classifier(dataset, folder, device)
        if weights is None
        else read_classifier(weights, device)
    )
    net, channels = kept.net, dataset.shape[0]
    if net.channels != channels:
        raise StudioError(
            f"{weights}: reads images of {net.channels} channels, those of {dataset.config.name} have {channels}"
        )
    classes = {
        domain: _most_classes(dataset, domain, net.names) for domain in ("background", "target")
    }

    def read(images: Tensor, domain: Domain) -> Reading:
        features, heads = net.read(images)
        attribute = classes[domain]
        return features, None if attribute is None else heads[attribute]

    resize = (
        f"to {SIDE} x {SIDE}, bilinear, antialiased" if max(dataset.shape[-2:]) > SIDE else "none"
    )
    about = {
        "accuracy": kept.manifest.get("accuracy", []),
        "n_train": kept.manifest.get("n_train"),
        "is_by": classes,
    }
    return Extractor("domain", kept.sha256, resize, read, about=about)


def _most_classes(dataset: Dataset, domain: Domain, heads: Sequence[str]) -> str | None:
    """Returns the attribute by which the inception score of a domain is taken: that of the most classes, if there is any."""
    counts = {
        name: len(attribute.classes)
        for name, attribute in dataset.attributes.items()
        if name in heads
        and len(attribute.classes) > 1
        and not (domain == "background" and attribute.target_only)
    }
    return max(counts, key=lambda name: counts[name]) if counts else None


def _inception(path: Path, dataset: Dataset, device: torch.device) -> Extractor:
    """Opens torch-fidelity's Inception; gray images become three equal channels."""
    if dataset.shape[0] not in (1, 3):
        raise StudioError(
            f"--features inception: reads images of 1 or 3 channels, found {dataset.shape[0]}; take domain"
        )
    state, sha256 = read_weights(path)
    with tempfile.TemporaryDirectory() as folder:
        safe = Path(folder) / "weights.pth"
        torch.save(
            state, safe
        )  # its constructor unpickles whatever is in a file: let that be what has been read safely
        try:
            net = FeatureExtractorInceptionV3(
                "inception", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(safe)
            )
        except RuntimeError as error:
            fault = " ".join(str(error).split())[:160]
            raise StudioError(
                f"{path}: not the weights of torch-fidelity's Inception: {fault}"
            ) from None
    net = net.to(device)

    def read(images: Tensor, domain: Domain) -> Reading:
        return net(_coloured(images).to(device))

    return Extractor(
        "inception", sha256, "to 299 x 299, bilinear as TensorFlow 1", read, about={"layer": "2048"}
    )


def _coloured(images: Tensor) -> Tensor:
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images


def _own(name: str, weights: Path | None, dataset: Dataset, device: torch.device) -> Extractor:
    """Opens the user's class; nothing is known of what its code does, so its scores are always computed anew."""
    found = _imported(name)
    state = read_weights(weights)[0] if weights is not None else None
    fidelity = issubclass(found, FeatureExtractorBase)
    try:
        if issubclass(found, FeatureExtractorBase):
            given = {"feature_extractor_weights_path": str(weights)} if weights is not None else {}
            net: nn.Module = found(name, _layers(found), **given)
        else:
            net = found()
            if state is not None:
                net.load_state_dict(state)
        net = net.to(device).eval().requires_grad_(False)
    except Exception as error:
        raise StudioError(
            f"--features {name}: could not be made: {type(error).__name__}: {error}"
        ) from error

    def read(images: Tensor, domain: Domain) -> Reading:
        shown = _coloured(images) if fidelity else images.float() / 127.5 - 1
        try:
            answer = net(shown.to(device))
        except Exception as error:
            raise StudioError(
                f"--features {name}: failed on images {tuple(shown.shape)} of {shown.dtype}: {type(error).__name__}: {error}"
            ) from error
        return (
            (answer[0], answer[-1] if len(answer) > 1 else None)
            if isinstance(answer, tuple)
            else (answer, None)
        )

    return Extractor(name, _sha256(net), "by the extractor itself", read, reusable=False)


def _layers(found: type[FeatureExtractorBase]) -> list[str]:
    """Returns the layers that torch-fidelity would take for FID and, where there is one, the inception score."""
    layers = []
    for metric in ("fid", "isc"):
        with suppress(KeyError):
            layers.append(found.get_default_feature_layer_for_metric(metric))
    return [*dict.fromkeys(layers)]


def _imported(name: str) -> type[nn.Module]:
    module_name, _, class_name = name.partition(":")
    here = str(Path.cwd())
    sys.path.append(here)  # last, so that no file of the user's shadows a library
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise StudioError(
            f"--features {name}: {module_name} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    finally:
        sys.path.remove(here)
    found = getattr(module, class_name, None)
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        classes = [
            key
            for key, value in vars(module).items()
            if isinstance(value, type) and issubclass(value, nn.Module)
        ]
        raise StudioError(
            f"--features {name}: {module_name} has no torch.nn.Module {class_name!r}{nearest(class_name, classes)}"
        )
    return found


def _sha256(net: nn.Module) -> str:
    """Returns the hash of a net's weights by name."""
    digest = hashlib.sha256()
    for key, value in sorted(net.state_dict().items()):
        if isinstance(value, Tensor):
            digest.update(
                key.encode() + value.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes()
            )
    return digest.hexdigest()
