"""The vocabulary: rows of both domains, pairs, and the defaults that every method inherits."""

import pytest
import torch
from torch import Tensor

from studio.method import (
    Code,
    Method,
    MethodConfig,
    Pair,
    domain_terms,
    stack_domains,
    unstack_domains,
)
from studio.methods.vae import Gaussian


@pytest.mark.parametrize("record", [Code, Gaussian])
def test_unstack_domains_inverts_stack_domains_for_records(record: type[Code]) -> None:
    background = record(torch.rand(2, 3), torch.rand(2, 4))
    target = record(torch.rand(2, 3), torch.rand(2, 4))
    rows = stack_domains(background, target)
    assert isinstance(rows, record)
    assert rows[0].shape == (4, 3)
    for expected, found in zip((background, target), unstack_domains(rows), strict=True):
        assert isinstance(found, record)
        assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


def test_stack_domains_puts_background_rows_first() -> None:
    rows = stack_domains(torch.zeros(2, 1), torch.ones(2, 1))
    assert rows.flatten().tolist() == [0, 0, 1, 1]
    assert unstack_domains(rows).background.sum() == 0
    assert unstack_domains(rows).target.sum() == 2


def test_domain_terms_names_a_term_of_each_domain() -> None:
    terms = domain_terms("adv", torch.tensor([1.0, 2.0, 3.0, 4.0]))
    assert {name: term.tolist() for name, term in terms.items()} == {
        "adv.background": [1, 2],
        "adv.target": [3, 4],
    }


@pytest.mark.parametrize("severity", [None, torch.arange(4.0)])
def test_micro_batches_have_equally_many_images_of_each_domain(severity: Tensor | None) -> None:
    pair = Pair(torch.arange(4.0), torch.arange(4.0, 8.0), severity)
    assert pair.micro_batches(1) == [pair]
    first, second = pair.micro_batches(2)
    assert (first.x.tolist(), first.y.tolist()) == ([0, 1], [4, 5])
    assert (second.x.tolist(), second.y.tolist()) == ([2, 3], [6, 7])
    if severity is None:
        assert first.severity is second.severity is None
    else:
        assert second.severity.tolist() == [2, 3]


def test_method_has_no_pair_attribute_and_no_salient_classifier_by_default() -> None:
    method = Method(MethodConfig(name="plain", z=1, s=1))
    assert method.pair_attribute is None
    assert method.classify_salient(torch.zeros(2, 1)) is None
