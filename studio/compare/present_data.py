"""The present data of a comparison: whether they are those on which its runs were trained."""

import json
from typing import NamedTuple

from studio.build import build_dataset
from studio.config import Config
from studio.data import Dataset
from studio.errors import StudioError
from studio.runs.data_file import DataFile
from studio.runs.run_data import absolute_paths, compare_data

__all__ = ["DataCheck", "PresentData"]


class DataCheck(NamedTuple):
    """The result of comparing a run's data with the present ones.

    Attributes:
        changes: the differences, "" if there are none.
        sha256: hash of the present data, or None if it is unknown.
        problem: the reason why the data could not be compared, or "".
    """

    changes: str = ""
    sha256: str | None = None
    problem: str = ""


class PresentData:
    """Opens each data set of a comparison once, and compares it with those of the runs."""

    def __init__(self) -> None:
        self._opened: dict[str, Dataset | str] = {}

    def check(self, config: Config, stored: DataFile | None) -> DataCheck:
        """Compares a run's data with the present ones.

        Args:
            config: the config of the run.
            stored: its `data.json`. Without one nothing is known, and nothing is opened.
        """
        if stored is None:
            return DataCheck()
        config = absolute_paths(config)
        facts = {name: fact for name, fact in stored.derived.items() if name != "split"}
        key = config.data.model_dump_json() + json.dumps(facts, sort_keys=True)
        if key not in self._opened:
            try:
                self._opened[key] = build_dataset(config, facts)
            except StudioError as error:
                self._opened[key] = str(error).splitlines()[0]
        found = self._opened[key]
        if isinstance(found, str):
            return DataCheck(problem=found)
        return DataCheck(*compare_data(found, stored))
