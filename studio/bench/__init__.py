"""The cost of a training iteration, beside other implementations and the machine's limits."""

from studio.bench.authors import AuthorsUpdate
from studio.bench.ceiling import measure_ceiling
from studio.bench.cost import Cost, bench, run_naive_iteration

__all__ = ["AuthorsUpdate", "Cost", "bench", "measure_ceiling", "run_naive_iteration"]
