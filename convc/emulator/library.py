"""The engine's library: fixed C, built once by convc's own toolchain, and the structures that it shares with us."""

from __future__ import annotations

import ctypes
from importlib import resources

from convc.build.shared_library import load_library
from convc.build.toolchain import Unit, build_shared
from convc.locks import Once

CAPACITY = 512
"""How many different reports a launch keeps; as in engine/state.h."""


class BufferRow(ctypes.Structure):
    """Buffer of engine/state.h."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        ("bytes", ctypes.c_uint64),
        ("initialised", ctypes.c_void_p),
        ("shadow", ctypes.c_uint64),
        ("writable", ctypes.c_int32),
        ("checked", ctypes.c_int32),
    ]


class ConstantRow(ctypes.Structure):
    """Constant of engine/state.h."""

    _fields_ = [("value", ctypes.c_uint64), ("unit", ctypes.c_int32), ("width", ctypes.c_int32)]


class ReportRow(ctypes.Structure):
    """Report of engine/state.h."""

    _fields_ = [
        *((name, ctypes.c_int32) for name in ("kind", "op", "other_op", "space")),
        ("offset", ctypes.c_uint64),
        *((name, ctypes.c_int64) for name in ("count", "block", "other_block")),
        *((name, ctypes.c_int32) for name in ("thread", "other_thread", "size", "unused")),
    ]


class CounterRow(ctypes.Structure):
    """Counter of engine/state.h."""

    _fields_ = [(name, ctypes.c_int64) for name in ("requests", "moved", "ideal", "lanes")]


class LaunchRow(ctypes.Structure):
    """Launch of engine/state.h."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("code", "constants", "buffers", "counters", "reports")),
        *((n, ctypes.c_int64) for n in ("warp_instructions", "lane_instructions", "budget", "dropped_reports")),
        *((name, ctypes.c_int32) for name in ("ops", "n_constants", "n_buffers", "n_variables")),
        *((name, ctypes.c_int32) for name in ("n_reports", "units", "predicates", "check")),
        ("shadow_bytes", ctypes.c_uint64),
        ("grid", ctypes.c_int32 * 3),
        ("block", ctypes.c_int32 * 3),
        *((name, ctypes.c_int32) for name in ("shared_bytes", "dynamic_bytes", "local_bytes", "grain")),
    ]


@Once
def library() -> ctypes.CDLL:
    """The engine, compiled at its first use. Raises ToolchainError where it cannot be."""
    folder = resources.files("convc").joinpath("emulator/engine")
    headers = {file.name: file.read_text(encoding="utf-8") for file in folder.iterdir() if file.name.endswith(".h")}
    source = folder.joinpath("engine.c").read_text(encoding="utf-8")
    built = load_library(build_shared([Unit("engine", source)], headers=headers))
    built.convc_emulate.argtypes = [ctypes.POINTER(LaunchRow)]
    built.convc_emulate.restype = ctypes.c_int
    return built
