"""The authors' update: which nets see which images, and who moves."""

from collections import defaultdict

import pytest
import torch
from support.experiments import tiny
from torch import Tensor, nn

from studio.bench import AuthorsUpdate
from studio.build import build_dataset
from studio.method import Pair
from studio.methods.double_infogan import DoubleInfoGAN
from studio.training.engine import Engine

BATCH = 16  # of `tiny`: 8 images of each domain


def make(contrast: bool, method: str = "dig") -> tuple[AuthorsUpdate, Pair]:
    engine = Engine(tiny(method), build_dataset(tiny(method)))
    return AuthorsUpdate(engine, contrast), Pair(*engine.pairs[0])


@pytest.mark.parametrize("contrast", [False, True])
def test_authors_update_passes_one_domain_and_source_at_a_time(contrast: bool) -> None:
    update, pair = make(contrast)
    seen: dict[str, list[int]] = defaultdict(list)
    for name, net in update.nets.items():
        net.register_forward_hook(
            lambda _, inputs, __, name=name: seen[name].append(len(inputs[0]))
        )
    update(pair)
    # Step G: for each domain fakes and reals. Step D: the same.
    assert seen["D"] == [BATCH, BATCH // 2] * 4
    # Fakes of both domains, reconstructions of both domains, in each of the two steps, and for CR
    # both images of each pair.
    of_cr = [2 * BATCH] if contrast else []
    assert seen["G"] == [BATCH, BATCH // 2] * 2 + of_cr + [BATCH, BATCH // 2] * 2 + of_cr
    assert seen["CR"] == [BATCH, BATCH] * contrast


def test_authors_update_moves_each_net_in_its_own_step_only() -> None:
    update, pair = make(contrast=True)

    def state() -> dict[str, Tensor]:
        return {
            name: torch.cat([p.detach().flatten().clone() for p in net.parameters()])
            for name, net in update.nets.items()
        }

    moved = []
    for name, optimizer in update.optimizers.items():
        step = optimizer.step

        def observe(name: str = name, step=step) -> None:
            before = state()
            step()
            after = state()
            changed = {net for net in before if not torch.equal(before[net], after[net])}
            moved.append((name, changed))

        optimizer.step = observe
    update(pair)
    assert moved == [("G", {"G"}), ("D", {"D"}), ("CR", {"CR"})]
    assert all(p.requires_grad for net in update.nets.values() for p in net.parameters())


def test_authors_update_has_the_losses_of_the_method() -> None:
    # Without noise and batch statistics, and with one code and one image for all, the size of the
    # batches and the order of the passes do not matter.
    update, pair = make(contrast=False)
    method = update.method
    assert isinstance(method, DoubleInfoGAN)
    method.eval()
    image = {"background": pair.x[:1], "target": pair.y[:1]}
    code = {domain: method.prior(1, domain) for domain in image}
    method.prior = lambda n, domain: type(code[domain])(  # type: ignore[method-assign]
        *(part.expand(n, -1) for part in code[domain])
    )
    n = len(pair.x)
    x, y = (image[domain].expand(n, -1, -1, -1) for domain in image)
    draw = method.draw(pair._replace(x=x, y=y))
    ours = [method.total(terms(draw)) for terms in _terms(method)]
    theirs = [update._generator_loss, update._discriminator_loss]
    images = {"background": x, "target": y}
    for mine, loss in zip(ours, theirs, strict=True):
        assert loss(images).item() == pytest.approx(mine.item(), rel=1e-4)


def _terms(method: DoubleInfoGAN):
    return method.generator_terms, method.discriminator_terms


def test_authors_update_refuses_another_method() -> None:
    with pytest.raises(TypeError, match="expected Double InfoGAN, found SepVAE"):
        make(contrast=False, method="sepvae")


def test_authors_update_takes_the_contrast_net_of_the_method_if_it_has_one() -> None:
    update, _ = make(contrast=True, method="dig+cr")
    assert update.nets["CR"] is update.method.H
    assert isinstance(make(contrast=True)[0].nets["CR"], nn.Module)
