"""Activation checkpointing: the same weights, less memory. Channel norm: parts of single images."""

import pytest
import torch
from support.experiments import TRAINED, tiny
from support.fixed_noise import difference, gradients

from nets import Generator, Trunk
from nets import recompute as recomputing
from studio.build import build_dataset
from studio.config import Config, resolve
from studio.errors import StudioError
from studio.training.engine import Engine


def trained(config: Config) -> dict[str, torch.Tensor]:
    """Returns all weights and running statistics after two iterations."""
    engine = Engine(config, build_dataset(config))
    for _ in engine.iterations(2 * config.train.batch):
        pass
    return engine.method.state_dict()


def with_nets(config: Config, **fields: object) -> Config:
    raw = config.model_dump(mode="json")
    raw["nets"] = fields
    return resolve(raw, "tiny", "tiny")


@pytest.mark.parametrize("name", TRAINED)
def test_recompute_gives_the_same_weights_and_statistics(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = trained(tiny(name, batch=4))
    calls: list[int] = []
    real = recomputing.checkpoint
    monkeypatch.setattr(
        recomputing, "checkpoint", lambda *a, **k: (calls.append(1), real(*a, **k))[1]
    )
    again = trained(tiny(name, batch=4, recompute=True))
    assert calls, "the blocks are computed again"
    for key, value in kept.items():
        torch.testing.assert_close(again[key], value, rtol=0, atol=0, msg=key)


@pytest.mark.parametrize("norm", ["spectral", "channel"])
def test_recompute_gives_the_same_weights_with_other_norms(norm: str) -> None:
    kept, again = (
        trained(with_nets(tiny("dig", batch=4, recompute=on), width=4, norm=norm))
        for on in (False, True)
    )
    for key, value in kept.items():
        torch.testing.assert_close(again[key], value, rtol=0, atol=0, msg=key)


def test_recompute_keeps_fewer_numbers_for_the_backward_pass() -> None:
    def kept(again: bool) -> int:
        trunk = Trunk((1, 32, 32, 32), width=4)
        recomputing.recompute_(trunk, again)
        held: dict[int, int] = {}

        def hold(x: torch.Tensor) -> torch.Tensor:
            held[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
            return x

        with torch.autograd.graph.saved_tensors_hooks(hold, lambda x: x):
            trunk(torch.rand(2, 1, 32, 32, 32)).sum()
        return sum(held.values())

    assert kept(True) < 0.7 * kept(False)


@pytest.mark.parametrize("dims", [2, 3])
def test_channel_norm_treats_every_image_by_itself(dims: int) -> None:
    shape = (1, *[16] * dims)
    for norm, alone in (("channel", True), ("batch", False)):
        trunk = Trunk(shape, width=4, noise=0, norm=norm).train()
        x = torch.rand(4, *shape)
        assert torch.allclose(trunk(x)[:1], trunk(x[:1]), atol=1e-5) is alone
        generator = Generator(5, shape, width=4, norm=norm).train()
        code = torch.rand(4, 5)
        assert torch.allclose(generator(code)[:1], generator(code[:1]), atol=1e-5) is alone


def test_channel_norm_allows_micro_batches_of_single_volumes() -> None:
    raw = {
        "data": {"name": "brain_phantom", "dims": 3, "resolution": 32},
        "nets": {"width": 2, "norm": "channel"},
        "method": {"name": "vae", "z": 4, "s": 3},
        "train": {"images": 8, "batch": 4, "threads": 1, "mixed_precision": "no"},
    }
    found = []
    for parts in (1, 2):
        config = resolve(raw, "volumes", "volumes", [f"train.accumulate={parts}"])
        found.append(gradients(Engine(config, build_dataset(config))))
    assert difference(*found) < 1e-5
    config = resolve(raw, "volumes", "volumes", ["train.accumulate=2", "nets.norm=batch"])
    with pytest.raises(StudioError, match=r"more; nets.norm: channel has none$"):
        Engine(config, build_dataset(config))


def test_refusal_names_the_preset_for_listed_layers() -> None:
    large = tiny("vae", accumulate=2)
    large = large.model_copy(update={"data": large.data.model_copy(update={"resolution": 64})})
    config = with_nets(large, preset="weinberger_conv")
    with pytest.raises(StudioError, match="see preset louiset_vbm_001_channel"):
        Engine(config, build_dataset(config))
