"""How much of the processor other programs use during a measurement."""

import os
import time
from pathlib import Path

__all__ = ["CLEAN", "OtherLoad"]

CLEAN = 0.1  # processor cores of other programs up to which a measurement counts as clean
STAT = Path("/proc/stat")


class OtherLoad:
    """Measures the processor time of other programs from its creation to `cores`.

    The system counts the time of all programs, and the time of this process is subtracted. On
    systems without `/proc/stat` nothing is known.
    """

    def __init__(self) -> None:
        self._began = self._read()

    def cores(self) -> float | None:
        """Returns the mean number of processor cores that other programs used, None if unknown."""
        if self._began is None or (now := self._read()) is None:
            return None
        wall, busy, own = (after - before for before, after in zip(self._began, now, strict=True))
        return max(0.0, (busy - own) / wall) if wall > 0 else 0.0

    @staticmethod
    def _read() -> tuple[float, float, float] | None:
        """Returns the time, and the processor seconds of all programs and of this process."""
        try:
            fields = STAT.read_text(encoding="ascii").split("\n", 1)[0].split()
            # user, nice, system, idle, iowait, irq, softirq, steal. Stolen time is that of other
            # virtual machines.
            user, nice, system, _, _, irq, softirq, steal = (float(field) for field in fields[1:9])
        except (OSError, ValueError):
            return None
        busy = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
        return time.monotonic(), busy, time.process_time()
