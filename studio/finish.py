"""What a training leaves when its budget is used: the probe's table and the pictures."""

import sys

from studio.evaluate.measure import measure
from studio.evaluate.table import show
from studio.render import kinds
from studio.training import Training
from studio.writing import write_json

__all__ = ["finish"]


def finish(training: Training) -> None:
    """Writes `probe.json` and `grids/KIND.png`, and prints the tables with a sentence per attribute."""
    method, seen, config = training.engine.ema.method, training.engine.images_seen, training.config
    for kind, draw in kinds(training.dataset).items():
        training.journal.picture(seen, kind, draw(method, training.dataset, seed=config.seed))
    head = {"run": str(training.folder), "method": config.method.name, "dataset": config.data.name, "images_seen": seen}
    result = {**head, **measure(method, training.dataset)}
    write_json(training.folder / "probe.json", result)
    training.journal.close()
    show(result, stderr=True)
    print(f"pictures: {training.folder / 'grids'}", file=sys.stderr)
