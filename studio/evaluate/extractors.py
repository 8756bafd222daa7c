"""Feature extractors of the scores: `domain`, `inception`, or a class of the user.

An extractor receives every image as uint8, (B, C, H, W), as `studio.pixels.quantise` returns it.
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
from studio.evaluate.attribute_classifier import SIDE, open_classifier, read_classifier
from studio.evaluate.fidelity import Features
from studio.evaluate.weights import inception_weights, read_weights
from studio.method import Domain

__all__ = ["EXTRACTORS", "Extractor", "extract", "open_extractor"]

EXTRACTORS = ("domain", "inception")
BATCH = 50  # images at a time. The result does not depend on it
Output = tuple[Tensor, Tensor | None]  # features, logits


@dataclass(frozen=True)
class Extractor:
    """A net that computes features, with the facts that a score must state.

    Attributes:
        name: the value of the option `--features`.
        sha256: of its weights.
        resize: describes how images are resized.
        read: maps images (B, C, H, W), uint8, and the domain of the real images they are compared
            with to features (B, D), and logits (B, K) or None.
        reusable: whether name and hash identify it, so that a stored score can be reused.
        about: further facts that a score states.
    """

    name: str
    sha256: str
    resize: str
    read: Callable[[Tensor, Domain], Output]
    reusable: bool = True
    about: dict[str, Any] = field(default_factory=dict)

    def width(self, shape: Sequence[int]) -> int:
        """Returns the number of features for images (C, H, W) of a shape.

        Raises:
            StudioError: it cannot process such images, or does not return features.
        """
        width = extract(self, torch.zeros(2, *shape, dtype=torch.uint8), "target").rows.shape[1]
        if width < 2:
            raise StudioError(
                f"--features {self.name}: expected at least 2 features, found {width}"
            )
        return width


@torch.no_grad()
def extract(extractor: Extractor, images: Tensor, domain: Domain, batch: int = BATCH) -> Features:
    """Computes the features of images (N, C, H, W), uint8, in batches.

    Raises:
        StudioError: the extractor does not return finite features (N, D).
    """
    parts = [extractor.read(part, domain) for part in images.split(batch)]
    for part, (rows, logits) in zip(images.split(batch), parts, strict=True):
        for kind, found in (("features", rows), ("logits", logits)):
            if found is None and kind == "logits":
                continue
            if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != len(part):
                shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
                raise StudioError(
                    f"--features {extractor.name}: expected {kind} of shape ({len(part)}, D), "
                    f"found {shape}"
                )
            if not found.isfinite().all():
                raise StudioError(f"--features {extractor.name}: some {kind} are not finite")
    logits = [found.float().cpu() for _, found in parts if found is not None]
    return Features(
        torch.cat([rows.float().cpu() for rows, _ in parts]), torch.cat(logits) if logits else None
    )


def open_extractor(
    name: str, weights: Path | None, dataset: Dataset, folder: Path, device: torch.device
) -> Extractor:
    """Opens an extractor by its name.

    Args:
        name: `domain`, `inception`, or `module:Class` of the user. The module is imported from
            Python's path or from the current folder. The class is either a
            `torch_fidelity.FeatureExtractorBase` (uint8 images of three channels), or any
            `torch.nn.Module` without constructor arguments that maps images (N, C, H, W), float32
            in [-1, 1], to features (N, D), or to features and logits (N, K). The logits serve for
            the inception score.
        weights: file of weights, instead of the one that the extractor reads by itself.
        dataset: source of the images that will be scored.
        folder: where the classifier of `domain` is stored.
        device: where to put the net.

    Raises:
        StudioError: no such extractor, or its weights are missing, damaged or unsafe.
    """
    if name == "domain":
        return _open_attributes(weights, dataset, folder, device)
    if name == "inception":
        return _open_inception(inception_weights(weights), dataset, device)
    if not all(name.partition(":")):
        raise StudioError(
            f"--features {name}: no such extractor{nearest(name, (*EXTRACTORS, 'module:Class'))}"
        )
    return _open_own(name, weights, dataset, device)


def _open_attributes(
    weights: Path | None, dataset: Dataset, folder: Path, device: torch.device
) -> Extractor:
    stored = (
        open_classifier(dataset, folder, device)
        if weights is None
        else read_classifier(weights, device)
    )
    net, channels = stored.net, dataset.shape[0]
    if net.channels != channels:
        raise StudioError(
            f"{weights}: expected images of {net.channels} channels, those of "
            f"{dataset.config.name} have {channels}"
        )
    classes = {
        domain: _most_classes(dataset, domain, net.names) for domain in ("background", "target")
    }

    def read(images: Tensor, domain: Domain) -> Output:
        features, heads = net.read(images)
        attribute = classes[domain]
        return features, None if attribute is None else heads[attribute]

    resize = (
        f"to {SIDE} x {SIDE}, bilinear, antialiased" if max(dataset.shape[-2:]) > SIDE else "none"
    )
    about = {
        "accuracy": stored.manifest.get("accuracy", []),
        "n_train": stored.manifest.get("n_train"),
        "is_by": classes,
    }
    return Extractor("domain", stored.sha256, resize, read, about=about)


def _most_classes(dataset: Dataset, domain: Domain, heads: Sequence[str]) -> str | None:
    """Returns the attribute for the inception score of a domain: the one with the most classes.

    None if the domain has no attribute with at least two classes.
    """
    counts = {
        name: len(attribute.classes)
        for name, attribute in dataset.attributes.items()
        if name in heads
        and len(attribute.classes) > 1
        and not (domain == "background" and attribute.target_only)
    }
    return max(counts, key=lambda name: counts[name]) if counts else None


def _open_inception(path: Path, dataset: Dataset, device: torch.device) -> Extractor:
    """Opens torch-fidelity's Inception. Gray images are repeated in three channels."""
    if dataset.shape[0] not in (1, 3):
        raise StudioError(
            f"--features inception: expected images of 1 or 3 channels, found {dataset.shape[0]}; "
            "use --features domain"
        )
    state, sha256 = read_weights(path)
    with tempfile.TemporaryDirectory() as folder:
        safe = Path(folder) / "weights.pth"
        # The constructor unpickles its file without restrictions. It therefore gets a new file with
        # the tensors that have been read safely.
        torch.save(state, safe)
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

    def read(images: Tensor, domain: Domain) -> Output:
        return net(_to_rgb(images).to(device))

    return Extractor(
        "inception", sha256, "to 299 x 299, bilinear as TensorFlow 1", read, about={"layer": "2048"}
    )


