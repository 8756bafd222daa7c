"""A folder of 30 small patients."""

from pathlib import Path

import pytest
from support.brats_files import TUMOUR, head, tumour, write_patient


@pytest.fixture
def root(tmp_path: Path) -> Path:
    place = tmp_path / "data"
    for number in range(30):
        write_patient(place / f"BraTS2021_{number:05}", t1=head(number), seg=tumour(TUMOUR))
    return place
