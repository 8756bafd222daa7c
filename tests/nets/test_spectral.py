"""Spectral normalisation: singular values, training, moving average, resuming."""

from pathlib import Path

import pytest
import torch
from support.architectures import singular_vectors, spectral_trunk, table_5_config
from support.steps import changed_names, changes_by_step, copy_state
from torch import nn

from nets import power_iteration_
from studio import Run
from studio.build import build_dataset, build_method
from studio.methods import METHODS
from studio.training.ema import Ema
from studio.training.engine import Engine
from studio.training.session import train


def largest_singular_values(net: nn.Module) -> dict[str, float]:
    """Returns the exact largest singular value of every normalised weight, by name."""
    layers = [
        (name, m) for name, m in net.named_modules() if nn.utils.parametrize.is_parametrized(m)
    ]
    return {
        name: float(torch.linalg.matrix_norm(m.weight.detach().flatten(1), 2)) for name, m in layers
    }


def test_normalised_weights_have_the_largest_singular_value_one() -> None:
    D = spectral_trunk()
    for _ in range(200):  # steps of power iteration
        D(torch.zeros(1, 1, 32, 32))
    values = largest_singular_values(D)
    assert len(values) == 3 + 2
    assert all(value == pytest.approx(1, abs=0.01) for value in values.values()), values
    assert max(largest_singular_values(spectral_trunk()).values()) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("order", ["D-G", "G-D"])
def test_steps_change_no_singular_vectors_of_other_nets(order: str) -> None:
    config = table_5_config()
    config = config.model_copy(update={"method": config.method.model_copy(update={"order": order})})
    engine = Engine(config, build_dataset(config))
    nn.init.ones_(engine.method.G.attention.gain)
    names = []
    for step, changed in changes_by_step(engine):
        own = {id(p) for net in step.trains for p in (*net.parameters(), *net.buffers())}
        tensors = {**dict(engine.method.named_parameters()), **dict(engine.method.named_buffers())}
        assert changed
        assert all(id(tensors[name]) in own for name in changed), step.name
        assert {name for name, p in engine.method.named_parameters() if id(p) in own} <= changed
        names.append(step.name)
    assert sorted(names) == ["CR", "D", "G"]
    layers = {"D": 3 + 4, "attention": 4, "H": 3 + 1}
    assert len(singular_vectors(engine.method)) == 2 * sum(layers.values())


def test_an_iteration_does_one_power_iteration_of_the_trained_net() -> None:
    config = table_5_config()
    engine = Engine(config, build_dataset(config))
    start = singular_vectors(engine.method.D)
    engine.advance(engine.pairs[0])
    other = build_method(config, engine.dataset.shape)
    assert all(torch.equal(v, start[name]) for name, v in singular_vectors(other.D).items())
    # The input does not matter, because the vectors depend on the weights only.
    other.D(engine.pairs[0].x)
    assert all(
        torch.equal(v, singular_vectors(engine.method.D)[name])
        for name, v in singular_vectors(other.D).items()
    )


def test_ema_is_normalised_by_its_own_singular_value() -> None:
    torch.manual_seed(2)
    method = build_method(table_5_config(), (1, 32, 32)).train()
    ema = Ema(method, 2_000)
    x = torch.randn(4, 1, 32, 32)
    layer = method.D.trunk.halvings[1][1].parametrizations.weight
    for number in range(300):
        # The weights turn so fast that the average of their singular vectors is short.
        with torch.no_grad():
            layer.original.add_(0.3 * layer.original.std() * torch.randn_like(layer.original))
        method.D(x)
        ema.update(method, 16, 16 * (number + 1_000))
    name = "D.trunk.halvings.1.1"
    assert largest_singular_values(ema.method)[name] == pytest.approx(1, abs=0.02)
    assert all(
        float(v.norm()) == pytest.approx(1, abs=1e-5) for v in singular_vectors(ema.method).values()
    )
    assert not any(m.training for m in ema.method.modules())
    assert not torch.equal(
        ema.method.state_dict()[f"{name}.parametrizations.weight.original"], layer.original
    )


def test_power_iteration_changes_singular_vectors_only() -> None:
    D = spectral_trunk().eval()
    layer = D.trunk.halvings[1][1].parametrizations.weight
    with torch.no_grad():
        layer.original.normal_()
    before = copy_state(D)
    assert abs(largest_singular_values(D)["trunk.halvings.1.1"] - 1) > 0.1
    for _ in range(100):
        power_iteration_(D)
    assert largest_singular_values(D)["trunk.halvings.1.1"] == pytest.approx(1, abs=0.01)
    assert all(name.endswith(("_u", "_v")) for name in changed_names(D, before))
    assert not any(m.training for m in D.modules())


@pytest.mark.parametrize("name", ["dig", "sepvae"])
def test_runs_with_spectral_norm_resume_exactly_and_reopen(name: str) -> None:
    config = table_5_config(name, images=96, save_every=32, keep=9)
    straight = train(config, Path("straight"))
    stopped = train(config, Path("stopped"), stop_after=0.0)
    assert stopped.engine.images_seen == 16
    resumed = train(config, Path("stopped"), resume=True)
    assert changed_names(straight.engine.method, copy_state(resumed.engine.method)) == set()
    assert changed_names(straight.engine.ema.method, copy_state(resumed.engine.ema.method)) == set()
    run = Run.open("straight")
    assert changed_names(run.method, copy_state(straight.engine.ema.method)) == set()
    assert singular_vectors(run.method)
    assert run.config.nets == config.nets


@pytest.mark.parametrize("name", [name for name in METHODS if name != "cpca"])
def test_every_method_trains_with_spectral_norm_in_half_precision(name: str) -> None:
    for precision in ("no", "bf16"):
        config = table_5_config(name, mixed_precision=precision)
        engine = Engine(config, build_dataset(config))
        for iteration in range(2):
            assert all(
                torch.isfinite(value) for value in engine.advance(engine.pairs[iteration]).values()
            )
        assert all(
            value.dtype == torch.float32 for value in singular_vectors(engine.method).values()
        )
        assert all(
            value == pytest.approx(1, abs=0.15)
            for value in largest_singular_values(engine.method).values()
        )
