"""The training loop: one for every method.

An iteration fetches a Pair, reseeds, lets the method draw what its steps share, and walks the steps; each step moves
only the nets that it trains. Weighting, averaging over processes, the moving average, and what happens every so many
images live here once.
"""

import math
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn
from torch.utils.data import DataLoader

from nets import layout, untracked
from studio.build import build_method
from studio.config import Config
from studio.data import Dataset, PairStream
from studio.ema import Ema
from studio.errors import StudioError
from studio.method import Draw, Pair, Step
from studio.seeds import seed_everything

__all__ = ["Engine", "only", "set_threads", "usable_processors"]


@contextmanager
def only(trained: Sequence[nn.Module], method: nn.Module) -> Iterator[None]:
    """Freezes all but the trained nets: parameters get no gradient, running statistics stay as they are."""
    moving = {id(parameter) for net in trained for parameter in net.parameters()}
    frozen = [p for p in method.parameters() if id(p) not in moving and p.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(False)
    try:
        with untracked(method, but=trained):
            yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(True)


def usable_processors() -> int:
    """Returns how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def set_threads(threads: int | str) -> int:
    """Sets torch's threads: a number, or `auto` = the processors this process may use, shared by the local processes.

    Accelerate's launcher sets OMP_NUM_THREADS=1, which would win without a word.
    """
    if threads == "auto":
        threads = max(1, usable_processors() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    torch.set_num_threads(int(threads))
    return int(threads)


class Engine:
    """Trains a method on pairs.

    Args:
        config: the experiment.
        dataset: opened from it.

    Attributes:
        method: the trained one.
        ema: its moving average; `ema.method` is what every verb uses.
        optimizers: one per step, by the step's name.
        iteration: iterations done.

    Raises:
        StudioError: the machine cannot do what the config asks.
    """

    def __init__(self, config: Config, dataset: Dataset) -> None:
        self.config, self.dataset = config, dataset
        self.threads = set_threads(config.train.threads)
        self.accelerator = _accelerator(config.train.mixed_precision)
        world = self.accelerator.num_processes
        if config.train.batch % (2 * world):
            raise StudioError(
                f"train.batch: found {config.train.batch}, expected a multiple of {2 * world} for {world} processes"
            )
        half = config.train.batch // (2 * world)
        severity = getattr(config.method, "severity", None)
        self.pairs = PairStream(dataset, half, config.seed, self.accelerator.process_index, world, severity)
        self.method = build_method(config, dataset.shape).to(self.accelerator.device)
        self.layout = layout(dataset.shape)
        self.ema = Ema(self.method, config.train.ema)
        self.optimizers = {step.name: self._optimizer(step) for step in self.method.steps()}
        self.iteration = 0

    @property
    def images_seen(self) -> int:
        """Real images seen, both halves of all processes together."""
        return self.iteration * self.config.train.batch

    def _optimizer(self, step: Step) -> torch.optim.Optimizer:
        train = self.config.train
        adam = torch.optim.Adam(_parameters(step.trains), train.lr, betas=train.betas, fused=True)
        return self.accelerator.prepare_optimizer(adam)

    def fit(self, images: int, after: Callable[[dict[str, Tensor]], bool]) -> None:
        """Trains until `images` images have been seen.

        Args:
            images: the budget, counted from the very beginning.
            after: called after every iteration with the terms' means by "STEP/term"; returning True stops.
        """
        last = -(-images // self.config.train.batch)
        if not self.method.steps():
            self._solve(last, after)
            return
        workers = self.config.train.workers
        loader = DataLoader(
            self.pairs, batch_size=None, sampler=range(self.iteration, last), num_workers=workers,
            prefetch_factor=4 if workers else None, worker_init_fn=_leave_signals_to_the_main_process,
            pin_memory=self.accelerator.device.type == "cuda",
        )  # fmt: skip
        for pair in loader:
            terms = self.advance(Pair(*pair))
            if after(terms):
                return

    def _solve(self, last: int, after: Callable[[dict[str, Tensor]], bool]) -> None:
        """Fits a method in closed form to as many images as the budget has."""
        seed_everything("fit", self.config.seed)
        self.method.fit(self.dataset, last * self.config.train.batch)
        self.ema.method.load_state_dict(self.method.state_dict())
        self.iteration = last
        after({})

    def advance(self, pair: Pair) -> dict[str, Tensor]:
        """Does one iteration on a pair and returns the mean of every term by "STEP/term"."""
        # After the fetch: the loader itself draws random numbers when it starts.
        seed_everything("iteration", self.config.seed, self.accelerator.process_index, self.iteration)
        self.method.train()
        pair = pair.to(self.accelerator.device)
        x, y = (half.contiguous(memory_format=self.layout) for half in (pair.x, pair.y))
        pair = pair._replace(x=x, y=y)
        self._forget_moments()
        draw, means = self._draw(pair), {}
        plan = [(step, i) for step in self.method.steps() for i in range(step.times)]
        for number, (step, repetition) in enumerate(plan):
            if step.fresh or repetition:
                draw = self._draw(pair)
            means |= self._step(step, draw, keep_graph=number + 1 < len(plan))
        self.iteration += 1
        self.ema.update(self.method, self.config.train.batch, self.images_seen)
        return means

    def _forget_moments(self) -> None:
        """Makes new optimisers every `train.reset_optimizers` images: Louiset et al. (2024), App. E.1, at each epoch."""
        every, seen = self.config.train.reset_optimizers, self.images_seen
        if every and seen and seen // every > (seen - self.config.train.batch) // every:
            self.optimizers = {step.name: self._optimizer(step) for step in self.method.steps()}

    def _draw(self, pair: Pair) -> Draw:
        with self.accelerator.autocast():
            return self.method.draw(pair)

    def _step(self, step: Step, draw: Draw, keep_graph: bool) -> dict[str, Tensor]:
        """Moves the nets of a step, and nothing else."""
        optimizer, parameters = self.optimizers[step.name], _parameters(step.trains)
        optimizer.zero_grad()
        with only(step.trains, self.method):
            with self.accelerator.autocast():
                terms = step.loss(draw)
                total = self.method.total(terms)
            means = {f"{step.name}/{name}": value.detach().float().mean() for name, value in terms.items()}
            self._refuse_non_finite(step, total, means)
            # `inputs` keeps the gradient out of whatever else the shared graph reaches.
            self.accelerator.backward(total, inputs=parameters, retain_graph=keep_graph)
        self._average(parameters)
        optimizer.step()
        return means

    def _refuse_non_finite(self, step: Step, total: Tensor, means: dict[str, Tensor]) -> None:
        if not self.any_process(not math.isfinite(float(total.detach()))):
            return
        broken = [f"{name} = {float(mean)}" for name, mean in means.items() if not math.isfinite(float(mean))]
        raise StudioError(
            f"not finite at iteration {self.iteration} ({self.images_seen} images), step {step.name}: "
            f"{', '.join(broken) or 'the weighted sum, or another process'}; no step was taken"
        )

    def _average(self, parameters: Sequence[nn.Parameter]) -> None:
        """Averages gradients over processes, flattened into one message."""
        if self.accelerator.num_processes == 1:
            return
        gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
        flat = self.accelerator.reduce(torch.cat([g.flatten() for g in gradients]), "mean")
        assert isinstance(flat, Tensor)
        for parameter, piece in zip(parameters, flat.split([g.numel() for g in gradients]), strict=True):
            # In the parameter's own memory order: the fused optimiser walks both side by side.
            parameter.grad = torch.empty_like(parameter).copy_(piece.view_as(parameter))

    def any_process(self, flag: bool) -> bool:
        """Whether the flag is set in any process: a signal may reach one, and clocks differ, but all must stop together."""
        if self.accelerator.num_processes == 1:
            return flag
        total = self.accelerator.reduce(torch.tensor(float(flag), device=self.accelerator.device), "sum")
        assert isinstance(total, Tensor)
        return bool(total.item())

    def decided_by_first(self, decide: Callable[[], Path]) -> Path:
        """Lets the first process decide, and gives every process its answer, or its error."""
        if self.accelerator.num_processes == 1:
            return decide()
        answer: list[Path | str | None] = [None]
        if self.accelerator.is_main_process:
            try:
                answer = [decide()]
            except StudioError as error:
                answer = [str(error)]
        broadcast_object_list(answer)
        if not isinstance(answer[0], Path):
            raise StudioError(str(answer[0]))
        return answer[0]

    def state(self) -> dict[str, object]:
        """Returns what resuming needs beside the weights, in plain containers and tensors."""
        return {
            "iteration": self.iteration,
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            **({} if self.accelerator.scaler is None else {"scaler": self.accelerator.scaler.state_dict()}),
        }

    def load(self, weights: dict[str, Tensor], ema: dict[str, Tensor], state: dict) -> None:
        """Takes up where `state` was taken."""
        self.method.load_state_dict(weights)
        self.ema.method.load_state_dict(ema)
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        if self.accelerator.scaler is not None and "scaler" in state:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.iteration = int(state["iteration"])


def _leave_signals_to_the_main_process(worker: int) -> None:
    """A signal to the whole group must not kill the workers while the main process finishes its iteration and saves."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _parameters(nets: Iterable[nn.Module]) -> list[nn.Parameter]:
    unique = {id(parameter): parameter for net in nets for parameter in net.parameters()}
    return list(unique.values())


def _accelerator(precision: str) -> Accelerator:
    # The launcher's environment would win over an argument left out, so both are set: the config beats the launcher.
    os.environ["ACCELERATE_MIXED_PRECISION"] = precision
    if precision == "fp16" and not torch.cuda.is_available():
        raise StudioError("train.mixed_precision: found fp16, which needs a GPU; on this machine: no or bf16")
    AcceleratorState._reset_state()  # it outlives an Accelerator, and would refuse another precision in the same process
    return Accelerator(mixed_precision=precision)
