"""One row of a comparison."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from studio.compare.labels import to_json
from studio.config import Config

__all__ = ["Variant"]


@dataclass(frozen=True)
class Variant:
    """One row of a comparison: a config with its overrides, trained with several seeds.

    Attributes:
        label: its name in the table.
        folder: name of its runs before `-seedN`. It does not depend on the other rows.
        cfg: the value of `studio train --cfg`.
        assignments: the values of `studio train --set`, without the seed.
        config: resolved, with seed 0.
        seeds: number of trainings, with seeds 0 to `seeds` - 1.
        show: keys of the numbers that the sweep reports.
        each: seed -> overrides of that training alone, such as its fold.
        configs: seed -> config with these overrides. Seeds without one have `config`.
    """

    label: str
    folder: str
    cfg: str
    assignments: tuple[str, ...]
    config: Config
    seeds: int
    show: tuple[str, ...] = ()
    each: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    configs: Mapping[int, Config] = field(default_factory=dict)

    def at(self, seed: int) -> Config:
        """Returns the config of one training."""
        return self.configs.get(seed, self.config).model_copy(update={"seed": seed})

    def settings(self, seed: int) -> list[str]:
        """Returns the values of `studio train --set` of one training."""
        own = self.each.get(seed, {})
        return [
            *self.assignments,
            *(f"{k}={to_json(k, v)}" for k, v in own.items()),
            f"seed={seed}",
        ]
