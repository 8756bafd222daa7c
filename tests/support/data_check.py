"""Reading the report of `studio data check`."""

import json

FILES = ("cifar_mnist", "dsprites_mnist", "grassy_mnist")  # the sets that read files of STUDIO_DATA


KEYS = [
    "name",
    "ok",
    "root",
    "expected",
    "counts",
    "shape",
    "attributes",
    "notes",
    "quarantined",
    "problems",
]


def check_notes(studio, name: str, *words: str) -> list[str]:
    checked = studio("data", "check", name, "--json", *words)
    report = json.loads(checked.out)
    assert (checked.code, report["ok"], list(report)) == (0, True, KEYS)
    return report["notes"]
