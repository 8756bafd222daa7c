"""Small networks that judge codes, or images together with their codes."""

from itertools import pairwise

import torch
from torch import Tensor, nn

__all__ = ["Critic", "JointCritic", "Predictor"]


class Critic(nn.Module):
    """A multilayer perceptron that maps each vector to one logit.

    With hidden layers it estimates density ratios or classifies the domains. Louiset et al. (2024)
    use three layers for the mutual information (App. F) and two for the salient classifier
    (Sec. 3). Without hidden layers it is the logistic regression of Abid and Zou (2019), App. C.

    Args:
        inputs: length of the vectors.
        width: of every hidden layer.
        depth: number of hidden layers.
    """

    def __init__(self, inputs: int, width: int, depth: int = 2) -> None:
        super().__init__()
        self.layers = _perceptron(inputs, width, depth, 1)

    def forward(self, vectors: Tensor) -> Tensor:
        """Maps vectors (B, inputs) to logits (B,)."""
        return self.layers(vectors).squeeze(1)


class Predictor(nn.Module):
    """A multilayer perceptron that predicts a vector from another, beside the best constant.

    Args:
        inputs: length of the vectors that it reads.
        outputs: length of the vectors that it predicts.
        width: of every hidden layer.
        depth: number of hidden layers.

    Attributes:
        constant: (outputs,), the prediction of one who reads nothing. It starts at 0.
    """

    def __init__(self, inputs: int, outputs: int, width: int, depth: int = 2) -> None:
        super().__init__()
        self.layers = _perceptron(inputs, width, depth, outputs)
        self.constant = nn.Parameter(torch.zeros(outputs))

    def forward(self, vectors: Tensor) -> Tensor:
        """Maps vectors (B, inputs) to predictions (B, outputs)."""
        return self.layers(vectors)


class JointCritic(nn.Module):
    """A critic of images together with their codes, as in Ruiz et al. (2019).

    Args:
        reader: maps images to {"features": (B, features)}.
        features: number of features that the reader returns.
        latents: length of the code.
        width: of the hidden layers.
    """

    def __init__(self, reader: nn.Module, features: int, latents: int, width: int) -> None:
        super().__init__()
        self.reader = reader
        self.critic = Critic(features + latents, width)

    def forward(self, images: Tensor, code: Tensor) -> Tensor:
        """Maps images (B, ...) and their codes (B, latents) to logits (B,)."""
        features = self.reader(images)["features"]
        return self.critic(torch.cat([features, code.to(features)], 1))


def _perceptron(inputs: int, width: int, depth: int, outputs: int) -> nn.Sequential:
    sizes = [inputs, *[width] * depth]
    hidden = [
        nn.Sequential(nn.Linear(before, after), nn.LeakyReLU(0.2))
        for before, after in pairwise(sizes)
    ]
    return nn.Sequential(*hidden, nn.Linear(sizes[-1], outputs))
