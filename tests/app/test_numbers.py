import pytest

gradio = pytest.importorskip("gradio")

from studio.app.numbers import MOST_SEED, Number, Slider  # noqa: E402


def test_slider_moves_a_typed_number_into_its_range() -> None:
    slider = Slider(-1.5, 2.0, 0, step=0.1)
    assert [slider.preprocess(value) for value in (-99, 0.5, 99)] == [-1.5, 0.5, 2.0]
    with pytest.raises(gradio.Error):
        gradio.Slider(-1.5, 2.0, 0).preprocess(99)  # the reason for our own


def test_number_moves_a_typed_number_into_its_range() -> None:
    seed = Number(0, precision=0, minimum=0, maximum=MOST_SEED)
    assert [seed.preprocess(value) for value in (-3, 7, 2**40, None)] == [0, 7, MOST_SEED, None]


def test_components_of_the_page_write_no_files() -> None:
    from pathlib import Path

    import studio.app.numbers as numbers

    assert not Path(numbers.__file__).with_suffix(".pyi").exists()
