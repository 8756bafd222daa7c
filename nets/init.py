"""Initialisation of the DCGAN family."""

from torch import nn

__all__ = ["dcgan_init"]


def dcgan_init(net: nn.Module, std: float = 0.02) -> nn.Module:
    """Draws the weights of convolutions and linear layers from N(0, 0.02^2) and zeroes their biases, in place.

    The authors of Double InfoGAN do the same and leave batch normalisation as PyTorch makes it (gain 1, shift 0),
    unlike DCGAN's gain of N(1, 0.02^2). Must run before spectral normalisation is added to a layer.

    Returns:
        the same net.
    """
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(module.weight, 0.0, std)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return net
