"""Codes as a table: rows, subjects, and files that other tools read."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.planted import N, Planted, Rows
from support.runs import studio
from torch import Tensor

from studio import Run
from studio.code_frame import check_ending, code_frame, pool_subjects, write_frame
from studio.data import Attribute
from studio.errors import StudioError
from studio.sampling import encode

FROZEN = Path(__file__).parent / "reliability" / "frozen_run"


class Named(Planted):
    """Planted images of subjects with three images each, one with odd attribute names."""

    def __init__(self) -> None:
        super().__init__()
        self.attributes |= {"distance": Attribute("common"), "s_3": Attribute("common")}

    def labels(self, split: str, domain: str) -> dict[str, np.ndarray]:
        extra = np.arange(N, dtype=float)
        labels = super().labels(split, domain) | {"distance": extra, "s_3": extra}
        labels["place"][3:6] = [1, -1, -1]
        return labels

    def item_names(self, split: str, domain: str) -> list[str]:
        return [f"{domain}/{split}{i}.png" for i in range(N)]

    def item_subjects(self, split: str, domain: str) -> list[str]:
        return [f"P{i // 3}" for i in range(N)]


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return code_frame(Rows().eval(), Named(), "test")


def test_frame_has_the_codes_and_labels_of_every_image(frame: pd.DataFrame) -> None:
    assert list(frame.columns[:4]) == ["file", "subject", "split", "domain"]
    assert len(frame) == 2 * N
    dataset, rows = Named(), [0, 7, N - 1]
    images: Tensor = dataset.images("test", "target", np.array(rows))
    code = encode(Rows().eval(), images)
    mine = frame[frame["domain"] == "target"].iloc[rows]
    assert np.allclose(mine[[f"z_{i}" for i in range(4)]], code.z)
    assert np.allclose(mine[[f"s_{i}" for i in range(4)]], code.s)
    assert np.allclose(mine["distance"], np.linalg.norm(code.s, axis=1))
    labels = dataset.labels("test", "target")
    assert list(mine["kind"]) == ["abc"[labels["kind"][i]] for i in rows]
    assert np.array_equal(mine["size"], labels["size"][rows], equal_nan=True)
    assert frame.loc[frame["domain"] == "background", "kind"].isna().all(), "targets have kinds"
    assert {"attribute.distance", "attribute.s_3"} <= set(frame.columns)


def test_subject_rows_average_their_images(frame: pd.DataFrame) -> None:
    pooled = code_frame(Rows().eval(), Named(), "test", subject=True)
    assert len(pooled) == 2 * N // 3
    for row in (0, 1, N // 3 + 2):
        own = frame.iloc[3 * row : 3 * row + 3]
        one = pooled.iloc[row]
        assert one["subject"] == own["subject"].iloc[0]
        assert one["images"] == 3
        mean = own[[f"s_{i}" for i in range(4)]].to_numpy().mean(0)
        assert np.allclose(one[[f"s_{i}" for i in range(4)]].to_numpy(float), mean)
        assert one["distance"] == pytest.approx(np.linalg.norm(mean), rel=1e-5)
        known = own["size"].dropna()
        assert one["size"] == pytest.approx(known.mean()) or known.empty
    assert pooled["place"].iloc[1] == "right", "the only known value of three"


def test_farthest_image_stands_for_its_subject(frame: pd.DataFrame) -> None:
    pooled = pool_subjects(frame, np.zeros(4), "farthest")
    for row in (0, 5):
        own = frame.iloc[3 * row : 3 * row + 3]
        best = own.loc[own["distance"].idxmax()]
        assert pooled["file"].iloc[row] == best["file"]
        assert pooled["distance"].iloc[row] == pytest.approx(best["distance"], rel=1e-5)
        assert pooled["z_1"].iloc[row] == best["z_1"]


def test_images_without_files_are_subjects_of_their_own() -> None:
    frame = code_frame(Rows().eval(), Planted(), "all", limit=5)
    assert len(frame) == frame["subject"].nunique() == 20
    assert set(frame["split"]) == {"train", "test"}


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".h5ad"])
def test_file_holds_the_frame(ending: str, frame: pd.DataFrame, tmp_path: Path) -> None:
    if ending != ".csv":
        pytest.importorskip({".parquet": "pyarrow", ".h5ad": "anndata"}[ending])
    frame = frame.copy()
    frame.attrs["studio"] = {"run": "runs/a", "images_seen": 3, "limit": None}
    path = tmp_path / f"codes{ending}"
    write_frame(frame, path)
    columns = [f"s_{i}" for i in range(4)]
    if ending == ".h5ad":
        import anndata

        read = anndata.read_h5ad(path)
        assert np.array_equal(read.obsm["s"], frame[columns])
        assert np.array_equal(read.obsm["z"], frame[[f"z_{i}" for i in range(4)]])
        assert list(read.obs["subject"]) == list(frame["subject"])
        assert read.obs["kind"].isna().sum() == N
        assert json.loads(read.uns["studio"]["images_seen"]) == 3
        return
    read = pd.read_csv(path) if ending == ".csv" else pd.read_parquet(path)
    assert list(read.columns) == list(frame.columns)
    assert np.array_equal(read[columns].to_numpy(np.float32), frame[columns])
    assert list(read["file"]) == list(frame["file"])


def test_verb_writes_the_frame_of_the_run(tmp_path: Path) -> None:
    out, _ = studio("codes", FROZEN, tmp_path / "c.csv", "--split", "test", "--limit", "6")
    assert out.strip() == str(tmp_path / "c.csv")
    frame = Run.open(FROZEN).codes("test", limit=6)
    assert frame.attrs["studio"]["images_seen"] > 0
    read = pd.read_csv(tmp_path / "c.csv")
    assert np.allclose(read["distance"], frame["distance"])
    assert len(read) == 12


def test_wrong_arguments_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments, message in (
        ((FROZEN, "c.xlsx"), r"c\.xlsx: expected a name that ends in \.csv, \.parquet, \.h5ad"),
        ((FROZEN, "c.csv", "--split", "tets"), "split: found 'tets'; did you mean 'test'"),
        ((FROZEN, "c.csv", "--subject", "--pool", "men"), "pool: found 'men'; did you mean 'mean'"),
    ):
        _, error = studio("codes", *arguments, code=2)
        assert re.search(message, error), error
        assert not Path("c.csv").exists()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(StudioError, match=r"parquet needs pyarrow: pip install 'contr.*\[parquet"):
        check_ending(tmp_path / "a.parquet")
