"""The batches of a training, from a loader or from images that lie on the device.

A GPU that computes thousands of images per second waits for a loader, which fetches, maps and sends
each batch. If the training images fit, they are therefore kept on the device as bytes, and batches
are put together there.
"""

from collections.abc import Iterable, Iterator
from math import prod

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from studio.data import Dataset, PairStream
from studio.data.training_set import TrainingSet
from studio.domains import DOMAINS
from studio.errors import StudioError
from studio.method import Pair
from studio.train_config import TrainConfig
from studio.training.signals import ignore_stop_signals

__all__ = ["Batches", "ResidentPairs", "fits_on_device"]

CHUNK = 512  # images that are read at a time
LEVELS = 256  # different values that a byte can stand for
SHARE = 0.25  # of the free memory of the device, at most


class Batches:
    """Loads pairs as a config asks for.

    Args:
        stream: the pairs of each iteration.
        config: its fields `data_on_device` and `workers` count.
        device: trains on the pairs.
    """

    def __init__(self, stream: PairStream, config: TrainConfig, device: torch.device) -> None:
        self.stream, self.config, self.device = stream, config, device
        self._resident: ResidentPairs | None = None

    def between(self, first: int, last: int) -> Iterable[Pair]:
        """Returns the pairs of the iterations from `first` up to but not including `last`."""
        wanted, workers = self.config.data_on_device, self.config.workers
        if wanted == "yes" or (
            wanted == "auto" and fits_on_device(self.stream.dataset, self.device)
        ):
            self._resident = self._resident or ResidentPairs(self.stream, self.device)
            return map(self._resident.__getitem__, range(first, last))
        return DataLoader(
            self.stream,
            batch_size=None,
            sampler=range(first, last),
            num_workers=workers,
            prefetch_factor=4 if workers else None,
            worker_init_fn=ignore_stop_signals,
            pin_memory=self.device.type == "cuda",
        )


class ResidentPairs:
    """The pairs of a `PairStream`, from images on a device.

    If the images have at most 256 different values, which 8-bit files have, each value takes one
    byte. The pairs equal those of the stream exactly.

    Args:
        stream: names the images of each pair.
        device: keeps the images.

    Raises:
        StudioError: the device has too little memory for them.
    """

    def __init__(self, stream: PairStream, device: torch.device) -> None:
        self.stream, self.device = stream, device
        try:
            self.images = {name: _load(stream.training, name, device) for name in DOMAINS}
        except torch.OutOfMemoryError:
            raise StudioError(
                "train.data_on_device: found yes, but the training images do not fit into the "
                f"memory of {device}; expected auto or no"
            ) from None
        severity = stream.severity
        self.severity = None if severity is None else torch.from_numpy(severity).to(device)

    def __getitem__(self, iteration: int) -> Pair:
        """Returns the pair of an iteration."""
        places = [
            torch.from_numpy(self.stream.positions(iteration, name)).to(self.device)
            for name in DOMAINS
        ]
        x, y = (self.images[name][i] for name, i in zip(DOMAINS, places, strict=True))
        return Pair(x, y, None if self.severity is None else self.severity[places[1]])


class _Levels:
    """Images as bytes, each of which stands for one of at most 256 values."""

    def __init__(self, codes: Tensor, table: Tensor) -> None:
        self.codes, self.table = codes, table

    def __getitem__(self, indices: Tensor) -> Tensor:
        return self.table[self.codes[indices].int()]


def fits_on_device(dataset: Dataset, device: torch.device) -> bool:
    """Returns whether a GPU has room for the training images of a data set, as bytes."""
    if device.type != "cuda":
        return False
    images = sum(dataset.size("train", name) for name in DOMAINS)
    return images * prod(dataset.shape) <= SHARE * torch.cuda.mem_get_info(device)[0]


def _load(training: TrainingSet, domain: str, device: torch.device) -> "_Levels | Tensor":
    """Reads the training set of a domain, as bytes if the values of its images allow it."""
    codes, table = [], torch.empty(0)
    for chunk in _chunks(training, domain):
        table = _with_values_of(table, chunk)
        if len(table) > LEVELS:
            return torch.cat([chunk.to(device) for chunk in _chunks(training, domain)])
        codes.append(_codes(table, chunk).to(torch.uint8).to(device))
    return _Levels(torch.cat(codes), table.to(device))


def _chunks(training: TrainingSet, domain: str) -> Iterator[Tensor]:
    rows = range(training.size(domain))
    for first in range(0, len(rows), CHUNK):
        yield training.images(domain, rows[first : first + CHUNK]).contiguous()


def _codes(table: Tensor, values: Tensor) -> Tensor:
    """Returns the place in the table of each value, or of another value if it is absent."""
    ordered, places = table.sort()
    found = torch.searchsorted(ordered, values).clamp_(max=len(table) - 1)
    return places[found]


def _with_values_of(table: Tensor, chunk: Tensor) -> Tensor:
    """Returns the table with the values of a chunk that it lacks appended, up to 257 entries."""
    for image in chunk:
        absent = image if not len(table) else image[table[_codes(table, image)] != image]
        if absent.numel():
            table = torch.cat([table, absent.unique()])[: LEVELS + 1]
        if len(table) > LEVELS:
            break
    return table
