"""The training loop, written once for every method.

An iteration fetches a Pair, seeds the random numbers, lets the method draw the data that its steps
share, and takes the steps in order. Each step trains only the networks that it names. Weighting,
accumulation, averaging over processes, the check for non-finite numbers and the moving average
are here and nowhere else.

    for terms in engine.iterations(budget):
        ...  # the means of this iteration's loss terms

A batch can pass through the networks in micro-batches (`train.accumulate`), whose gradients add up
before a network moves. For terms that are means over images this equals the whole batch at once,
in less memory. Steps that share a draw see it as it was before the first of them moved a network.
With one seed and two different numbers of micro-batches, noise and prior codes differ, because
each micro-batch draws its own.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from nets import frozen_statistics, memory_format, recompute_
from studio.build import build_method
from studio.config import Config
from studio.data import Dataset, PairStream
from studio.distributed.collectives import share_batch_norm_
from studio.distributed.launcher import make_accelerator, set_threads
from studio.distributed.processes import Processes
from studio.errors import StudioError
from studio.method import Draw, Pair, Step
from studio.seeds import seed_everything
from studio.training.batches import Batches
from studio.training.ema import Ema
from studio.training.failures import TOTAL, NotFinite, OutOfMemory, find_fault
from studio.training.finite import FiniteCheck, look_every
from studio.training.precision import settle_precision
from studio.training.watch import Watch

__all__ = ["Engine", "only", "refuse_micro_batches", "schedule"]


@contextmanager
def only(trained: Sequence[nn.Module], method: nn.Module) -> Iterator[None]:
    """Freezes every network of a method except the trained ones, while the block runs.

    Frozen parameters get no gradient, and frozen running statistics stay as they are.
    """
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


def schedule(steps: Sequence[Step]) -> list[list[Step]]:
    """Groups an iteration's steps by the draw that they share.

    Args:
        steps: the method's, in order.

    Returns:
        groups in order. The first step of a group makes a draw, and the others reuse it. Steps
        marked `fresh` begin a group, and so do the second and later repetitions of a step
        (`step.times`) unless its `redraw` is off.
    """
    groups: list[list[Step]] = []
    for step in steps:
        for repetition in range(step.times):
            if not groups or (step.redraw if repetition else step.fresh):
                groups.append([])
            groups[-1].append(step)
    return groups


class Engine:
    """Trains a method on pairs.

    A process should make one engine at a time, because making one sets torch's number of threads
    and Accelerate's state, which are global to the process.

    Args:
        config: the experiment.
        dataset: the opened data set of that config.
        threads: instead of the config's number.

    Attributes:
        config: the experiment, with the precision that `auto` stands for.
        method: the trained method.
        ema: its moving average. Every verb uses `ema.method`.
        optimizers: one for each step, by the step's name.
        processes: this process and the others of the training.
        iteration: the number of finished iterations.
        accumulate: the number of micro-batches that a batch passes through the networks in.
        schedule: the method's steps, grouped by the draw that they share.
        moved: whether a step of the current iteration has moved its networks.
        rollbacks: how often the training returned to a checkpoint. Each return halves the
            learning rate.
        whole_batch: the terms and layers that need the whole batch, which forbid micro-batches.
        finite: the steps whose numbers nobody has looked at yet.
        batches: loads the pairs, or keeps all training images on the device.
        watch: follows the number that may end the training early.

    Raises:
        StudioError: the machine cannot do what the config asks, or the method cannot do what the
            training asks.
    """

    def __init__(self, config: Config, dataset: Dataset, threads: int | None = None) -> None:
        config, _ = settle_precision(config)
        self.config, self.dataset = config, dataset
        self.watch = Watch(config.train, dataset)
        self.threads = set_threads(threads or config.train.threads)
        self.accelerator = make_accelerator(config.train.mixed_precision)
        self.processes = Processes(self.accelerator)
        world, device = self.processes.count, self.accelerator.device
        half = _half_batch(config, world)
        self.layout = memory_format(dataset.shape)
        self.method = build_method(config, dataset.shape)
        attribute = self.method.pair_attribute
        self.pairs = PairStream(dataset, half, config.seed, self.processes.rank, world, attribute)
        recompute_(self.method, config.train.recompute)
        if world > 1:
            share_batch_norm_(self.method, device)
        self.method.to(device)
        self.whole_batch = self.method.batch_statistics()
        self.accumulate = config.train.accumulate
        if self.accumulate > 1:
            refuse_micro_batches(self, f"train.accumulate: found {self.accumulate}, but ")
        self.ema = Ema(self.method, config.train.ema)
        names = {id(p): name for name, p in self.method.named_parameters()}
        self.finite = FiniteCheck(device, look_every(self.accelerator, config), names)
        self.batches = Batches(self.pairs, config.train, device)
        self.schedule = schedule(self.method.steps())
        self.iteration, self.rollbacks, self.moved = 0, 0, False
        self.make_optimizers()

    def make_optimizers(self) -> None:
        """Makes a new optimiser for each step."""
        # Otherwise Accelerate keeps references to the old optimisers and their moments.
        self.accelerator._optimizers.clear()
        self.optimizers = {step.name: _adam(self, step) for step in self.method.steps()}

    @property
    def images_seen(self) -> int:
        """The number of real images seen, both halves and all processes together."""
        return self.iteration * self.config.train.batch

    @property
    def lr(self) -> float:
        """The learning rate: the config's, halved at each return to a checkpoint."""
        return self.config.train.lr * 0.5**self.rollbacks

    def iterations(self, images: int) -> Iterator[dict[str, Tensor]]:
        """Trains until `images` real images have been seen.

        Args:
            images: the budget, counted from the start of the training. It rounds up to whole
                iterations.

        Yields:
            after each iteration, the mean of every term by "STEP/term". A method in closed form
            is solved at once and yields one empty dict.

        Raises:
            NotFinite, OutOfMemory: see `advance`. A caller that saves weights or reads terms calls
                `finite.look` first, because the last iterations may not have been looked at.
        """
        last = -(-images // self.config.train.batch)
        if self.iteration >= last:
            return
        if not self.schedule:  # a method in closed form
            yield self._solve(last)
            return
        for pair in self.batches.between(self.iteration, last):
            means = self.advance(Pair(*pair))
            if self.iteration % self.finite.every == 0 or self.iteration == last:
                self.finite.look()
            yield means

    def _solve(self, last: int) -> dict[str, Tensor]:
        """Fits a method in closed form to as many images as the budget has."""
        seed_everything("fit", self.config.seed)
        self.method.fit(self.dataset, last * self.config.train.batch)
        self.ema.method.load_state_dict(self.method.state_dict())
        self.iteration = last
        return {}

    def advance(self, pair: Pair) -> dict[str, Tensor]:
        """Does one iteration on a pair and returns the mean of every term by "STEP/term".

        Raises:
            NotFinite: a term or a gradient is not finite, in this process or another. If the look
                is put off (`train.check_every`), `finite.look` raises it instead.
            OutOfMemory: this process or another needs more memory than the machine has.
        """
        # After the fetch, because the loader draws random numbers when it starts.
        seed_everything("iteration", self.config.seed, self.processes.rank, self.iteration)
        self.method.train()
        micro_batches = self.place(pair).micro_batches(self.accumulate)
        self._reset_optimizers()
        self.moved = False
        means: dict[str, Tensor] = {}
        for group in self.schedule:
            draws: list[Draw | None] = [None] * len(micro_batches)
            for left, step in zip(reversed(range(len(group))), group, strict=True):
                means |= self.take(step, micro_batches, draws, keep=left > 0)
        self.iteration += 1
        self.ema.update(self.method, self.config.train.batch, self.images_seen)
        return means

    def place(self, pair: Pair) -> Pair:
        """Returns a pair on the device, in the memory order of the networks."""
        pair = pair.to(self.accelerator.device)
        x, y = (half.contiguous(memory_format=self.layout) for half in (pair.x, pair.y))
        return pair._replace(x=x, y=y)

    def _reset_optimizers(self) -> None:
        """Makes new optimisers every `train.reset_optimizers` images.

        Louiset et al. (2024), App. E.1, do so at each epoch.
        """
        every, seen = self.config.train.reset_optimizers, self.images_seen
        if every and seen and seen // every > (seen - self.config.train.batch) // every:
            self.make_optimizers()

    def take(
        self,
        step: Step,
        micro_batches: Sequence[Pair],
        draws: list[Draw | None],
        keep: bool,
    ) -> dict[str, Tensor]:
        """Takes a step: trains its networks and no others, if all is well in every process.

        Args:
            step: the step.
            micro_batches: the pairs of this iteration.
            draws: one for each micro-batch, None where it is not drawn yet. Changed in place.
            keep: whether the next step uses the same draws. Otherwise their memory is released.

        Returns:
            the mean of every term by "STEP/term".

        Raises:
            NotFinite, OutOfMemory: see `advance`. No network has moved in this step.
        """
        optimizer, parameters = self.optimizers[step.name], _parameters(step.trains)
        optimizer.zero_grad()
        device = self.accelerator.device
        means: dict[str, Tensor] = defaultdict(lambda: torch.zeros((), device=device))
        exhausted = False
        try:
            for number, pair in enumerate(micro_batches):
                draw = draws[number] or self._draw(pair)
                draws[number] = draw if keep else None
                for name, mean in self._backward(step, draw, parameters, keep).items():
                    means[name] += mean / len(micro_batches)
        except torch.OutOfMemoryError:
            # The other processes wait inside a collective, which this process cannot reach now.
            if self.whole_batch and self.processes.count > 1:
                raise
            exhausted = True
        _raise_together(self, step, means, parameters, exhausted)
        self.processes.average(parameters)
        optimizer.step()
        self.moved = True
        return {f"{step.name}/{name}": mean for name, mean in means.items()}

    def _draw(self, pair: Pair) -> Draw:
        with self.accelerator.autocast():
            return self.method.draw(pair)

    def _backward(
        self, step: Step, draw: Draw, parameters: Sequence[nn.Parameter], keep: bool
    ) -> dict[str, Tensor]:
        """Adds a micro-batch's gradients to the parameters', and returns the terms' means."""
        with only(step.trains, self.method):
            with self.accelerator.autocast():
                terms = step.loss(draw)
                total = self.method.total(terms)
            if self.accumulate > 1:
                _refuse_scalars(step, terms)
            # Steps share one graph, which reaches networks of other steps as well. `inputs` limits
            # the gradient to this step's parameters.
            self.accelerator.backward(total / self.accumulate, inputs=parameters, retain_graph=keep)
        return {name: value.detach().float().mean() for name, value in terms.items()}


def _raise_together(
    engine: Engine,
    step: Step,
    means: dict[str, Tensor],
    parameters: Sequence[nn.Parameter],
    exhausted: bool,
) -> None:
    """Raises the same failure in every process if one of them has a failure.

    If the look at the numbers is put off, the optimiser skips the step where they are not finite.
    """
    method, processes, mine = engine.method, engine.processes, None
    weighted = {name: mean for name, mean in means.items() if method.weight(name)}
    if not exhausted:
        weighted[TOTAL] = method.total(means)
    if engine.finite.every > 1 and not exhausted:
        optimizer = engine.optimizers[step.name].optimizer  # pyright: ignore[reportAttributeAccessIssue]
        place = (engine.iteration, engine.images_seen, step.name)
        engine.finite.guard(optimizer, place, weighted, parameters)
        return
    if not exhausted:
        scaler = engine.accelerator.scaler
        mine = find_fault(processes.rank, step.name, weighted, method, parameters, scaler)
    broken, exhausted = processes.any(mine is not None, exhausted)
    if exhausted:
        raise OutOfMemory(step.name, engine.moved)
    if broken:
        raise NotFinite(engine.iteration, engine.images_seen, processes.all(mine))


def _adam(engine: Engine, step: Step) -> torch.optim.Optimizer:
    parameters, betas = _parameters(step.trains), engine.config.train.betas
    adam = torch.optim.Adam(parameters, engine.lr, betas=betas, fused=True)
    return engine.accelerator.prepare_optimizer(adam)


def _half_batch(config: Config, world: int) -> int:
    """Returns how many images of each domain a process takes per iteration."""
    batch, accumulate = config.train.batch, config.train.accumulate
    if batch % (2 * world * accumulate):
        processes = f"{world} process{'es' * (world > 1)}"
        raise StudioError(
            f"train.batch: found {batch}, expected a multiple of {2 * world * accumulate} for "
            f"{processes}" + f" and train.accumulate: {accumulate}" * (accumulate > 1)
        )
    return batch // (2 * world)


def refuse_micro_batches(engine: Engine, reason: str) -> None:
    """Refuses to split a batch where the method has statistics of the whole batch.

    Args:
        engine: the engine.
        reason: the beginning of the message.

    Raises:
        StudioError: the method has such statistics.
    """
    whole = engine.whole_batch
    if whole:
        more = f" and {len(whole) - 3} more" * (len(whole) > 3)
        raise StudioError(
            f"{reason}{engine.config.method.name} cannot split a batch into micro-batches: "
            f"each would have statistics of its own in {', '.join(whole[:3])}{more}"
            f"{_remedy(engine.config, whole)}"
        )


def _remedy(config: Config, whole: Sequence[str]) -> str:
    """Returns the end of a message: which norm has no statistics of the batch, if that is all."""
    if not all(name.startswith("batch normalisation") for name in whole):
        return ""
    if config.nets.encoder is None and config.nets.decoder is None:
        return "; nets.norm: channel has none"
    return "; norm: channel in the lists of layers has none, see preset louiset_vbm_001_channel"


def _parameters(nets: Iterable[nn.Module]) -> list[nn.Parameter]:
    """Returns the parameters of several networks, each once."""
    unique = {id(parameter): parameter for net in nets for parameter in net.parameters()}
    return list(unique.values())


def _refuse_scalars(step: Step, terms: dict[str, Tensor]) -> None:
    """Refuses a term without a number per image: it is not a mean over images."""
    scalars = [name for name, value in terms.items() if value.ndim == 0]
    if scalars:
        raise StudioError(
            f"step {step.name} cannot split a batch into micro-batches: "
            f"{', '.join(scalars)} of shape () is a statistic of the whole batch; "
            "name it in the method's batch_terms"
        )
