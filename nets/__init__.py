"""Networks: code -> image (`Generator`), image -> features (`Trunk`), and a trunk with named heads (`Reader`).

The same three ideas serve every method: the generator is also each VAE's decoder, a reader with heads `D, C, z, s` is
the discriminator and encoder of Double InfoGAN, and a reader with heads that emit means and log-variances is a VAE's
encoder. One resolution argument covers every size `b * 2**k` with b = 3..7; there is no copy per resolution.
"""

from nets.generator import Generator
from nets.init import dcgan_init
from nets.noise import GaussianNoise
from nets.reader import Reader
from nets.stages import Stages, stages
from nets.statistics import untracked
from nets.trunk import Trunk

__all__ = ["GaussianNoise", "Generator", "Reader", "Stages", "Trunk", "dcgan_init", "stages", "untracked"]
