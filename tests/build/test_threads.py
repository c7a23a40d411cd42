"""Work on all cores: in order, and with nobody collecting cycles beside it."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from convc.build.threads import side_by_side


@pytest.fixture(params=[True, False], ids=["collecting", "not collecting"])
def collecting(request: pytest.FixtureRequest) -> Iterator[bool]:
    before = gc.isenabled()
    gc.enable() if request.param else gc.disable()
    yield request.param
    gc.enable() if before else gc.disable()


def test_results_come_in_order(collecting: bool) -> None:
    assert side_by_side(lambda x: (x * x, gc.isenabled()), range(9)) == [(x * x, False) for x in range(9)]
    assert gc.isenabled() == collecting


def test_an_error_leaves_the_collector_as_it_was(collecting: bool) -> None:
    with pytest.raises(ZeroDivisionError):
        side_by_side(lambda x: 1 // x, [1, 0])
    assert gc.isenabled() == collecting
