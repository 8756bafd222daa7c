"""Diagonal Gaussians: the posteriors and priors of variational autoencoders."""

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

# Standard deviations then lie between 0.007 and 148. Codes with a unit prior need neither extreme.
LOGVAR_LIMIT = 10.0


def soft_clip_logvar(logvar: Tensor) -> Tensor:
    r"""Maps log-variances smoothly into [-LOGVAR_LIMIT, LOGVAR_LIMIT].

    $L \tanh(\text{logvar} / L)$, which is close to the identity around 0. An encoder's log-variance
    passes through this function once. All other functions of this module and of `losses.transport`
    are then finite.

    No paper does this. Without a limit the exponential overflows. A term that pulls a posterior
    towards a point, with no KL divergence to hold it, drives the log-variance to minus infinity:
    the KL divergence of MM-cVAE diverged in about 10 % of the trainings of Carton et al. (2024),
    text by Table 1.

    Args:
        logvar: the encoder's output, any shape.

    Returns:
        The same shape. Infinities map to the limits. NaN stays NaN, so that the training loop can
        report it. The gradient fades beyond the limits and is exactly 0 far beyond them.
    """
    return LOGVAR_LIMIT * torch.tanh(at_least_float32(logvar) / LOGVAR_LIMIT)


def reparameterise(mu: Tensor, logvar: Tensor) -> Tensor:
    r"""Samples a diagonal Gaussian with gradients to its mean and log-variance.

    $\mu + \sigma\epsilon$ with $\epsilon \sim \mathcal{N}(0, I)$: Sec. 2.4 and Eq. 10, Kingma and
    Welling (2014). The noise has the precision of the result, float32 or float64.

    Args:
        mu: means, any shape.
        logvar: log-variances, broadcastable to `mu`.

    Returns:
        Samples with the shape of `mu`.
    """
    mu = at_least_float32(mu)
    return mu + torch.exp(at_least_float32(logvar) / 2) * torch.randn_like(mu)


def kl_standard_normal(mu: Tensor, logvar: Tensor) -> Tensor:
    r"""Computes the KL divergence of diagonal Gaussians from the standard normal distribution.

    $KL(\mathcal{N}(\mu, \operatorname{diag} e^\text{logvar}) \| \mathcal{N}(0, I))$: App. B, Kingma
    and Welling (2014), and the KL terms of Eq. 3 and 4, Abid and Zou (2019), of Eq. 2b and 2c,
    Louiset et al. (2024), and of Eq. 3, Choudhuri et al. (2020).

    Args:
        mu: means, shape (B, n).
        logvar: log-variances, shape (B, n).

    Returns:
        (B,), summed over coordinates, in nats. Finite for log-variances within the soft limits.
    """
    return kl_gaussians(mu, logvar, 0.0, 0.0)


def kl_gaussians(
    mu: Tensor, logvar: Tensor, prior_mu: Tensor | float, prior_logvar: Tensor | float
) -> Tensor:
    r"""Computes the KL divergence between diagonal Gaussians.

    $\frac12 \sum_k [e^{d_k} - 1 - d_k + (\mu_k - m_k)^2 e^{-\text{logvar}^p_k}]$ with
    $d = \text{logvar} - \text{logvar}^p$ and the prior's mean $m$ and log-variance
    $\text{logvar}^p$.

    In Eq. 2c, Louiset et al. (2024), the background's salient prior has mean $s'$ and variance
    $\sigma_p$, because their Sec. 3 writes its standard deviation as $\sqrt{\sigma_p}$. Hence
    `prior_logvar` is $\log \sigma_p$. With a constant `logvar` the divergence is
    $\|\mu - s'\|^2 / (2 \sigma_p)$ plus a constant. Their App. B omits the factor 1/2.

    Args:
        mu: means, shape (B, n).
        logvar: log-variances, shape (B, n).
        prior_mu: means of the prior, broadcastable to (B, n).
        prior_logvar: log-variances of the prior, broadcastable to (B, n).

    Returns:
        (B,), summed over coordinates, in nats. Finite where both log-variances lie within the
        limits of `soft_clip_logvar`.
    """
    mu = at_least_float32(mu)
    # A Python number becomes a 0-dimensional CPU tensor. It combines with tensors on any device
    # without a copy.
    prior_logvar = torch.as_tensor(prior_logvar, dtype=mu.dtype)
    d = at_least_float32(logvar) - prior_logvar
    squares = (mu - torch.as_tensor(prior_mu, dtype=mu.dtype)).square() * torch.exp(-prior_logvar)
    # expm1, because near the prior e^d - 1 - d is a difference of almost equal numbers.
    return (torch.expm1(d) - d + squares).sum(1) / 2
