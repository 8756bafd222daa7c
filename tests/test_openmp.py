"""OpenMP's threads sleep while they wait, for every entry, unless the user has chosen otherwise."""

import os
import subprocess
import sys

import pytest
from support.runs import studio

SETTINGS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
SHOW = "; import os; print(os.environ.get('OMP_WAIT_POLICY'), os.environ.get('GOMP_SPINCOUNT'))"


def run(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**clean, **environment},
        capture_output=True,
        text=True,
        check=True,
    )


@pytest.mark.parametrize("entry", ["studio", "studio.cli", "studio.apply"])
def test_import_sets_the_policy_before_torch_is_loaded(entry: str) -> None:
    assert run(f"import {entry}{SHOW}").stdout == "PASSIVE 0\n"


@pytest.mark.parametrize(
    ("environment", "shown"),
    [({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE None\n"), ({"GOMP_SPINCOUNT": "9"}, "None 9\n")],
)
def test_import_keeps_the_policy_of_the_user(environment: dict[str, str], shown: str) -> None:
    assert run(f"import studio{SHOW}", **environment).stdout == shown


THREADS = "from studio.distributed.launcher import set_threads; set_threads({})"


@pytest.mark.parametrize(
    ("first", "threads", "environment", "warned"),
    [
        ("torch", 2, {}, True),
        ("torch", 1, {}, False),  # a single thread waits for nobody
        ("torch", 2, {"OMP_WAIT_POLICY": "ACTIVE"}, False),
        ("studio", 2, {}, False),
    ],
)
def test_set_threads_warns_when_torch_was_imported_first(
    first: str, threads: int, environment: dict[str, str], warned: bool
) -> None:
    done = run(f"import {first}; import studio; {THREADS.format(threads)}", **environment)
    assert ("torch was imported before studio" in done.stderr) == warned


def test_help_of_the_verbs_does_not_load_torch() -> None:
    # Otherwise OpenMP would be loaded before the verbs, and `studio --help` would be slow.
    assert run("import sys, studio.cli; print('torch' in sys.modules)").stdout == "False\n"
    assert "Usage" in studio("--help")[0]
