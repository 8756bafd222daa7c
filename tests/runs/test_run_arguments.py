"""Wrong arguments of the methods of a run: each is refused with one clear error."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from support.vaes import method_of
from torch import Tensor

from studio.apply import apply
from studio.config import resolve
from studio.errors import StudioError
from studio.export import export
from studio.method import Code
from studio.runs.run import Run

FROZEN = Path(__file__).parent.parent / "reliability" / "frozen_run"
SHAPE = (1, 32, 32)
Z, S = 4, 3


@pytest.fixture(scope="module")
def run() -> Run:
    raw = {"data": {"name": "digits"}, "nets": {"width": 4}}
    config = resolve({**raw, "method": {"name": "sepvae", "z": Z, "s": S}}, "t", "t")
    return Run(Path("run"), config, method_of("sepvae").eval(), 0, SHAPE)


def images(n: int = 2) -> Tensor:
    return torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(n)) * 2 - 1


def codes(n: int = 2) -> Code:
    return Code(torch.zeros(n, Z), torch.zeros(n, S))


def with_value(value: float) -> Tensor:
    """Returns images of which the second has a pixel of this value."""
    changed = images()
    changed[1, 0, 3, 4] = value
    return changed


BAD_IMAGES = [
    (images().numpy(), r"found numpy.ndarray, expected a torch.Tensor: torch.from_numpy\({}\)"),
    ([1, 2], "found list, expected a torch.Tensor"),
    (None, "found NoneType, expected a torch.Tensor"),
    (torch.zeros(2, *SHAPE, dtype=torch.uint8), "found uint8, .* numbers: {} / 127.5 - 1 maps"),
    (torch.zeros(2, *SHAPE, dtype=torch.int64), "found int64, expected floating-point numbers$"),
    (torch.zeros(2, *SHAPE, dtype=torch.bool), "found bool, expected floating-point numbers$"),
    (images()[0], r"found the shape \(1, 32, 32\), .*: {}\[None\] is a batch of one image"),
    (torch.zeros(2, 32, 32, 1), r"{}.permute\(0, 3, 1, 2\) puts the channels first"),
    (torch.zeros(2, 3, 32, 32), r"found the shape \(2, 3, 32, 32\), expected \(B, 1, 32, 32\)$"),
    (torch.zeros(2, 1, 64, 64), r"found the shape \(2, 1, 64, 64\), expected \(B, 1, 32, 32\)$"),
    (torch.tensor(0.5), r"found the shape \(\), expected \(B, 1, 32, 32\)$"),
    (torch.zeros(0, *SHAPE), "found no images, expected at least one"),
    (with_value(float("nan")), "1 of 2 images hold NaN or infinity"),
    (with_value(float("-inf")), "1 of 2 images hold NaN or infinity"),
    (with_value(1.5), "found values from -0.9.* to 1.5, expected -1 to 1$"),
    ((images() + 1) * 127.5, "found values from 0.* to 25.*: {} / 127.5 - 1 maps 0 to 255"),
    (images().abs() * 1.2, "expected -1 to 1: {} / 0.5 - 1 maps 0 to 1"),
]  # fmt: skip


@pytest.mark.parametrize("name", ["encode", "reconstruct", "heal", "swap a", "swap b"])
@pytest.mark.parametrize(("given", "expected"), BAD_IMAGES)
def test_run_refuses_images_that_are_none(
    run: Run, name: str, given: object, expected: str
) -> None:
    calls: dict[str, Callable[[object], object]] = {
        "encode": run.encode,
        "reconstruct": run.reconstruct,
        "heal": run.heal,
        "swap a": lambda value: run.swap(value, images()),
        "swap b": lambda value: run.swap(images(), value),
    }
    argument = {"swap a": "a", "swap b": "b"}.get(name, "images")
    with pytest.raises(StudioError, match=f"^{argument}: .*{expected.format(argument)}"):
        calls[name](given)


def test_run_accepts_images_of_any_floating_point_type_and_rounding(run: Run) -> None:
    plain = run.encode(images())
    torch.testing.assert_close(run.encode(images().double()).z, plain.z)
    assert run.heal(images().clamp(-1, 1) * 1.0005).shape == (2, *SHAPE)
    assert run.swap(images(), images()).shape == (2, *SHAPE)
    assert run.encode(images(1).half()).s.shape == (1, S)


def test_run_swap_refuses_unequal_numbers_of_images(run: Run) -> None:
    with pytest.raises(StudioError, match=r"^b: found 3 images, expected as many as a has, 2$"):
        run.swap(images(2), images(3))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (torch.zeros(2, Z + S), r"code: found a tensor of shape \(2, 7\), expected Code\(z, s\)"),
        (None, "code: found NoneType"),
        ((torch.zeros(2, Z),), "code: found 1 parts"),
        ((np.zeros((2, Z)), np.zeros((2, S))), "code.z: found numpy.ndarray"),
        (Code(torch.zeros(2, S), torch.zeros(2, Z)), r"code.z: .*\(2, 3\), expected \(B, 4\)"),
        (Code(torch.zeros(2, Z), torch.zeros(2, S + 1)), r"code.s: .*\(2, 4\), expected \(B, 3\)"),
        (Code(torch.zeros(Z), torch.zeros(S)), r"code.z: .*: code.z\[None\] is a batch of one"),
        (Code(torch.zeros(3, Z), torch.zeros(2, S)), "found 3 common and 2 salient codes"),
        (codes(0), "code: found no codes"),
        (Code(torch.zeros(2, Z), torch.full((2, S), float("nan"))), "code.s: holds NaN"),
        (Code(torch.zeros(2, Z, dtype=torch.int64), torch.zeros(2, S)), "code.z: found int64"),
    ],
)  # fmt: skip
def test_run_decode_refuses_codes_that_are_none(run: Run, given: object, expected: str) -> None:
    with pytest.raises(StudioError, match=expected):
        run.decode(given)


def test_run_decode_takes_a_pair_of_codes(run: Run) -> None:
    assert torch.equal(run.decode(tuple(codes())), run.decode(codes()))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((3, "healthy"), "domain: found 'healthy', expected 'background' or 'target'$"),
        ((3, "targets"), "expected 'background' or 'target'; did you mean 'target'?"),
        ((3, None), "domain: found None"),
        ((0,), "n: found 0, expected a whole number of at least 1"),
        ((-2,), "n: found -2"),
        ((2.5,), "n: found 2.5"),
        (("3",), "n: found '3'"),
        ((True,), "n: found True"),
        ((2, "target", -1), "seed: found -1"),
        ((2, "target", 0.5), "seed: found 0.5"),
        ((2, "target", 2**64), "seed: found 18446744073709551616"),
    ],
)
def test_run_sample_refuses_wrong_arguments(run: Run, arguments: tuple, expected: str) -> None:
    with pytest.raises(StudioError, match=expected):
        run.sample(*arguments)


def test_run_sample_takes_numbers_of_numpy(run: Run) -> None:
    assert torch.equal(run.sample(np.int64(2), seed=np.uint8(3)), run.sample(2, "target", 3))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"folder": None}, "folder: found NoneType, expected the path of a run"),
        ({"checkpoint_number": "32"}, "checkpoint_number: found '32', expected a whole number"),
        ({"checkpoint_number": 33}, "no checkpoint 33; there are: 32"),
        ({"device": "gpu"}, "device: found 'gpu', expected one of this machine"),
        ({"device": "cuda:99"}, "device: found 'cuda:99', expected one of this machine"),
    ],
)
def test_run_open_refuses_wrong_arguments(arguments: dict, expected: str) -> None:
    with pytest.raises(StudioError, match=expected):
        Run.open(**{"folder": FROZEN, **arguments})


def test_export_and_apply_refuse_what_is_no_run(tmp_path: Path) -> None:
    for call in (export, lambda run, out: apply(run, out, out)):
        with pytest.raises(StudioError, match=r"run: found str, expected a Run"):
            call(str(FROZEN), tmp_path / "out")
    last = Run.open(FROZEN, ema=False)
    with pytest.raises(StudioError, match="opened with ema=False"):
        export(last, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"what": "hea"}, "--what hea: no such kind; did you mean 'heal'"),
        ({"chosen": -1}, "chosen: found -1, expected a whole number"),
        ({"chosen": "last"}, "chosen: found 'last'"),
        (
            {"window": (5, 5)},
            r"window: found \(5, 5\), .*low below high",
        ),
        ({"window": (0, float("nan"))}, "window: found"),
        ({"window": (0, 1, 2)}, "window: found"),
    ],
)
def test_apply_refuses_wrong_options(
    run: Run, tmp_path: Path, options: dict, expected: str
) -> None:
    with pytest.raises(StudioError, match=expected):
        apply(run, tmp_path, tmp_path / "out", **options)
