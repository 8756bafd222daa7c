"""The verbs. Each is a thin layer of typed options over a plain function; nothing below here knows the command line."""

import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from studio.errors import StudioError, nearest

__all__ = ["app", "main", "train_main"]

app = typer.Typer(
    name="studio", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
    help="A generative studio for contrastive analysis.",
)  # fmt: skip
data_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Data sets: what exists, what is missing, previews.")
app.add_typer(data_app, name="data")

RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="a run's directory, e.g. runs/digits_dig-1")]
Cfg = Annotated[str, typer.Option("--cfg", help="a YAML file, or the name of one of the studio's configs")]
Assignments = Annotated[list[str] | None, typer.Option("--set", metavar="a.b=v", help="override a field; repeatable")]
Json = Annotated[bool, typer.Option("--json", help="print one JSON object on stdout and nothing else")]
Number = Annotated[int | None, typer.Option("--checkpoint", help="images seen; default: the newest")]
Weights = Annotated[bool, typer.Option("--ema/--no-ema", help="averaged weights (default) or the last ones")]


@app.command()
def train(
    cfg: Cfg,
    assignments: Assignments = None,
    run: Annotated[Path | None, typer.Option("--run", help="the run's directory; default: runs/CONFIG-N")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="continue the run instead of starting one")] = False,
    requeue: Annotated[bool, typer.Option("--requeue", help="continue --run, or start it where there is none")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print the resolved config and the parameter counts")] = False,
    stop_after: Annotated[str | None, typer.Option("--stop-after", metavar="TIME", help="save and stop, e.g. 3h50m")] = None,
    deterministic: Annotated[bool, typer.Option("--deterministic", help="deterministic algorithms only")] = False,
    allow: Annotated[list[str] | None, typer.Option("--allow", metavar="FIELD", help="resume though FIELD changed")] = None,
) -> None:
    """Train a method; the same as `accelerate launch studio/train.py`."""
    from studio import training
    from studio.config import load
    from studio.preemption import exit_code

    config = load(cfg, assignments or [])
    if dry_run:
        _print_plan(config)
        return
    if requeue:
        if run is None:
            raise StudioError("--requeue: needs --run DIR, so that the same command finds the same run")
        resume = resume or (run / "config.yaml").is_file()
    seconds = training.duration(stop_after) if stop_after is not None else None
    done = training.train(config, run, resume, seconds, deterministic, _finish, allow or [])
    if done.stopped:
        raise typer.Exit(exit_code(done.stopped))


def _finish(done: Any) -> None:  # noqa: ANN401
    from studio.finish import finish  # two seconds of imports that the first step need not wait for

    finish(done)


def _print_plan(config: Any) -> None:  # noqa: ANN401
    from studio.build import build_dataset, build_method
    from studio.config import dump

    method = build_method(config, build_dataset(config).shape)
    print(dump(config), end="")
    for name, net in method.named_children():
        print(f"# {name}: {sum(p.numel() for p in net.parameters()):,} parameters")


@app.command()
def render(
    run: RunArgument,
    kind: Annotated[
        str, typer.Argument(help="grid, reconstruct, swap, heal, isolate, traverse, interpolate, codes or counterfactual")
    ],
    out: Annotated[Path | None, typer.Option("--out", help="a PNG; default: RUN/grids/KIND.png")] = None,
    n: Annotated[int | None, typer.Option("--n", min=1, help="rows, images or points")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="which images and codes")] = 0,
    checkpoint: Number = None,
    ema: Weights = True,
) -> None:
    """Draw a captioned picture."""
    from studio.render import KINDS
    from studio.run import Run

    if kind not in KINDS:
        raise StudioError(f"render {kind}: no such picture{nearest(kind, KINDS)}")
    if out is not None:
        _check_picture(out)
    opened = Run.open(run, checkpoint, ema)
    picture = KINDS[kind](opened.method, opened.data, n, seed)
    path = out or opened.folder / "grids" / f"{kind}.png"
    _write(path, lambda partial: picture.save(partial))
    print(path)


