"""Configs of listed layers."""

import pytest
from torch import nn

from studio.config import resolve
from studio.errors import StudioError
from studio.schema import NetsConfig

RAW = {"data": {"name": "digits"}, "method": {"name": "dig", "z": 4, "s": 3}}


def section(**fields: object) -> NetsConfig:
    return resolve(RAW | {"nets": fields}, "x", "x").nets


def fault(**fields: object) -> str:
    with pytest.raises(StudioError) as caught:
        section(**fields)
    return str(caught.value)


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def conv(
    before: int, after: int, kernel: int, dims: int = 2, bias: bool = True, norm: bool = False
) -> int:
    return before * after * kernel**dims + after * bias + 2 * after * norm
