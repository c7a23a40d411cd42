"""Data sets: loading, checking, normalising, splitting, and the order in which a run visits them."""

from __future__ import annotations

import os
from pathlib import Path

from convc.data import idx, mnist5k, npz
from convc.data.dataset import Dataset, Split
from convc.data.order import batches, epoch_order
from convc.errors import DataError

__all__ = ["Dataset", "Split", "batches", "epoch_order", "load"]


def load(spec: str, *, seed: int = 0) -> Dataset:
    """The data set that `spec` names: "mnist5k" (comes with convc), a folder of IDX files, or a .npz file.

    Images stay as stored (`Dataset.normalized` moves them); labels become int32. `seed` only orders the
    train split: which image is in which split is the same for every seed. `convc.data.idx` and
    `convc.data.npz` say what their files must hold. Raises DataError, one line, for an unknown spec and for
    data that is missing, damaged or inconsistent.
    """
    if spec == "mnist5k":
        return mnist5k.load(seed=seed)
    path = os.path.expanduser(spec)
    if os.path.isdir(path):  # unlike Path.is_dir, False for a name that is empty, too long or out of reach
        return idx.load(Path(path), seed=seed)
    if path.endswith(".npz"):
        return npz.load(Path(path), seed=seed)
    raise DataError(f"a data set is mnist5k, a folder of IDX files such as MNIST's, or a .npz file; {spec!r} is none")
