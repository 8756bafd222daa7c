"""The app on a run of vectors: uploads of table rows, and the table of features."""

import csv
import io
import re
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from support.gallery import read_images
from support.vector_files import PROTEINS, mice_rows, write_mice_csv

from studio.app.pictures import show_edited, show_features, thumbnails
from studio.app.state import Explorer, Shelf
from studio.config import resolve
from studio.errors import StudioError
from studio.runs.run import Run
from studio.training.session import train

ROWS = mice_rows()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("mice")
    write_mice_csv(root, ROWS)
    raw = {
        "data": {"name": "mice_protein", "root": str(root)},
        "method": {"name": "cpca", "z": 2, "s": 2},
        "train": {"images": 2_000, "batch": 64, "threads": 1},
    }
    train(resolve(raw, "mice", "mice", []), root / "run")
    return root


@pytest.fixture(scope="module")
def explorer(folder: Path) -> Explorer:
    return Explorer("mice", Run.open(folder / "run", device="cpu"))


def features_csv(html: str) -> list[list[str]]:
    [found] = re.findall(r'href="data:text/csv;charset=utf-8,([^"]+)"', html)
    return list(csv.reader(io.StringIO(unquote(found))))


def test_upload_takes_the_row_that_is_asked_for(explorer: Explorer, folder: Path) -> None:
    names = explorer.run.data.item_names("test", "target")
    [row] = [i for i, cells in enumerate(ROWS, 1) if cells[0] == names[2]]
    found = explorer.upload(folder / "Data_Cortex_Nuclear.csv", row)
    assert np.array_equal(found.image, explorer.images("target", np.array([2]))[0])
    assert f"row {row} of {len(ROWS)}: {names[2]}" in found.name
    assert f"1 of {len(ROWS) * len(PROTEINS)} values of the file are missing: filled" in found.name


def test_upload_says_which_values_are_clipped(explorer: Explorer, tmp_path: Path) -> None:
    np.save(tmp_path / "mice.npy", np.full((2, len(PROTEINS)), 99.0))
    words = r"row 2 of 2: 1 · 12 of 12 values of the file lie outside of the range of the run"
    assert re.search(words, explorer.upload(tmp_path / "mice.npy", 2).name)


@pytest.mark.parametrize(
    ("name", "text", "row", "words"),
    [
        (
            "a.csv",
            ",".join(PROTEINS) + "\n1,1,1,1,1,1\n",
            2,
            "a.csv: has no row 2, expected 1 to 1",
        ),
        ("a.csv", "P0_N\n1\n", 1, "a.csv: has no column for 5 of 6 features: P1_N"),
        ("a.csv", "", 1, "a.csv: empty"),
        ("a.png", "", 1, "a.png: expected a name that ends in .csv, .npy, .h5ad"),
    ],
)
def test_upload_refuses_rows_in_one_line_without_the_folder(
    explorer: Explorer, tmp_path: Path, name: str, text: str, row: int, words: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(StudioError, match=f"^{words}[^\n]*$"):
        explorer.upload(tmp_path / name, row)


def test_table_shows_features_that_change_most_in_their_unit(explorer: Explorer) -> None:
    session = explorer.begin()
    values = [explorer.coordinates[0].high, explorer.coordinates[1].low]
    result, s = explorer.result(session, values), explorer.salient_code(session, values)
    assert explorer.rule is not None
    html = show_features(session, result, explorer.rule)
    assert "result \u2212 reconstruction" in html
    change = (result - session.reconstruction).numpy()
    order = [PROTEINS[i] for i in np.argsort(-np.abs(change), kind="stable")]
    assert re.findall(r'<th scope="row">(\w+)</th>', html) == order
    header, *rows = features_csv(html)
    assert header == ["feature", "a", "reconstruction", "result", "healed", "swapped"]
    columns = (session.a.image, session.reconstruction, result, session.healed, session.swapped)
    for i, (row, name) in enumerate(zip(rows, PROTEINS, strict=True)):
        scale = explorer.rule.high[i] - explorer.rule.low[i]
        expected = [explorer.rule.low[i] + (c[i].item() + 1) / 2 * scale for c in columns]
        assert row[0] == name
        np.testing.assert_allclose([float(v) for v in row[1:]], expected, rtol=1e-6)
    still = show_features(session, session.reconstruction, explorer.rule)
    assert "reconstruction \u2212 healed" in still, "nothing has been moved"
    tiles = read_images(show_edited(session, result, s))
    assert tiles["result"].shape == (2, 3)
    assert "lower, \u22121" in show_edited(session, result, s)
    assert show_features(session, result, None) == ""


def test_page_fills_every_component_for_vectors(folder: Path) -> None:
    pytest.importorskip("gradio", reason="the extra `app` is not installed")
    from studio.app.page import build_page

    page = build_page(Shelf([folder / "run"], device="cpu"))
    handlers = {block.name: block for block in page.fns.values()}
    start = handlers["_start"]
    updates = start.fn("run", "target", "target", None)
    assert len(updates) == len(start.outputs)
    moved = handlers["_move"].fn(updates[0], 1.2, 0.3)
    assert len(moved) == len(handlers["_move"].outputs)
    assert "P0_N" in moved[1]
    visible = [
        part.label
        for part in page.blocks.values()
        if getattr(part, "label", "") and part.label == "Row of the file" and part.visible
    ]
    assert len(visible) == 2
    assert thumbnails(updates[0].a.image[None])[0].size[0] >= 96
