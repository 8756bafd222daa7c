"""Fixtures of the batteries over every method."""

import pytest
from support.experiments import TRAINED, VARIANTS
from support.steps import engine_of

from studio.training.engine import Engine


@pytest.fixture(params=TRAINED)
def engine(request: pytest.FixtureRequest) -> Engine:
    """A method with training steps, before its first batch."""
    return engine_of(request.param)


@pytest.fixture(params=VARIANTS)
def any_engine(request: pytest.FixtureRequest) -> Engine:
    """Any method after two batches, or after its closed-form solution."""
    engine = engine_of(request.param)
    for _ in engine.iterations(32 if engine.method.steps() else 400):
        pass
    return engine
