"""Where: maps of the groups, their tests, regions, and the files in which they are saved."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from studio.analyse.analyse import Analysis
from studio.analyse.cohort import Cohort, Covariates, prepare_covariates
from studio.analyse.maps import (
    maximum_test,
    read_atlas,
    region_means,
    subject_maps,
    summarise_test,
)
from studio.analyse.permutation import adjust
from studio.atomic import write_file
from studio.errors import StudioError
from studio.pace import pace
from studio.render.grid import Cell, Grid
from studio.render.selection import choose_scale, to_coloured_cells
from studio.seeds import seed_of

__all__ = ["FOLDER", "measure_places"]

FOLDER = "analysis"  # inside of a run
PERMUTATIONS = 999  # of maps, at most
Log = Callable[[str], object]


def measure_places(found: Analysis, out: Path, log: Log = lambda line: None) -> dict[str, Any]:
    """Measures where groups differ from the controls, and writes the maps.

    2-D maps become `OUT/where.png` with a key of the colours, volumes
    `OUT/where_GROUP.nii.gz` and `OUT/where_GROUP_t.nii.gz`.

    Args:
        found: the analysis. `result["where"]` is set.
        out: folder of the files.
        log: called with lines about the work.

    Returns:
        `groups`: for the targets and each subgroup `group` (`targets` or its number), `n`,
        `strongest` (largest absolute mean), `file`, and `test` with `threshold`, `share` of places
        with a corrected p of at most 0.05, `peak`, `peak_t` and `peak_p`, or None and a `note`.
        `regions`: for each group and region of the atlas `region`, `difference` from the controls,
        `low`, `high`, `t`, `p` (corrected for all regions) and `q`.

    Raises:
        StudioError: the atlas does not fit, or a file cannot be written.
    """
    say, config, cohort = pace(log), found.config, found.cohort
    space = tuple(found.run.shape[1:]) or tuple(found.run.shape)
    # An atlas that does not fit is an error before the long part.
    affine = found.run.data.affine()
    atlas = read_atlas(Path(config.atlas).expanduser(), space, affine) if config.atlas else None
    if atlas is not None and not config.same_space:
        raise StudioError(
            "analysis.atlas: needs images that share a space; analysis.same_space: true says so"
        )
    maps = subject_maps(found.run.method, *_codes(found), _owners(found), say)
    flat = maps.reshape(len(maps), -1)
    groups, regions, drawn = [], [], {}
    for name, rows in _groups(found).items():
        title = str(name)
        record: dict[str, Any] = {
            "group": name,
            "n": int(rows.sum()),
            "strongest": float(np.abs(flat[rows].mean(0)).max()),
            "test": None,
        }
        drawn[title] = [maps[rows].mean(0), None]
        groups.append(record)
        if not config.same_space:
            record["note"] = "not tested: analysis.same_space says whether images share a space"
            continue
        chosen = rows | ~cohort.target
        part = cohort.take(chosen)
        covariates = prepare_covariates(part, config)
        reason = _refuse(part, rows[chosen], covariates)
        if reason:
            record["note"] = reason
            continue
        kept = np.flatnonzero(chosen)[covariates.rows]
        times = min(PERMUTATIONS, config.permutations)
        seed = seed_of("maps", config.seed, title)
        arguments = (rows[kept], covariates.columns, covariates.blocks, times, seed, say)
        test = maximum_test(flat[kept], *arguments)
        record["test"] = summarise_test(test, space)
        drawn[title][1] = np.where(test.p <= 0.05, np.nan_to_num(test.t), 0).reshape(space)
        if atlas is not None:
            means = region_means(flat[kept], atlas.ravel())
            table = np.column_stack(list(means.values()))
            regions += _list_regions(
                name, [*means], table, rows[kept], maximum_test(table, *arguments)
            )
    for record, files in zip(groups, _write(found, drawn, out), strict=True):
        record["files"] = files
    where = {"groups": groups, "regions": regions}
    found.result["where"] = where
    return where


def _codes(found: Analysis) -> tuple[np.ndarray, np.ndarray]:
    frame = found.frame
    names = [[c for c in frame if c.startswith(f"{x}_") and c[2:].isdigit()] for x in "zs"]
    return frame[names[0]].to_numpy(), frame[names[1]].to_numpy()


def _owners(found: Analysis) -> np.ndarray:
    """Returns the row of the cohort of each image."""
    words = np.where(found.cohort.target, "target", "background")
    row = {key: i for i, key in enumerate(zip(words, found.cohort.names, strict=True))}
    pairs = zip(found.frame["domain"], found.frame["subject"], strict=True)
    return np.array([row[pair] for pair in pairs])


def _groups(found: Analysis) -> dict[str | int, np.ndarray]:
    """Returns the targets, and each subgroup if there are several, as masks of the cohort."""
    masks: dict[str | int, np.ndarray] = {"targets": found.cohort.target}
    if found.groups.number > 1:
        for group in range(found.groups.number):
            rows = np.zeros(len(found.cohort), bool)
            rows[np.flatnonzero(found.cohort.target)[found.groups.labels == group]] = True
            masks[group] = rows
    return masks


def _refuse(part: Cohort, group: np.ndarray, covariates: Covariates) -> str:
    """Returns the reason why a group cannot be tested against the controls, or ""."""
    if covariates.impossible:
        return f"not tested: {covariates.impossible}"
    kept = group[covariates.rows]
    if min(kept.sum(), (~kept).sum()) < 5:
        return "not tested: fewer than 5 subjects of a set have all covariates"
    mixed = any(len(np.unique(kept[covariates.blocks == b])) == 2 for b in covariates.blocks)
    if not mixed:
        return "not tested: no site has subjects of both sets to exchange"
    design = np.column_stack([np.ones(len(kept)), covariates.columns])
    rest = kept - design @ np.linalg.lstsq(design, kept.astype(float), rcond=None)[0]
    if np.sum(rest**2) < 1e-6 * len(kept):
        return "not tested: the set follows from the covariates"
    return ""


def _list_regions(
    group: str | int,
    names: Sequence[int],
    table: np.ndarray,
    rows: np.ndarray,
    test: Any,  # noqa: ANN401
) -> list[dict[str, Any]]:
    from scipy import stats

    q = adjust(test.p)
    records = []
    for i, region in enumerate(names):
        a, b = table[rows, i], table[~rows, i]
        interval = stats.ttest_ind(a, b, equal_var=False).confidence_interval()
        numbers = {
            "difference": float(a.mean() - b.mean()),
            "low": float(interval.low),
            "high": float(interval.high),
            "t": float(test.t[i]),
            "p": float(test.p[i]),
            "q": float(q[i]),
        }
        finite = {k: v if np.isfinite(v) else None for k, v in numbers.items()}
        records.append({"group": group, "region": int(region), **finite})
    return records


def _write(found: Analysis, drawn: dict[str, list[Any]], out: Path) -> list[list[str]]:
    """Writes the maps, and returns the names of the files of each group."""
    if len(found.run.shape) == 4:
        given = found.run.data.affine()
        affine = np.eye(4) if given is None else given
        return [_write_volume(title, mean, t, affine, out) for title, (mean, t) in drawn.items()]
    path = out / "where.png"
    picture = _draw(found, drawn)
    write_file(path, lambda partial: picture.save(partial))
    return [[path.name]] * len(drawn)


def _write_volume(
    title: str, mean: np.ndarray, t: np.ndarray | None, affine: np.ndarray, out: Path
) -> list[str]:
    import nibabel

    files = []
    for ending, volume in (("", mean), ("_t", t)):
        if volume is not None:
            path = out / f"where_{title}{ending}.nii.gz"
            image = nibabel.Nifti1Image(np.float32(volume), affine)
            write_file(path, lambda partial, image=image: nibabel.save(image, partial))
            files.append(path.name)
    return files


def _draw(found: Analysis, drawn: dict[str, list[Any]]) -> Any:  # noqa: ANN401 - a PIL image
    means = torch.from_numpy(np.stack([mean for mean, _ in drawn.values()]))
    colours = choose_scale("reconstruction - healed", means, signed=True)
    tested = {title: t for title, (_, t) in drawn.items() if t is not None}
    head: list[Cell] = ["", "mean difference"]
    rows: list[list[Cell]] = []
    scales = [colours]
    strengths: dict[str, np.ndarray] = {}
    if tested:
        values = torch.from_numpy(np.stack([*tested.values()])).float()
        scale = choose_scale("t where the corrected p <= 0.05", values, signed=True)
        strengths = dict(zip(tested, to_coloured_cells(scale, values), strict=True))
        scales.append(scale)
        head.append("t against controls")
    for title, cell in zip(drawn, to_coloured_cells(colours, means), strict=True):
        name = title if title == "targets" else f"subgroup {title}"
        rows.append([name, cell, *([strengths.get(title)] if tested else [])])
    n = found.result["n"]
    caption = (
        f"Mean over subjects of the reconstruction minus the healed image ({n['target']} targets, "
        f"{n['background']} controls, held out). Red: the salient code makes the image brighter."
    )
    return Grid([head, *rows], "Where the targets differ", caption, scales).draw()
