"""Whether target `cuda` can run here: looked at without importing PyCUDA, which takes a driver to import."""

from __future__ import annotations

import ctypes
import functools
from importlib.util import find_spec

INSTALL = "pip install 'convc[cuda]'"
INSTALL_PYCUDA = f"python -m convc.build.pycuda && {INSTALL}"
"""`INSTALL` alone builds PyCUDA only where there is a CUDA toolkit; built before, it is taken as it is."""
DRIVER = "libcuda.so.1"


@functools.cache
def driver_devices() -> int | None:
    """How many GPUs the driver has; None where there is no driver."""
    try:
        library = ctypes.CDLL(DRIVER)
    except OSError:
        return None
    count = ctypes.c_int(0)
    if library.cuInit(0) or library.cuDeviceGetCount(ctypes.byref(count)):
        return 0
    return count.value


def what_is_missing() -> str:
    """What target cuda lacks here and the command that mends it, or nothing."""
    if find_spec("pycuda") is None:
        return f"PyCUDA is not installed: run `{INSTALL_PYCUDA}`"
    devices = driver_devices()
    if devices is None:
        return f"there is no CUDA driver ({DRIVER}): install NVIDIA's"
    return "" if devices else "the CUDA driver finds no GPU"
