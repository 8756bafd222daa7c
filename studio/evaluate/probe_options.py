"""How codes are computed and probed: the values of `--protocol` and `--eval`, without torch."""

from dataclasses import dataclass
from typing import Literal

from studio.errors import StudioError, nearest

__all__ = ["EVAL_MODES", "LIMIT", "PROTOCOLS", "EvalMode", "ProbeOptions", "ProbeProtocol"]

EvalMode = Literal["clean", "authors"]
EVAL_MODES: tuple[EvalMode, ...] = ("clean", "authors")
ProbeProtocol = Literal["held-out", "carton", "louiset"]
PROTOCOLS: tuple[ProbeProtocol, ...] = ("held-out", "carton", "louiset")
LIMIT = 5_000  # images per split and domain. A linear probe of about 100 numbers needs no more


@dataclass(frozen=True)
class ProbeOptions:
    """How codes are computed and probed.

    Attributes:
        protocol: see `studio.evaluate.probes.probe`.
        limit: images per split and domain.
        seed: of the bootstrap behind the standard errors, of the two-layer probe and of the noise
            in the authors' evaluation.
        eval_mode: `clean` (noise off, running statistics), or `authors` (noise on and batch
            statistics, as in the published evaluation).
    """

    protocol: ProbeProtocol = "held-out"
    limit: int = LIMIT
    seed: int = 0
    eval_mode: EvalMode = "clean"

    @property
    def averaged(self) -> bool:
        """Whether the averaged weights are probed. The authors of Double InfoGAN have none."""
        return self.eval_mode != "authors"

    @classmethod
    def parse(cls, protocol: str | None = None, eval_mode: str | None = None) -> "ProbeOptions":
        """Checks the values of `--protocol` and `--eval`. None stands for the default.

        Raises:
            StudioError: an unknown protocol or eval mode, with the nearest valid name.
        """
        protocol, eval_mode = protocol or "held-out", eval_mode or "clean"
        if protocol not in PROTOCOLS:
            raise StudioError(
                f"--protocol {protocol}: no such protocol{nearest(protocol, PROTOCOLS)}"
            )
        if eval_mode not in EVAL_MODES:
            raise StudioError(
                f"--eval {eval_mode}: no such eval mode{nearest(eval_mode, EVAL_MODES)}"
            )
        return cls(protocol, eval_mode=eval_mode)
