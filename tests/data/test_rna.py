"""`rna`: folders of 10x Genomics and `.h5ad` files, the choice of genes, and bad files."""

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from support.vector_files import (
    BACKGROUND,
    GENES,
    TARGET,
    counts_of,
    write_10x,
    write_h5ad,
    write_rna,
)

from studio.data.dataset import SPLITS
from studio.data.rna import Rna, RnaConfig
from studio.domains import DOMAINS
from studio.errors import StudioError


def opened(root: Path, **fields: object) -> Rna:
    own = {"background": list(BACKGROUND), "target": list(TARGET), "genes": 8}
    return Rna(RnaConfig(**{"root": str(root), **own, **fields}))


def cells_of(dataset: Rna, split: str, domain: str) -> dict[str, np.ndarray]:
    size = dataset.size(split, domain)
    vectors = dataset.images(split, domain, range(size)).numpy()
    return dict(zip(dataset.item_names(split, domain), vectors, strict=True))


def planted(name: str) -> np.ndarray:
    """Returns log(1 + 10,000 counts / sum) of a cell, by a loop."""
    sample, code = name.split("/")
    counts = counts_of(sample)[int(code.removeprefix("CELL").removesuffix("-1"))]
    return np.array([np.log1p(10_000 * count / counts.sum()) for count in counts])


def test_values_are_log_counts_and_nothing_is_clipped(tmp_path: Path) -> None:
    dataset = opened(tmp_path, **write_rna(tmp_path))
    columns = [GENES.index(gene) for gene in dataset.rule.features]
    for split in SPLITS:
        for domain in DOMAINS:
            for name, vector in cells_of(dataset, split, domain).items():
                expected = 2 * planted(name)[columns] / np.log1p(10_000) - 1
                np.testing.assert_allclose(vector, expected, atol=1e-6)
    assert dataset.rule.count_outside(np.array([[0.0] * 8, [np.log1p(10_000)] * 8])) == 0


def test_genes_are_chosen_on_training_cells_of_the_target_set(tmp_path: Path) -> None:
    dataset = opened(tmp_path, **write_rna(tmp_path))
    training = np.array([planted(name) for name in cells_of(dataset, "train", "target")])
    ratio = training.var(0) / training.mean(0)
    chosen = sorted(np.argsort(-ratio)[:8])
    assert dataset.rule.features == tuple(GENES[i] for i in chosen)
    assert {"ENSG002", "ENSG005"} <= set(dataset.rule.features)


def test_samples_are_the_salient_classes_and_each_is_divided(tmp_path: Path) -> None:
    dataset = opened(tmp_path, **write_rna(tmp_path))
    assert dataset.attributes["sample"].classes == TARGET
    for split, count in (("train", 24), ("test", 6)):
        labels = dataset.labels(split, "target")["sample"]
        assert np.bincount(labels).tolist() == [count, count]
        names = dataset.item_names(split, "target")
        assert [TARGET[i] for i in labels] == [name.split("/")[0] for name in names]


def test_zipped_folders_are_read_and_features_that_are_no_genes_left_out(tmp_path: Path) -> None:
    for sample in (*BACKGROUND, *TARGET):
        write_10x(tmp_path / sample, counts_of(sample), zipped=True, below="filtered")
    (tmp_path / "plain").mkdir()
    write_rna(tmp_path / "plain")
    one, two = opened(tmp_path), opened(tmp_path / "plain")
    for name, vector in cells_of(one, "test", "target").items():
        np.testing.assert_array_equal(vector, cells_of(two, "test", "target")[name])


def test_h5ad_gives_the_same_values_and_columns_of_obs(tmp_path: Path) -> None:
    pytest.importorskip("anndata", reason="the extra rna is not installed")
    options = write_h5ad(tmp_path / "all.h5ad")
    dataset = opened(tmp_path, **options, attributes={"kind": "common"}, subject="donor")
    columns = [GENES.index(gene) for gene in dataset.rule.features]
    donors = {
        split: {s for d in DOMAINS for s in dataset.item_subjects(split, d)} for split in SPLITS
    }
    assert not donors["train"] & donors["test"]
    assert dataset.attributes["kind"].classes == ("B", "T")
    first = [*BACKGROUND, *TARGET]
    for name, vector in cells_of(dataset, "train", "target").items():
        sample, code = name.split("/")
        place = int(code.removeprefix("c")) - 30 * first.index(sample)
        expected = 2 * planted(f"{sample}/CELL{place}-1")[columns] / np.log1p(10_000) - 1
        np.testing.assert_allclose(vector, expected, atol=1e-6)


def test_genes_that_differ_between_samples_are_matched_by_name(tmp_path: Path) -> None:
    options = write_rna(tmp_path)
    plain = opened(tmp_path, **options)
    for sample in TARGET:
        write_10x(
            tmp_path / "turned" / sample, counts_of(sample)[:, ::-1], [*GENES[:0:-1], "OTHER"]
        )
    dataset = opened(tmp_path, **{**options, "target": ["turned/pre", "turned/post"], "genes": 11})
    assert "11 genes are in all samples and are used, of up to 12" in dataset.notes()
    assert set(dataset.rule.features) == set(GENES[1:])
    name = dataset.item_names("test", "target")[0]
    vector = cells_of(dataset, "test", "target")[name]
    place = [*plain.rule.features].index("ENSG002")
    both = {**cells_of(plain, "test", "target"), **cells_of(plain, "train", "target")}
    assert vector[dataset.rule.features.index("ENSG002")] == pytest.approx(
        both[name.removeprefix("turned/")][place], abs=1e-6
    )


