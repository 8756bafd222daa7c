"""`studio data list`, `check`, `preview` and `init`."""

import json
import shlex
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from studio.errors import StudioError, inform, nearest
from studio.limits import Most
from studio.verbs.options import (
    Assignments,
    CutPlanes,
    DataRoot,
    Json,
    data_root_setting,
    expand,
)

if TYPE_CHECKING:
    from studio.data.dataset import DataConfig
from studio.verbs.pictures import check_picture, save_picture

__all__ = ["data_app"]

data_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Data sets: list, check, preview, and an example of your own.",
)


@data_app.command("list")
def data_list(as_json: Json = False) -> None:
    """List the data sets and the files that they need."""
    from studio.data.catalogue import list_datasets

    rows = list_datasets()
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    for row in rows:
        print(f"{row['name']}: {row['what']}\n    expects {row['expected']}")


@data_app.command("check")
def data_check(
    name: Annotated[
        str, typer.Argument(help="a config, or the name of a data set that needs no options")
    ],
    data_root: DataRoot = None,
    assignments: Assignments = None,
    as_json: Json = False,
) -> None:
    """Check whether a data set is complete, and list missing files."""
    from studio.data import ALIASES, DATASETS
    from studio.data.catalogue import check, describe, report_unusable

    try:
        result = check(_data_config(name, assignments, data_root))
    except StudioError as error:
        if ALIASES.get(name, name) not in DATASETS:
            raise
        result = report_unusable(ALIASES.get(name, name), str(error))
    print(json.dumps(result, indent=2) if as_json else describe(result))
    if not result["ok"]:
        raise typer.Exit(1)


@data_app.command("preview")
def data_preview(
    name: Annotated[
        str, typer.Argument(help="a config, or the name of a data set that needs no options")
    ],
    out: Annotated[
        Path, typer.Option("--out", help="the picture to write", callback=expand)
    ] = Path("preview.png"),
    n: Annotated[int, typer.Option("--n", min=1, max=Most.COUNT, help="images per row")] = 8,
    seed: Annotated[int, typer.Option("--seed", min=0, max=Most.SEED)] = 0,
    planes: CutPlanes = None,
    data_root: DataRoot = None,
    assignments: Assignments = None,
) -> None:
    """Draw a contact sheet."""
    from studio.data import dataset_class
    from studio.planes import cut_at
    from studio.render.preview import preview

    check_picture(out)
    config = _data_config(name, assignments, data_root)
    dataset = dataset_class(config)(config)
    with cut_at(planes, dataset.shape):
        picture = preview(dataset, n, seed)
    save_picture(picture, out)
    print(out)


@data_app.command("init")
def data_init(
    root: Annotated[Path, typer.Argument(help="an empty or new folder", callback=expand)],
    cohort: Annotated[
        int | None,
        typer.Option(
            "--cohort",
            metavar="N",
            min=1,
            max=Most.COUNT,
            help="instead, a drawn study of N controls and N patients with known answers",
        ),
    ] = None,
    kinds: Annotated[
        int, typer.Option("--kinds", min=1, max=3, help="with --cohort: planted kinds of patients")
    ] = 3,
    seed: Annotated[
        int, typer.Option("--seed", min=0, max=Most.SEED, help="with --cohort: seed")
    ] = 0,
    volumes: Annotated[
        bool,
        typer.Option(
            "--volumes",
            help="with --cohort: brains in 3-D with one kind of patients, as a BIDS folder that "
            "`vbm` reads",
        ),
    ] = False,
) -> None:
    """Write an example of the layout that `folders` reads, or `vbm`."""
    if volumes and cohort is None:
        raise StudioError("--volumes: needs --cohort N, the number of subjects of each set")
    if cohort is None:
        from studio.data.catalogue import init_example

        init_example(root)
        config = "folders_dig_plus.yaml"
    elif volumes:
        from studio.data.vbm.phantom_bids import write_volumes

        write_volumes(root, cohort, seed)
        config = "vbm.yaml"
    else:
        from studio.data.phantom_cohort import write_cohort

        write_cohort(root, cohort, kinds, seed)
        config = "cohort.yaml"
    print(root)
    path = shlex.quote(str(root / config))
    inform(f"next: studio data check {path}, then studio train --cfg {path}")


def _data_config(name: str, given: list[str] | None, root: Path | None) -> "DataConfig":
    """Returns the data section of a config, or the default section of a data set.

    Args:
        name: a config, or a data set.
        given: `--set` options.
        root: `--data-root`.

    Raises:
        StudioError: there is no such config or data set, or the section is invalid.
    """
    from pydantic import ValidationError

    from studio.config_check import refuse_faults
    from studio.config_files import list_configs
    from studio.data import ALIASES, DATASETS

    assignments = [*(given or []), *data_root_setting(root)]
    known = ALIASES.get(name, name)
    if known in DATASETS and not assignments:
        with suppress(ValidationError):  # the load below reports the error
            return DATASETS[known].Config()  # pyright: ignore[reportCallIssue] - `name` has a default in each section

    if known in DATASETS:
        # Imported here because it imports torch, which takes two seconds and which the defaults
        # alone do not need.
        from studio.config import resolve

        raw = {"data": {"name": name}, "method": {"name": "dig"}}
        return resolve(raw, name, f"data {name}", assignments).data
    names = [*DATASETS, *ALIASES, *(config.removesuffix(".yaml") for config in list_configs())]
    if (
        Path(name).name == name
        and name.removesuffix(".yaml") not in names
        and not Path(name).exists()
    ):
        raise StudioError(f"{name}: no such data set or config{nearest(name, names)}")
    refuse_faults(name, assignments)

    from studio.config import load

    return load(name, assignments).data
