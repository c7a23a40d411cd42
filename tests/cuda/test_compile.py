"""What is emitted compiles for every generation of GPU, without spills and with the loads that its cards claim."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

import pytest

from convc.build.cubin import Cubin
from convc.build.cuda import units_of
from convc.build.nvrtc import compile_cubin, compile_ptx
from convc.build.nvrtc_library import find_library_file
from convc.build.sass import Instruction, disassemble, local_memory, select
from convc.build.threads import side_by_side
from convc.cli.machine_code import entries
from convc.codegen.cuda.emit import LAUNCHES_A_UNIT, CudaSource, emit_cuda
from convc.ir.core import Graph
from convc.passes.pipeline import pipeline, run
from convc.passes.target import CUDA
from tests.cuda.programs import every_tile, lenet, train_step, with_tiles

pytestmark = pytest.mark.skipif(find_library_file() is None, reason="NVRTC is not installed: pip install 'convc[emit]'")
ARCHS = ("sm_80", "sm_90a", "sm_100")
PROGRAMS = {"lenet5": lambda: lenet(64), "tiles": lambda: emit_cuda(tiled())}


def tiled() -> Graph:
    return with_tiles(run(every_tile(), pipeline(train=False), CUDA).stages[-1][1])


@cache
def source_of(program: str) -> CudaSource:
    return PROGRAMS[program]()


@cache
def built(program: str, arch: str) -> Cubin:
    source = source_of(program)
    return compile_cubin(source.text, source.entry, arch)


@cache
def machine_code(program: str, arch: str) -> dict[str, list[Instruction]]:
    return disassemble(built(program, arch).data)


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("program", PROGRAMS)
def test_nothing_spills(program: str, arch: str) -> None:
    kernels = built(program, arch).kernels
    assert set(kernels) == {launch.name for launch in source_of(program).launches}
    for name, taken in kernels.items():
        assert (taken.spill_stores, taken.spill_loads, taken.stack_bytes) == (0, 0, 0), name


@pytest.mark.slow
@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("model", ["alexnet", "vgg16"])
def test_nothing_spills_in_large_models(model: str, arch: str) -> None:
    """Images of 13 x 13 and 27 x 27 pixels, which are no whole vectors, and the largest tiles."""
    source = train_step(model, (64, 3, 224, 224))
    for image in side_by_side(lambda text: compile_cubin(text, source.entry, arch), units_of(source)):
        for name, taken in image.kernels.items():
            assert (taken.spill_stores, taken.spill_loads, taken.stack_bytes) == (0, 0, 0), name


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_card_knows_the_shared_memory(program: str) -> None:
    kernels = built(program, "sm_90a").kernels
    for launch in source_of(program).launches:
        assert kernels[launch.name].shared_bytes == launch.shared_bytes - launch.dynamic_bytes, launch.name


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("program", PROGRAMS)
def test_no_local_memory_and_the_loads_that_cards_claim(program: str, arch: str) -> None:
    claims = 0
    for launch in source_of(program).launches:
        code = machine_code(program, arch)[launch.name]
        assert not local_memory(code), launch.name
        text = "\n".join(line for k in launch.kernels for line in k.card.lines)
        for words, pattern in (("16-byte loads of fragments", "LDS.128"), ("16-byte loads and stores", "LDG.128")):
            if words in text:
                assert select(code, pattern), f"{launch.name} claims {words}"
                claims += 1
    assert claims


@pytest.mark.parametrize("arch", ARCHS)
def test_multiply_adds_are_fused_and_the_slice_unrolled(arch: str) -> None:
    """As many in the PTX as a thread's tile has sums, times four depths of a slice or more, as the compiler likes."""
    source = source_of("tiles")
    texts = dict(entries(compile_ptx(source.text, source.entry, arch)))
    for launch in source.launches:
        tile = launch.kernels[0].bodies[0].plan.tile
        text = texts[launch.name]
        sums = text.count("fma.rn.f32 ") + 2 * text.count("fma.rn.f32x2 ")  # sm_100 has a pair of them in one
        a_depth = tile.thread_m * tile.thread_n
        assert sums % a_depth == 0, launch.name
        assert sums >= 4 * a_depth, launch.name
        code = machine_code("tiles", arch)[launch.name]
        assert not select(code, "FMUL")
        assert not select(code, "FADD")


def test_no_compiler_warns() -> None:
    for program in PROGRAMS:
        assert "warning" not in built(program, "sm_90a").log


@pytest.mark.parametrize("most", [1, 3, 16])
def test_parts_make_the_program(most: int) -> None:
    """Compiled side by side, they have each kernel once, with the machine code of the whole and its line numbers."""
    source = source_of("lenet5")
    parts = source.compile_units(most)
    assert len(parts) == min(most, len(source.launches) // LAUNCHES_A_UNIT)
    lines = source.text.split("\n")
    for part in parts:
        mine = part.split("\n")
        assert len(mine) == len(lines)
        assert all(a in (b, "") for a, b in zip(mine, lines))
    found: dict[str, list[str]] = {}
    for part in parts:
        code = texts(disassemble(compile_cubin(part, source.entry, "sm_90a").data))
        assert not found.keys() & code.keys()
        found |= code
    assert found == texts(machine_code("lenet5", "sm_90a"))


def texts(functions: Mapping[str, list[Instruction]]) -> dict[str, list[str]]:
    """The instructions of each kernel. What it calls, such as the compiler's division, is numbered as it comes."""
    return {
        name: [re.sub(r"\$__internal_\d+_", "$__internal_", i.text) for i in code]
        for name, code in functions.items()
        if not name.startswith("$")
    }
