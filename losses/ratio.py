r"""Density ratios estimated by a critic.

A critic is a classifier that distinguishes samples of p (label 1) from samples of q (label 0). The
logit of a fully trained critic is the log-ratio $\log p / q$. The functions below use the logit
itself and compute no probability.

For the mutual information of z and s, a sample of p consists of the two codes of one image, called
*joint* below. A sample of q consists of codes of two different images, called *permuted*.
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
    r"""Computes the critic's binary cross-entropy: joint codes have label 1, permuted ones 0.

    $-\log D([z_i, s_i]) - \log(1 - D([z_i, s_j]))$: Alg. 1, line 6, Louiset et al. (2024), and
    App. C, Abid and Zou (2019). Only the critic minimises this loss, with an optimiser of its own.
    The codes are passed without gradient.

    The critics of sRb-VAE minimise the same loss on other inputs. Instead of joint codes they read
    real images with the codes read from them. Instead of permuted codes they read random codes with
    the images generated from them.

    Args:
        joint_logits: the critic's logits for [z_i, s_i], shape (B,).
        permuted_logits: its logits for [z_i, s_j], shape (B,).

    Returns:
        (B,), finite for any finite logits, 2 log 2 for a critic that cannot distinguish the two.
    """
    return bce(joint_logits, 1) + bce(permuted_logits, 0)


def mutual_information(joint_logits: Tensor, rectified: bool = False) -> Tensor:
    r"""Estimates the mutual information of z and s, which the encoder minimises.

    The logit $\log \frac{D}{1 - D}$. Its mean over joint codes estimates
    $KL(q(z, s) \| q(z) q(s))$: Eq. 14, Abid and Zou (2019). The critic must be frozen.

    Rectified, it is that of Eq. 3 and Alg. 1, line 10, Louiset et al. (2024). Then an image has no
    gradient if the critic takes its codes for permuted ones. The mean of the rectified values is
    never negative, and it is too large: for independent codes it measures the critic's noise.

    Args:
        joint_logits: the critic's logits for [z_i, s_i], shape (B,).
        rectified: whether negative log-ratios are replaced by 0.

    Returns:
        (B,), in nats.
    """
    ratio = kl_estimate(joint_logits)
    return ratio.relu() if rectified else ratio


def tc_as_published(joint_logits: Tensor, permuted_logits: Tensor) -> Tensor:
    r"""Computes the total correlation and the critic's loss as published: one sum, one optimiser.

    Eq. 14 and App. C, Abid and Zou (2019), whose code minimises the sum of both over encoder and
    critic: $\log \frac{q}{1 - q} - \log q - \log(1 - \bar q) = -\log(1 - q) - \log(1 - \bar q)$
    with $q = D([z_i, s_i])$ and $\bar q = D([z_i, s_j])$.

    The critic's reward for recognising joint codes cancels against the penalty. The remaining terms
    treat joint and permuted codes alike, so they carry no signal of independence. The critic learns
    to answer "permuted" for everything, and the gradient to the encoder fades. This function exists
    for comparison with the published method. `critic_bce` and `mutual_information`, each with its
    own optimiser, implement the paper's text.

    Args:
        joint_logits: the critic's logits for [z_i, s_i], shape (B,).
        permuted_logits: its logits for [z_i, s_j], shape (B,).

    Returns:
        (B,), finite for any finite logits.
    """
    return bce(joint_logits, 0) + bce(permuted_logits, 0)


def permute_codes(s: Tensor) -> Tensor:
    r"""Gives every image the salient code of another image.

    With z in its place, the rows are samples of $q(z) q(s)$: Alg. 1, line 5, Louiset et al. (2024).
    The algorithm shuffles. Sec. 3 of the paper shows $[c_1, s_2], [c_2, s_3], \dots$, which leaves
    no code in its place. This function also moves each code to its neighbour, but along a random
    order of the batch. In the given order neighbours would belong to the same domain, because a
    batch holds one domain after the other. The critic would then estimate the ratio of $q(z, s)$
    to $q(z | y) q(s | y)$.

    Args:
        s: codes, shape (B, ...), B at least 2.

    Returns:
        The same codes in a different order, with no row in its original place.

    Raises:
        ValueError: the batch has fewer than two rows.
    """
    if s.shape[0] < 2:
        raise ValueError(f"expected at least 2 codes to permute, found {s.shape[0]}")
    order = torch.randperm(s.shape[0], device=s.device)
    return s[order.roll(1)[order.argsort()]]


def kl_estimate(logits: Tensor, reverse: bool = False) -> Tensor:
    r"""Estimates $KL(p \| q)$ from samples of p, or in reverse $KL(q \| p)$ from samples of q.

    The mean of $\log p / q$ over samples of p, or of $\log q / p$ over samples of q. The critic has
    label 1 for p. These are the two directions of Eq. 5, Choudhuri et al. (2020), who restate the
    symmetric KL divergence of sRb-VAE, Ruiz et al. (2019).

    Args:
        logits: of the critic, shape (B,), on samples of p, or in reverse on samples of q.
        reverse: the direction.

    Returns:
        (B,), in nats, to be averaged. Single values may be negative.
    """
    return -at_least_float32(logits) if reverse else at_least_float32(logits)