def test_given_values_have_the_range_of_the_training_cells(tmp_path: Path) -> None:
    dataset = opened(tmp_path, **write_rna(tmp_path), normalise="given")
    training = np.concatenate(
        [[*cells_of(dataset, "train", domain).values()] for domain in DOMAINS]
    )
    assert (training.min(), training.max()) == (-1, 1)
    assert dataset.rule.total == 0


def test_cells_without_counts_are_left_out_and_said(tmp_path: Path) -> None:
    options = write_rna(tmp_path)
    counts = counts_of("pre")
    counts[[3, 7]] = 0
    write_10x(tmp_path / "thin", counts)
    dataset = opened(tmp_path, **{**options, "target": ["thin", "post"]})
    assert "thin: 2 cells without any count are left out" in dataset.notes()
    names = [name for split in SPLITS for name in dataset.item_names(split, "target")]
    assert "thin/CELL3-1" not in names
    assert "thin/CELL4-1" in names


def test_run_keeps_its_genes(tmp_path: Path) -> None:
    options = write_rna(tmp_path)
    before = opened(tmp_path, **options)
    after = Rna(before.config.model_copy(update={"genes": 3}), before.derived())
    assert after.rule.features == before.rule.features
    write_10x(tmp_path / "few", counts_of("pre")[:, :4], GENES[:4])
    config = before.config.model_copy(update={"target": ("few", "post")})
    with pytest.raises(StudioError, match="of the run's 8 genes are not in all samples"):
        Rna(config, before.derived())


def edit(root: Path, name: str, old: str, new: str) -> None:
    path = root / "pre" / "hg19" / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


BAD = {
    "missing": (lambda root: (root / "pre" / "hg19" / "matrix.mtx").unlink(), "no matrix.mtx"),
    "no genes": (lambda root: (root / "pre" / "hg19" / "genes.tsv").unlink(), "no genes.tsv or"),
    "no codes": (lambda root: (root / "pre/hg19/barcodes.tsv").unlink(), "no barcodes.tsv"),
    "negative": (lambda root: edit(root, "matrix.mtx", "1 1 ", "1 1 -"), "1 negative counts"),
    "twice": (
        lambda root: edit(root, "barcodes.tsv", "CELL1-1", "CELL0-1"),
        "1 barcodes occur more than once: CELL0-1",
    ),
    "gene twice": (
        lambda root: edit(root, "genes.tsv", "ENSG001", "ENSG000"),
        "1 genes occur more than once: ENSG000",
    ),
    "other genes": (
        lambda root: (root / "pre" / "hg19" / "genes.tsv").write_text(
            "\n".join(f"mouse{i}\tS" for i in range(12))
        ),
        "0 genes are in all samples: .*ENSG000.*mouse0",
    ),
    "fewer codes": (
        lambda root: edit(root, "barcodes.tsv", "CELL1-1\n", ""),
        "12 genes x 30 cells, but genes.tsv has 12 rows and barcodes.tsv 29",
    ),
    "cut short": (
        lambda root: (root / "pre/hg19/matrix.mtx").write_bytes(
            (root / "pre/hg19/matrix.mtx").read_bytes()[:500]
        ),
        "not a whole Matrix Market file, perhaps cut short",
    ),
    "no matrix": (
        lambda root: (root / "pre" / "hg19" / "matrix.mtx").write_text("hello"),
        "not a whole Matrix Market file",
    ),
    "pointer": (
        lambda root: (root / "pre" / "hg19" / "matrix.mtx").write_text(
            "version https://git-lfs.github.com/spec/v1\n"
        ),
        "a Git LFS pointer",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_folders_are_refused_by_name(tmp_path: Path, case: str) -> None:
    spoil, words = BAD[case]
    options = write_rna(tmp_path)
    spoil(tmp_path)
    with pytest.raises(StudioError, match=words) as error:
        opened(tmp_path, **options)
    assert str(tmp_path / "pre") in str(error.value)


def test_nan_is_refused_and_a_sample_of_one_cell(tmp_path: Path) -> None:
    options = write_rna(tmp_path)
    values = counts_of("pre").astype(float)
    values[0, 0] = np.nan
    write_10x(tmp_path / "gaps", values)
    with pytest.raises(StudioError, match=r"gaps.*1 values are NaN or infinite"):
        opened(tmp_path, **{**options, "target": ["gaps", "post"]})
    write_10x(tmp_path / "one", counts_of("pre")[:1])
    with pytest.raises(StudioError, match="1 subjects of one, expected at least 2"):
        opened(tmp_path, **{**options, "target": ["one", "post"]})
    with pytest.raises(StudioError, match=r"nowhere: no such folder or file"):
        opened(tmp_path, **{**options, "target": ["nowhere", "post"]})


def test_bad_h5ad_and_columns_are_refused_by_name(tmp_path: Path) -> None:
    pytest.importorskip("anndata", reason="the extra rna is not installed")
    path = tmp_path / "all.h5ad"
    options = write_h5ad(path)
    for fields, words in (
        ({"column": "stages"}, "data.column: 'stages'.*did you mean 'stage'"),
        ({"target": ["pre", "pots"]}, "data.target: no cell of .* has 'pots'.*'post'"),
        ({"attributes": {"kinds": "common"}}, "kinds.*did you mean 'kind'"),
    ):
        with pytest.raises(StudioError, match=words):
            opened(tmp_path, **{**options, **fields})
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(StudioError, match=r"all.h5ad: not a whole .h5ad file, perhaps cut short"):
        opened(tmp_path, **options)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"file": "a.h5ad"}, "column: missing, but file is given"),
        ({"target": ["pre", "healthy1"]}, "'healthy1' occurs twice"),
        ({"resolution": 8}, "Extra inputs"),
        ({"split_rule": "names"}, "quotas"),
    ],
)
def test_config_refuses_samples_that_do_not_fit(fields: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        RnaConfig(**{"background": ["healthy1"], "target": ["pre"], **fields})
