"""`studio probe`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from studio.errors import warn
from studio.evaluate.probe_options import ProbeOptions
from studio.runs.found import check_found
from studio.verbs.options import AuthorsWeights, DataRoot, Json, Number, RunArgument

__all__ = ["probe"]


def probe(
    run: RunArgument,
    protocol: Annotated[
        str,
        typer.Option(
            "--protocol", help="how images are divided for the probe: held-out, carton or louiset"
        ),
    ] = "held-out",
    eval_mode: Annotated[
        str,
        typer.Option(
            "--eval",
            help=(
                "clean: no noise, running statistics; authors: with noise and batch statistics, "
                "as in the authors' evaluation"
            ),
        ),
    ] = "clean",
    tsne: Annotated[
        bool,
        typer.Option(
            "--tsne", help="also cluster the codes in a t-SNE plane (Choudhuri et al.); slower"
        ),
    ] = False,
    swaps: Annotated[
        bool,
        typer.Option(
            "--swaps",
            help=(
                "also measure by classifiers of real images whether swapped and healed images show "
                "what they should; slower"
            ),
        ),
    ] = False,
    as_json: Json = False,
    checkpoint: Number = None,
    ema: AuthorsWeights = None,
    data_root: DataRoot = None,
) -> None:
    """Measure how well each code predicts each attribute, and how well the codes separate."""
    check_found(run)
    options = ProbeOptions.parse(protocol, eval_mode)

    from studio.evaluate.probe_table import show_probe
    from studio.progress import show_steps
    from studio.user_run import Run

    if ema is None:
        ema = options.averaged
        if not ema and not (Path(run) / "checkpoints").is_dir():
            warn(f"{run}: an export has only the averaged weights, which --eval authors reads here")
            ema = True
    opened = Run.open(run, checkpoint, ema, data_root=data_root)
    with show_steps("probe"):
        result = opened.probe(options.protocol, options.eval_mode, tsne, swaps)
    if as_json:
        print(json.dumps(result, indent=2, allow_nan=False))
        return
    show_probe(result)
