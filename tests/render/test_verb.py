"""`studio render`: its options and the files that it writes."""

from pathlib import Path

import pytest
from PIL import Image
from support.experiments import tiny
from typer.testing import CliRunner

from studio import cli
from studio.errors import StudioError
from studio.render.registry import PICTURES, PICTURES_OF_DIRECTORIES
from studio.verbs.pictures import save_picture
from studio.verbs.render import KINDS, OF_DIRECTORIES


def test_the_verb_offers_every_picture_of_the_registry() -> None:
    # The verb has a list of its own, because the registry imports torch.
    assert {*KINDS} == {*PICTURES, *PICTURES_OF_DIRECTORIES}
    assert OF_DIRECTORIES == PICTURES_OF_DIRECTORIES


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from studio.training.session import train

    folder = tmp_path_factory.mktemp("run") / "r"
    train(tiny(images=16), folder)
    return folder


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["overviw"], "render overviw: no such picture; did you mean 'overview'?"),
        (["heal", "--range", "-1", "1"], "render heal: --range is for traverse and square"),
        (["traverse", "--plane", "tsne"], "render traverse: --plane is for codes"),
        (["training", "--out", "x.png"], "--out x.png: an animation is written as .webp"),
        (
            ["traverse", "--range", "1", "-1"],
            "range: found 1 to -1, expected two increasing numbers",
        ),
        (["codes", "--plane", "tsn"], "--plane tsn: no such plane; did you mean 'tsne'?"),
        (["curves"], "no term was logged"),
        (
            ["training"],
            "an animation needs two frames, found 0 grids of the training and 1 checkpoints",
        ),
    ],
)
def test_render_refuses_wrong_options_in_one_line(
    arguments: list[str], words: str, trained: Path
) -> None:
    result = CliRunner().invoke(cli.app, ["render", str(trained), *arguments])
    assert isinstance(result.exception, StudioError), result.output
    assert words in str(result.exception)


def test_save_refuses_a_picture_larger_than_its_format_allows(tmp_path: Path) -> None:
    files = [
        ("a.webp", 16_384, False),
        ("a.webp", 16_383, True),
        ("a.jpg", 65_501, False),
        ("a.png", 65_501, True),
    ]
    for name, size, fits in files:
        path = tmp_path / str(size) / name
        if fits:
            save_picture(Image.new("RGB", (2, size)), path)
            assert path.is_file()
        else:
            with pytest.raises(
                StudioError, match=f"is 2 x {size} pixels, and .* takes at most {size - 1}"
            ):
                save_picture(Image.new("RGB", (2, size)), path)
            assert not path.parent.exists()
