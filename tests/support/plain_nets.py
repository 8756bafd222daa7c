"""Experiments without batch statistics, which can be given in parts."""

from studio.config import Config, resolve
from support.experiments import VARIANTS, tiny

PLAIN = {
    "encoder": [{"flatten": True}, {"linear": 16, "act": "relu"}],
    "decoder": [{"linear": 16, "act": "relu"}, {"linear": "image"}],
    "output": "linear",
}  # no batch normalisation


TRAINED = [name for name in VARIANTS if name != "cpca"]


def plain(method: str, off: tuple[str, ...] = (), **train_fields: object) -> Config:
    raw = tiny(method, **train_fields).model_dump(mode="json")
    raw["nets"] = PLAIN
    raw["method"]["weights"] |= dict.fromkeys(off, 0.0)
    return resolve(raw, "tiny", "tiny")
