"""A test that refuses warnings passes beside the garbage of earlier tests."""

import asyncio
import gc
import warnings

import pytest
from support.warned import no_warning


@no_warning
def test_garbage_of_earlier_tests_is_no_failure() -> None:
    asyncio.new_event_loop()
    gc.collect()


@no_warning
@pytest.mark.parametrize("category", [UserWarning, RuntimeWarning, DeprecationWarning])
def test_every_other_warning_is_a_failure(category: type[Warning]) -> None:
    with pytest.raises(category, match="this one"):
        warnings.warn("this one", category, stacklevel=1)
