"""What a training leaves when its budget is used: the probe's table and the pictures."""

from rich.console import Console

from studio.evaluate.probes import probe
from studio.evaluate.table import probe_table, verdict
from studio.render import KINDS
from studio.training import Training, write_json

__all__ = ["finish"]

PICTURES = {"grid": 6, "reconstruct": 8, "swap": 6, "heal": 6, "isolate": 6, "traverse": 8, "interpolate": 6, "codes": 1000}


def finish(training: Training) -> None:
    """Writes `probe.json` and `grids/KIND.png`, and prints the table with a sentence per attribute."""
    method, seen, config = training.engine.ema.method, training.engine.images_seen, training.config
    for kind, n in PICTURES.items():
        training.journal.picture(seen, kind, KINDS[kind](method, training.dataset, n, config.seed))
    head = {"run": str(training.folder), "method": config.method.name, "dataset": config.data.name, "images_seen": seen}
    result = {**head, **probe(method, training.dataset)}
    write_json(training.folder / "probe.json", result)
    training.journal.close()
    console = Console(stderr=True)
    console.print(probe_table(result), *(verdict(row) for row in result["rows"]), sep="\n", highlight=False)
    console.print(f"pictures: {training.folder / 'grids'}", highlight=False, soft_wrap=True)
