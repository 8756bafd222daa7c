"""`train.mixed_precision: auto` becomes one precision for the life of a run."""

from pathlib import Path

import pytest
from support.experiments import tiny
from support.runs import studio

from studio.config import read_yaml
from studio.errors import StudioError
from studio.training.precision import settle_precision
from studio.training.session import train

SMALL = ["nets.width=4", "method.z=4", "method.s=3", "train.batch=16", "train.threads=1"]
SET = [part for field in [*SMALL, "train.grid_every=0"] for part in ("--set", field)]


def machine_chooses(monkeypatch: pytest.MonkeyPatch, precision: str) -> None:
    monkeypatch.setattr(
        "studio.training.precision.choose_precision", lambda: (precision, "the test says so")
    )


def stored(folder: Path) -> str:
    return read_yaml(folder / "config.yaml")["train"]["mixed_precision"]


def test_settle_precision_keeps_a_stated_one(monkeypatch: pytest.MonkeyPatch) -> None:
    machine_chooses(monkeypatch, "bf16")
    config = tiny("dig")
    stated = config.model_copy(
        update={"train": config.train.model_copy(update={"mixed_precision": "no"})}
    )
    assert settle_precision(stated, "bf16") == (stated, "")


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_train_stores_and_says_the_precision_that_auto_stands_for(
    monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    machine_chooses(monkeypatch, precision)
    out, error = studio("train", "--cfg", "digits_dig", *SET, "--set", "train.images=32")
    said = out + error
    assert f"auto is {precision} here, because the test says so" in said
    assert f"precision {precision}" in said
    assert stored(Path("runs/digits_dig-1")) == precision


@pytest.mark.parametrize("began", ["no", "bf16"])
def test_resume_keeps_the_precision_that_the_run_began_with(
    monkeypatch: pytest.MonkeyPatch, began: str
) -> None:
    machine_chooses(monkeypatch, began)
    config = tiny("dig", mixed_precision="auto", images=32, batch=16)
    assert train(config, Path("run")).engine.accelerator.mixed_precision == began
    machine_chooses(monkeypatch, "bf16" if began == "no" else "no")
    longer = tiny("dig", mixed_precision="auto", images=64, batch=16)
    resumed = train(longer, Path("run"), resume=True)
    assert resumed.engine.images_seen == 64
    assert resumed.engine.accelerator.mixed_precision == began
    assert stored(Path("run")) == began


def test_resume_refuses_another_stated_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    machine_chooses(monkeypatch, "bf16")
    train(tiny("dig", mixed_precision="auto", images=32, batch=16), Path("run"))
    stated = tiny("dig", mixed_precision="no", images=64, batch=16)
    with pytest.raises(StudioError, match=r"train\.mixed_precision: 'bf16' in the run, 'no' now"):
        train(stated, Path("run"), resume=True)
