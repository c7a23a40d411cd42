"""Every planted bug's patch applies, and a patch that the code has moved away from does not pass unseen."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import convc
from tests.planted.planting import NAMES, PATCHES, apply_diff, planted


@pytest.mark.parametrize("name", NAMES)
def test_patch_applies(name: str, tmp_path: Path) -> None:
    shutil.copytree(Path(convc.__file__).parent, tmp_path / "convc", ignore=shutil.ignore_patterns("__pycache__"))
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    apply_diff((PATCHES / f"{name}.patch").read_text(encoding="utf-8"), tmp_path)
    assert any(p.read_bytes() != old for p, old in before.items())


def test_a_stale_patch_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\ny = 2\n")
    (tmp_path / "b.py").write_text("y = 2\n")
    diff = "What it does.\n--- a/a.py\n+++ b/a.py\n@@ -1,2 +1,2 @@\n x = 1\n-y = 2\n+y = 3\n"
    diff += "--- b.py\n+++ b.py\n@@\n-y = 2\n+y = 4\n"
    apply_diff(diff, tmp_path)
    assert (tmp_path / "a.py").read_text() == "x = 1\ny = 3\n"
    assert (tmp_path / "b.py").read_text() == "y = 4\n"
    with pytest.raises(AssertionError, match="0 times, not once"):
        apply_diff(diff, tmp_path)


def test_the_copy_is_what_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    patch = "--- convc/errors.py\n+++ convc/errors.py\n@@\n class ConvcError(Exception):\n+    planted = True\n"
    monkeypatch.setattr("tests.planted.planting.PATCHES", tmp_path)
    (tmp_path / "some.patch").write_text(patch)
    folder = tmp_path / "copy"
    environment = planted("some", folder)
    assert environment["PYTHONPATH"].startswith(str(folder))
    assert "planted = True" in (folder / "convc/errors.py").read_text()
