"""A resumed training keeps its number of threads."""

from pathlib import Path

import pytest
from support.experiments import tiny

from studio.atomic import write_json
from studio.training import threads
from studio.training.threads import keep_threads


def write_manifests(**stored: object) -> Path:
    for name, number in stored.items():
        folder = Path("run/checkpoints") / name.removeprefix("c")
        folder.mkdir(parents=True)
        write_json(folder / "manifest.json", {"format": 1, "files": {}, "threads": number})
    return Path("run")


@pytest.mark.parametrize(
    ("stored", "config", "kept"),
    [
        (2, "auto", 2),
        (2, 3, None),  # the config decides
        (9, "auto", None),  # more than the machine has
        ("2", "auto", None),
        (True, "auto", None),
    ],
)
def test_keep_threads_takes_the_number_of_the_newest_checkpoint(
    monkeypatch: pytest.MonkeyPatch, stored: object, config: object, kept: int | None
) -> None:
    monkeypatch.setattr(threads, "usable_cores", lambda: 4)
    run = write_manifests(c00000016=1, c00000032=stored)
    assert keep_threads(tiny(threads=config), run) == kept


def test_keep_threads_knows_nothing_of_a_new_run() -> None:
    assert keep_threads(tiny(threads="auto"), None) is None
    assert keep_threads(tiny(threads="auto"), Path("empty")) is None


def test_keep_threads_passes_over_a_damaged_manifest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "usable_cores", lambda: 4)
    run = write_manifests(c00000016=3, c00000032=2)
    (run / "checkpoints/00000032/manifest.json").write_text("{")
    assert keep_threads(tiny(threads="auto"), run) == 3
