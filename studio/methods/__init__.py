"""The methods, one paper per file. `METHODS` maps the names in configs to the classes."""

from studio.method import Method
from studio.methods.cpca import CPCA
from studio.methods.cvae import CVAE
from studio.methods.dig_plus import DIGPlus
from studio.methods.double_infogan import DoubleInfoGAN
from studio.methods.mm_cvae import MMCVAE
from studio.methods.principled import Principled
from studio.methods.sepvae import SepVAE
from studio.methods.srb_vae import SRBVAE
from studio.methods.vae import VAE

__all__ = ["ALIASES", "METHODS"]


METHODS: dict[str, type[Method]] = {
    "dig": DoubleInfoGAN,
    "dig_plus": DIGPlus,
    "vae": VAE,
    "cvae": CVAE,
    "mm_cvae": MMCVAE,
    "sepvae": SepVAE,
    "srb_vae": SRBVAE,
    "principled": Principled,
    "cpca": CPCA,
}
ALIASES = {"double_infogan": "dig"}