@app.command()
def probe(
    run: RunArgument,
    protocol: Annotated[str, typer.Option("--protocol", help="held-out, carton or louiset")] = "held-out",
    regime: Annotated[str, typer.Option("--eval", help="clean, or authors: noise on and batch statistics")] = "clean",
    tsne: Annotated[
        bool, typer.Option("--tsne", help="also cluster in a t-SNE plane, as Choudhuri et al.; takes longer")
    ] = False,
    as_json: Json = False,
    checkpoint: Number = None,
    ema: Weights = True,
) -> None:
    """Measure what can be read from which code, and how far the codes are separated."""
    from studio.evaluate.measure import measure
    from studio.evaluate.probes import PROTOCOLS
    from studio.evaluate.regime import REGIMES
    from studio.evaluate.table import show
    from studio.run import Run

    if protocol not in PROTOCOLS:
        raise StudioError(f"--protocol {protocol}: no such protocol{nearest(protocol, PROTOCOLS)}")
    if regime not in REGIMES:
        raise StudioError(f"--eval {regime}: no such regime{nearest(regime, REGIMES)}")
    opened = Run.open(run, checkpoint, ema)
    result = {**opened.describe(), **measure(opened.method, opened.data, protocol, regime=regime, tsne=tsne)}
    if as_json:
        print(json.dumps(result, indent=2, allow_nan=False))
        return
    show(result)


