"""A small classifier of background and target images that judges whether healing has worked.

It is trained on the data alone and belongs to no method.
"""

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn.functional import (
    adaptive_avg_pool3d,
    binary_cross_entropy_with_logits,
    interpolate,
)

from nets import HeadedTrunk, build_encoder
from studio.data import Dataset
from studio.evaluate.fit_classifier import fit_classifier
from studio.method import DOMAINS
from studio.schema import NetsConfig
from studio.seeds import seed_of

__all__ = ["Judge", "train_judge"]

SIDE = 64  # pixels. Images of all sizes are scaled to this size
SIDE_OF_VOLUMES = 32  # voxels
WIDTH, STEPS, BATCH, RATE = 8, 400, 64, 1e-3
IMAGES = 2_000  # training images per domain
NUMBERS = 1 << 25  # in the training images of a domain at most: 1,024 volumes
CHUNK = 500
LOADED = 64  # volumes that are read together


class Judge(nn.Module):
    """Classifies images by domain. Logits above 0 mean target.

    Args:
        net: in eval mode, with the head `C`, for images of 64 px or volumes of 32 voxels.
        cut: output of the net that separates the two domains.
    """

    def __init__(self, net: HeadedTrunk, cut: float = 0.0) -> None:
        super().__init__()
        self.net, self.cut = net, cut

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Maps images (B, C, H, W) or volumes (B, C, D, H, W) to logits (B,) on the CPU."""
        device = next(self.net.parameters()).device
        logits = [
            self.net(_resize(chunk).to(device))["C"][:, 0].float().cpu()
            for chunk in images.split(CHUNK)
        ]
        return torch.cat(logits) - self.cut

    def auc(self, dataset: Dataset, limit: int) -> float:
        """Returns the area under the ROC curve on the first test images of both domains."""
        sizes = [min(limit, dataset.size("test", domain)) for domain in DOMAINS]
        logits = [
            self(dataset.images("test", d, np.arange(n)))
            for d, n in zip(DOMAINS, sizes, strict=True)
        ]
        return float(roc_auc_score(np.repeat([0, 1], sizes), torch.cat(logits).numpy()))


def train_judge(dataset: Dataset, device: torch.device, seed: int = 0) -> Judge:
    """Trains a judge on the first training images of both domains. This takes some seconds.

    Args:
        dataset: with images (C, H, W) or volumes (C, D, H, W).
        device: where to train it.
        seed: of its weights and of the order of the images. The global random state is not changed.
    """
    numbers = _resize(torch.zeros(1, *dataset.shape)).numel()
    most = max(1, min(IMAGES, NUMBERS // numbers))
    sizes = [min(most, dataset.size("train", domain)) for domain in DOMAINS]
    step = LOADED if len(dataset.shape) == 4 else most
    images = torch.cat(
        [
            _resize(dataset.images("train", d, np.arange(start, min(start + step, n))))
            for d, n in zip(DOMAINS, sizes, strict=True)
            for start in range(0, n, step)
        ]
    )
    target = torch.repeat_interleave(torch.tensor([0.0, 1.0]), torch.tensor(sizes))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed_of("oracle", seed))
        net = build_encoder(tuple(images.shape[1:]), {"C": 1}, NetsConfig(width=WIDTH), 0)
        net = net.to(device).train()
    order = torch.Generator().manual_seed(seed_of("oracle order", seed))
    members = torch.arange(sum(sizes)).split(sizes)

    def loss(rows: Tensor) -> Tensor:
        logits = net(images[rows].to(device))["C"][:, 0]
        return binary_cross_entropy_with_logits(logits, target[rows].to(device))

    fit_classifier(net, loss, members, STEPS, BATCH, RATE, order)
    judge = Judge(net.requires_grad_(False)).eval()
    # Running statistics lag behind a net that is still learning, which shifts all outputs equally.
    # The cut is half-way between the medians of the two domains.
    medians = [float(judge(images[rows[:CHUNK]]).median()) for rows in members]
    judge.cut = sum(medians) / 2
    return judge


def _resize(images: Tensor) -> Tensor:
    """Returns images at the size that the net needs."""
    if images.ndim == 5:
        return adaptive_avg_pool3d(images, SIDE_OF_VOLUMES)
    if images.shape[-2:] == (SIDE, SIDE):
        return images
    return interpolate(images, (SIDE, SIDE), mode="bilinear", antialias=True)
