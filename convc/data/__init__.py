"""Data sets: loading, checking, normalising, splitting, and the order in which a run visits them.

`load` takes what `--data` takes:

- `mnist5k`, which comes with convc;
- `synthetic`, or `synthetic:CxHxW:classes:count` for made-up images of any size;
- a folder of IDX files, as MNIST's and Fashion-MNIST's;
- a folder of CIFAR-10's or CIFAR-100's .bin files;
- a folder with a folder of images for each class, or with train, val and test of that form;
  `FOLDER:CxHxW` brings its images to one size;
- a .npz file.
"""

from __future__ import annotations

import os
import re
from difflib import get_close_matches
from pathlib import Path

from convc.checks import seed_of, shown
from convc.data import mnist5k, npz, synthetic
from convc.data.augment import Augmentation
from convc.data.dataset import Dataset, Split
from convc.data.folder import load_folder, load_resized
from convc.data.normalisation import Normalisation
from convc.data.order import batches, epoch_order
from convc.errors import DataError

__all__ = ["FORMS", "Augmentation", "Dataset", "Normalisation", "Split", "batches", "epoch_order", "load"]

FORMS = (
    f"mnist5k, synthetic or {synthetic.FORM}, a folder of IDX files such as MNIST's, of CIFAR's .bin files or of "
    "images by class (FOLDER:CxHxW brings these to one size), or a .npz file"
)
_SHAPE = re.compile(r"([13])x([1-9][0-9]{0,4})x([1-9][0-9]{0,4})")
_MOST_NAMES = 1000  # that are compared with a path that is not there


def load(spec: str | os.PathLike[str], *, seed: int = 0) -> Dataset:
    """The data set that `spec` names, in one of the forms above; a name goes before a folder of that name.

    Images stay as stored (`Dataset.normalized` moves them); labels become int32. `seed` only orders the
    train split: which image is in which split is the same for every seed. `convc.data.idx`, `cifar`,
    `image_folder` and `npz` say what their files must hold, `synthetic` what its numbers mean. Raises
    DataError, one line, for an unknown spec and for data that is missing, damaged or inconsistent.
    """
    seed = seed_of(seed, error=DataError)
    if isinstance(spec, os.PathLike):
        spec = os.fspath(spec)
    if not isinstance(spec, str):
        raise DataError(
            f"a data set is {FORMS}, named by text, not {shown(spec)}; of arrays, Dataset.from_arrays(x_train, "
            "y_train) makes one"
        )
    if spec == mnist5k.NAME:
        return mnist5k.load(seed=seed)
    if spec == synthetic.NAME or spec.startswith(f"{synthetic.NAME}:"):
        return synthetic.load(spec, seed=seed)
    path = os.path.expanduser(spec)
    if os.path.isdir(path):  # unlike Path.is_dir, False for a name that is empty, too long or out of reach
        return load_folder(Path(path), seed=seed)
    if path.endswith(".npz"):
        return npz.load(Path(path), seed=seed)
    folder, colon, size = path.rpartition(":")
    if colon and os.path.isdir(folder):
        return _load_resized(Path(folder), size, seed)
    raise DataError(f"a data set is {FORMS}; {spec!r} is none{_suggestion(path)}")


def _load_resized(folder: Path, size: str, seed: int) -> Dataset:
    found = _SHAPE.fullmatch(size)
    if not found:
        raise DataError(f"a size is CxHxW, C being 1 or 3, such as 3x64x64, not {size!r}: {folder}")
    channels, height, width = map(int, found.groups())
    return load_resized(folder, (channels, height, width), seed=seed, leave_out=f"leave out :{size}")


def _suggestion(path: str) -> str:
    """The nearest name or folder, where one is near."""
    parent, _ = os.path.split(path)
    try:
        beside = [os.path.join(parent, name) for name in sorted(os.listdir(parent or "."))[:_MOST_NAMES]]
    except (OSError, ValueError):
        beside = []
    known = [mnist5k.NAME, synthetic.NAME, *(p for p in beside if os.path.isdir(p) or p.endswith(".npz"))]
    near = get_close_matches(path, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
