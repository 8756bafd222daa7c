"""The section `train` of a config."""

from typing import Annotated, Literal

from pydantic import Field

from studio.limits import Most
from studio.section import Flag, Section

__all__ = ["TRACKERS", "StopWhen", "TrainConfig"]

TRACKERS = ("wandb", "mlflow", "trackio")  # besides TensorBoard

Beta = Annotated[float, Field(ge=0, lt=1)]
Betas = Annotated[tuple[Beta, Beta], Field(strict=False)]


class StopWhen(Section):
    """The section `train.stop_when`: training ends early if a number no longer improves."""

    term: str = Field(min_length=1)
    """Name of a loss term as in `log.jsonl`, for example `G/image.target`, which should be low, or
    of a probe, for example `probe/target/salient`, which should be high in the code where the
    attribute belongs. A probe needs `train.probe_every`."""
    patience: int = Field(ge=1, le=Most.COUNT)
    """Looks without a new best value after which training ends. A look at a term is a line of the
    log (`train.log_every`), a look at a probe is a probe (`train.probe_every`).

    Unit: looks.
    """


class TrainConfig(Section):
    """The `train` section. Images are counted as real images, both domains together."""

    images: int = Field(default=25_000_000, ge=1, le=Most.IMAGES)
    """Budget: training ends after this many images, rounded up to whole batches. The default is 500
    epochs of 50,000 images.

    Unit: real images, both domains together.
    Source: Carton et al. (2024), Sec. 5.
    """
    batch: int = Field(default=128, ge=4, le=Most.BATCH)
    """Batch size of all processes together. It must be even, because each domain fills half of a
    batch.

    Unit: real images, both domains together.
    Source: Carton et al. (2024), caption of Table 4.
    """
    lr: float = Field(default=2e-4, gt=0, le=Most.LEVEL, allow_inf_nan=False)
    """Learning rate of Adam. VAE methods have a default of 1e-3.

    Unit: none.
    Source: Carton et al. (2024), Table 6, CIFAR-MNIST and CelebA.
    """
    betas: Betas = (0.5, 0.999)
    """Decay rates of Adam's two moments. VAE methods have a default of (0.9, 0.999).

    Unit: none.
    Source: the code of Carton et al. (2024).
    """
    accumulate: int = Field(default=1, ge=1, le=Most.BATCH)
    """Micro-batches that a batch is cut into to save memory. Their gradients are accumulated before
    a net moves.

    Unit: micro-batches per batch.
    """
    recompute: Flag = False
    """Whether the backward pass computes activations of the nets again instead of keeping them
    (activation checkpointing). It takes less memory and more time, and the weights stay the same.
    """
    rollbacks: int = Field(default=3, ge=0, le=Most.COUNT)
    """How often training may return to its last checkpoint because a loss or gradient is not
    finite. Each return halves the learning rate.

    Unit: none.
    """
    reset_optimizers: int = Field(default=0, ge=0, le=Most.IMAGES)
    """Images between resets of the optimisers to their initial state. 0: never.

    Unit: real images, both domains together.
    """
    mixed_precision: Literal["auto", "no", "bf16", "fp16"] = "auto"
    """Precision of the nets' arithmetic under autocast. `auto`: `bf16` on a GPU or processor that
    computes in it, else `no`. A run keeps the precision that it began with. `fp16` needs a GPU."""
    threads: Annotated[int, Field(ge=1, le=Most.PROCESSES)] | Literal["auto"] = "auto"
    """Threads that PyTorch uses. `auto`: all physical cores that affinity and quota of the process
    allow and that other programs leave free at the start, or with several local processes an equal
    part of all cores. A resumed run keeps its number.

    Unit: threads per process.
    """
    workers: int = Field(default=0, ge=0, le=Most.PROCESSES)
    """Processes that read images. 0: the training process reads them.

    Unit: processes per training process.
    """
    data_on_device: Literal["auto", "yes", "no"] = "auto"
    """Whether all training images are kept on the device that trains, where batches are then put
    together. `auto`: on a GPU, if they take at most a quarter of its free memory."""
    check_every: Annotated[int, Field(ge=1, le=Most.COUNT)] | Literal["auto"] = "auto"
    """Interval between looks at the check for numbers that are not finite. A step with such numbers
    moves no net in any case, but a look waits for the device. `auto`: 20 on a GPU, 1 elsewhere.
    Several processes and `fp16` look after every step.

    Unit: iterations.
    """
    ema: int = Field(default=10_000, ge=0, le=Most.IMAGES)
    """Half-life of the averaged weights (exponential moving average), which every verb uses. 0: no
    averaging.

    Unit: real images, both domains together.
    """
    log_every: int = Field(default=2_000, ge=1, le=Most.IMAGES)
    """Interval between lines of `log.jsonl`.

    Unit: real images, both domains together.
    """
    log_with: Annotated[
        tuple[Literal["tensorboard", "wandb", "mlflow", "trackio"], ...], Field(strict=False)
    ] = ("tensorboard",)
    """Trackers that get the config, the losses, the probes and the pictures besides `log.jsonl`.
    Those other than TensorBoard must be installed, for example by `pip install wandb`."""
    grid_every: int = Field(default=50_000, ge=0, le=Most.IMAGES)
    """Interval between pictures of samples and edits. 0: only at the end.

    Unit: real images, both domains together.
    """
    probe_every: int = Field(default=0, ge=0, le=Most.IMAGES)
    """Interval between probes of the codes. 0: only at the end. The log also gets the distance
    `separation/w2_common` between the common codes of both sets.

    Unit: real images, both domains together.
    """
    save_every: int = Field(default=100_000, ge=0, le=Most.IMAGES)
    """Interval between checkpoints. 0: only at the end.

    Unit: real images, both domains together.
    """
    keep: int = Field(default=3, ge=1, le=Most.IMAGES)
    """How many of the newest checkpoints to keep.

    Unit: checkpoints.
    """
    keep_every: int = Field(default=0, ge=0, le=Most.IMAGES)
    """The first checkpoint after each interval of this length is kept in addition. 0: none.

    Unit: real images, both domains together.
    """
    keep_best: str = ""
    """Name of a term as in `log.jsonl`, for example `G/image.target`. The checkpoint at which the
    average of this term since the previous checkpoint was lowest is kept as well. Empty: none."""
    stop_when: StopWhen | None = None
    """Ends the training early if a number of the log no longer improves: `{term, patience}`. null:
    training uses its whole budget."""
