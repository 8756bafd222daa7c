"""Networks: code -> image (`decoder`), and image -> named outputs (`encoder`).

The same ideas serve every method: Double InfoGAN's generator is also each VAE's decoder, a trunk with heads `D, C, z, s`
is its discriminator and encoder, and one whose heads emit means and log-variances is a VAE's encoder. One `shape`
covers images (C, H, W) and volumes (C, D, H, W) with sides `b * 2**k`, b = 3..7, and vectors (F,) of any length; there
is no copy per resolution or dimension. Spectral normalisation, upsampling and self-attention are arguments of the same
nets (`nets.norm`, `nets.upsample`, `nets.attention`). A paper's own architecture is a list of layers in the config
(`nets.layers`).
"""

from nets.architecture import build_decoder, build_encoder, check_nets
from nets.attention import SelfAttention
from nets.critic import Critic, JointCritic
from nets.dimensions import memory_format
from nets.generator import Generator
from nets.headed_trunk import HeadedTrunk
from nets.init import dcgan_init_
from nets.layers import LAYERS
from nets.listed import ListedGenerator, ListedTrunk
from nets.noise import GaussianNoise
from nets.spectral import power_iteration_
from nets.stages import Stages, plan_stages
from nets.statistics import frozen_statistics
from nets.trunk import Trunk

__all__ = [
    "LAYERS",
    "Critic",
    "GaussianNoise",
    "Generator",
    "HeadedTrunk",
    "JointCritic",
    "ListedGenerator",
    "ListedTrunk",
    "SelfAttention",
    "Stages",
    "Trunk",
    "build_decoder",
    "build_encoder",
    "check_nets",
    "dcgan_init_",
    "frozen_statistics",
    "memory_format",
    "plan_stages",
    "power_iteration_",
]
