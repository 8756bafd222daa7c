"""Ratios of densities by a critic: a classifier of samples of p (label 1) against samples of q (label 0).

A critic trained to the end has the logit $\\log p / q$: the logit itself is the log-ratio, with no probability between.
"""

import torch
from torch import Tensor

from losses.classification import bce
from losses.precision import at_least_float32

__all__ = [
    "critic_bce",
    "kl_estimate",
    "mutual_information",
    "permute_codes",
    "tc_as_published",
]


def critic_bce(joint_logits: Tensor, permuted_logits: Tensor) -> Tensor:
    r"""Binary cross-entropy of the critic: joint codes have label 1, shuffled ones 0.

    $-\log D(z) - \log(1 - D(\bar z))$: Alg. 1, line 6, Louiset et al. (2024); App. C, Abid and Zou (2019). For the critic
    alone: its optimiser is its own, and the codes carry no gradient.

    Args:
        joint_logits: of the critic on [z_i, s_i], shape (B,).
        permuted_logits: of the critic on [z_i, s_j], shape (B,).

    Returns:
        (B,), finite for any finite logit; 2 log 2 for a critic that knows nothing.
    """
    return bce(joint_logits, 1) + bce(permuted_logits, 0)


def mutual_information(joint_logits: Tensor, rectified: bool = False) -> Tensor:
    r"""Estimates the mutual information of z and s, in nats: what the encoder minimises, the critic frozen.

    $\log \frac{D}{1 - D}$, which is the logit; its mean over the joint codes estimates $KL(q(z, s) \| q(z) q(s))$. Eq. 14,
    Abid and Zou (2019); rectified as in Eq. 3 and Alg. 1, line 10, Louiset et al. (2024), where images that the critic calls
    shuffled have no gradient. The rectified mean is never negative, and too large: on independent codes it measures the
    critic's noise.

    Args:
        joint_logits: of the critic on [z_i, s_i], shape (B,).
        rectified: cuts each image's log-ratio off at 0.

    Returns:
        (B,).
    """
    ratio = kl_estimate(joint_logits)
    return ratio.relu() if rectified else ratio


def tc_as_published(joint_logits: Tensor, permuted_logits: Tensor) -> Tensor:
    r"""The total correlation and critic terms as published: one optimiser minimises their sum over encoder and critic alike.

    Eq. 14 and the critic's loss of App. C, Abid and Zou (2019), by their code:
    $\log \frac{q}{1 - q} - \log q - \log(1 - \bar q) = -\log(1 - q) - \log(1 - \bar q)$ with $q = D([z_i, s_i])$ and
    $\bar q = D([z_i, s_j])$. The critic's reward for knowing the joint codes cancels against the penalty; what is left treats
    joint and shuffled codes alike, so it carries no signal of independence: the critic answers `shuffled` to everything, and
    the gradient to the encoder fades. For comparison with the published method; what the paper describes is `critic_bce` and
    `information`, each with its own optimiser.

    Args:
        joint_logits: of the critic on [z_i, s_i], shape (B,).
        permuted_logits: of the critic on [z_i, s_j], shape (B,).

    Returns:
        (B,), finite for any finite logit.
    """
    return bce(joint_logits, 0) + bce(permuted_logits, 0)


def permute_codes(s: Tensor) -> Tensor:
    r"""Gives every image the salient code of another: samples of $q(z) q(s)$ when z stays in place.

    Alg. 1, line 5, Louiset et al. (2024), which shuffles; their Sec. 3 shows $[c_1, s_2], [c_2, s_3], \dots$ Here too the
    codes move up by one, which leaves none in place, but in a random order of the batch: where a batch holds one domain after
    the other, neighbours are of the same domain, and the ratio would be that of $q(z, s)$ to $q(z | y) q(s | y)$.

    Args:
        s: codes, shape (B, ...), B at least 2.

    Returns:
        The same codes in another order, no row in its place.

    Raises:
        ValueError: the batch is of one image, which has no other.
    """
    if s.shape[0] < 2:
        raise ValueError(f"expected a batch of 2 codes or more to shuffle, found {s.shape[0]}")
    order = torch.randperm(s.shape[0], device=s.device)
    return s[order.roll(1)[order.argsort()]]


def kl_estimate(logits: Tensor, reverse: bool = False) -> Tensor:
    r"""Estimates $KL(p \| q)$ from samples of p, or in reverse $KL(q \| p)$ from samples of q, in nats.

    The mean of $\log p / q$ over p, or of $\log q / p$ over q; the critic has label 1 for p. The two directions of Eq. 5,
    Choudhuri et al. (2020), who restate the symmetric KL of sRb-VAE, Ruiz et al. (2019).

    Args:
        logits: of the critic, shape (B,): on samples of p, or in reverse on samples of q.
        reverse: the direction.

    Returns:
        (B,), to be averaged; one image's number may be negative.
    """
    return -at_least_float32(logits) if reverse else at_least_float32(logits)
