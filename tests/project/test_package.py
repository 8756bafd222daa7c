"""The wheel: complete, found from any folder, and not mixed with a stranger's modules."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the unpacked wheel, as site-packages would."""
    place = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(place / "dist")]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = (place / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(place / "site")
    return place / "site"


def python(code: str, site: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(site)}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_wheel_has_everything_and_configs_are_found_from_anywhere(
    installed: Path, tmp_path: Path
) -> None:
    ours = {
        str(p.relative_to(ROOT))
        for folder in ("studio", "nets", "losses")
        for p in (ROOT / folder).rglob("*.py")
    }
    assert ours <= {str(p.relative_to(installed)) for p in installed.rglob("*.py")}
    configs = {str(p.relative_to(ROOT / "configs")) for p in (ROOT / "configs").rglob("*.yaml")}
    packaged = installed / "studio" / "configs"
    assert configs == {str(p.relative_to(packaged)) for p in packaged.rglob("*.yaml")}
    assert "sweeps/digits_table3.yaml" in configs
    done = python(
        "import studio.config as c; print(c.find_config('digits_dig')); print(c.load('digits_dig').train.batch)",
        installed,
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        str(installed / "studio" / "configs" / "digits_dig.yaml"),
        "64",
    ]


@pytest.mark.parametrize("name", ["losses", "nets"])
def test_a_strangers_module_is_named_instead_of_used(
    installed: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / f"{name}.py").write_text("raise SystemExit('imported a stranger')")
    done = python("import studio", installed, tmp_path)
    assert "imported a stranger" not in done.stderr
    assert f"studio needs its own package '{name}'" in done.stderr
    assert str(tmp_path / f"{name}.py") in done.stderr
