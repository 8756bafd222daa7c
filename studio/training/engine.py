"""The training loop: one for every method.

An iteration fetches a Pair, reseeds, lets the method draw what its steps share, and walks the steps; each step moves
only the nets that it trains. Weighting, accumulation, averaging over processes, the refusal of what is not finite, and the
moving average live here once.

A batch may be given in parts (`train.accumulate`), whose gradients add up before a net moves: for terms that are means over
images the same as the whole batch at once, in less memory. Draws are exact, too: what several steps share is drawn before
the first of them moves anything, and kept until the last has used it. Of one seed and different numbers of parts, noise and
priors differ, since they are drawn part by part.
"""

import gc
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import InitProcessGroupKwargs
from torch import Tensor, nn
from torch.utils.data import DataLoader

from nets import frozen_statistics, memory_format
from studio.build import build_method
from studio.config import Config
from studio.data import Dataset, PairStream
from studio.distributed.collectives import share_batch_norm
from studio.distributed.processes import SILENCE, Processes, leave_at_exit
from studio.errors import StudioError
from studio.method import Draw, Pair, Step
from studio.seeds import seed_everything
from studio.training.ema import Ema
from studio.training.failures import SUM, NotFinite, OutOfMemory, inspected
from studio.training.signals import leave_signals_to_the_main_process

__all__ = ["Engine", "only", "set_threads", "usable_processors"]


# What would split nets over devices, as the launcher tells it; our nets fit one, and the wrappers know one optimiser.
SHARDED = {
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
}


