"""Experiments without batch normalisation, which can be accumulated over micro-batches."""

from studio.config import Config, resolve
from support.experiments import tiny

# A nets section without batch normalisation.
PLAIN = {
    "encoder": [{"flatten": True}, {"linear": 16, "act": "relu"}],
    "decoder": [{"linear": 16, "act": "relu"}, {"linear": "image"}],
    "output": "linear",
}


def plain(method: str, off: tuple[str, ...] = (), **train_fields: object) -> Config:
    """Returns a tiny experiment with plain nets and weight 0 for the terms in `off`."""
    raw = tiny(method, **train_fields).model_dump(mode="json")
    raw["nets"] = PLAIN
    raw["method"]["weights"] |= dict.fromkeys(off, 0.0)
    return resolve(raw, "tiny", "tiny")
