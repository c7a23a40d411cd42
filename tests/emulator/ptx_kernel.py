"""A kernel `k` written in PTX, with registers of every kind."""

from __future__ import annotations

import numpy as np

from convc.emulator import Module

HEADER = ".version 9.0\n.target sm_90a\n.address_size 64\n"


def bytes_of(array: np.ndarray) -> np.ndarray:
    return array.reshape(-1).view(np.uint8)


def kernel(parameters: str, body: str, before: str = "") -> Module:
    registers = ".reg .pred %p<9>; .reg .b16 %h<9>; .reg .b32 %r<9>; .reg .b64 %d<9>; .reg .f32 %f<9>;"
    return Module(f"{HEADER}{before}.visible .entry k({parameters})\n{{\n{registers}\n{body}\nret;\n}}\n")


POINTERS = ".param .u64 x, .param .u64 y"
ADDRESSES = """
ld.param.u64 %d1, [x]; ld.param.u64 %d2, [y]; mov.u32 %r0, %tid.x;
mad.wide.u32 %d1, %r0, 16, %d1; mad.wide.u32 %d2, %r0, 16, %d2;
"""
