"""`studio.Run` draws, probes, scores and reads as the verbs do."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.folder_files import fill
from support.runs import studio as call

import studio
from studio import Code, Run, StudioError
from studio.build import build_method
from studio.config import dump, resolve
from studio.pixels import to_pixels


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("user_run")
    fill(place / "data", n=120)
    raw = {
        "data": {"name": "folders", "root": str(place / "data"), "resolution": 16},
        "nets": {"width": 4},
        "method": {"name": "sepvae", "z": 4, "s": 3},
        "train": {"images": 64, "batch": 16, "threads": 1, "grid_every": 0},
    }
    (place / "tiny.yaml").write_text(dump(resolve(raw, "tiny", "tiny")))
    call("train", "--cfg", place / "tiny.yaml", "--run", place / "run")
    return place / "run"


@pytest.fixture(scope="module")
def run(folder: Path) -> Run:
    return Run.open(folder)


def test_studio_offers_the_three_names_and_refuses_others() -> None:
    assert issubclass(StudioError, Exception)
    assert Code._fields[:2] == ("z", "s")
    with pytest.raises(AttributeError, match="no attribute 'Rum'"):
        _ = studio.Rum


def test_run_describes_itself_as_text_and_as_a_table(run: Run) -> None:
    assert repr(run).startswith(f"Run(run={run.folder}, method=sepvae, dataset=folders")
    assert "codes=z 4, s 3" in repr(run)
    html = run._repr_html_()
    assert html.count("<tr>") == repr(run).count("=")
    assert ">sepvae<" in html


def test_run_render_draws_what_the_verb_draws(run: Run, folder: Path, tmp_path: Path) -> None:
    picture = run.render("heal", n=3, seed=1)
    call("render", folder, "heal", "--n", 3, "--seed", 1, "--out", tmp_path / "heal.png")
    assert np.array_equal(np.asarray(picture), np.asarray(Image.open(tmp_path / "heal.png")))


@pytest.mark.parametrize(
    ("kind", "options", "expected"),
    [
        ("haal", {}, "render haal: no such picture; did you mean 'heal'?"),
        ("heal", {"span": 2.0}, "render heal: span is for traverse and square"),
        ("traverse", {"spam": 2.0}, "render traverse: no such option spam; did you mean 'span'?"),
        ("curves", {}, "render curves: is drawn from the files of a run by"),
    ],
)
def test_run_render_refuses(run: Run, kind: str, options: dict, expected: str) -> None:
    with pytest.raises(StudioError) as caught:
        run.render(kind, **options)
    assert str(caught.value).startswith(expected)


def test_run_probe_gives_the_object_of_the_verb(run: Run, folder: Path) -> None:
    out, _ = call("probe", folder, "--json")
    assert json.loads(json.dumps(run.probe())) == json.loads(out)


def test_run_probe_refuses_an_unknown_protocol(run: Run) -> None:
    with pytest.raises(StudioError, match="did you mean 'carton'"):
        run.probe("cartno")


def test_run_score_gives_the_entry_of_the_verb(run: Run, folder: Path) -> None:
    entry = json.loads(json.dumps(run.score()))
    out, _ = call("score", folder, "--json")
    assert entry == {name: json.loads(out)[name] for name in entry}


def test_run_read_gives_the_images_that_the_codes_expect(run: Run, tmp_path: Path) -> None:
    image = run.data.images("test", "target", np.arange(1))
    Image.fromarray(to_pixels(image, generated=False)[0, :, :, 0]).save(tmp_path / "one.png")
    assert torch.allclose(run.read(tmp_path / "one.png"), image, atol=1 / 127)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("gone.png", "gone.png: no such file"), ("text.xyz", "text.xyz: unknown file format")],
)
def test_run_read_refuses_what_is_no_image(
    run: Run, tmp_path: Path, name: str, expected: str
) -> None:
    (tmp_path / "text.xyz").write_text("no image")
    with pytest.raises(StudioError) as caught:
        run.read(tmp_path / name)
    assert expected in str(caught.value)


def test_render_draws_the_planes_of_volumes_that_slices_names(tmp_path: Path, run: Run) -> None:
    raw = {
        "data": {"name": "brain_phantom", "dims": 3, "resolution": 32},
        "nets": {"width": 4},
        "method": {"name": "vae", "z": 4, "s": 3},
    }
    config = resolve(raw, "volumes", "volumes")
    shape = (1, 32, 32, 32)
    volumes = Run(tmp_path, config, build_method(config, shape).eval(), 0, shape)
    middle = np.asarray(volumes.render("reconstruct", n=1))
    assert np.array_equal(volumes.render("reconstruct", n=1, slices=(16, 16, 16)), middle)
    other = np.asarray(volumes.render("reconstruct", n=1, slices=(9, 16, 16)))
    assert not np.array_equal(other, middle)
    with pytest.raises(StudioError, match=r"^slices: found coronal plane 32, expected 0 to 31"):
        volumes.render("reconstruct", n=1, slices=(16, 32, 16))
    with pytest.raises(StudioError, match=r"slices: found \(1, 2\), expected the numbers of 3"):
        volumes.render("reconstruct", n=1, slices=(1, 2))
    with pytest.raises(StudioError, match=r"^slices: needs volumes"):
        run.render("reconstruct", n=1, slices=(1, 2, 3))
