"""What a method's codes do to its images, checked on a method that paints its code into known pixels."""

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
        self.nothing = torch.nn.Parameter(
            torch.full((S,), BLANK)
        )  # learnt and not zero, as sRb-VAE's
        self.sizes: list[int] = []

    def encode(self, images: Tensor) -> Code:
        self.sizes.append(len(images))
        return Code(images[:, 0, 0, :Z], images[:, 0, 1, :S])

    def decode(self, code: Code) -> Tensor:
        self.sizes.append(len(code.z))
        image = torch.zeros(len(code.z), 1, 4, 4, device=code.z.device)
        image[:, 0, 0, :Z] = code.z
        image[:, 0, 1, :S] = code.s
        return image * self.nothing[0] / BLANK  # so that a gradient would flow, were there one

    def prior(self, n: int, domain: Domain) -> Code:
        z = torch.rand(n, Z) * 2 - 1
        return Code(z, self.blank(n) if domain == "background" else torch.rand(n, S))

    def blank(self, n: int) -> Tensor:
        return self.nothing.expand(n, -1)


def painted(z: Tensor, s: Tensor) -> Tensor:
    """Returns the images that carry these codes."""
    image = torch.zeros(len(z), 1, 4, 4)
    image[:, 0, 0, :Z], image[:, 0, 1, :S] = z, s
    return image


def drawn(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, Z, generator=generator) * 2 - 1, torch.rand(
        n, S, generator=generator
    ) * 2 - 1


@pytest.fixture
def painter() -> Painter:
    return Painter().eval()


@pytest.fixture(scope="module")
def gan() -> DoubleInfoGAN:
    torch.manual_seed(0)
    return DoubleInfoGAN(DoubleInfoGANConfig(z=4, s=3), NetsConfig(width=4), (1, 32, 32)).eval()


def test_encode_reads_and_decode_paints(painter: Painter) -> None:
    z, s = drawn(5)
    code = sampling.encode(painter, painted(z, s))
    assert torch.equal(code.z, z)
    assert torch.equal(code.s, s)
    assert torch.equal(sampling.decode(painter, Code(z, s)), painted(z, s))


def test_reconstruct_keeps_a_target_and_blanks_a_background(painter: Painter) -> None:
    z, s = drawn(5)
    images = painted(z, s)
    assert torch.equal(sampling.reconstruct(painter, images), images)
    assert torch.equal(
        sampling.reconstruct(painter, images, "background"), painted(z, torch.full_like(s, BLANK))
    )


def test_swap_takes_common_from_a_and_salient_from_b(painter: Painter) -> None:
    (za, sa), (zb, sb) = drawn(5, 1), drawn(5, 2)
    assert torch.equal(sampling.swap(painter, painted(za, sa), painted(zb, sb)), painted(za, sb))


def test_swap_of_unequal_numbers_is_refused(painter: Painter) -> None:
    with pytest.raises(StudioError, match="5 common and 1 salient"):
        sampling.swap(painter, painted(*drawn(5)), painted(*drawn(1)))


def test_heal_puts_the_blank_code_and_isolate_a_zero_common_code(painter: Painter) -> None:
    z, s = drawn(5)
    assert torch.equal(sampling.heal(painter, painted(z, s)), painted(z, torch.full_like(s, BLANK)))
    assert torch.equal(sampling.isolate(painter, painted(z, s)), painted(torch.zeros_like(z), s))


def test_sample_depends_on_its_seed_alone(painter: Painter) -> None:
    torch.manual_seed(1)
    first, state = sampling.sample(painter, 6, "target", seed=7), torch.get_rng_state()
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state), "the global random state moved"
    torch.manual_seed(2)
    assert torch.equal(sampling.sample(painter, 6, "target", seed=7), first)
    assert not torch.equal(sampling.sample(painter, 6, "target", seed=8), first)


def test_background_samples_are_blank_and_target_samples_are_not(painter: Painter) -> None:
    assert (sampling.sample(painter, 6, "background", seed=0)[:, 0, 1, :S] == BLANK).all()
    assert (sampling.sample(painter, 6, "target", seed=0)[:, 0, 1, :S] >= 0).all()


@pytest.mark.parametrize("space", ["s", "z"])
def test_traverse_moves_one_coordinate(painter: Painter, space: str) -> None:
    z, s = drawn(1)
    values = [-1.5, 0.0, 1.5]
    parts = {"z": z.repeat(3, 1), "s": s.repeat(3, 1)}
    parts[space][:, 1] = torch.tensor(values)
    assert torch.equal(
        sampling.traverse(painter, painted(z, s)[0], 1, values, space), painted(**parts)
    )


@pytest.mark.parametrize("coordinate", [-1, S])
def test_traverse_names_the_coordinates_there_are(painter: Painter, coordinate: int) -> None:
    with pytest.raises(StudioError, match=f"s has coordinates 0 to {S - 1}, found {coordinate}"):
        sampling.traverse(painter, painted(*drawn(1))[0], coordinate, [0.0])


def test_interpolate_is_straight_and_has_both_ends(painter: Painter) -> None:
    z, s = drawn(2)
    images = sampling.interpolate(painter, z[0], s[0], s[1], steps=3)
    expected = torch.stack([s[0], (s[0] + s[1]) / 2, s[1]])
    assert torch.equal(images[[0, 2]], painted(z[:1].expand(2, -1), expected[[0, 2]]))
    torch.testing.assert_close(images[1], painted(z[:1], expected[1:2])[0])
    with pytest.raises(StudioError, match="at least 2 steps"):
        sampling.interpolate(painter, z[0], s[0], s[1], steps=1)


def test_a_method_in_training_mode_is_refused(painter: Painter) -> None:
    z, s = drawn(2)
    images = painted(z, s)
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


def test_no_more_images_than_a_batch_meet_the_nets(
    painter: Painter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling, "BATCH", 4)
    images = painted(*drawn(10))
    assert torch.equal(sampling.reconstruct(painter, images), images)
    assert painter.sizes == [4, 4, 2, 4, 4, 2]


def test_the_batch_does_not_change_the_result(
    gan: DoubleInfoGAN, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = torch.rand(7, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    whole = sampling.reconstruct(gan, images)
    monkeypatch.setattr(sampling, "BATCH", 2)
    torch.testing.assert_close(sampling.reconstruct(gan, images), whole)


def test_results_are_plain_numbers_on_the_cpu(gan: DoubleInfoGAN, painter: Painter) -> None:
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
    assert not sampling.heal(painter, painted(*drawn(3))).requires_grad
    assert not gan.training
    assert all(parameter.requires_grad for parameter in gan.parameters()), "the method was changed"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_inputs_move_and_the_random_state_stays() -> None:
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
