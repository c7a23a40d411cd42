"""What a kernel is launched with: numbers, buffers of host memory, and structs of both."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from convc.emulator.frame import MIDDLE, WINDOW
from convc.emulator.ptx import Parameter
from convc.errors import EmulatorError

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Buffer:
    """Memory that a kernel gets a pointer to: `array` is a C-contiguous vector of bytes, uint8 [n].

    `initialised`, uint8 [n], has a 0 for each byte that nobody has written yet; kernels set what they write to 1.
    Several buffers may overlap in memory.
    """

    name: str
    array: Bytes
    writable: bool = True
    initialised: Bytes | None = None

    def __post_init__(self) -> None:
        for what, array in (("array", self.array), ("initialised", self.initialised)):
            if array is None:
                continue
            if array.dtype != np.uint8 or array.ndim != 1 or not array.flags.c_contiguous:
                raise EmulatorError(
                    f"a buffer is a contiguous vector of uint8: {what} of {self.name} is {array.dtype} "
                    f"{list(array.shape)}; give a.reshape(-1).view(numpy.uint8)"
                )
            if array.size != self.array.size:
                raise EmulatorError(
                    f"`initialised` has one byte for each of the buffer: {self.name} has {self.array.size} bytes, "
                    f"and {array.size} of these"
                )
            if not array.flags.writeable and (self.writable or what == "initialised"):
                raise EmulatorError(f"{what} of buffer {self.name} cannot be written: give writable=False or a copy")


@dataclass(frozen=True)
class Struct:
    """A struct by value: fields as (byte offset, value); an int takes `int_bytes` bytes, a float has 4."""

    fields: Sequence[tuple[int, Buffer | int | float]]
    int_bytes: int = 4


Argument = Buffer | Struct | int | float


class Packed:
    """The bytes of all parameters, and the buffers that they point to, in the order of their windows."""

    def __init__(self, kernel: str, parameters: Sequence[Parameter], arguments: Sequence[Argument]) -> None:
        if len(arguments) != len(parameters):
            raise EmulatorError(
                f"kernel {kernel} takes {len(parameters)} arguments, got {len(arguments)}: give one for each parameter"
            )
        self.buffers: list[Buffer] = []
        size = max((p.offset + p.size for p in parameters), default=0)
        self.data = np.zeros(max(size, 1), np.uint8)
        for number, (parameter, argument) in enumerate(zip(parameters, arguments)):
            self._kernel_place = f"argument {number} of kernel {kernel}"
            for offset, data in self._parts(parameter, argument):
                if offset < 0 or offset + len(data) > parameter.size:
                    raise EmulatorError(
                        f"a struct's fields lie within its {parameter.size} bytes: {self._kernel_place} has one at "
                        f"byte {offset} of {len(data)} bytes"
                    )
                start = parameter.offset + offset
                self.data[start : start + len(data)] = np.frombuffer(data, np.uint8)

    def _parts(self, parameter: Parameter, argument: Argument) -> Iterator[tuple[int, bytes]]:
        if isinstance(argument, Struct):
            if not parameter.is_struct:
                raise self._wrong(parameter, argument)
            for offset, value in argument.fields:
                yield offset, self._field(value, argument.int_bytes)
        elif isinstance(argument, Buffer):
            if parameter.is_struct or parameter.type not in ("u64", "b64", "s64"):
                raise self._wrong(parameter, argument)
            yield 0, self._field(argument, 8)
        else:
            yield 0, self._number(parameter, argument)

    def _field(self, value: Buffer | int | float, int_bytes: int) -> bytes:
        if isinstance(value, Buffer):
            self.buffers.append(value)
            return (len(self.buffers) * WINDOW + MIDDLE).to_bytes(8, "little")
        if isinstance(value, (float, np.floating)):
            return struct.pack("<f", value)
        return (int(value) & ((1 << 8 * int_bytes) - 1)).to_bytes(int_bytes, "little")

    def _number(self, parameter: Parameter, value: Any) -> bytes:
        if isinstance(value, np.generic) and value.nbytes == parameter.size:
            return value.tobytes()
        if parameter.is_struct or not isinstance(value, (int, float, np.integer, np.floating)):
            raise self._wrong(parameter, value)
        if parameter.type in ("f32", "f64"):
            return struct.pack("<f" if parameter.type == "f32" else "<d", value)
        if isinstance(value, (float, np.floating)):
            raise self._wrong(parameter, value)
        bits = 8 * parameter.size
        if not -(1 << bits - 1) <= value < 1 << bits:
            raise EmulatorError(f"{self._kernel_place} is a number of {bits} bits, got {value}")
        return (int(value) & ((1 << bits) - 1)).to_bytes(parameter.size, "little")

    def _wrong(self, parameter: Parameter, argument: object) -> EmulatorError:
        wanted = f"a struct of {parameter.size} bytes: give a Struct" if parameter.is_struct else f".{parameter.type}"
        return EmulatorError(f"{self._kernel_place} is {wanted}, got {type(argument).__name__}")
