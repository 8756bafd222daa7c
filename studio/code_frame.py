"""Codes as a table of pandas, one row per image or per subject, and its files.

The columns are `file`, `subject`, `split`, `domain`, the attributes, `z_0`, `z_1`, ... and `s_0`,
`s_1`, ... and `distance`, the Euclidean distance of the salient code from the blank one. A category
is the name of its class, and an unknown value is missing. `attrs["studio"]` says where the codes
come from. A column of this list that has the name of an attribute keeps it, and the attribute is
called `attribute.NAME`.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch

from studio.arguments import check_whole_number
from studio.atomic import write_file
from studio.data.captions import NamedDataset
from studio.data.dataset import Dataset, Split
from studio.domains import DOMAINS
from studio.errors import StudioError, nearest
from studio.method import Code, Domain, Method
from studio.sampling import blank, encode

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = [
    "ENDINGS",
    "CodeSplit",
    "Pool",
    "check_ending",
    "code_frame",
    "encode_items",
    "pool_subjects",
    "sample_items",
    "write_frame",
]

CHUNK = 1_000  # images in memory at a time
SEED = 2024  # of the sample of a large split. Every run and every probe sees the same images
Pool = Literal["mean", "farthest"]
CodeSplit = Literal["train", "test", "all"]
RESERVED = ("file", "subject", "split", "domain", "distance", "images")
ENDINGS = (".csv", ".parquet", ".h5ad")
NEEDS = {".parquet": ("pyarrow", "parquet"), ".h5ad": ("anndata", "rna")}
Progress = Callable[[int, int], object]


def encode_items(
    method: Method,
    dataset: Dataset,
    split: Split,
    domain: Domain,
    indices: np.ndarray,
    progress: Progress | None = None,
) -> Code:
    """Encodes some images of a domain, CHUNK at a time.

    Args:
        method: in eval mode.
        dataset: source of the images.
        split: of the images.
        domain: of the images.
        indices: of the images, (n,).
        progress: called with the number of encoded images and with n after each chunk.

    Returns:
        codes on the CPU, z (n, k) and s (n, m).
    """
    chunks = np.array_split(indices, max(1, len(indices) // CHUNK))
    read, done = [], 0
    for chunk in chunks:
        read.append(encode(method, dataset.images(split, domain, chunk)))
        done += len(chunk)
        if progress is not None:
            progress(done, len(indices))
    return Code(torch.cat([code.z for code in read]), torch.cat([code.s for code in read]))


def sample_items(size: int, limit: int | None) -> np.ndarray:
    """Returns the sorted indices of at most `limit` of `size` images, drawn with a fixed seed."""
    if limit is None or size <= limit:
        return np.arange(size)
    return np.sort(np.random.default_rng(SEED).choice(size, limit, replace=False))


def code_frame(
    method: Method,
    dataset: Dataset,
    split: CodeSplit = "test",
    subject: bool = False,
    pool: Pool = "mean",
    limit: int | None = None,
    progress: Progress | None = None,
) -> "DataFrame":
    """Encodes a split and returns its codes with names, subjects and attributes.

    Args:
        method: in eval mode.
        dataset: source of images, names and labels.
        split: `train`, `test` or `all`.
        subject: one row per subject of a split and domain instead of one per image.
        pool: see `pool_subjects`.
        limit: images per split and domain. A larger domain is sampled with a fixed seed.
        progress: see `encode_items`. It counts the images of one split and domain.

    Raises:
        StudioError: an argument is wrong, or a code is not finite.
    """
    import pandas as pd

    if split not in get_args(CodeSplit):
        raise StudioError(f"split: found {split!r}{nearest(str(split), get_args(CodeSplit))}")
    _check_pool(pool)
    if limit is not None:
        check_whole_number("limit", limit)
    splits: Sequence[Split] = ("train", "test") if split == "all" else (split,)
    parts = [
        _frame_of(method, dataset, part, domain, limit, progress)
        for part in splits
        for domain in DOMAINS
        if dataset.size(part, domain)
    ]
    frame = pd.concat(parts, ignore_index=True)
    numbers = frame[[*_coordinates(frame, "z"), *_coordinates(frame, "s")]].to_numpy()
    broken = np.count_nonzero(~np.isfinite(numbers).all(1))
    if broken:
        raise StudioError(
            f"{method.config.name}: {broken} of {len(frame)} codes of {split} images are NaN or "
            "infinite"
        )
    return pool_subjects(frame, blank(method, 1)[0].numpy(), pool) if subject else frame


def _frame_of(
    method: Method,
    dataset: Dataset,
    split: Split,
    domain: Domain,
    limit: int | None,
    progress: Progress | None,
) -> "DataFrame":
    """Returns the rows of one split and domain."""
    import pandas as pd

    rows = sample_items(dataset.size(split, domain), limit)
    code = encode_items(method, dataset, split, domain, rows, progress)
    z, s = code.z.numpy(), code.s.numpy()
    columns: dict[str, Any] = {**_name_items(dataset, split, domain, rows)}
    columns |= {"split": split, "domain": domain}
    for name, values in dataset.labels(split, domain).items():
        taken = name in RESERVED or name.startswith(("z_", "s_"))
        key = f"attribute.{name}" if taken else name
        classes = dataset.attributes[name].classes
        columns[key] = _spell(values[rows], classes) if classes else values[rows].astype(float)
    columns |= {f"z_{i}": z[:, i] for i in range(z.shape[1])}
    columns |= {f"s_{i}": s[:, i] for i in range(s.shape[1])}
    columns["distance"] = np.linalg.norm(s - blank(method, 1)[0].numpy(), axis=1)
    return pd.DataFrame(columns)


def _name_items(
    dataset: Dataset, split: Split, domain: Domain, rows: np.ndarray
) -> dict[str, list[str]]:
    """Returns the file and the subject of some images.

    Where a data set has no files, each image is a subject of its own.
    """
    if not isinstance(dataset, NamedDataset):
        files = [f"{domain} {row}" for row in rows]
        return {"file": files, "subject": [f"{split} {name}" for name in files]}
    names, subjects = dataset.item_names(split, domain), dataset.item_subjects(split, domain)
    return {"file": [names[row] for row in rows], "subject": [subjects[row] for row in rows]}


def _spell(values: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """Returns the names of classes, None where unknown."""
    names = np.array([*classes, None], object)
    return names[np.where(values < 0, len(classes), values).astype(np.int64)]


def _coordinates(frame: "DataFrame", letter: str) -> list[str]:
    """Returns the columns of one code, in order."""
    start = f"{letter}_"
    found = [name for name in frame.columns if name.startswith(start)]
    return [name for name in found if name[len(start) :].isdigit()]


def _check_pool(pool: str) -> None:
    if pool not in get_args(Pool):
        raise StudioError(f"pool: found {pool!r}{nearest(str(pool), get_args(Pool))}")


def pool_subjects(frame: "DataFrame", blank_code: np.ndarray, pool: Pool = "mean") -> "DataFrame":
    """Returns one row per subject of a split and domain, in the order of their first images.

    `images` counts the images of a row. A number is the mean of its known values, and a category
    the one that most images have (the first in the alphabet, if several have as many).

    Args:
        frame: one row per image, see `code_frame`.
        blank_code: the blank salient code, (m,).
        pool: `mean` averages the codes of the images and measures the distance of their mean.
            `farthest` takes both codes of the image farthest from the blank code.

    Raises:
        StudioError: `pool` is neither.
    """
    import pandas as pd

    _check_pool(pool)
    keys = ["subject", "split", "domain"]
    z, s = _coordinates(frame, "z"), _coordinates(frame, "s")
    groups = frame.groupby(keys, sort=False)
    farthest = frame.loc[groups["distance"].idxmax()].set_index(keys)
    out: dict[str, Any] = {"file": farthest["file"], "images": groups.size()}
    for name in frame.columns:
        if name in (*RESERVED, *z, *s):
            continue
        numeric = pd.api.types.is_numeric_dtype(frame[name])
        out[name] = groups[name].mean() if numeric else groups[name].agg(_most_frequent)
    codes: Any = farthest[[*z, *s]] if pool == "farthest" else groups[[*z, *s]].mean()
    pooled: Any = pd.concat([pd.DataFrame(out), codes], axis=1).reset_index()
    offsets = pooled[s].to_numpy() - blank_code
    pooled["distance"] = np.linalg.norm(offsets, axis=1)
    first = [name for name in ("file", *keys, "images") if name in pooled]
    return pooled[[*first, *(name for name in pooled.columns if name not in first)]]


def _most_frequent(values: Any) -> Any:  # noqa: ANN401 - a column of pandas and one of its values
    counts = values.value_counts(sort=False)
    return min(counts.index[counts == counts.max()], default=None)


def check_ending(path: Path) -> str:
    """Returns the ending of a file for codes, and checks that its library is installed.

    Raises:
        StudioError: the ending is another one, or the library is missing.
    """
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise StudioError(f"OUT {path}: expected a name that ends in {', '.join(ENDINGS)}")
    if ending in NEEDS:
        module, extra = NEEDS[ending]
        try:
            __import__(module)
        except ImportError:
            raise StudioError(
                f"OUT {path}: {ending} needs {module}: pip install 'contrastive-studio[{extra}]'"
            ) from None
    return ending


def write_frame(frame: "DataFrame", path: Path) -> None:
    """Writes codes as csv, parquet or h5ad.

    AnnData has the codes in `obsm["z"]` and `obsm["s"]`, the other columns in `obs`, and
    `attrs["studio"]` in `uns["studio"]`, as text. In parquet it is part of the metadata.

    Raises:
        StudioError: see `check_ending`, or the file cannot be written.
    """
    ending = check_ending(path)
    if ending == ".csv":
        write_file(path, lambda partial: frame.to_csv(partial, index=False, float_format="%.9g"))
    elif ending == ".parquet":
        write_file(path, lambda partial: frame.to_parquet(partial, index=False))
    else:
        write_file(path, lambda partial: _write_anndata(frame, partial))


def _write_anndata(frame: "DataFrame", path: Path) -> None:
    import anndata

    codes: Any = {letter: frame[_coordinates(frame, letter)].to_numpy() for letter in "zs"}
    kept = [n for n in frame.columns if n not in {c for x in "zs" for c in _coordinates(frame, x)}]
    obs: Any = frame[kept].copy()
    obs.index = [str(i) for i in range(len(obs))]
    for name in obs.columns:
        if obs[name].dtype == object:  # AnnData writes texts with missing values as categories
            obs[name] = obs[name].astype("category")
    uns = {"studio": {k: json.dumps(v) for k, v in frame.attrs.get("studio", {}).items()}}
    anndata.AnnData(obs=obs, obsm=codes, uns=uns).write_h5ad(path)
