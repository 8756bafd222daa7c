"""Operations on images and codes, with a method that paints its code into known pixels."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from studio import sampling
from studio.errors import StudioError
from studio.method import Code, Domain, Method, MethodConfig
from studio.methods import DoubleInfoGAN
from studio.methods.double_infogan import DoubleInfoGANConfig
from studio.schema import NetsConfig

torch.set_num_threads(1)
Z, S, BLANK = 3, 2, -0.5


class Painter(Method):
    """Paints z into the first pixels of row 0 and s into those of row 1, and reads them there."""

    def __init__(self) -> None:
        super().__init__(MethodConfig(name="painter", z=Z, s=S))
        # A learnt blank code that is not zero, as that of sRb-VAE.
        self.nothing = torch.nn.Parameter(torch.full((S,), BLANK))
        self.sizes: list[int] = []

    def encode(self, images: Tensor) -> Code:
        self.sizes.append(len(images))
        return Code(images[:, 0, 0, :Z], images[:, 0, 1, :S])

    def decode(self, code: Code) -> Tensor:
        self.sizes.append(len(code.z))
        image = torch.zeros(len(code.z), 1, 4, 4, device=code.z.device)
        image[:, 0, 0, :Z] = code.z
        image[:, 0, 1, :S] = code.s
        # The factor is 1, and makes the image depend on a parameter.
        return image * self.nothing[0] / BLANK

    def prior(self, n: int, domain: Domain) -> Code:
        z = torch.rand(n, Z) * 2 - 1
        return Code(z, self.blank(n) if domain == "background" else torch.rand(n, S))

    def blank(self, n: int) -> Tensor:
        return self.nothing.expand(n, -1)


def paint(z: Tensor, s: Tensor) -> Tensor:
    """Returns the images that carry these codes."""
    image = torch.zeros(len(z), 1, 4, 4)
    image[:, 0, 0, :Z], image[:, 0, 1, :S] = z, s
    return image


def random_codes(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Returns n common and n salient codes in [-1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.rand(n, Z, generator=generator) * 2 - 1
    return z, torch.rand(n, S, generator=generator) * 2 - 1


@pytest.fixture
def painter() -> Painter:
    return Painter().eval()


@pytest.fixture(scope="module")
def gan() -> DoubleInfoGAN:
    torch.manual_seed(0)
    return DoubleInfoGAN(DoubleInfoGANConfig(z=4, s=3), NetsConfig(width=4), (1, 32, 32)).eval()


def test_encode_inverts_decode(painter: Painter) -> None:
    z, s = random_codes(5)
    code = sampling.encode(painter, paint(z, s))
    assert torch.equal(code.z, z)
    assert torch.equal(code.s, s)
    assert torch.equal(sampling.decode(painter, Code(z, s)), paint(z, s))


def test_reconstruct_keeps_targets_and_blanks_backgrounds(painter: Painter) -> None:
    z, s = random_codes(5)
    images = paint(z, s)
    assert torch.equal(sampling.reconstruct(painter, images), images)
    assert torch.equal(
        sampling.reconstruct(painter, images, "background"), paint(z, torch.full_like(s, BLANK))
    )


def test_swap_takes_common_from_a_and_salient_from_b(painter: Painter) -> None:
    (za, sa), (zb, sb) = random_codes(5, 1), random_codes(5, 2)
    assert torch.equal(sampling.swap(painter, paint(za, sa), paint(zb, sb)), paint(za, sb))


def test_swap_refuses_unequal_numbers_of_images(painter: Painter) -> None:
    with pytest.raises(StudioError, match="5 common and 1 salient"):
        sampling.swap(painter, paint(*random_codes(5)), paint(*random_codes(1)))


def test_heal_uses_the_blank_code_and_isolate_a_zero_common_code(painter: Painter) -> None:
    z, s = random_codes(5)
    assert torch.equal(sampling.heal(painter, paint(z, s)), paint(z, torch.full_like(s, BLANK)))
    assert torch.equal(sampling.isolate(painter, paint(z, s)), paint(torch.zeros_like(z), s))


def test_sample_depends_on_its_seed_alone(painter: Painter) -> None:
    torch.manual_seed(1)
    first, state = sampling.sample(painter, 6, "target", seed=7), torch.get_rng_state()
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state), "the global random state moved"
    torch.manual_seed(2)
    assert torch.equal(sampling.sample(painter, 6, "target", seed=7), first)
    assert not torch.equal(sampling.sample(painter, 6, "target", seed=8), first)


def test_sample_blanks_the_salient_code_of_background_only(painter: Painter) -> None:
    assert (sampling.sample(painter, 6, "background", seed=0)[:, 0, 1, :S] == BLANK).all()
    assert (sampling.sample(painter, 6, "target", seed=0)[:, 0, 1, :S] >= 0).all()


@pytest.mark.parametrize("space", ["s", "z"])
def test_traverse_changes_one_coordinate(painter: Painter, space: str) -> None:
    z, s = random_codes(1)
    values = [-1.5, 0.0, 1.5]
    parts = {"z": z.repeat(3, 1), "s": s.repeat(3, 1)}
    parts[space][:, 1] = torch.tensor(values)
    assert torch.equal(sampling.traverse(painter, paint(z, s)[0], 1, values, space), paint(**parts))


@pytest.mark.parametrize("coordinate", [-1, S])
def test_traverse_refuses_a_coordinate_out_of_range(painter: Painter, coordinate: int) -> None:
    with pytest.raises(StudioError, match=f"s has coordinates 0 to {S - 1}, found {coordinate}"):
        sampling.traverse(painter, paint(*random_codes(1))[0], coordinate, [0.0])


def test_interpolate_follows_a_straight_line_with_both_ends(painter: Painter) -> None:
    z, s = random_codes(2)
    images = sampling.interpolate(painter, z[0], s[0], s[1], steps=3)
    expected = torch.stack([s[0], (s[0] + s[1]) / 2, s[1]])
    assert torch.equal(images[[0, 2]], paint(z[:1].expand(2, -1), expected[[0, 2]]))
    torch.testing.assert_close(images[1], paint(z[:1], expected[1:2])[0])
    with pytest.raises(StudioError, match="at least 2 steps"):
        sampling.interpolate(painter, z[0], s[0], s[1], steps=1)


def test_sampling_refuses_wrong_arguments(painter: Painter) -> None:
    z, s = random_codes(2)
    images = paint(z, s)
    refused: list[tuple[Callable[[], object], str]] = [
        (lambda: sampling.encode(painter, images.numpy()), "images: found numpy.ndarray"),
        (lambda: sampling.encode(painter, images[:0]), "images: found no rows"),
        (lambda: sampling.decode(painter, Code(z.long(), s)), "code.z: found int64"),
        (lambda: sampling.reconstruct(painter, images, "healthy"), "domain: found 'healthy'"),
        (lambda: sampling.prior(painter, 2, "healthy", 0), "domain: found 'healthy'"),
        (lambda: sampling.prior(painter, 0, "target", 0), "n: found 0"),
        (lambda: sampling.prior(painter, 2, "target", -1), "seed: found -1"),
        (lambda: sampling.blank(painter, -1), "n: found -1"),
        (lambda: sampling.traverse(painter, images[0], 0, [0.0], "salient"), "space: .*'salient'"),
        (lambda: sampling.traverse(painter, images[0], 0, []), "values: expected at least one"),
        (lambda: sampling.traverse(painter, images[0], 0, [float("nan")]), "values: "),
        (lambda: sampling.traverse(painter, images[0], 0.5, [0.0]), "found 0.5"),
        (lambda: sampling.interpolate(painter, z, s[0], s[1], 3), r"z: found the shape \(2, 3\)"),
        (lambda: sampling.interpolate(painter, z[0], s[0], s[1, :1], 3), "s2: found 1 coord"),
        (lambda: sampling.interpolate(painter, z[0], s[0], s[1], 2.5), "steps: found 2.5"),
        (lambda: sampling.salient_map(images, images[:1]), r"healed: found the shape \(1, 1, 4"),
    ]
    for call, expected in refused:
        with pytest.raises(StudioError, match=expected):
            call()


def test_sampling_refuses_a_method_in_training_mode(painter: Painter) -> None:
    z, s = random_codes(2)
    images = paint(z, s)
    calls: list[Callable[[], object]] = [
        lambda: sampling.encode(painter, images),
        lambda: sampling.decode(painter, Code(z, s)),
        lambda: sampling.reconstruct(painter, images),
        lambda: sampling.swap(painter, images, images),
        lambda: sampling.heal(painter, images),
        lambda: sampling.isolate(painter, images),
        lambda: sampling.sample(painter, 2, "target", 0),
        lambda: sampling.traverse(painter, images[0], 0, [0.0]),
        lambda: sampling.interpolate(painter, z[0], s[0], s[1], 2),
    ]
    for call in calls:
        call()
    painter.train()
    for call in calls:
        with pytest.raises(StudioError, match="painter is in training mode"):
            call()


def test_sampling_passes_at_most_a_batch_through_the_nets(
    painter: Painter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling, "BATCH", 4)
    images = paint(*random_codes(10))
    assert torch.equal(sampling.reconstruct(painter, images), images)
    assert painter.sizes == [4, 4, 2, 4, 4, 2]


def test_reconstruct_does_not_depend_on_the_batch_size(
    gan: DoubleInfoGAN, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = torch.rand(7, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    whole = sampling.reconstruct(gan, images)
    monkeypatch.setattr(sampling, "BATCH", 2)
    torch.testing.assert_close(sampling.reconstruct(gan, images), whole)


def test_sampling_returns_float32_on_the_cpu_without_gradient(
    gan: DoubleInfoGAN, painter: Painter
) -> None:
    images = torch.rand(3, 1, 32, 32, dtype=torch.float64) * 2 - 1
    for result in (
        sampling.reconstruct(gan, images),
        *sampling.encode(gan, images),
        sampling.blank(painter, 3),
    ):
        assert (result.device.type, result.dtype, result.requires_grad) == (
            "cpu",
            torch.float32,
            False,
        )
    assert sampling.reconstruct(gan, images).abs().max() <= 1
    assert not sampling.heal(painter, paint(*random_codes(3))).requires_grad
    assert not gan.training
    assert all(parameter.requires_grad for parameter in gan.parameters()), "the method was changed"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_sampling_moves_inputs_to_the_gpu_and_keeps_the_random_state() -> None:
    method = (
        DoubleInfoGAN(DoubleInfoGANConfig(z=4, s=3), NetsConfig(width=4), (1, 32, 32)).eval().cuda()
    )
    torch.manual_seed(1)
    state = torch.cuda.get_rng_state()
    first = sampling.sample(method, 3, "target", seed=7)
    assert torch.equal(torch.cuda.get_rng_state(), state)
    torch.manual_seed(2)
    torch.testing.assert_close(sampling.sample(method, 3, "target", seed=7), first)
    code = sampling.encode(method, first)
    assert {
        tensor.device.type for tensor in (first, *code, sampling.heal(method, first.cuda()))
    } == {"cpu"}
    assert sampling.traverse(method, first[0], 2, [0.0, 1.0]).shape == (2, 1, 32, 32)
    z, s1, s2 = code.z[0].cuda(), code.s[0].cuda(), code.s[1].cuda()
    assert sampling.interpolate(method, z, s1, s2, 4).shape == (4, 1, 32, 32)
