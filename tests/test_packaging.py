"""What pip installs: a wheel holds the whole package, and an editable install wins over a clone beside the script."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path
from zipfile import ZipFile

import pytest
from hatchling.build import build_editable, build_sdist, build_wheel

from convc.build import pycuda

ROOT = Path(__file__).parents[1]
SCRIPT = """
import importlib.util, site, sys
site.addsitedir(sys.argv[1])
print(importlib.util.find_spec("convc").origin)
"""
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


@pytest.fixture(autouse=True)
def in_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    """A build backend is called in the folder of pyproject.toml."""
    monkeypatch.chdir(ROOT)


def test_wheel_and_sdist_hold_every_file_of_the_package(tmp_path: Path) -> None:
    """Templates, data and the emulator's C are read at run time."""
    with ZipFile(tmp_path / build_wheel(str(tmp_path))) as wheel:
        packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    with tarfile.open(tmp_path / build_sdist(str(tmp_path))) as archive:
        source = {name.partition("/")[2] for name in archive.getnames()}
    present = (p.relative_to(ROOT) for p in ROOT.joinpath("convc").rglob("*") if p.is_file())
    assert packed == {str(p) for p in present if "__pycache__" not in p.parts}
    assert packed < source
    assert {Path(name).suffix for name in packed} >= {".py", ".j2", ".c", ".h", ".npz", ".md", ".typed"}


def test_an_editable_install_wins_over_a_clone_beside_the_script(tmp_path: Path) -> None:
    """The clone, a folder without __init__.py, could be taken for a namespace package of the same name."""
    site, user = tmp_path / "site-packages", tmp_path / "user"
    with ZipFile(tmp_path / build_editable(str(tmp_path))) as wheel:
        wheel.extractall(site)
    user.mkdir()
    (user / "convc").symlink_to(ROOT)
    (user / "script.py").write_text(SCRIPT, "utf-8")
    command = [sys.executable, "-S", "script.py", str(site)]  # without this environment's own install
    result = subprocess.run(command, cwd=user, env={}, capture_output=True, text=True)
    assert (result.stdout, result.stderr) == (f"{ROOT / 'convc' / '__init__.py'}\n", "")


def test_pycuda_is_built_as_the_extras_ask() -> None:
    extras = PROJECT["optional-dependencies"]
    assert pycuda.REQUIREMENT in extras["cuda"]
    assert pycuda.HEADERS[0] in extras["cuda"]
    assert {h.partition("==")[2] for h in pycuda.HEADERS} == {pycuda.HEADERS[0].partition("==")[2]}