@app.command()
def compare(
    cfgs: Annotated[list[str], typer.Argument(metavar="CFG...", help="configs and sweeps, by path or name")],
    seeds: Annotated[int | None, typer.Option("--seeds", min=1, help="trainings per row; default: the sweep's, or 3")] = None,
    budget: Annotated[int | None, typer.Option("--budget", min=1, help="images per training, the same for every row")] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="a.b=v1,v2", help="override a field; several values are rows; repeatable")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="the folder of the runs; default: runs/compare-NAME")] = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="trainings at a time, which share the processors")] = 1,
    launcher: Annotated[
        str | None, typer.Option("--launcher", help="what starts a training, e.g. 'accelerate launch {train} {args}'")
    ] = None,
    resubmit: Annotated[bool, typer.Option("--resubmit", help="launch again what was submitted and is not complete")] = False,
    protocol: Annotated[str | None, typer.Option("--protocol", help="probe the runs anew, e.g. by carton")] = None,
    regime: Annotated[str | None, typer.Option("--eval", help="probe the runs anew: clean or authors")] = None,
    centrality: Annotated[
        bool, typer.Option("--centrality", help="also pick each row's most central training, without labels")
    ] = False,
    show: Annotated[str | None, typer.Option("--show", metavar="KEY,KEY", help="further numbers for the table")] = None,
    wide: Annotated[bool, typer.Option("--wide", help="also what is read from both codes together")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print what would be trained, resumed or taken as it is")] = False,
    as_json: Json = False,
) -> None:
    """Train what is missing, resume what is half done, and compare."""
    from studio.evaluate import compare as comparison
    from studio.evaluate.compare_table import show_comparison, shown_keys, tables, write_comparison
    from studio.evaluate.launch import Launcher
    from studio.evaluate.probes import PROTOCOLS
    from studio.evaluate.regime import REGIMES
    from studio.evaluate.sweep import comparison_name, variants

    for option, given, valid in (("--protocol", protocol, PROTOCOLS), ("--eval", regime, REGIMES)):
        if given is not None and given not in valid:
            raise StudioError(f"{option} {given}: no such {option.strip('-')}{nearest(given, valid)}")
    chosen = Launcher.read(launcher) if launcher is not None else None
    rows = variants(cfgs, assignments or [], seeds, budget)
    folder = out or Path("runs") / f"compare-{comparison_name(cfgs)}"
    if dry_run:
        _print_members([member.describe() for member in comparison.plan(rows, folder)], as_json)
        return
    result = comparison.compare(rows, folder, chosen, jobs, resubmit, protocol, regime, centrality, _say)
    keys = [key.strip() for key in (show or "").split(",") if key.strip()]
    laid_out = tables(result, keys, wide)
    written = write_comparison(result, laid_out)
    if as_json:
        print(json.dumps(result, indent=2))
    else:
        show_comparison(result, laid_out)
    _say(f"written: {', '.join(str(path) for path in written)}")
    if result["stopped"]:
        raise typer.Exit(128 + getattr(signal, result["stopped"]))
    shown_keys(result, keys)
    if comparison.members(result, "failed"):
        raise typer.Exit(1)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _print_members(found: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print(json.dumps({"runs": found}, indent=2))
        return
    words = {"missing": "train", "half": "resume", "done": "take as it is"}
    for member in found:
        progress = f"{member['images_seen']:,} of {member['images']:,} images"
        print(f"{words.get(member['state'], member['state'])}: {member['run']} ({member['error'] or progress})")


@data_app.command("list")
def data_list(as_json: Json = False) -> None:
    """List the data sets and what they need."""
    from studio.data.catalogue import list_sets

    rows = list_sets()
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    for row in rows:
        print(f"{row['name']}: {row['what']}\n    expects {row['expected']}")


@data_app.command("check")
def data_check(
    name: Annotated[str, typer.Argument(help="a config, or the name of a data set that needs no options")],
    assignments: Assignments = None,
    as_json: Json = False,
) -> None:
    """Say whether a data set is complete, and what is missing where."""
    from studio.data import ALIASES, DATASETS
    from studio.data.catalogue import check, describe, unusable

    try:
        result = check(_data_config(name, assignments))
    except StudioError as error:
        if ALIASES.get(name, name) not in DATASETS:
            raise
        result = unusable(ALIASES.get(name, name), str(error))
    print(json.dumps(result, indent=2) if as_json else describe(result))
    if not result["ok"]:
        raise typer.Exit(1)


@data_app.command("preview")
def data_preview(
    name: Annotated[str, typer.Argument(help="a config, or the name of a data set that needs no options")],
    out: Annotated[Path, typer.Option("--out", help="the picture to write")] = Path("preview.png"),
    n: Annotated[int, typer.Option("--n", min=1, help="images per row")] = 8,
    seed: Annotated[int, typer.Option("--seed", min=0)] = 0,
    assignments: Assignments = None,
) -> None:
    """Draw a contact sheet."""
    from studio.data import DATASETS
    from studio.data.catalogue import preview

    _check_picture(out)
    config = _data_config(name, assignments)
    picture = preview(DATASETS[config.name](config), n, seed)
    _write(out, lambda partial: picture.save(partial))
    print(out)


@data_app.command("init")
def data_init(root: Annotated[Path, typer.Argument(help="an empty or new folder")]) -> None:
    """Write an example of the layout that `folders` reads."""
    from studio.data.catalogue import init_example

    init_example(root)
    print(root)


def _data_config(name: str, assignments: list[str] | None) -> Any:  # noqa: ANN401
    """Takes a config's data section, or a data set's name."""
    from pydantic import ValidationError

    from studio.data import ALIASES, DATASETS

    known = ALIASES.get(name, name)
    if known in DATASETS and not assignments:
        with suppress(ValidationError):  # whatever is wrong with it is said below
            return DATASETS[known].Config()  # pyright: ignore[reportCallIssue] - `name` is preset in every set's own section

    from studio.config import available, load, resolve  # imports torch, two seconds that the defaults alone do not need

    if known in DATASETS:
        raw = {"data": {"name": name}, "method": {"name": "dig"}}
        return resolve(raw, name, f"data {name}", assignments or []).data
    names = [*DATASETS, *ALIASES, *(config.removesuffix(".yaml") for config in available())]
    if Path(name).name == name and name.removesuffix(".yaml") not in names and not Path(name).exists():
        raise StudioError(f"{name}: no such data set or config{nearest(name, names)}")
    return load(name, assignments or []).data


def _check_picture(out: Path) -> None:
    if out.suffix.lower() not in (".png", ".webp", ".jpg", ".jpeg"):
        raise StudioError(f"--out {out}: expected a name that ends in .png, .jpg or .webp")


def _write(path: Path, write: Callable[[Path], object]) -> None:
    """Writes a file, whole or not at all."""
    partial = path.with_name(f".writing-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(partial)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise StudioError(f"{path}: cannot be written: {error.strerror or error}") from None


def main() -> None:
    """Runs a verb; what is the user's to mend becomes a plain line on stderr and exit code 2."""
    _guarded(app)


def train_main() -> None:
    """What `studio/train.py` runs."""
    single = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    single.command()(train)
    _guarded(single)


def _guarded(command: Callable[[], object]) -> None:
    try:
        command()
    except StudioError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise SystemExit(130) from None
    except BrokenPipeError:  # `studio data list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(141) from None
