"""Networks: code -> image (`decoder`), and image -> named outputs (`encoder`).

The same ideas serve every method: Double InfoGAN's generator is also each VAE's decoder, a trunk with heads `D, C, z, s`
is its discriminator and encoder, and one whose heads emit means and log-variances is a VAE's encoder. One `shape`
covers images (C, H, W) and volumes (C, D, H, W) with sides `b * 2**k`, b = 3..7, and vectors (F,) of any length; there
is no copy per resolution or dimension. Spectral normalisation, upsampling and self-attention are arguments of the same
nets (`nets.norm`, `nets.upsample`, `nets.attention`). A paper's own architecture is a list of layers in the config
(`nets.layers`).
"""

from nets.architecture import check_nets, decoder, encoder
from nets.attention import SelfAttention
from nets.critic import Critic, JointCritic, Reference
from nets.dimensions import layout
from nets.generator import Generator
from nets.init import dcgan_init
from nets.layers import LAYERS
from nets.listed import ListedGenerator, ListedTrunk
from nets.noise import GaussianNoise
from nets.reader import Reader
from nets.spectral import followed
from nets.stages import Stages, stages
from nets.statistics import untracked
from nets.trunk import Trunk

__all__ = [
    "LAYERS",
    "Critic",
    "GaussianNoise",
    "Generator",
    "JointCritic",
    "ListedGenerator",
    "ListedTrunk",
    "Reader",
    "Reference",
    "SelfAttention",
    "Stages",
    "Trunk",
    "check_nets",
    "dcgan_init",
    "decoder",
    "encoder",
    "followed",
    "layout",
    "stages",
    "untracked",
]
