"""The precision that `auto` stands for, by what torch reports of the machine."""

from types import SimpleNamespace

import pytest
import torch

from studio.distributed.precision import choose_precision


def describe(
    monkeypatch: pytest.MonkeyPatch,
    *,
    cuda: bool | None = None,
    other: bool = False,
    **cpu: bool,
) -> None:
    """Replaces torch's reports. `cuda` says whether a GPU computes in bf16, None: there is none."""

    def supported(including_emulation: bool = True) -> bool:
        return including_emulation or bool(cuda)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda is not None)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: other or cuda is not None)
    reports = {f"_is_{name}_supported": lambda value=value: value for name, value in cpu.items()}
    monkeypatch.setattr(torch, "cpu", SimpleNamespace(**reports))


@pytest.mark.parametrize(
    ("cpu", "expected"),
    [
        ({"avx512_bf16": True, "amx_tile": False}, "bf16"),
        ({"avx512_bf16": False, "amx_tile": True}, "bf16"),
        ({"avx512_bf16": False, "amx_tile": False, "avx512": True}, "no"),  # emulated there
        ({}, "no"),  # a torch that cannot be asked
    ],
)
def test_choose_precision_takes_bf16_on_a_processor_only_if_it_computes_in_it(
    monkeypatch: pytest.MonkeyPatch, cpu: dict[str, bool], expected: str
) -> None:
    describe(monkeypatch, **cpu)
    assert choose_precision()[0] == expected


@pytest.mark.parametrize(("cuda", "expected"), [(True, "bf16"), (False, "no")])
def test_choose_precision_asks_the_gpu_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch, cuda: bool, expected: str
) -> None:
    describe(monkeypatch, cuda=cuda, avx512_bf16=True)
    assert choose_precision()[0] == expected


def test_choose_precision_is_float32_on_other_accelerators(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    describe(monkeypatch, other=True, avx512_bf16=True)
    assert choose_precision()[0] == "no"
