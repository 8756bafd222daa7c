"""The wheel: complete, found from any folder, and never mixed with another project's modules."""

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


def test_wheel_is_complete_and_finds_configs_from_any_folder(
    installed: Path, tmp_path: Path
) -> None:
    ours = {
        str(p.relative_to(ROOT))
        for folder in ("studio", "nets", "losses")
        for p in (ROOT / folder).rglob("*")
        if p.is_file() and "__pycache__" not in p.parts
    }
    assert {"studio/py.typed", "nets/py.typed", "losses/py.typed"} <= ours
    assert ours <= {str(p.relative_to(installed)) for p in installed.rglob("*")}
    configs = {str(p.relative_to(ROOT / "configs")) for p in (ROOT / "configs").rglob("*.yaml")}
    packaged = installed / "studio" / "configs"
    assert configs == {str(p.relative_to(packaged)) for p in packaged.rglob("*.yaml")}
    assert "sweeps/digits_table3.yaml" in configs
    done = python(
        "import studio.config as c\n"
        "print(c.find_config('digits_dig'))\n"
        "print(c.load('digits_dig').train.batch)",
        installed,
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        str(installed / "studio" / "configs" / "digits_dig.yaml"),
        "64",
    ]


@pytest.mark.parametrize("name", ["losses", "nets"])
def test_import_names_a_foreign_module_instead_of_using_it(
    installed: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / f"{name}.py").write_text("raise SystemExit('imported a stranger')")
    done = python("import studio", installed, tmp_path)
    assert "imported a stranger" not in done.stderr
    assert f"studio needs its own package '{name}'" in done.stderr
    assert str(tmp_path / f"{name}.py") in done.stderr
