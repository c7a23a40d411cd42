"""Where NVIDIA's files are: in the wheels of the extras `emit` and `nvcc`, else in an installed CUDA toolkit."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

INSTALL = "pip install 'convc[emit]'"


def find_files(folders: Iterable[str], pattern: str, roots: Iterable[Path] | None = None) -> Iterator[Path]:
    """Files `<root>/<folder>/<pattern>`: of wheels before those of toolkits, or of `roots`; newest version first."""
    groups = (wheel_roots(), toolkit_roots()) if roots is None else (roots,)
    for group in groups:
        found = [path for root in group for folder in folders for path in root.joinpath(folder).glob(pattern)]
        yield from sorted(found, key=_version, reverse=True)


def wheel_roots() -> list[Path]:
    """Folders inside the namespace package `nvidia`: cu13 for all of CUDA 13, cuda_nvrtc and others before it."""
    spec = importlib.util.find_spec("nvidia")
    places = spec.submodule_search_locations if spec else None
    return [folder for place in places or () for folder in sorted(Path(place).glob("*")) if folder.is_dir()]


def toolkit_roots() -> list[Path]:
    """$CUDA_HOME, $CUDA_PATH, and where the toolkit is by default."""
    named = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"]
    return [Path(name) for name in named if name and Path(name).is_dir()]


def _version(path: Path) -> tuple[int, ...]:
    """libnvrtc.so.13 -> (13,); what has no version comes last."""
    return tuple(int(part) for part in re.findall(r"\d+", path.name.partition(".so")[2]))
