"""A small net that tells background from target images and belongs to no method: the judge of what healing has achieved."""

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, interpolate

from nets import HeadedTrunk, build_encoder
from studio.data import Dataset
from studio.method import DOMAINS
from studio.schema import NetsConfig
from studio.seeds import seed_of

__all__ = ["Oracle", "train_oracle"]

SIDE = 64  # pixels of what it looks at, whatever the images have
WIDTH, STEPS, BATCH, RATE = 8, 400, 64, 1e-3
IMAGES = 2_000  # per domain to learn from
CHUNK = 500


class Oracle(nn.Module):
    """Says of images whether they look like the target set: a logit each, above 0 for target.

    Args:
        net: with the head `C`, on images of 64 px, in eval mode.
        cut: the net's output half-way between the two sets.
    """

    def __init__(self, net: HeadedTrunk, cut: float = 0.0) -> None:
        super().__init__()
        self.net, self.cut = net, cut

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Maps images (B, C, H, W) to logits (B,) on the CPU."""
        where = next(self.net.parameters()).device
        parts = [
            self.net(_seen(part).to(where))["C"][:, 0].float().cpu() for part in images.split(CHUNK)
        ]
        return torch.cat(parts) - self.cut

    def auc(self, dataset: Dataset, limit: int) -> float:
        """Returns how well it tells the first test images of both domains apart: the area under the ROC curve."""
        sizes = [min(limit, dataset.size("test", domain)) for domain in DOMAINS]
        logits = [
            self(dataset.images("test", d, np.arange(n)))
            for d, n in zip(DOMAINS, sizes, strict=True)
        ]
        return float(roc_auc_score(np.repeat([0, 1], sizes), torch.cat(logits).numpy()))


def train_oracle(dataset: Dataset, device: torch.device, seed: int = 0) -> Oracle:
    """Trains an oracle on the first training images of both domains, in some seconds.

    Args:
        dataset: with images (C, H, W).
        device: where to train it.
        seed: of its weights and of the order of the images; the global random state stays as it is.
    """
    sizes = [min(IMAGES, dataset.size("train", domain)) for domain in DOMAINS]
    images = torch.cat(
        [
            _seen(dataset.images("train", d, np.arange(n)))
            for d, n in zip(DOMAINS, sizes, strict=True)
        ]
    )
    target = torch.repeat_interleave(torch.tensor([0.0, 1.0]), torch.tensor(sizes))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed_of("oracle", seed))
        net = (
            build_encoder(tuple(images.shape[1:]), {"C": 1}, NetsConfig(width=WIDTH), 0)
            .to(device)
            .train()
        )
    order = torch.Generator().manual_seed(seed_of("oracle order", seed))
    ends = [
        (0, sizes[0]),
        (sizes[0], sum(sizes)),
    ]  # equal halves, as everywhere here, however many images a domain has
    optimiser = torch.optim.Adam(net.parameters(), RATE)
    for _ in range(STEPS):
        rows = torch.cat(
            [torch.randint(low, high, (BATCH // 2,), generator=order) for low, high in ends]
        )
        logits = net(images[rows].to(device))["C"][:, 0]
        optimiser.zero_grad()
        binary_cross_entropy_with_logits(logits, target[rows].to(device)).backward()
        optimiser.step()
    oracle = Oracle(net.requires_grad_(False)).eval()
    # Running statistics lag behind a net that still learns, which shifts all outputs alike.
    ours = [float(oracle(images[low : min(high, low + CHUNK)]).median()) for low, high in ends]
    oracle.cut = sum(ours) / 2
    return oracle


def _seen(images: Tensor) -> Tensor:
    """Returns images at the size that the net looks at."""
    if images.shape[-2:] == (SIDE, SIDE):
        return images
    return interpolate(images, (SIDE, SIDE), mode="bilinear", antialias=True)
