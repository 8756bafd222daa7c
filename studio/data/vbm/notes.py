"""Notes on a user's volumes of brains: their grids, their splits, and data that are set aside."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from studio.data.dataset import SPLITS, Split
from studio.data.io.names import format_lines, join_names
from studio.data.io.nifti import orientation_notes
from studio.data.vbm.config import VbmConfig
from studio.domains import DOMAINS

__all__ = [
    "column_use_notes",
    "confound_notes",
    "kind_notes",
    "lost_notes",
    "missing_notes",
    "split_notes",
    "volume_notes",
]

Facts = Mapping[str, Any]
SHOWN = 0.001  # share of clipped voxels, or of brain outside of the cube, that is worth a note
APART = 0.2  # difference of the shares of a grid in both sets that is worth a note


def volume_notes(
    items: Sequence[tuple[str, str, str]], facts: Sequence[Facts], config: VbmConfig
) -> Iterator[str]:
    """Yields notes on the volumes.

    Args:
        items: file, subject and domain of each volume.
        facts: of each volume, see `studio.data.vbm.preprocess.cut_cube`.
        config: the data set's section.
    """
    for domain in DOMAINS:
        mine = [subject for _, subject, own in items if own == domain]
        yield f"{domain}: {len(mine)} volumes of {len(set(mine))} subjects"
    size = f"{config.resolution} voxels of {config.voxel:g} mm"
    yield (
        f"each volume becomes a cube of {size} along each axis; the mean of its brain becomes 0, "
        f"and {config.spread:g} standard deviations become 1"
    )
    remedy = "all are resampled (data.mixed: refuse sets the others aside)"
    names = [name for name, _, _ in items]
    yield from kind_notes(names, facts, remedy)
    axes = [fact["axes"] for fact in facts]
    if len(set(axes)) > 1:
        yield from _kind_notes("stored axes", names, axes, "all are turned to the same axes")
    yield from confound_notes([domain for _, _, domain in items], facts)
    place = "brain" if config.brain == "background" else "voxels"
    yield from lost_notes([fact["kept"] for fact in facts], place, "data.spacing, data.align")
    clipped = [fact["clipped"] for fact in facts]
    if max(clipped) > SHOWN:
        mean, most = sum(clipped) / len(clipped), max(clipped)
        yield f"{mean:.2%} of the brain's voxels are clipped, up to {most:.2%} (data.spread)"
    if count := sum(fact["filled"] > 0 for fact in facts):
        yield f"{count} volumes had NaN, which data.nan replaced"
    yield from orientation_notes([fact["orientation"] for fact in facts], "volumes")


def lost_notes(kept: Sequence[float], place: str, options: str) -> Iterator[str]:
    """Yields how many volumes lie partly outside of their cube.

    Args:
        kept: share of each volume's brain that lies in its cube.
        place: what lies outside.
        options: remedy.
    """
    lost = [1 - share for share in kept]
    if max(lost) > SHOWN:
        count = sum(share > SHOWN for share in lost)
        yield (
            f"{count} volumes have {place} outside of the cube, up to {max(lost):.1%} of it "
            f"({options})"
        )


def kind_notes(names: Sequence[str], facts: Sequence[Facts], remedy: str) -> Iterator[str]:
    """Yields the grids of the files, and the files with another grid than most."""
    grids = [_grid_text((*fact["shape"], *fact["spacing"])) for fact in facts]
    yield from _kind_notes("files", names, grids, remedy)


def _kind_notes(
    what: str, names: Sequence[str], kinds: Sequence[str], remedy: str
) -> Iterator[str]:
    """Yields how many files are of each kind, and which are of another than most."""
    counts = Counter(kinds)
    (usual, _), *others = counts.most_common()
    if not others:
        yield f"{what}: {usual}"
        return
    shown = [f"{count} of {kind}" for kind, count in counts.most_common()]
    rare = [name for name, kind in zip(names, kinds, strict=True) if kind != usual]
    yield f"{what}: {join_names(shown)} ({join_names(rare)}); {remedy}"


def confound_notes(domains: Sequence[str], facts: Sequence[Facts]) -> Iterator[str]:
    """Yields a note if a size of voxels is much more common in one of the sets."""
    by_domain: dict[str, Counter] = defaultdict(Counter)
    for domain, fact in zip(domains, facts, strict=True):
        by_domain[domain][tuple(fact["spacing"])] += 1
    for spacing in by_domain[DOMAINS[0]] | by_domain[DOMAINS[1]]:
        shares = [by_domain[name][spacing] / by_domain[name].total() for name in DOMAINS]
        if abs(shares[0] - shares[1]) > APART:
            text = " x ".join(f"{size:g}" for size in spacing)
            yield (
                f"voxels of {text} mm are in {shares[0]:.0%} of the background volumes and "
                f"{shares[1]:.0%} of the target volumes: a model can tell the sets apart by it"
            )
            return


def _grid_text(grid: Sequence[float]) -> str:
    shape, spacing = (" x ".join(f"{size:g}" for size in part) for part in (grid[:3], grid[3:]))
    return f"{shape} voxels of {spacing} mm"


def missing_notes(
    quarantined: Sequence[tuple[str, str]], without: Mapping[str, Sequence[str]]
) -> Iterator[str]:
    """Yields what is set aside, and the subjects that have a row and no volume."""
    if quarantined:
        lines = format_lines([f"{name} {reason}" for name, reason in quarantined])
        yield f"{len(quarantined)} volumes or rows are set aside{lines}"
    for domain, subjects in without.items():
        if subjects:
            yield f"{len(subjects)} {domain} rows have no volume: {join_names(subjects)}"


def column_use_notes(idle: Sequence[str], automatic: bool) -> Iterator[str]:
    """Yields the columns that are no attributes.

    Args:
        idle: these columns.
        automatic: whether attributes were chosen by the names of their columns.
    """
    if idle:
        how = "data.attributes names the columns to use, with their codes"
        yield f"{len(idle)} columns are not used: {join_names(idle)}" + f"; {how}" * automatic


def split_notes(
    splits: Mapping[str, Split], sites: Mapping[str, str], config: VbmConfig
) -> Iterator[str]:
    """Yields how the subjects are divided."""
    sides = [*splits.values()]
    by_split = ", ".join(f"{sides.count(split)} in {split}" for split in SPLITS)
    rule = f"{config.test_share:.0%} of each set are for testing"
    if config.test_site is not None:
        rule = f"the site {config.test_site} is for testing"
    elif config.fold is not None and config.split == "folds":
        rule = f"fold {config.fold} of {config.folds}"
    elif config.fold is not None:
        rule += f", drawn anew for fold {config.fold}"
    yield f"split by subject: {by_split}; {rule}"
    lost = [subject for subject, site in sites.items() if not site]
    if config.test_site is not None and lost:
        yield f"{len(lost)} subjects have no {config.site_column}: they are in the training split"
    inside = {
        name: {sites[subject] for subject, split in splits.items() if split == name} - {""}
        for name in SPLITS
    }
    fresh = sorted(inside["test"] - inside["train"])
    if config.test_site is None and fresh:
        yield f"{len(fresh)} sites are in the test split only: {join_names(fresh)}"