def _to_rgb(images: Tensor) -> Tensor:
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images


def _open_own(name: str, weights: Path | None, dataset: Dataset, device: torch.device) -> Extractor:
    """Opens the user's class. Its scores are never reused, because its code is unknown."""
    found = _import_class(name)
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
            f"--features {name}: cannot be constructed: {type(error).__name__}: {error}"
        ) from error

    def read(images: Tensor, domain: Domain) -> Output:
        shown = _to_rgb(images) if fidelity else images.float() / 127.5 - 1
        try:
            answer = net(shown.to(device))
        except Exception as error:
            raise StudioError(
                f"--features {name}: failed on images {tuple(shown.shape)} of {shown.dtype}: "
                f"{type(error).__name__}: {error}"
            ) from error
        return (
            (answer[0], answer[-1] if len(answer) > 1 else None)
            if isinstance(answer, tuple)
            else (answer, None)
        )

    return Extractor(name, _sha256(net), "by the extractor itself", read, reusable=False)


def _layers(found: type[FeatureExtractorBase]) -> list[str]:
    """Returns torch-fidelity's default layers for FID and for the inception score if it has any."""
    layers = []
    for metric in ("fid", "isc"):
        with suppress(KeyError):
            layers.append(found.get_default_feature_layer_for_metric(metric))
    return [*dict.fromkeys(layers)]


def _import_class(name: str) -> type[nn.Module]:
    module_name, _, class_name = name.partition(":")
    here = str(Path.cwd())
    sys.path.append(here)  # last, so that no file of the user shadows a library
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
            f"--features {name}: {module_name} has no torch.nn.Module {class_name!r}"
            f"{nearest(class_name, classes)}"
        )
    return found


def _sha256(net: nn.Module) -> str:
    """Returns the sha256 of a net's weights and their names."""
    digest = hashlib.sha256()
    for key, value in sorted(net.state_dict().items()):
        if isinstance(value, Tensor):
            digest.update(
                key.encode() + value.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes()
            )
    return digest.hexdigest()
