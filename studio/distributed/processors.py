"""The processor cores that a process may use, and those that other programs leave free.

Three limits apply on Linux: the affinity of the process, which SLURM and `taskset` set, the quota
of its control group, which containers set, and the number of physical cores. Two hyperthreads of a
core share its arithmetic units, so they count as one.
"""

import math
import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from studio.distributed.load import OtherLoad

__all__ = ["free_cores", "usable_cores"]

ROOT = Path("/")
SAMPLE = 0.3  # seconds for which the load by other programs is watched


def free_cores() -> int:
    """Returns how many of the usable cores other programs leave free now, at least 1.

    Threads on a core that another program uses are slower than fewer threads, because all threads
    wait for the slowest.
    """
    cores = usable_cores()
    if cores == 1:
        return 1
    load = OtherLoad()
    time.sleep(SAMPLE)
    free = (os.cpu_count() or cores) - (load.cores() or 0.0)
    return max(1, min(cores, round(free)))


def usable_cores(root: Path = ROOT) -> int:
    """Returns the number of physical cores that this process may use, at least 1.

    Args:
        root: the folder that has `proc` and `sys`.
    """
    if hasattr(os, "sched_getaffinity"):
        cores = _count_cores(os.sched_getaffinity(0), root)
    else:
        cores = os.cpu_count() or 1
    return max(1, min(cores, _quota(root)))


def _count_cores(processors: Iterable[int], root: Path) -> int:
    """Counts the physical cores that a set of logical processors lies on."""
    cores = set()
    for number in processors:
        topology = root / f"sys/devices/system/cpu/cpu{number}/topology"
        # The list has the logical processors of the same core, so it is the same for all of them.
        siblings = _read(topology / "core_cpus_list") or _read(topology / "thread_siblings_list")
        cores.add(siblings or f"processor {number}")
    return len(cores)


def _quota(root: Path) -> int:
    """Returns the processors that the control groups of this process allow, rounded up."""
    limits = [
        int(quota) / int(period)
        for quota, period in _quotas(root)
        if quota.isdecimal() and period.isdecimal() and int(period) > 0
    ]
    return math.ceil(min(limits)) if limits else sys.maxsize


def _quotas(root: Path) -> Iterator[tuple[str, str]]:
    """Yields quota and period, in microseconds, of every control group around this process."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, found, controllers_and_path = line.partition(":")
        controllers, _, path = controllers_and_path.partition(":")
        if not found:
            continue
        if not controllers:  # version 2
            for group in _with_parents(root / "sys/fs/cgroup", path):
                quota, _, period = _read(group / "cpu.max").partition(" ")
                yield quota, period
        elif "cpu" in controllers.split(","):  # version 1
            for group in _with_parents(root / "sys/fs/cgroup" / controllers, path):
                yield _read(group / "cpu.cfs_quota_us"), _read(group / "cpu.cfs_period_us")


def _with_parents(mount: Path, path: str) -> list[Path]:
    """Returns the folder of a control group and of those around it, up to the mount.

    Inside a container the path can be that of the host, which does not exist there. The limit of
    the container is then at the mount.
    """
    group = mount / path.strip("/")
    return [folder for folder in (group, *group.parents) if folder.is_relative_to(mount)]


def _read(path: Path) -> str:
    """Returns the text of a small file without spaces at its ends, "" if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
