"""Reading PTX: places in the source, scopes, and the order of blocks."""

from __future__ import annotations

from convc.emulator.flow import blocks_in_order
from convc.emulator.ptx import literal, parse
from tests.emulator.ptx_kernel import HEADER

INLINED = (
    HEADER
    + """
.visible .entry k(
  .param .align 8 .b8 k_param_0[24],
  .param .u64 .ptr .global .align 16 k_param_1
)
.maxntid 8, 4, 1
.minnctapersm 2
{
  .reg .b32 	%r<4>;
  .loc	1 10 3
  mov.u32 %r1, 1; // a comment; with {braces}
  .loc	1 20 5, function_name $L__info_string0, inlined_at 1 10 3
  mov.u32 %r2, 2;
  .loc	2 30 7, function_name $L__info_string1, inlined_at 1 20 5
  @!%p1 mov.u32 /* a comment */ %r3,
    3;
  .loc	1 11 1
  ret;
}
	.file	1 "/somewhere/kernel.cu"
	.file	2 "/elsewhere/helpers.cuh"
	.section	.debug_str
	{
$L__info_string0:
.b8 95
	}
"""
)


def test_places_name_the_line_and_where_it_was_inlined() -> None:
    kernel = parse(INLINED).kernels["k"]
    assert [str(i.place) for i in kernel.instructions] == [
        "kernel.cu:10",
        "kernel.cu:20 (inlined at kernel.cu:10)",
        "helpers.cuh:30 (inlined at kernel.cu:20 (inlined at kernel.cu:10))",
        "kernel.cu:11",
    ]
    third = kernel.instructions[2]
    assert (third.guard, third.opcode, third.operands, third.line) == ("!%p1", "mov.u32", ("%r3", "3"), 18)
    assert kernel.max_threads == 32
    assert [(p.name, p.size, p.offset) for p in kernel.parameters] == [("k_param_0", 24, 0), ("k_param_1", 8, 24)]


def test_numbers() -> None:
    assert literal("0f3F800000", 4) == 0x3F800000
    assert literal("0dBFF0000000000000", 8) == 0xBFF0000000000000
    assert literal("-1", 2) == 0xFFFF
    assert literal("0xffU", 4) == 255
    assert literal("010", 4) == 8
    assert literal("0", 8) == 0


def order(body: str) -> list[str]:
    """The blocks, by the first instruction's operand."""
    kernel = parse(f"{HEADER}.visible .entry k() {{ .reg .pred %p; .reg .b32 %r; {body} }}").kernels["k"]
    return [kernel.instructions[block.start].operands[-1] for block in blocks_in_order(kernel)]


def test_blocks_come_after_those_that_lead_to_them() -> None:
    """An if whose join stands in the text before its second branch."""
    text = """mov.u32 %r, 0; @%p bra JOIN; bra THEN;
              JOIN: mov.u32 %r, 9; ret;
              THEN: mov.u32 %r, 1; bra JOIN;"""
    assert order(text) == ["0", "THEN", "1", "9"]


def test_blocks_of_a_loop_stay_together() -> None:
    """The exit stands in the text within the loop, and another loop lies inside."""
    text = """mov.u32 %r, 0;
              OUTER: mov.u32 %r, 1; @%p bra EXIT;
              INNER: mov.u32 %r, 2; @%p bra LATCH; mov.u32 %r, 3; bra INNER;
              EXIT: mov.u32 %r, 9; ret;
              LATCH: mov.u32 %r, 4; bra OUTER;"""
    assert order(text) == ["0", "1", "2", "3", "4", "9"]


def test_straight_code_keeps_its_order() -> None:
    text = "mov.u32 %r, 0; A: mov.u32 %r, 1; @%p bra A; mov.u32 %r, 2; @%p bra B; mov.u32 %r, 3; B: mov.u32 %r, 4;"
    assert order(text) == ["0", "1", "2", "3", "4"]
