"""The training as an animation: its frames, their order and size, and its error messages."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.experiments import tiny
from typer.testing import CliRunner

from studio import cli
from studio.errors import StudioError
from studio.render.animation import LAST, Animation, animate
from studio.runs import checkpoint
from studio.training import session


def levels(count: int, size: tuple[int, int] = (128, 48)) -> list[Image.Image]:
    """Returns pictures with a white bar, each two pixels wider, so that all of them differ."""
    pictures = []
    for i in range(count):
        pixels = np.zeros((size[1], size[0], 3), np.uint8)
        pixels[:, : 2 * i] = 255
        pictures.append(Image.fromarray(pixels))
    return pictures


def seen_in(file: bytes) -> list[int]:
    """Returns how wide the bar of each frame is, in pairs of pixels."""
    with Image.open(BytesIO(file)) as animation:
        found = []
        for i in range(getattr(animation, "n_frames", 1)):
            animation.seek(i)
            found.append(round(float((np.asarray(animation.convert("L"))[24] > 127).sum() / 2)))
    return found


def never(found: checkpoint.Checkpoint) -> Image.Image:
    raise AssertionError("drawn though there are grids")


def test_to_webp_keeps_the_order_and_holds_the_last_frame() -> None:
    file = Animation(levels(5), range(5), "made here").to_webp()
    assert seen_in(file) == [0, 1, 2, 3, 4]
    with Image.open(BytesIO(file)) as animation:
        assert animation.info["loop"] == 0
        animation.seek(4)
        animation.load()
        assert animation.info["duration"] == LAST


def test_to_webp_thins_many_frames_and_keeps_both_ends() -> None:
    kept = seen_in(Animation(levels(62), range(62), "").to_webp())
    assert len(kept) == 60
    assert (kept[0], kept[-1]) == (0, 61)
    assert kept == sorted(kept)


def test_to_webp_fits_into_the_allowed_bytes() -> None:
    rng = np.random.default_rng(0)
    noise = [Image.fromarray(rng.integers(0, 255, (96, 96, 3), np.uint8)) for _ in range(12)]
    free, tight = (
        Animation(noise, range(12), "").to_webp(),
        Animation(noise, range(12), "").to_webp(15_000),
    )
    assert len(tight) <= 15_000 < len(free)
    assert 2 <= len(seen_in(tight)) < 12
    assert len(seen_in(Animation(noise, range(12), "").to_webp(10))) == 2, (
        "two frames stay, however little room there is"
    )


def test_animate_orders_saved_grids_and_stops_at_the_end() -> None:
    folder = Path("run/grids")
    folder.mkdir(parents=True)
    for number, picture in zip((96, 8, 112, 1000), levels(4), strict=True):
        picture.save(folder / f"{number:08d}.png")
    levels(1)[0].save(folder / "grid.png")
    made = animate(Path("run"), 112, never)
    assert list(made.images_seen) == [8, 96, 112]
    assert made.origin == "grids that the training drew"
    levels(1, (10, 10))[0].save(folder / "00000008.png")
    assert list(animate(Path("run"), 112, never).images_seen) == [96, 112], (
        "a frame of another size is left out"
    )
    (folder / "00000096.png").write_text("no picture")
    with pytest.raises(StudioError, match=r"00000096\.png: not a picture"):
        animate(Path("run"), 112, never)


def test_animate_explains_that_it_needs_two_frames() -> None:
    Path("run/grids").mkdir(parents=True)
    levels(1)[0].save("run/grids/00000008.png")
    with pytest.raises(
        StudioError,
        match=r"two frames, found 1 grids of the training and 0 checkpoints; see train.grid_every",
    ):
        animate(Path("run"), 8, never)


def test_render_training_uses_grids_or_else_checkpoints() -> None:
    session.train(tiny(images=48, grid_every=16, save_every=16), Path("run"))
    render = ["render", "run", "training"]
    grids = CliRunner().invoke(cli.app, [*render, "--out", "grids.webp"])
    assert (grids.stdout, grids.stderr) == (
        "grids.webp\n",
        "3 frames: grids that the training drew\n",
    )
    drawn = CliRunner().invoke(cli.app, [*render, "--out", "drawn.webp", "--seed", "0"])
    assert drawn.stderr == grids.stderr, "the run's own seed"
    other = CliRunner().invoke(cli.app, [*render, "--out", "other.webp", "--seed", "5"])
    assert other.stderr == "3 frames: checkpoints, drawn afterwards\n"
    assert Path("other.webp").read_bytes() != Path("grids.webp").read_bytes()
    for path in Path("run/grids").glob("*.png"):
        path.unlink()
    again = CliRunner().invoke(cli.app, [*render, "--out", "again.webp", "--n", "2"])
    assert again.stderr == "2 frames: checkpoints, drawn afterwards\n"
    CliRunner().invoke(cli.app, [*render, "--out", "all.webp"])
    assert Path("all.webp").read_bytes() == Path("grids.webp").read_bytes(), (
        "a checkpoint makes the grid that was drawn of it"
    )
    refused = CliRunner().invoke(cli.app, [*render, "--out", "x.png"])
    assert "an animation is written as .webp" in str(refused.exception)
