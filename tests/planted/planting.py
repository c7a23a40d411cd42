"""Bugs planted in a copy of convc, for the tests to show that a generator finds them.

    environment = planted("name", tmp_path)                # tests/planted/name.patch
    subprocess.run([sys.executable, ...], env=environment) # `import convc` there is the copy with the bug

A patch is a unified diff of files of the package (`--- convc/...`, `+++ convc/...`, paths from the root of the
checkout), as `git diff` writes it; the text above its first `---` says what the bug is. Line numbers are not looked at:
the lines of each part must stand in the file exactly once, so that a patch that the code has moved away from fails.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import convc

PATCHES = Path(__file__).parent
NAMES = tuple(sorted(p.stem for p in PATCHES.glob("*.patch")))


def planted(name: str, folder: Path) -> dict[str, str]:
    """Copies convc into `folder` (which must not hold one), plants the bug, and returns the environment for it.

    Raises AssertionError where the patch does not apply, or where the copy would not be the package imported.
    """
    shutil.copytree(Path(convc.__file__).parent, folder / "convc", ignore=shutil.ignore_patterns("__pycache__"))
    apply_diff((PATCHES / f"{name}.patch").read_text(encoding="utf-8"), folder)
    others = os.environ.get("PYTHONPATH")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *([others] if others else [])])}
    where = [sys.executable, "-c", "import convc; print(convc.__file__)"]
    found = subprocess.run(where, env=environment, cwd=folder, capture_output=True, text=True)
    assert found.returncode == 0, f"with {name} planted, convc cannot be imported: {found.stderr}"
    assert Path(found.stdout.strip()).is_relative_to(folder), f"not the copy, but {found.stdout.strip()} is imported"
    return environment


def apply_diff(text: str, root: Path) -> None:
    """Each `@@` part: its context and `-` lines must stand in its file exactly once."""
    assert re.search(r"^\+\+\+ \S", text, flags=re.MULTILINE), "a diff names its files in lines --- and +++"
    for change in re.split(r"^--- .*\n", text, flags=re.MULTILINE)[1:]:
        name, *parts = re.split(r"^@@.*\n", change, flags=re.MULTILINE)
        path = root / name.removeprefix("+++ ").split("\n")[0].split("\t")[0].removeprefix("b/")
        for part in parts:
            lines = [x for x in part.splitlines(True) if x[0] in " -+"]
            old, new = ("".join(x[1:] for x in lines if x[0] in kept) for kept in (" -", " +"))
            content = path.read_text(encoding="utf-8")
            count = content.count(old)
            assert count == 1, f"{path.name} has these lines {count} times, not once:\n{old}"
            path.write_text(content.replace(old, new), encoding="utf-8")
