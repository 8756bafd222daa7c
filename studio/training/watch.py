"""`train.stop_when`: the end of a training whose watched number no longer improves.

The state of a watch is part of the training's state, with the sum of the term since the last look.
A training that is resumed therefore ends at the same image as one that was never interrupted.
"""

from typing import Any

import torch
from torch import Tensor

from studio.data import Dataset
from studio.errors import StudioError, nearest
from studio.train_config import TrainConfig

__all__ = ["Watch"]

FIELD = "train.stop_when"
PROBE = "probe/"
SPACES = ("salient", "common")


class Watch:
    """Follows one number of the log, and knows when it has not improved for too many looks.

    A look at a loss term is a line of the log with its mean since the look before, which should be
    low. A look at a probe is a probe during the training. It should be high where the attribute
    belongs in the code, and low otherwise.

    Args:
        train: the section of the config. Without `stop_when` the watch never ends a training.
        dataset: its attributes name the probes.

    Attributes:
        best: the best value, or None before the first look.
        looks: number of looks since the best one.

    Raises:
        StudioError: no such probe will be made.
    """

    def __init__(self, train: TrainConfig, dataset: Dataset) -> None:
        self.section = train.stop_when
        self.term = "" if self.section is None else self.section.term
        self.probes, self.higher = self.term.startswith(PROBE), False
        if self.probes:
            self._check_probe(train, dataset)
        self.reset_()

    def _check_probe(self, train: TrainConfig, dataset: Dataset) -> None:
        belongs = {name: item.belongs for name, item in dataset.attributes.items()}
        belongs["target"] = "salient"
        known = {f"{PROBE}{name}/{space}": space for name in belongs for space in SPACES}
        if self.term not in known:
            raise StudioError(
                f"{FIELD}.term: no such probe {self.term!r}{nearest(self.term, known)}"
            )
        if not train.probe_every:
            raise StudioError(
                f"{FIELD}.term: {self.term} is measured during the training only with "
                "train.probe_every, which is 0"
            )
        name, space = self.term.removeprefix(PROBE).rsplit("/", 1)
        self.higher = belongs[name] == space

    def reset_(self) -> None:
        """Forgets every value."""
        self.best: float | None = None
        self.looks, self._sum, self._count = 0, torch.zeros(()), 0

    @property
    def ended(self) -> bool:
        """Whether the training should end."""
        return self.section is not None and self.looks >= self.section.patience

    def add(self, terms: dict[str, Tensor]) -> None:
        """Adds one iteration's means, each of shape ().

        Raises:
            StudioError: the watched term is none of them.
        """
        if not self.term or self.probes:
            return
        if self.term not in terms:
            near = nearest(self.term, terms)
            raise StudioError(f"{FIELD}.term: no such term {self.term!r}{near}")
        value = terms[self.term]
        self._sum, self._count = self._sum.to(value.device) + value, self._count + 1

    def look(self) -> None:
        """Compares the term's mean since the last look with the best one."""
        if self._count:
            mean = self._sum.item() / self._count
            self._sum, self._count = torch.zeros(()), 0
            self._compare(mean)

    def look_at_probe(self, values: dict[str, float]) -> None:
        """Compares the watched probe, if it is one of some values by their names in the log."""
        if self.probes and self.term in values:
            self._compare(values[self.term])

    def _compare(self, value: float) -> None:
        better = self.best is None or (value > self.best if self.higher else value < self.best)
        self.best, self.looks = (value, 0) if better else (self.best, self.looks + 1)

    def describe(self) -> str:
        """Returns the reason for the end of the training."""
        best = "-" if self.best is None else f"{self.best:.4g}"
        return f"{FIELD}: {self.term} has not improved on {best} for {self.looks} looks"

    def record(self) -> dict[str, Any]:
        """Returns the entry of the last manifest, with the section that ended the training."""
        section = {} if self.section is None else self.section.model_dump(mode="json")
        return {**section, "best": self.best, "reason": self.describe()}

    def state(self) -> dict[str, Any]:
        """Returns the state in plain containers."""
        return {
            "term": self.term,
            "best": self.best,
            "looks": self.looks,
            "sum": self._sum.item(),
            "count": self._count,
        }

    def load_(self, state: dict[str, Any] | None) -> None:
        """Continues from a stored state. That of another term, or none, is a new beginning."""
        self.reset_()
        if state is not None and state["term"] == self.term:
            self.best, self.looks = state["best"], state["looks"]
            self._sum, self._count = torch.tensor(state["sum"]), state["count"]
