"""Initialisation: that of the DCGAN family, or PyTorch's own."""

from torch import nn

__all__ = ["dcgan_init_", "init_weights_"]

LINEAR = (nn.Conv2d, nn.ConvTranspose2d, nn.Conv3d, nn.ConvTranspose3d, nn.Linear)


def dcgan_init_(net: nn.Module, std: float = 0.02) -> nn.Module:
    """Draws the weights of convolutions and linear layers from N(0, 0.02^2) and zeroes their biases, in place.

    The authors of Double InfoGAN do the same and leave batch normalisation as PyTorch makes it (gain 1, shift 0),
    unlike DCGAN's gain of N(1, 0.02^2). Must run before spectral normalisation is added to a layer.

    Returns:
        the same net.
    """
    for module in net.modules():
        if isinstance(module, LINEAR):
            nn.init.normal_(module.weight, 0.0, std)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return net


def init_weights_(net: nn.Module, init: str) -> nn.Module:
    """Initialises a net that has just been made: `dcgan`, or `torch` for what PyTorch has drawn already."""
    return dcgan_init_(net) if init == "dcgan" else net
