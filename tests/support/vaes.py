"""Small VAEs, their batches, and KL divergences computed by torch.distributions."""

import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from studio.build import build_method
from studio.config import resolve
from studio.method import Method, Pair
from studio.methods.vae import Gaussian, VAEDraw

CONTRASTIVE = ["cvae", "mm_cvae", "sepvae", "srb_vae", "principled"]
HALF = 8
# Rows of the background and of the target images of a batch.
X, Y = slice(None, HALF), slice(HALF, None)


def method_of(name: str, **options: object) -> Method:
    """Returns a method with z 4 and s 3 for images (1, 32, 32)."""
    raw = {
        "data": {"name": "digits"},
        "nets": {"width": 4},
        "method": {"name": name, "z": 4, "s": 3, **options},
    }
    return build_method(resolve(raw, "t", "t"), (1, 32, 32))


def pair_of_noise(half: int = HALF, severity: Tensor | None = None) -> Pair:
    """Returns the same random pair at every call."""
    torch.manual_seed(1)
    return Pair(torch.rand(half, 1, 32, 32) - 1, 2 * torch.rand(half, 1, 32, 32) - 1, severity)


def model_terms(method: Method, draw: VAEDraw) -> dict[str, Tensor]:
    """Returns the terms of the last step, which trains encoders and decoder."""
    step = method.steps()[-1]
    assert step.name == "vae"
    return step.loss(draw)


def kl(posterior: Gaussian, mean: float = 0.0, deviation: Tensor | float = 1.0) -> Tensor:
    """Returns the KL divergence of each posterior from a Gaussian, (B,)."""
    q = Normal(posterior.mu, (posterior.logvar / 2).exp())
    p = Normal(torch.full_like(q.mean, mean), torch.as_tensor(deviation).expand_as(q.mean))
    return kl_divergence(q, p).sum(1)


def rows(posterior: Gaussian, where: slice) -> Gaussian:
    """Returns some of the posteriors."""
    return Gaussian(posterior.mu[where], posterior.logvar[where])
