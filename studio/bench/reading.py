"""How fast a data set's files are read: `python -m studio.bench.reading NAME`.

The training images of both sets are read in batches of 64, in the order of a training: once from
the files, and once more from wherever the data set keeps them.
"""

import argparse
import sys
import time
from typing import NamedTuple

import numpy as np

from studio.config import parse_assignment, validate_section
from studio.data import DATASETS, Dataset, dataset_class
from studio.domains import DOMAINS
from studio.errors import StudioError, nearest

__all__ = ["ReadingRate", "measure_reading"]

BATCH = 64


class ReadingRate(NamedTuple):
    """Rates of reading.

    Attributes:
        images: number of images that were read.
        first: rate of the first reading, in images per second.
        again: rate of the second reading, in images per second.
        processor: rate of the first reading, in images per second of processor time, which does
            not depend on how busy the machine is.
    """

    images: int
    first: float
    again: float
    processor: float


def measure_reading(dataset: Dataset, most: int = 2_000, seed: int = 0) -> ReadingRate:
    """Reads training images of both sets twice.

    Args:
        dataset: the data set, newly opened.
        most: number of images, half of them of each set if there are so many.
        seed: seed of their order.
    """
    rng = np.random.default_rng(seed)
    rows = {d: rng.permutation(dataset.size("train", d))[: most // 2] for d in DOMAINS}
    total = sum(map(len, rows.values()))
    times, work = [], []
    for _ in range(2):
        start, begun = time.perf_counter(), time.process_time()
        for domain, indices in rows.items():
            for first in range(0, len(indices), BATCH):
                dataset.images("train", domain, indices[first : first + BATCH])
        times.append(time.perf_counter() - start)
        work.append(time.process_time() - begun)
    return ReadingRate(total, *(total / seconds for seconds in (*times, work[0])))


def main() -> None:
    """Prints the rates of a data set whose files are in the folder that STUDIO_DATA names."""
    parser = argparse.ArgumentParser(description="measures how fast a data set's files are read")
    parser.add_argument("name", help="data set, as `studio data list` prints it")
    parser.add_argument("--images", type=int, default=2_000, help="number of images to read")
    parser.add_argument("--set", action="append", default=[], metavar="data.FIELD=VALUE")
    given = parser.parse_args()
    if given.name not in DATASETS:
        raise StudioError(f"no data set {given.name!r}{nearest(given.name, DATASETS)}")
    pairs = [parse_assignment(text) for text in given.set]
    fields = {path.removeprefix("data."): value for path, value in pairs}
    cls = DATASETS[given.name]
    start = time.perf_counter()
    config = validate_section(cls.Config, {"name": given.name, **fields}, "--set")
    dataset = dataset_class(config)(config)
    opening = time.perf_counter() - start
    rate = measure_reading(dataset, given.images)
    print(
        f"{given.name}: opened in {opening:.1f} s; {rate.images:,} images at {rate.first:,.0f} "
        f"images/s from the files ({rate.processor:,.0f} per second of processor time), "
        f"{rate.again:,.0f} images/s afterwards"
    )


if __name__ == "__main__":
    try:
        main()
    except StudioError as error:
        sys.exit(f"error: {error}")
