"""Every method on gray and colour images, volumes and vectors."""

import numpy as np
import pytest
import torch
from support.experiments import VARIANTS, tiny
from support.shapes import SHAPES, Blobs

from studio import sampling
from studio.errors import StudioError
from studio.method import Code
from studio.training.engine import Engine


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("name", VARIANTS)
def test_method_trains_encodes_and_decodes_every_shape(name: str, kind: str) -> None:
    shape = SHAPES[kind]
    engine = Engine(tiny(name, images=160), Blobs(shape))
    before = {key: value.clone() for key, value in engine.ema.method.state_dict().items()}
    seen = list(engine.iterations(160))
    assert engine.images_seen == 160
    assert all(torch.isfinite(value) for terms in seen for value in terms.values())
    method = engine.ema.method
    assert any(not torch.equal(value, before[key]) for key, value in method.state_dict().items())
    x, y = (
        engine.dataset.images("test", domain, np.arange(5)) for domain in ("background", "target")
    )
    code = sampling.encode(method, y)
    assert code.z.shape == (5, 4)
    assert code.s.shape == (5, 3)
    for images in (
        sampling.swap(method, x, y),
        sampling.heal(method, y),
        sampling.decode(method, Code(code.z, code.s)),
    ):
        assert images.shape == (5, *shape)
        assert torch.isfinite(images).all()
        assert images.abs().max() <= 1
    alone = sampling.encode(method, y[2:3])
    torch.testing.assert_close(alone.s, code.s[2:3], rtol=1e-3, atol=1e-4)


def test_engine_refuses_a_volume_with_unequal_sides() -> None:
    with pytest.raises((StudioError, ValueError), match="8, 8, 16"):
        Engine(tiny("vae"), Blobs((1, 8, 8, 16)))
