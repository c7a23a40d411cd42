import re
from pathlib import Path

import pytest

import convc as package
from convc.build.cache import Cache
from convc.build.log import WatchedCache
from convc.passes.pipeline import pipeline

PASS_LINE = re.compile(r"^convc:   (\w+) +[\d.]+ ms +\d+ nodes$", re.MULTILINE)


@pytest.fixture
def compiled(graph_file, tmp_path, monkeypatch, capsys):
    """Standard error of one compilation into a cache of its own, on a rung of the ladder."""

    def run(rung: str, folder: str = "cache") -> str:
        monkeypatch.setenv("CONVC_DEBUG", rung)
        package.compile(package.parse_graph(Path(graph_file).read_text()), cache=Cache(tmp_path / folder))
        out, err = capsys.readouterr()
        assert out == ""
        return err

    return run


@pytest.mark.parametrize("rung", ["", "0"])
def test_nothing_at_first(compiled, rung):
    assert compiled(rung) == ""


def test_lines_for_passes_and_build_that_tell_what_the_cache_had(compiled):
    passes, build = compiled("1").splitlines()
    assert re.fullmatch(rf"convc: net: {len(pipeline(train=False))} passes in \d+ ms, 3 nodes became \d+", passes)
    units = int(re.fullmatch(r"convc: net: \d+ kernels, 0 of (\d+) units from the cache, in \d+ ms", build)[1])
    assert units > 1
    assert ", library from the cache, in " in compiled("1").splitlines()[1]


def test_what_is_cached_of_the_units_is_counted(tmp_path):
    cache = Cache(tmp_path / "cache")
    cache.put("0" * 64, {"a.o": b""})
    watched = WatchedCache(cache.root)
    assert watched.get("1" * 64, "library.so") is None
    assert watched.get("0" * 64, "a.o") is not None
    assert watched.get("2" * 64, "b.o") is None
    assert watched.describe() == "1 of 2 units from the cache"


def test_each_rung_shows_what_the_one_below_shows_and_more(compiled):
    texts = {rung: compiled(rung) for rung in "1234"}
    names = [package.passes.pipeline.pass_name(p) for p in package.passes.pipeline.pipeline(False)]
    assert not PASS_LINE.findall(texts["1"])
    assert PASS_LINE.findall(texts["2"]) == PASS_LINE.findall(texts["4"]) == names
    assert [texts[rung].count("graph @net(") for rung in "1234"] == [0, 0, len(names), len(names)]
    assert [texts[rung].count('#include "convc.h"') > 0 for rung in "1234"] == [False, False, False, True]
    assert "/* ---- convc.h ---- */" in texts["4"]
    assert "/* ---- net_step.c ---- */" in texts["4"]


@pytest.mark.parametrize("rung", ["5", "-1", "yes", "1.0"])
def test_what_is_no_rung_is_refused(convc, graph_file, monkeypatch, rung):
    monkeypatch.setenv("CONVC_DEBUG", rung)
    result = convc("inspect", graph_file)
    assert result.code == 1
    assert result.err == (
        f"convc: error: CONVC_DEBUG must be a number from 0 to 4, not '{rung}': set it to one, or unset it\n"
    )
