"""What each kernel moved: the counts of instructions, put together by kernel, on cards and in the report."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import convc
from convc.build.nvrtc_library import find_library_file
from convc.codegen.cuda.emit import CudaSource
from convc.codegen.traffic import Sectors, Traffic, Wavefronts
from convc.ir.core import Graph
from convc.ir.kernels import Gemm, TeamSchedule
from convc.ir.text import parse_graph
from convc.optim import SGD
from convc.runtime.emulator import EmulatorExecutable
from convc.runtime.program import Program
from convc.runtime.store import ParameterStore
from convc.testing import random_inputs
from tests.cuda.programs import emulated, lenet, with_team
from tests.numerics.helpers import call

needs_nvrtc = pytest.mark.skipif(
    find_library_file() is None, reason="NVRTC is not installed: pip install 'convc[emit]'"
)


def copy_and_gather(rows: str, other_rows: str, vector: int = 1) -> Program:
    """Two nests that share a launch: neighbours load neighbours, `vector` each, and neighbours load 32 bytes apart."""
    text = f"""graph @two(%x: f32[{rows},1,16,64], %y: f32[{other_rows},1,8,1024]) {{
      %a: f32[{rows},1,16,64] = relu(%x)
      %b: f32[{other_rows},1,8,128] = max_pool(%y) {{kernel=[1, 1], stride=[1, 8]}}
      return %a, %b
    }}"""
    graph = parse_graph(text)

    def scheduled(planned: Graph) -> Graph:
        nests = with_team(planned, TeamSchedule(256, 1, 1)).nodes
        copy = with_team(planned, TeamSchedule(256, 1, vector)).nodes[0]
        return planned.with_nodes([copy, *nests[1:]])

    program = emulated(graph, scheduled)
    assert [len(x.kernels) for x in program.executable.source.launches] == [2]
    call(program, random_inputs(graph), 4)
    return program


def traffic_of(program: Program) -> dict[str, Traffic]:
    found = {k.name: k.counted for k in program.report().summary.kernels}
    assert all(found.values())
    return {name: x for name, x in found.items() if x is not None}


@needs_nvrtc
@pytest.mark.parametrize("vector", [1, 4])
def test_a_launch_is_split_by_the_lines_of_its_kernels(vector: int) -> None:
    """4096 and 2048 points: 128 and 64 requests of a warp's 32, each of 4 sectors of 8 floats, or of one a lane.

    Four at a time are a quarter of the requests, from a line of the helper that the kernel calls.
    """
    found = traffic_of(copy_and_gather("4", "2", vector))
    copied = Sectors(128 // vector, 512, 512)
    assert found == {
        "relu_f32": Traffic(None, copied, copied),
        "max_pool_f32": Traffic(None, Sectors(64, 32 * 64, 4 * 64), Sectors(64, 4 * 64, 4 * 64)),
    }
    assert found["max_pool_f32"].summary == "32.00 sectors a load (ideal 4.00), 4.00 a store (ideal 4.00)"


@needs_nvrtc
def test_a_load_that_several_kernels_begin_with_is_shared_out() -> None:
    """Every warp reads the batch rows: the compiler makes one load of it, ahead of the branch to either kernel."""
    program = copy_and_gather("n<=4", "n<=4")
    (result,) = program.executable.results.values()
    assert any(c.place is None and c.requests == 256 for c in result.counters), "the loads were not merged"
    assert traffic_of(program) == {
        "relu_f32": Traffic(4, Sectors(256, 5 * 128, 5 * 128), Sectors(128, 4 * 128, 4 * 128)),
        "max_pool_f32": Traffic(4, Sectors(256, 33 * 128, 5 * 128), Sectors(128, 4 * 128, 4 * 128)),
    }


@needs_nvrtc
@pytest.mark.parametrize(("apart", "conflicts"), [(1, 0), (2, 1), (32, 31)])
def test_bank_conflicts_are_the_passes_beyond_the_first(apart: int, conflicts: int) -> None:
    """Lanes that write words `apart` words from each other meet in 32 / `apart` banks."""
    graph = parse_graph("graph @g(%x: f32[8,32]) { %0: f32[8,32] = relu(%x) return %0 }")
    plain = emulated(graph, lambda planned: with_team(planned, TeamSchedule(32, 1, 1)))
    text = plain.executable.source.text
    head = "    const int point = "
    assert text.count(head) == 1
    scribbled = text.replace(
        head,
        f"    __shared__ volatile float words[{32 * apart}];\n    words[threadIdx.x * {apart}] = 1.0f;\n{head}",
    )
    changed = EmulatorExecutable(plain.graph, text=scribbled, source=plain.executable.source)
    program = Program(plain.trace, changed, ParameterStore())
    call(program, random_inputs(graph), 1)
    (found,) = traffic_of(program).values()
    assert found.shared == Wavefronts(8, 8 * (1 + conflicts), 8 * conflicts)
    said = f"{8 * conflicts} bank conflicts" if conflicts else "no bank conflicts"
    assert found.summary == f"4.00 sectors a load (ideal 4.00), 4.00 a store (ideal 4.00), {said}"


COALESCED = {
    # a warp's 32 threads load 16 bytes each from rows of 256 bytes, twice; each stores 8 bytes of the result
    "windows": ("f32[64,4,8,64]", "f32[64,4,4,32] = max_pool(%x) {kernel=[2, 2]}", (2 * 512, 16), (512, 8)),
    # two rows of 16 numbers a request, which the three stages read once
    "sixteen classes": ("f32[64,16]", "f32[64,16] = softmax(%x)", (32, 4), (32, 4)),
    # 8 neighbouring columns of 4 rows a request; or 32 of one, where blocks are many
    "columns": ("f32[64,96]", "f32[96] = sum(%x) {axes=[0]}", (64 * 3, 4), (12, 1)),
    "many columns": ("f32[64,4800]", "f32[4800] = sum(%x) {axes=[0]}", (64 * 150, 4), (150, 4)),
}


@needs_nvrtc
@pytest.mark.parametrize("name", COALESCED)
def test_nests_read_and_write_whole_sectors(name: str) -> None:
    """(requests, sectors each), and not one sector more than the bytes fill."""
    x, node, loads, stores = COALESCED[name]
    graph = parse_graph(f"graph @g(%x: {x}) {{ %0: {node} return %0 }}")
    program = emulated(graph)
    call(program, random_inputs(graph), 1)
    (found,) = traffic_of(program).values()
    assert found.loads == Sectors(loads[0], loads[0] * loads[1], loads[0] * loads[1])
    assert found.stores == Sectors(stores[0], stores[0] * stores[1], stores[0] * stores[1])
    assert found.shared.bank_conflicts == 0


@pytest.fixture(scope="module")
def lenet_step() -> Program:
    program = convc.compile(
        convc.models.lenet5(), (8, 1, 28, 28), mode="train", target="emulator", optimizer=SGD(momentum=0.9)
    )
    assert not program.report().traffic.rows, "nothing ran yet"
    rng = np.random.default_rng(0)
    program(rng.standard_normal((7, 1, 28, 28)), rng.integers(0, 10, 7), lr=0.01)
    return program


@needs_nvrtc
def test_the_kernels_of_every_launch_add_up(lenet_step: Program) -> None:
    executable, found = lenet_step.executable, traffic_of(lenet_step)
    assert max(len(x.kernels) for x in executable.source.launches) > 5
    for launch in executable.source.launches:
        own = [found[k.name] for k in launch.kernels]
        counters = executable.results[launch.name].counters
        shared = [c for c in counters if c.space == "shared"]
        apart = [c for c in counters if c.space == "global"]
        assert sum(x.loads.requests + x.stores.requests for x in own) == sum(c.requests for c in apart)
        assert sum(x.loads.sectors + x.stores.sectors for x in own) == sum(c.moved for c in apart)
        assert sum(x.loads.ideal + x.stores.ideal for x in own) == sum(c.ideal for c in apart)
        assert sum(x.shared.wavefronts for x in own) == sum(c.moved for c in shared)
        assert all(x.stores.requests for x in own), f"a kernel of {launch.name} stores nothing"


@needs_nvrtc
def test_every_card_of_a_train_step_has_its_counts(lenet_step: Program) -> None:
    report = lenet_step.report()
    for kernel in report.source.kernels:
        (line,) = [x for x in kernel.source.splitlines() if x.startswith(" * counted ")]
        assert " sectors a load (ideal " in line
        assert line.endswith("; batch rows 7")
        # A matrix product goes through shared memory, and meets no conflict there.
        assert (", no bank conflicts; " in line) == (kernel.card.counted.shared.requests > 0)
        assert isinstance(kernel.node.op, Gemm) <= (", no bank conflicts; " in line)
    assert "counted by the emulator, batch rows 7\nkernel\n" in str(report)
    assert "counted" not in lenet_step.executable.source.text, "what runs is as it was compiled"


@needs_nvrtc
def test_the_page_of_a_report_has_the_table(lenet_step: Program, tmp_path: Path) -> None:
    lenet_step.report().save(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Counted by the emulator, batch rows 7" in page
    products = sum(isinstance(k.node.op, Gemm) for k in lenet_step.kernels)
    assert page.count('<td class="number">0</td></tr>') == products, "no product has bank conflicts"


def test_counts_add_a_line_to_each_card_and_nothing_else() -> None:
    source = lenet(8)
    counted = source.with_counts({k.name: figures(number) for number, k in enumerate(source.kernels)})
    assert isinstance(counted, CudaSource)
    added, removed = changes(source.text.splitlines(), counted.text.splitlines())
    assert removed == []
    assert added == [f" * counted {figures(number).summary}" for number in range(len(source.kernels))]
    assert [x.name for x in counted.launches] == [x.name for x in source.launches]
    assert counted.with_counts({k.name: figures(0) for k in source.kernels}).text.count(" * counted ") == len(added)


def figures(number: int) -> Traffic:
    return Traffic(8, Sectors(10, 40 + number, 40), Sectors(5, 20, 20), Wavefronts(7, 8, 1))


def changes(before: Sequence[str], after: Sequence[str]) -> tuple[list[str], list[str]]:
    lines = list(difflib.unified_diff(before, after, n=0, lineterm=""))[2:]
    return [x[1:] for x in lines if x[0] == "+"], [x[1:] for x in lines if x[0] == "-"]


@pytest.mark.parametrize(
    ("traffic", "said"),
    [
        (Traffic(64, Sectors(100, 406, 400), Sectors(9, 73, 36), Wavefronts(5, 5, 0)),
         "4.06 sectors a load (ideal 4.00), 8.11 a store (ideal 4.00), no bank conflicts; batch rows 64"),
        (Traffic(None, Sectors(), Sectors(1, 1, 1), Wavefronts(1, 2000, 1999)),
         "1.00 sectors a store (ideal 1.00), 1,999 bank conflicts"),
        (Traffic(None), "no access to memory"),
    ],
)  # fmt: skip
def test_the_line_of_a_card(traffic: Traffic, said: str) -> None:
    assert traffic.summary == said
