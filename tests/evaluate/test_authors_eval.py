"""The authors' eval mode, compared with the clean one."""

import numpy as np
import torch
from support.experiments import tiny

from studio.build import build_dataset, build_method
from studio.evaluate.codes import encode_split
from studio.evaluate.probes import ProbeOptions, probe


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
