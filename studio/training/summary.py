"""What a training leaves when its budget is used: the probe's table, the pictures and the report."""

import sys
from pathlib import Path

from PIL import Image

from studio.atomic import write_file, write_json
from studio.errors import StudioError, warn
from studio.evaluate.measure import measure
from studio.evaluate.probe_table import show
from studio.render.kinds import every_picture
from studio.report import Facts, gather, write_report
from studio.training.session import Training

__all__ = ["finish"]


def finish(training: Training) -> None:
    """Writes `probe.json`, `grids/KIND.png`, `grids/training.webp` and `report.html`, and prints tables and sentences.

    In this order, so that what fails later takes nothing along that was measured.
    """
    method, seen, config = training.engine.ema.method, training.engine.images_seen, training.config
    head = {
        "run": str(training.folder),
        "method": config.method.name,
        "dataset": config.data.name,
        "images_seen": seen,
    }
    result = {**head, **measure(method, training.dataset)}
    write_json(training.folder / "probe.json", result)
    pictures: dict[str, Image.Image] = {}
    for kind, picture in every_picture(method, training.dataset, config.seed):
        pictures[kind] = picture
        training.journal.picture(seen, kind, picture)
    report = _report(training, pictures)
    training.journal.close()
    show(result, stderr=True)
    print(f"pictures: {training.folder / 'grids'}", file=sys.stderr)
    if report:
        print(f"report: {report}", file=sys.stderr)


def _report(training: Training, pictures: dict[str, Image.Image]) -> Path | None:
    """Writes the animation, the curves and the report; says why where it cannot, since all else is there by now."""
    path, grids = training.folder / "report.html", training.folder / "grids"
    engine = training.engine
    try:
        facts = gather(
            training.folder,
            training.config,
            engine.ema.method,
            training.dataset,
            engine.images_seen,
            pictures=pictures,
        )
        _keep(facts, grids)
        write_report([facts], path)
    except (StudioError, OSError) as error:
        warn(f"no report: {error}; studio report {training.folder} writes it")
        return None
    return path


def _keep(facts: Facts, grids: Path) -> None:
    if facts.film is not None:
        encoded = facts.film.encoded()
        write_file(grids / "training.webp", lambda partial: partial.write_bytes(encoded))
    if "curves" in facts.pictures:
        write_file(grids / "curves.png", lambda partial: facts.pictures["curves"].save(partial))