@contextmanager
def only(trained: Sequence[nn.Module], method: nn.Module) -> Iterator[None]:
    """Freezes all but the trained nets: parameters get no gradient, running statistics stay as they are."""
    moving = {id(parameter) for net in trained for parameter in net.parameters()}
    frozen = [p for p in method.parameters() if id(p) not in moving and p.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(False)
    try:
        with frozen_statistics(method, except_for=trained):
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
        processes: this one and the others.
        iteration: iterations done.
        parts: in how many parts a batch goes through the nets.
        rollbacks: how often the training went back to a checkpoint; each halves the learning rate.

    Raises:
        StudioError: the machine cannot do what the config asks, or the method what the training asks.
    """

    def __init__(self, config: Config, dataset: Dataset) -> None:
        self.config, self.dataset = config, dataset
        self.threads = set_threads(config.train.threads)
        self.accelerator = _accelerator(config.train.mixed_precision)
        self.processes = Processes(self.accelerator)
        world, parts = self.processes.count, config.train.accumulate
        if config.train.batch % (2 * world * parts):
            raise StudioError(
                f"train.batch: found {config.train.batch}, expected a multiple of {2 * world * parts} for {world} "
                f"process{'es' * (world > 1)}" + f" and train.accumulate: {parts}" * (parts > 1)
            )
        half = config.train.batch // (2 * world)
        severity = getattr(config.method, "severity", None)
        self.pairs = PairStream(dataset, half, config.seed, self.processes.rank, world, severity)
        self.layout = memory_format(dataset.shape)
        self.method = build_method(config, dataset.shape)
        if world > 1:
            share_batch_norm(self.method, self.accelerator.device)
        self.method.to(self.accelerator.device)
        self.whole = self.method.batch_statistics()
        if parts > 1 and self.whole:
            raise StudioError(
                f"train.accumulate: found {parts}, but {_not_in_parts(config, self.whole)}"
            )
        self.ema = Ema(self.method, config.train.ema)
        self._begin()

    def _begin(self) -> None:
        self.iteration, self.rollbacks, self.parts = 0, 0, self.config.train.accumulate
        self.optimizers = self._optimizers()

    def restart(self) -> None:
        """Goes back to where the training started, which the seed decides; the number of parts stays."""
        parts, fresh = self.parts, build_method(self.config, self.dataset.shape)
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(torch.amp.GradScaler().state_dict())
        for method in (self.method, self.ema.method):
            method.load_state_dict(fresh.state_dict())
        self._begin()
        self.parts = parts

    @property
    def images_seen(self) -> int:
        """Real images seen, both halves of all processes together."""
        return self.iteration * self.config.train.batch

    @property
    def lr(self) -> float:
        """The learning rate: the config's, halved at each roll-back."""
        return self.config.train.lr * 0.5**self.rollbacks

    def _optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Makes an optimiser for each step."""
        self.accelerator._optimizers.clear()  # it would keep those of before, with their moments, for ever
        return {step.name: self._optimizer(step) for step in self.method.steps()}

    def _optimizer(self, step: Step) -> torch.optim.Optimizer:
        adam = torch.optim.Adam(
            _parameters(step.trains), self.lr, betas=self.config.train.betas, fused=True
        )
        return self.accelerator.prepare_optimizer(adam)

    def fit(self, images: int, after: Callable[[dict[str, Tensor]], bool]) -> bool:
        """Trains until `images` images have been seen.

        Args:
            images: the budget, counted from the very beginning.
            after: called after every iteration with the terms' means by "STEP/term"; returning True stops.

        Returns:
            whether it has.
        """
        last = -(-images // self.config.train.batch)
        if not self.method.steps():
            return self._solve(last, after)
        workers = self.config.train.workers
        loader = DataLoader(
            self.pairs,
            batch_size=None,
            sampler=range(self.iteration, last),
            num_workers=workers,
            prefetch_factor=4 if workers else None,
            worker_init_fn=leave_signals_to_the_main_process,
            pin_memory=self.accelerator.device.type == "cuda",
        )
        for pair in loader:
            terms = self.advance(Pair(*pair))
            if after(terms):
                return True
        return False

    def _solve(self, last: int, after: Callable[[dict[str, Tensor]], bool]) -> bool:
        """Fits a method in closed form to as many images as the budget has."""
        seed_everything("fit", self.config.seed)
        self.method.fit(self.dataset, last * self.config.train.batch)
        self.ema.method.load_state_dict(self.method.state_dict())
        self.iteration = last
        return after({})

    def advance(self, pair: Pair) -> dict[str, Tensor]:
        """Does one iteration on a pair and returns the mean of every term by "STEP/term".

        Raises:
            NotFinite: a term or gradient is not, in this process or another.
            OutOfMemory: this process or another needs more than there is.
        """
        # After the fetch: the loader itself draws random numbers when it starts.
        seed_everything("iteration", self.config.seed, self.processes.rank, self.iteration)
        self.method.train()
        parts = self.placed(pair).micro_batches(self.parts)
        self._forget_moments()
        plan = [
            (step, bool(step.fresh or i)) for step in self.method.steps() for i in range(step.times)
        ]
        draws: list[Draw | None] = []
        means: dict[str, Tensor] = {}
        for number, (step, fresh) in enumerate(plan):
            if fresh or not draws:
                draws = [None] * len(parts)
            shared = number + 1 < len(plan) and not plan[number + 1][1]
            means |= self._step(step, parts, draws, shared, moved=number > 0)
        self.iteration += 1
        self.ema.update(self.method, self.config.train.batch, self.images_seen)
        return means

    def placed(self, pair: Pair) -> Pair:
        """Returns a pair on the device, in the nets' order of memory."""
        pair = pair.to(self.accelerator.device)
        x, y = (half.contiguous(memory_format=self.layout) for half in (pair.x, pair.y))
        return pair._replace(x=x, y=y)

    def _forget_moments(self) -> None:
        """Makes new optimisers every `train.reset_optimizers` images: Louiset et al. (2024), App. E.1, at each epoch."""
        every, seen = self.config.train.reset_optimizers, self.images_seen
        if every and seen and seen // every > (seen - self.config.train.batch) // every:
            self.optimizers = self._optimizers()

    def _step(
        self, step: Step, parts: Sequence[Pair], draws: list[Draw | None], shared: bool, moved: bool
    ) -> dict[str, Tensor]:
        """Moves the nets of a step, and nothing else; and only if all is well in every process."""
        optimizer, parameters = self.optimizers[step.name], _parameters(step.trains)
        optimizer.zero_grad()
        means: dict[str, Tensor] = defaultdict(
            lambda: torch.zeros((), device=self.accelerator.device)
        )
        exhausted = False
        try:
            for number, part in enumerate(parts):
                draw = draws[number] or self._draw(part)
                draws[number] = draw if shared else None
                for name, mean in self._backward(step, draw, parameters, shared).items():
                    means[name] += mean / len(parts)
        except torch.OutOfMemoryError:
            if (
                self.whole and self.processes.count > 1
            ):  # the others wait inside a gather: not to be met from here
                raise
            exhausted = True
        self._agree(step, means, parameters, exhausted, moved)
        self.processes.average(parameters)
        optimizer.step()
        return {f"{step.name}/{name}": mean for name, mean in means.items()}

    def _draw(self, pair: Pair) -> Draw:
        with self.accelerator.autocast():
            return self.method.draw(pair)

    def _backward(
        self, step: Step, draw: Draw, parameters: Sequence[nn.Parameter], shared: bool
    ) -> dict[str, Tensor]:
        """Adds a part's gradients to those of the parameters, and returns the terms' means."""
        with only(step.trains, self.method):
            with self.accelerator.autocast():
                terms = step.loss(draw)
                total = self.method.total(terms)
            if self.parts > 1:
                _refuse_scalars(step, terms)
            # `inputs` keeps the gradient out of whatever else the shared graph reaches.
            self.accelerator.backward(total / self.parts, inputs=parameters, retain_graph=shared)
        return {name: value.detach().float().mean() for name, value in terms.items()}

    def _agree(
        self,
        step: Step,
        means: dict[str, Tensor],
        parameters: Sequence[nn.Parameter],
        exhausted: bool,
        moved: bool,
    ) -> None:
        """Raises the same fault in every process if there is one in any."""
        mine = None
        if not exhausted:
            weighted = {name: mean for name, mean in means.items() if self.method.weight(name)}
            weighted[SUM] = self.method.total(means)
            mine = inspected(
                self.processes.rank,
                step.name,
                weighted,
                self.method,
                parameters,
                self.accelerator.scaler,
            )
        broken, exhausted = self.processes.any(mine is not None, exhausted)
        if exhausted:
            raise OutOfMemory(step.name, moved)
        if broken:
            raise NotFinite(self.iteration, self.images_seen, self.processes.all(mine))

    def halve(self) -> int:
        """Cuts the batch into parts of half the size, as nearly as its images allow, and returns their number.

        Raises:
            StudioError: the method needs the batch as a whole, or a part has one image of each domain already.
        """
        half = self.pairs.half
        if self.whole:
            where = f"out of memory at train.batch: {self.config.train.batch}"
            raise StudioError(f"{where}; {_not_in_parts(self.config, self.whole)}")
        more = [n for n in range(2 * self.parts, half + 1) if half % n == 0]
        if not more:
            raise StudioError(
                "out of memory with one image of each domain at a time; expected smaller images or nets"
            )
        self.parts = more[0]
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return self.parts

    def slow_down(self, rollbacks: int) -> None:
        """Counts the roll-backs so far, and sets the learning rate that goes with them (and the config's betas)."""
        self.rollbacks = rollbacks
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group.update(lr=self.lr, betas=self.config.train.betas)

    def state(self) -> dict[str, object]:
        """Returns what resuming needs beside the weights, in plain containers and tensors."""
        return {
            "iteration": self.iteration,
            "parts": self.parts,
            "rollbacks": self.rollbacks,
            "optimizers": {
                name: optimizer.state_dict() for name, optimizer in self.optimizers.items()
            },
            **(
                {}
                if self.accelerator.scaler is None
                else {"scaler": self.accelerator.scaler.state_dict()}
            ),
        }

    def load(self, weights: dict[str, Tensor], ema: dict[str, Tensor], state: dict) -> None:
        """Takes up where `state` was taken.

        Raises:
            StudioError: the state's parts do not divide what this process gets of a batch.
        """
        self.method.load_state_dict(weights)
        self.ema.method.load_state_dict(ema)
        self.iteration, self.parts = (
            int(state["iteration"]),
            max(int(state["parts"]), self.config.train.accumulate),
        )
        if self.pairs.half % self.parts:
            raise StudioError(
                f"the run gives its batch in {self.parts} parts, into which {self.pairs.half} images of each domain per process "
                "do not divide; resume it with as many processes as before"
            )
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        self.slow_down(int(state["rollbacks"]))
        if self.accelerator.scaler is not None and "scaler" in state:
            self.accelerator.scaler.load_state_dict(state["scaler"])


def _parameters(nets: Iterable[nn.Module]) -> list[nn.Parameter]:
    unique = {id(parameter): parameter for net in nets for parameter in net.parameters()}
    return list(unique.values())


def _not_in_parts(config: Config, whole: Sequence[str]) -> str:
    found = ", ".join(whole[:3]) + f" and {len(whole) - 3} more" * (len(whole) > 3)
    return f"{config.method.name} cannot be given a batch in parts: each would have statistics of its own in {found}"


def _refuse_scalars(step: Step, terms: dict[str, Tensor]) -> None:
    """A term without a number per image is no mean over images, whatever the method says of itself."""
    scalars = [name for name, value in terms.items() if value.ndim == 0]
    if scalars:
        raise StudioError(
            f"step {step.name} cannot be given a batch in parts: {', '.join(scalars)} of shape () is a statistic of the "
            "whole batch; name it in the method's batch_terms"
        )


def _accelerator(precision: str) -> Accelerator:
    # The launcher's environment would win over an argument left out, so both are set: the config beats the launcher.
    os.environ["ACCELERATE_MIXED_PRECISION"] = precision
    os.environ["ACCELERATE_GRADIENT_ACCUMULATION_STEPS"] = "1"  # it would divide the loss
    for name, what in SHARDED.items():
        if os.environ.get(name, "false").lower() == "true":
            raise StudioError(
                f"{what}: found in the launcher's settings, but a step moves some nets while others rest, and what they share "
                "stays on every device; expected --multi_gpu, which averages gradients"
            )
    if precision == "fp16" and not torch.cuda.is_available():
        raise StudioError(
            "train.mixed_precision: found fp16, which needs a GPU; on this machine: no or bf16"
        )
    AcceleratorState._reset_state()  # it outlives an Accelerator, and would refuse another precision in the same process
    started = int(os.environ.get("WORLD_SIZE", "1")) if "LOCAL_RANK" in os.environ else 1
    # Unless told so, Accelerate would make of torchrun's processes on a CPU so many trainings by one process each.
    cpu = started > 1 and not torch.accelerator.is_available()
    if "LOCAL_RANK" in os.environ:  # Accelerate makes a group even of one
        leave_at_exit()
    accelerator = Accelerator(
        cpu=cpu,
        mixed_precision=precision,
        kwargs_handlers=[InitProcessGroupKwargs(timeout=SILENCE)],
    )
    if accelerator.num_processes < started:
        raise StudioError(
            f"the launcher started {started} processes, which do not find each other on {accelerator.device}: "
            f"Accelerate knows of {accelerator.num_processes}; for the CPU set ACCELERATE_USE_CPU=true"
        )
    return accelerator
