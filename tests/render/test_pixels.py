"""Conversion of images to pixels: levels, channels, layouts and differences."""

import numpy as np
import pytest
import torch
from support.painting import levels

from studio.errors import StudioError
from studio.pixels import quantise, strongest_difference, to_2d, to_pixels, visible_channels


def test_to_pixels_rounds_to_levels_and_clips() -> None:
    values = torch.tensor([-1.0, 0.0, 1.0, -7.0, 7.0, -1 + 1.01 / 127.5]).reshape(1, 1, 2, 3)
    assert to_pixels(values).ravel().tolist() == [0, 128, 255, 0, 255, 1]


@pytest.mark.parametrize("channels", [1, 3])
def test_to_pixels_keeps_every_level_and_puts_channels_last(channels: int) -> None:
    pixels = (np.random.default_rng(0).permutation(256 * channels) % 256).astype(np.uint8)
    pixels = pixels.reshape(1, 16, 16, channels)
    images = torch.from_numpy(pixels).float().permute(0, 3, 1, 2) / 127.5 - 1
    assert images.shape == (1, channels, 16, 16)
    assert (images.min(), images.max()) == (-1, 1)
    assert np.array_equal(to_pixels(images), pixels)


def test_to_pixels_is_off_by_half_a_level_at_most() -> None:
    images = torch.rand(2, 3, 5, 7, generator=torch.Generator().manual_seed(0)) * 2 - 1
    again = torch.from_numpy(to_pixels(images)).float().permute(0, 3, 1, 2) / 127.5 - 1
    assert (again - images).abs().max() <= 0.5 / 127.5 + 1e-6


@pytest.mark.parametrize("shape", [(2, 2, 4, 4), (1, 4, 4), (1, 1, 4, 4, 4, 4), (3, 7)])
def test_to_pixels_refuses_other_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(
        StudioError, match="found " + str(shape).replace("(", r"\(").replace(")", r"\)")
    ):
        to_pixels(torch.zeros(shape))


def test_to_pixels_counts_images_with_values_that_are_not_finite() -> None:
    images = torch.zeros(3, 1, 4, 4)
    images[0, 0, 0, 0], images[2, 0, 1, 1] = float("nan"), float("inf")
    for convert in (to_pixels, quantise):
        with pytest.raises(StudioError, match=r"2 of 3 images .* has training diverged"):
            convert(images)
        with pytest.raises(StudioError, match=r"2 of 3 .*: the data set has them, it is not the"):
            convert(images, generated=False)


def test_quantise_keeps_shape_and_agrees_with_to_pixels() -> None:
    images = torch.rand(2, 3, 5, 7, generator=torch.Generator().manual_seed(0)) * 3 - 1.5
    assert quantise(images).dtype == torch.uint8
    assert np.array_equal(quantise(images).permute(0, 2, 3, 1).numpy(), to_pixels(images))


@pytest.mark.parametrize(
    ("shape", "visible"),
    [((2, 7), (2, 1, 7)), ((2, 3, 4, 4), (2, 3, 4, 4)), ((2, 4, 4, 4), (2, 1, 4, 4))],
)
def test_visible_channels_are_one_or_three(shape: tuple[int, ...], visible: tuple) -> None:
    images = torch.rand(shape)
    shown = visible_channels(images)
    assert shown.shape == visible
    assert torch.equal(shown.flatten()[:4], images.flatten()[:4])


def test_strongest_difference_is_signed_and_of_the_channel_that_differs_most() -> None:
    a, b = torch.zeros(1, 3, 1, 2), torch.zeros(1, 3, 1, 2)
    a[0, :, 0, 0] = torch.tensor([0.5, -0.5, 0.25])  # a change of hue alone must not cancel out
    a[0, :, 0, 1] = torch.tensor([0.1, -0.9, 0.2])
    assert strongest_difference(a, b).tolist() == [[[0.5, pytest.approx(-0.9)]]]


def test_to_2d_shows_the_three_middle_planes_of_a_volume() -> None:
    volume = torch.full((2, 1, 4, 6, 8), -1.0)
    # One voxel in each plane, and one in none of them.
    marked = {(2, 1, 7): 0.2, (0, 3, 5): 0.4, (3, 5, 4): 0.6, (1, 1, 1): 1.0}
    for place, value in marked.items():
        volume[1, 0, *place] = value
    first, second = to_2d(to_pixels(volume))
    assert second.shape == (4 + 1 + 6, 8 + 1 + 6, 1)
    assert second[0, 5, 0] == levels([0.4])[0], "coronal, at the top left: (depth, width)"
    assert second[3, 9 + 5, 0] == levels([0.6])[0], "sagittal, to the right: (depth, height)"
    assert second[5 + 1, 7, 0] == levels([0.2])[0], "axial, below: (height, width)"
    assert np.isin([*np.unique(second)], [0, 255, *levels([0.2, 0.4, 0.6])]).all()
    views = (second[:4, :8], second[5:, :8], second[:4, 9:])
    assert [np.count_nonzero(view) for view in views] == [1, 1, 1]
    assert (second[5:, 9:] == 255).all(), "empty places are white"
    assert np.argwhere(second[:, 8] == 0)[:, 0].tolist() == [2, 5 + 3], "axial and coronal plane"
    assert np.argwhere(second[4] == 0)[:, 0].tolist() == [4, 9 + 3], "sagittal and coronal plane"
    assert (first[:4, :8] == 0).all()
