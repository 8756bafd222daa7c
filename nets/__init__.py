"""Networks: encoders from images to named vectors, and decoders from codes to images.

All methods share these networks, so that a comparison of methods measures their objectives and not
their architectures.

`build_encoder` returns a trunk with named linear heads. With heads for D, C, z and s it is the
discriminator and encoder of Double InfoGAN. With heads for means and log-variances it is the
encoder of a VAE. `build_decoder` returns the generator of Double InfoGAN, which also serves as the
decoder of every VAE.

The same code builds networks for images (C, H, W), volumes (C, D, H, W) and vectors (F,). Images
and volumes have equal sides of `b * 2**k` with b = 3..7. Vectors have any length. Spectral
normalisation, nearest-neighbour upsampling and self-attention are options of the config
(`nets.norm`, `nets.upsample`, `nets.attention`). A different architecture, such as that of another
paper, is a list of layers in the config.

| module | content |
| --- | --- |
| `architecture` | `build_encoder`, `build_decoder` and the check of a config |
| `trunk`, `headed_trunk` | the convolutional trunk, and a trunk with named heads |
| `generator`, `attention` | the generator and its self-attention |
| `critic` | small networks that classify codes, or images with their codes |
| `layers`, `listed` | architectures given as lists of layers |
| `dimensions`, `stages` | layers for each number of dimensions, and the sizes of feature maps |
| `noise`, `scale` | additive Gaussian noise, output activations and pixel scales |
| `init`, `spectral`, `statistics` | initial weights, spectral normalisation, frozen statistics |
| `recompute` | activation checkpointing |
"""

from nets.architecture import NetsSpec, build_decoder, build_encoder, check_nets
from nets.attention import SelfAttention
from nets.critic import Critic, JointCritic, Predictor
from nets.dimensions import memory_format
from nets.generator import Generator
from nets.headed_trunk import HeadedTrunk
from nets.init import dcgan_init_
from nets.layers import LayerSpec
from nets.listed import ListedGenerator, ListedTrunk
from nets.noise import GaussianNoise
from nets.recompute import recompute_
from nets.spectral import power_iteration_
from nets.stages import Stages, plan_stages
from nets.statistics import frozen_statistics
from nets.trunk import Trunk

__all__ = [
    "Critic",
    "GaussianNoise",
    "Generator",
    "HeadedTrunk",
    "JointCritic",
    "LayerSpec",
    "ListedGenerator",
    "ListedTrunk",
    "NetsSpec",
    "Predictor",
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
    "recompute_",
]
