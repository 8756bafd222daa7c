"""Verbs on a run of vectors: apply on csv, npy and h5ad, scores, exports and pictures."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from support.applied import code_values, read_codes
from support.runs import studio
from support.vector_files import (
    GENES,
    HEADER,
    PROTEINS,
    counts_of,
    mice_rows,
    write_mice_csv,
    write_rna,
)

from studio.apply import apply
from studio.build import build_method
from studio.config import resolve
from studio.errors import StudioError
from studio.export.graphs import torch_programs
from studio.method import Code
from studio.runs.run import Run
from studio.training.session import train

ROWS = mice_rows()
VALUES = np.array([[float(cell or "nan") for cell in row[1:7]] for row in ROWS])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of contrastive PCA on mice, and beside it a run on cells."""
    root = tmp_path_factory.mktemp("vectors")
    write_mice_csv(root, ROWS)
    for name, options in (("mice", {"name": "mice_protein"}), ("cells", write_rna(root))):
        raw = {
            "data": {"name": "rna", "root": str(root), **options},
            "method": {"name": "cpca", "z": 2, "s": 2},
            "train": {"images": 2_000, "batch": 64, "threads": 1},
        }
        train(resolve(raw, name, "vectors", []), root / name)
    return root


@pytest.fixture(scope="module")
def run(folder: Path) -> Run:
    return Run.open(folder / "mice", device="cpu")


