"""Reasons of errors in words."""

import json

import pytest
import torch

from studio.errors import nearest, reason_of


def error_of(call: object) -> BaseException:
    try:
        call()
    except Exception as error:
        return error
    raise AssertionError("no error")


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda: json.loads("{\n  x"), "not valid JSON at line 2, column 3"),
        (lambda: open("/nowhere/x"), "No such file or directory"),  # noqa: SIM115 - it fails
        (lambda: b"a\xff".decode(), "not a text in UTF-8 (byte 2)"),
        (lambda: {}["files"], "'files' is missing"),
        (lambda: len(3), "its structure is another one"),
        (lambda: torch.empty(0)[3], "its structure is another one"),
        (lambda: int("x"), "invalid literal for int() with base 10: 'x'"),
        (lambda: (_ for _ in ()).throw(ValueError), "ValueError"),
    ],
)
def test_reason_is_in_words_and_on_one_line(call: object, reason: str) -> None:
    assert reason_of(error_of(call)) == reason


def test_reason_names_the_weights_of_other_nets() -> None:
    net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 4))
    other = torch.nn.Linear(3, 2)
    reason = reason_of(error_of(lambda: net.load_state_dict(other.state_dict())))
    assert reason == ("its weights are those of other nets: 0.weight, 0.bias, 1.weight and 3 more")


def test_nearest_names_one_close_name_a_short_list_or_the_beginning_of_a_long_one() -> None:
    assert nearest("speed", ["seed", "name"]) == "; did you mean 'seed'?"
    assert nearest("x", [f"n{i}" for i in range(16)]).endswith("n14, n15")
    assert nearest("x", [f"n{i}" for i in range(17)]) == ("; valid: n0, n1, n2, n3, n4 and 12 more")
    assert nearest("x", []) == ""
