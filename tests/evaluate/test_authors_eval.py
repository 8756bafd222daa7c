"""The authors' eval mode, compared with the clean one."""

from pathlib import Path

import numpy as np
import pytest
import torch
from support.experiments import tiny
from support.runs import studio

from studio.build import build_dataset, build_method
from studio.errors import StudioError
from studio.evaluate.codes import encode_split
from studio.evaluate.probes import ProbeOptions, probe
from studio.runs.run import Run


def test_authors_eval_is_noisy_mixed_and_restores_the_method() -> None:
    # Peers' traps 1 and 2: noise and batch statistics at evaluation, here only where asked for, and
    # labelled.
    data = build_dataset(tiny())
    method = build_method(tiny(), data.shape).eval()
    before = {name: value.clone() for name, value in method.state_dict().items()}
    state = torch.get_rng_state()
    clean, again = (encode_split(method, data, "test", limit=200) for _ in range(2))
    first, second, other = (
        encode_split(method, data, "test", limit=200, eval_mode="authors", seed=seed)
        for seed in (0, 0, 1)
    )
    assert np.array_equal(clean.spaces["whole"], again.spaces["whole"])
    assert np.array_equal(first.spaces["whole"], second.spaces["whole"])
    assert not np.allclose(first.spaces["whole"], other.spaces["whole"])
    assert not np.allclose(first.spaces["whole"], clean.spaces["whole"], atol=1e-4)
    assert first.values.keys() == clean.values.keys()
    assert all(np.array_equal(first.values[name], clean.values[name]) for name in clean.values)
    assert all(torch.equal(before[name], value) for name, value in method.state_dict().items())
    assert not any(module.training for module in method.modules())
    assert torch.equal(torch.get_rng_state(), state)


def test_authors_eval_mixes_batches_when_only_targets_are_requested() -> None:
    data = build_dataset(tiny())
    method = build_method(tiny(), data.shape).eval()
    both = encode_split(method, data, "test", limit=100, eval_mode="authors")
    alone = encode_split(method, data, "test", ("target",), limit=100, eval_mode="authors")
    assert np.array_equal(both.spaces["whole"][100:], alone.spaces["whole"])


def test_authors_eval_keeps_the_order_of_rows() -> None:
    data = build_dataset(tiny())
    method = build_method(tiny(), data.shape).eval()
    method.encode = lambda images: type(method.prior(1, "target"))(
        images.flatten(1)[:, :4], images.flatten(1)[:, 4:7]
    )
    clean = encode_split(method, data, "test", limit=150)
    authors = encode_split(method, data, "test", limit=150, eval_mode="authors")
    assert np.array_equal(clean.spaces["whole"], authors.spaces["whole"])


def test_probe_result_states_the_eval_mode() -> None:
    data = build_dataset(tiny())
    method = build_method(tiny(), data.shape).eval()
    assert probe(method, data, ProbeOptions(limit=60))["eval"] == "clean"
    assert probe(method, data, ProbeOptions(limit=60, eval_mode="authors"))["eval"] == "authors"


@pytest.mark.parametrize(
    ("options", "averaged"),
    [
        ([], True),
        (["--eval", "authors"], False),
        (["--eval", "authors", "--ema"], True),
        (["--no-ema"], False),
    ],
)
def test_probe_verb_reads_the_last_weights_with_eval_authors(
    options: list[str], averaged: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "checkpoints").mkdir()
    assert opened_with(tmp_path, options, monkeypatch) == ([averaged], "stop")


def opened_with(
    folder: Path, options: list[str], monkeypatch: pytest.MonkeyPatch
) -> tuple[list[bool], str]:
    """Returns the values of `ema` with which the verb opens a run, and its message."""
    asked: list[bool] = []

    def opened(folder: object, number: object, ema: bool, data_root: object) -> None:
        asked.append(ema)
        raise StudioError("stop")

    monkeypatch.setattr(Run, "open", opened)
    monkeypatch.setattr("studio.verbs.probe.check_found", lambda folder: None)
    return asked, studio("probe", folder, *options, code=2)[1]


def test_probe_verb_warns_when_an_export_has_no_last_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr("studio.verbs.probe.warn", told.append)
    assert opened_with(tmp_path, ["--eval", "authors"], monkeypatch)[0] == [True]
    assert told == [
        f"{tmp_path}: an export has only the averaged weights, which --eval authors reads here"
    ]
    assert opened_with(tmp_path, ["--eval", "authors", "--no-ema"], monkeypatch)[0] == [False]
    assert len(told) == 1