def write_csv(path: Path, header: list[str], rows: list[list[object]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def read_csv(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_apply_reads_rows_as_the_data_set_and_keeps_the_other_columns(
    run: Run, tmp_path: Path
) -> None:
    source = write_mice_csv(tmp_path, ROWS)
    report = apply(run, source, tmp_path / "out", ["reconstruct", "heal", "encode"])
    assert (report["files"], report["images"], report["what"]) == (
        1,
        len(ROWS),
        ["reconstruct", "heal"],
    )
    codes = {row["row"]: row for row in read_codes(tmp_path / "out" / "codes.csv")}
    names = run.data.item_names("test", "target")
    images = run.data.images("test", "target", range(len(names)))
    code = run.encode(images)
    healed = {row[0]: row for row in read_csv(tmp_path / "out" / "heal" / source.name)}
    expected = run.data.rule.restore(run.heal(images).numpy())
    for i, name in enumerate(names):
        found = [float(value) for value in code_values(codes[name])]
        np.testing.assert_allclose(found, torch.cat([code.z[i], code.s[i]]), atol=1e-5)
        assert float(codes[name]["distance"]) == pytest.approx(code.s[i].norm().item(), rel=1e-4)
        row = next(row for row in ROWS if row[0] == name)
        assert healed[name][7:] == row[7:]
        np.testing.assert_allclose([float(v) for v in healed[name][1:7]], expected[i], atol=1e-4)
    assert healed["MouseID"] == list(HEADER)


def test_apply_gives_the_same_codes_for_npy_h5ad_and_any_order_of_columns(
    run: Run, tmp_path: Path
) -> None:
    anndata = pytest.importorskip("anndata", reason="the extra rna is not installed")
    source = tmp_path / "in"
    (source / "deep").mkdir(parents=True)
    values = np.nan_to_num(VALUES[:7], nan=1.0).astype(np.float32)
    np.save(source / "a.npy", values)
    turned = [[f"r{i}", *row[::-1]] for i, row in enumerate(values.tolist())]
    write_csv(source / "deep" / "b.csv", ["name", *PROTEINS[::-1]], turned)
    data = anndata.AnnData(values[:, ::-1].copy())
    data.var_names, data.obs["sex"] = list(PROTEINS[::-1]), ["f"] * 7
    data.write_h5ad(source / "c.h5ad")
    (source / "notes.txt").write_text("")
    report = apply(run, source, tmp_path / "out", "heal", difference=True)
    assert (report["files"], report["ignored"], report["set_aside"]) == (3, 1, [])
    rows = read_codes(tmp_path / "out" / "codes.csv")
    by_file = {
        name: np.array([[*map(float, code_values(row))] for row in rows if row["file"] == name])
        for name in ("a.npy", "deep/b.csv", "c.h5ad")
    }
    for found in by_file.values():
        np.testing.assert_allclose(found, by_file["a.npy"], atol=1e-6)
    coded = anndata.read_h5ad(tmp_path / "out" / "c.h5ad")
    np.testing.assert_allclose(
        np.concatenate([coded.obsm["z"], coded.obsm["s"]], 1), by_file["a.npy"], atol=1e-6
    )
    assert list(coded.obs.columns) == ["sex", "distance", "change"]
    np.testing.assert_array_equal(coded.X, values[:, ::-1])
    healed = anndata.read_h5ad(tmp_path / "out" / "heal" / "c.h5ad")
    assert list(healed.var_names) == list(PROTEINS)
    np.testing.assert_allclose(healed.X, np.load(tmp_path / "out/heal/a.npy"), atol=1e-5)
    parts = {kind: np.load(tmp_path / "out" / kind / "a.npy") for kind in ("heal", "difference")}
    width = (run.data.rule.high - run.data.rule.low) / 2
    np.testing.assert_allclose(
        (parts["difference"] / width).mean(1), coded.obs["change"], atol=1e-5
    )


def test_apply_swaps_with_one_row_for_all(run: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.nan_to_num(VALUES[:5], nan=1.0))
    np.save(tmp_path / "donor.npy", VALUES[50:51])
    apply(run, tmp_path / "a.npy", tmp_path / "out", "swap", tmp_path / "donor.npy")
    rule = run.data.rule
    code = run.encode(torch.from_numpy(rule.scale(np.nan_to_num(VALUES[:5], nan=1.0))))
    donor = run.encode(torch.from_numpy(rule.scale(VALUES[50:51])))
    expected = rule.restore(run.decode(Code(code.z, donor.s.expand(5, -1))).numpy())
    np.testing.assert_allclose(np.load(tmp_path / "out" / "swap" / "a.npy"), expected, atol=1e-4)
    np.save(tmp_path / "two.npy", VALUES[50:52])
    with pytest.raises(StudioError, match="has 5 rows, and --with has 2"):
        apply(run, tmp_path / "a.npy", tmp_path / "o2", "swap", tmp_path / "two.npy")


def test_apply_scales_counts_of_cells(folder: Path, tmp_path: Path) -> None:
    cells = Run.open(folder / "cells", device="cpu")
    rows = [[f"CELL{i}-1", *counts] for i, counts in enumerate(counts_of("post").tolist())]
    write_csv(tmp_path / "post.csv", ["cell", *GENES], rows)
    report = apply(cells, tmp_path / "post.csv", tmp_path / "out", "heal")
    assert "log(1 + x), where x are counts scaled to a sum of 10,000" in report["notes"][0]
    names = cells.data.item_names("test", "target")
    code = cells.encode(cells.data.images("test", "target", range(len(names))))
    found = {row["row"]: row for row in read_codes(tmp_path / "out" / "codes.csv")}
    for name, z in zip(names, code.z, strict=True):
        if name.startswith("post/"):
            values = [float(v) for v in code_values(found[name.split("/")[1]])][: len(z)]
            np.testing.assert_allclose(values, z, atol=1e-5)
    np.save(tmp_path / "post.npy", counts_of("post")[:, :6])
    with pytest.raises(StudioError, match=r"post.npy: has no names of genes"):
        apply(cells, tmp_path / "post.npy", tmp_path / "o2")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", "MouseID,P0_N\nx,1\n", "no column for 5 of 6 features: P1_N"),
        ("a.csv", ",".join(PROTEINS) + "\n1,2,3,4,5,high\n", "row 1: P5_N is 'high'"),
        ("a.csv", ",".join(PROTEINS) + "\n1,2,3,4,5\n", "line 2: 5 cells, but the header has 6"),
        ("a.csv", ",".join(PROTEINS) + "\n", "no rows below the header"),
        ("a.csv", "", "empty, expected a header"),
        ("a.csv", "P0_N," + ",".join(PROTEINS) + "\n" + "1," * 6 + "1\n", "more than one column"),
        ("a.npy", b"\x93NUMPY", "not a whole npy file"),
        ("a.h5ad", b"hello", "not a whole .h5ad file"),
        ("a.png", b"", "this run is of vectors: expected a name that ends in .csv, .npy, .h5ad"),
    ],
)
def test_apply_refuses_bad_files_by_name(
    run: Run, tmp_path: Path, name: str, content: str | bytes, words: str
) -> None:
    if name.endswith(".h5ad"):
        pytest.importorskip("anndata", reason="the extra rna is not installed")
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(StudioError, match=words) as error:
        apply(run, path, tmp_path / "out")
    assert str(path) in str(error.value)
    assert not (tmp_path / "out").exists()


def test_apply_sets_bad_files_aside_and_refuses_what_has_no_use(
    folder: Path, run: Run, tmp_path: Path
) -> None:
    source = tmp_path / "in"
    source.mkdir()
    np.save(source / "good.npy", VALUES[50:60])
    np.save(source / "long.npy", np.zeros((2, 7)))
    out = tmp_path / "out"
    _, said = studio("apply", folder / "mice", source, out, code=3)
    assert "long.npy has 7 numbers per row, expected the 6 features of the run" in said
    assert {row["file"] for row in read_codes(out / "codes.csv")} == {"good.npy"}
    with pytest.raises(StudioError, match=r"exists.*--force replaces files"):
        apply(run, source, out)
    for options, words in (
        ({"chosen": 3}, "--slice: has no use for vectors"),
        ({"window": (0, 1)}, "--window: has no use for vectors"),
        ({"skip_existing": True}, "--skip-existing: has no use for vectors"),
    ):
        with pytest.raises(StudioError, match=words):
            apply(run, source, tmp_path / "o2", **options)
    with pytest.raises(StudioError, match="which is read"):
        apply(run, source, source / "out")


def test_score_says_why_it_has_no_use(folder: Path) -> None:
    said = studio("score", folder / "mice", code=2)[1]
    assert "found 6 numbers: FID, KID and IS compare features of pictures" in said


def test_other_verbs_fit_vectors(folder: Path, tmp_path: Path) -> None:
    run = folder / "mice"
    for kind in ("reconstruct", "swap", "traverse", "codes"):
        studio("render", run, kind, "--out", tmp_path / f"{kind}.png", "--n", 1)
    assert "vectors: 6 numbers" in studio("data", "check", run / "config.yaml")[0]
    studio("data", "preview", run / "config.yaml", "--out", tmp_path / "p.png")
    assert '"genotype"' in studio("probe", run, "--json")[0]
    studio("report", run)
    assert "genotype" in (run / "report.html").read_text(encoding="utf-8")


def test_config_of_vectors_refuses_a_resolution(folder: Path) -> None:
    options = ("--set", f"data.root={folder}", "--set", "data.resolution=8")
    said = studio("train", "--cfg", "mice_cvae", "--dry-run", *options, code=2)[1]
    assert "data.resolution: no such field" in said


def test_programs_of_listed_nets_take_any_number_of_vectors(tmp_path: Path) -> None:
    raw = {
        "data": {"name": "mice_protein", "root": "."},
        "nets": {"preset": "abid_fc"},
        "method": {"name": "vae", "z": 2, "s": 1},
    }
    method = build_method(resolve(raw, "vae", "vectors", []), (6,)).eval()
    # The programs are compared with the method on three vectors and on one.
    differences = torch_programs(method, torch.rand(3, 6) * 2 - 1, tmp_path)[1]
    assert max(differences.values()) < 1e-5


def test_apply_counts_values_that_are_filled_clipped_or_no_counts(
    folder: Path, run: Run, tmp_path: Path
) -> None:
    anndata = pytest.importorskip("anndata", reason="the extra rna is not installed")
    values = np.nan_to_num(VALUES[:4], nan=1.0).astype(np.float32)
    values[0, 1], values[2, :2] = np.nan, 99.0
    made = anndata.AnnData(values)
    made.var_names = list(PROTEINS)
    made.write_h5ad(tmp_path / "a.h5ad")
    notes = apply(run, tmp_path / "a.h5ad", tmp_path / "a", "heal")["notes"]
    assert notes == [
        "1 of 24 values are missing: they are filled as in the training",
        "2 of 24 values lie outside of the range of the run and are clipped to it",
    ]
    cells = Run.open(folder / "cells", device="cpu")
    for counts, words in ((counts_of("post"), ""), (np.log1p(counts_of("post")), "no whole num")):
        made = anndata.AnnData(counts.astype(np.float32))
        made.var_names = list(GENES)
        made.write_h5ad(tmp_path / "b.h5ad")
        found = apply(cells, tmp_path / "b.h5ad", tmp_path / f"b{words}", "encode")["notes"]
        assert [words in note for note in found] == [True] * bool(words)
