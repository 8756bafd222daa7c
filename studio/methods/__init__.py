"""One paper, one file. `METHODS` maps the names that configs use to the classes."""

from typing import Any

from studio.methods.cpca import CPCA
from studio.methods.cvae import CVAE
from studio.methods.double_infogan import DoubleInfoGAN
from studio.methods.mm_cvae import MMCVAE
from studio.methods.principled import Principled
from studio.methods.sepvae import SepVAE
from studio.methods.srb_vae import SRBVAE
from studio.methods.vae import VAE

__all__ = ["ALIASES", "METHODS"]

# Classes derived from Method, each built from (its Config, NetsConfig, shape).
METHODS: dict[str, Any] = {
    "dig": DoubleInfoGAN,
    "vae": VAE,
    "cvae": CVAE,
    "mm_cvae": MMCVAE,
    "sepvae": SepVAE,
    "srb_vae": SRBVAE,
    "principled": Principled,
    "cpca": CPCA,
}
ALIASES = {"double_infogan": "dig"}
