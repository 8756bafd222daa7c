"""Rates of reading: every chosen image once per reading, half of each set."""

import numpy as np
from support.experiments import tiny

from studio.bench.reading import measure_reading
from studio.build import build_dataset


def test_reading_takes_half_of_each_set_twice() -> None:
    dataset = build_dataset(tiny())
    read, own = [], dataset.images
    dataset.images = lambda split, domain, rows: (
        read.append((domain, [*rows])),
        own(split, domain, rows),
    )[1]
    rate = measure_reading(dataset, most=200)
    assert rate.images == 200
    assert min(rate.first, rate.again) > 0
    for domain in ("background", "target"):
        rows = np.concatenate([found for name, found in read if name == domain])
        assert len(rows) == 200
        assert len(set(rows.tolist())) == 100
