"""The cores that a process may use, on machines that the test describes as files."""

import os
from pathlib import Path

import pytest

from studio.distributed import processors
from studio.distributed.processors import free_cores, usable_cores


def machine(
    siblings: dict[int, str], cgroup: str = "", limits: dict[str, str] | None = None
) -> Path:
    root = Path("machine")
    files = {
        f"sys/devices/system/cpu/cpu{number}/topology/core_cpus_list": f"{text}\n"
        for number, text in siblings.items()
    }
    files["proc/self/cgroup"] = cgroup
    files |= {f"sys/fs/cgroup/{name}": f"{text}\n" for name, text in (limits or {}).items()}
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


FOUR_CORES = {0: "0,4", 1: "1,5", 2: "2,6", 3: "3,7", 4: "0,4", 5: "1,5", 6: "2,6", 7: "3,7"}


@pytest.mark.parametrize(
    ("affinity", "cores"),
    [({*range(8)}, 4), ({0, 4}, 1), ({0, 1}, 2), ({0, 1, 4}, 2), ({3}, 1)],
)
def test_usable_cores_counts_hyperthreads_of_a_core_once(
    monkeypatch: pytest.MonkeyPatch, affinity: set[int], cores: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: affinity)
    assert usable_cores(machine(FOUR_CORES)) == cores


@pytest.mark.parametrize(
    ("cgroup", "limits", "cores"),
    [
        ("0::/\n", {"cpu.max": "max 100000"}, 4),
        ("0::/\n", {"cpu.max": "200000 100000"}, 2),
        ("0::/\n", {"cpu.max": "150000 100000"}, 2),  # rounded up
        ("0::/\n", {"cpu.max": "20000 100000"}, 1),
        ("0::/job/step\n", {"job/cpu.max": "100000 100000", "job/step/cpu.max": "max 100000"}, 1),
        ("0::/host/container\n", {"cpu.max": "300000 100000"}, 3),  # the path is that of the host
        (
            "4:memory:/a\n3:cpu,cpuacct:/a\n",
            {"cpu,cpuacct/a/cpu.cfs_quota_us": "200000", "cpu,cpuacct/a/cpu.cfs_period_us": "1000"},
            4,
        ),
        (
            "3:cpu,cpuacct:/a\n",
            {
                "cpu,cpuacct/a/cpu.cfs_quota_us": "200000",
                "cpu,cpuacct/a/cpu.cfs_period_us": "100000",
            },
            2,
        ),
        (
            "1:cpu:/\n",
            {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"},
            4,
        ),
        ("", {}, 4),
        ("nonsense\n", {"cpu.max": "also nonsense"}, 4),
    ],
)
def test_usable_cores_respects_the_quota_of_every_control_group(
    monkeypatch: pytest.MonkeyPatch, cgroup: str, limits: dict[str, str], cores: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {*range(8)})
    assert usable_cores(machine(FOUR_CORES, cgroup, limits)) == cores


def test_usable_cores_counts_processors_when_the_system_does_not_know_cores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
    assert usable_cores(machine({})) == 3


@pytest.mark.parametrize(
    ("usable", "logical", "others", "free"),
    [
        (2, 2, 0.0, 2),
        (2, 2, 0.4, 2),
        (2, 2, 0.6, 1),
        (2, 2, 5.0, 1),
        (2, 2, None, 2),
        (8, 16, 4.0, 8),  # the other programs fit on the hyperthreads beside ours
        (8, 16, 10.0, 6),
        (1, 2, 0.0, 1),
    ],
)
def test_free_cores_leaves_out_those_of_other_programs(
    monkeypatch: pytest.MonkeyPatch, usable: int, logical: int, others: float | None, free: int
) -> None:
    class Load:
        def cores(self) -> float | None:
            return others

    monkeypatch.setattr(processors, "usable_cores", lambda: usable)
    monkeypatch.setattr(processors, "OtherLoad", Load)
    monkeypatch.setattr(processors, "SAMPLE", 0)
    monkeypatch.setattr(processors.os, "cpu_count", lambda: logical)
    assert free_cores() == free
