"""Initial weights: those of the DCGAN family or those of PyTorch."""

from torch import nn

__all__ = ["WEIGHT_LAYERS", "dcgan_init_", "init_weights_"]

WEIGHT_LAYERS = (nn.Conv2d, nn.ConvTranspose2d, nn.Conv3d, nn.ConvTranspose3d, nn.Linear)


def dcgan_init_(net: nn.Module, std: float = 0.02) -> nn.Module:
    """Draws the weights of convolutions and linear layers from N(0, std^2) and zeroes their biases.

    Like the authors of Double InfoGAN, it keeps PyTorch's initial batch normalisation (gain 1,
    shift 0). DCGAN draws the gain from N(1, 0.02^2). Call it before spectral normalisation is
    added, because it does not reach the weights afterwards.

    Returns:
        The same network, changed in place.
    """
    for module in net.modules():
        if isinstance(module, WEIGHT_LAYERS):
            nn.init.normal_(module.weight, 0.0, std)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return net


def init_weights_(net: nn.Module, init: str) -> nn.Module:
    """Initialises a new network in place.

    Args:
        net: the network.
        init: `dcgan`, or `torch` to keep the weights that PyTorch has drawn.

    Returns:
        The same network.
    """
    return dcgan_init_(net) if init == "dcgan" else net
