"""Diagonal Gaussians: the posteriors and priors of the variational autoencoders."""

import torch
from torch import Tensor

from losses.precision import at_least_float32

__all__ = [
    "LOGVAR_LIMIT",
    "kl_gaussians",
    "kl_standard_normal",
    "reparameterise",
    "soft_clip_logvar",
]

# A bounded standard deviation lies between 0.007 and 148: both far beyond what a code of unit prior needs.
LOGVAR_LIMIT = 10.0


def soft_clip_logvar(logvar: Tensor) -> Tensor:
    r"""Maps a log-variance smoothly into [-LOGVAR_LIMIT, LOGVAR_LIMIT]: $L \tanh(\text{logvar} / L)$, close to the identity around 0.

    No paper does. Unbounded, the exponential overflows, and whatever pulls a posterior towards a point without a KL to
    hold it pushes the log-variance to minus infinity: the KL of MM-cVAE diverged in about 10 % of the trainings of
    Carton et al. (2024), text by Table 1. An encoder's log-variance goes through this once; every other function here and in
    `losses.transport` is then finite.

    Args:
        logvar: as the encoder gives it, any shape.

    Returns:
        The same shape; infinities map to the limits, and NaN stays, so that the engine names it. The gradient fades beyond
        the limits and is exactly 0 far beyond.
    """
    return LOGVAR_LIMIT * torch.tanh(at_least_float32(logvar) / LOGVAR_LIMIT)


def reparameterise(mu: Tensor, logvar: Tensor) -> Tensor:
    r"""Samples $\mathcal{N}(\mu, \operatorname{diag} e^\text{logvar})$ with a gradient to both: $\mu + \sigma\epsilon$.

    Sec. 2.4 and Eq. 10, Kingma and Welling (2014). The noise is drawn in the precision of the result, never in bfloat16.

    Args:
        mu: means, any shape.
        logvar: log-variances, broadcastable to `mu`.

    Returns:
        Samples, the shape of `mu`.
    """
    mu = at_least_float32(mu)
    return mu + torch.exp(at_least_float32(logvar) / 2) * torch.randn_like(mu)


def kl_standard_normal(mu: Tensor, logvar: Tensor) -> Tensor:
    r"""KL divergence of a diagonal Gaussian from the standard one, summed over coordinates, in nats.

    $KL(\mathcal{N}(\mu, \operatorname{diag} e^\text{logvar}) \| \mathcal{N}(0, I))$: App. B, Kingma and Welling (2014); the
    KL terms of Eq. 3 and 4, Abid and Zou (2019), of Eq. 2 b and c, Louiset et al. (2024), and of Eq. 3, Choudhuri et al.
    (2020).

    Args:
        mu: means, shape (B, n).
        logvar: log-variances, shape (B, n).

    Returns:
        (B,), finite for any `soft_clip_logvar` log-variance.
    """
    return kl_gaussians(mu, logvar, 0.0, 0.0)


def kl_gaussians(
    mu: Tensor, logvar: Tensor, prior_mu: Tensor | float, prior_logvar: Tensor | float
) -> Tensor:
    r"""KL divergence between diagonal Gaussians, summed over coordinates, in nats.

    $\frac12 \sum_k [e^{d_k} - 1 - d_k + (\mu_k - m_k)^2 e^{-\text{logvar}^p_k}]$ with $d = \text{logvar} - \text{logvar}^p$.
    Eq. 2 c, Louiset et al. (2024): the background's salient prior has mean $s'$ and variance $\sigma_p$ (their Sec. 3 writes
    its standard deviation $\sqrt{\sigma_p}$), so `prior_logvar` is $\log \sigma_p$. With `logvar` frozen this is
    $\|\mu - s'\|^2 / (2 \sigma_p)$ plus a constant: their App. B, which drops the half.

    Args:
        mu: means, shape (B, n).
        logvar: log-variances, shape (B, n).
        prior_mu: the prior's means, broadcastable to (B, n).
        prior_logvar: the prior's log-variances, broadcastable to (B, n).

    Returns:
        (B,), finite where both log-variances are within `soft_clip_logvar`'s limits.
    """
    mu = at_least_float32(mu)
    # A number becomes a tensor of no dimension on the CPU, which goes with any device and asks for no copy.
    prior_logvar = torch.as_tensor(prior_logvar, dtype=mu.dtype)
    d = at_least_float32(logvar) - prior_logvar
    squares = (mu - torch.as_tensor(prior_mu, dtype=mu.dtype)).square() * torch.exp(-prior_logvar)
    # expm1: near the prior e^d - 1 - d is a difference of near equals.
    return (torch.expm1(d) - d + squares).sum(1) / 2
