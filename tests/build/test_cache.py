"""The cache: keys, entries, rival writers, and the lines it says when it cannot be used."""

from __future__ import annotations

import errno
import multiprocessing
import multiprocessing.synchronize
import os
import stat
from pathlib import Path

import platformdirs
import pytest

from convc.build.cache import Cache
from convc.errors import ToolchainError

KEY = Cache.key("an", "entry")


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "root")


def one_line(error: pytest.ExceptionInfo[ToolchainError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


def test_key_tells_apart_where_parts_end() -> None:
    parts = [("ab", "c"), ("a", "bc"), ("abc",), ("abc", ""), ("c", "ab"), ()]
    keys = {Cache.key(*each) for each in parts}
    assert len(keys) == len(parts)
    assert all(len(key) == 64 and set(key) <= set("0123456789abcdef") for key in keys)
    assert Cache.key("é") == Cache.key("é".encode())


def test_put_then_get(cache: Cache, tmp_path: Path) -> None:
    (tmp_path / "origin").write_bytes(b"binary")
    assert cache.get(KEY, "a.so") is None
    entry = cache.put(KEY, {"a.so": tmp_path / "origin", "a.c": b"source"})
    assert cache.get(KEY, "a.so") == entry / "a.so"
    assert (entry / "a.so").read_bytes() == b"binary"
    assert (entry / "a.c").read_bytes() == b"source"
    assert cache.get(KEY, "b.so") is None
    assert [path.name for path in cache.root.iterdir() if path.name != ".lock"] == [KEY]


def test_first_writer_wins(cache: Cache) -> None:
    first = cache.put(KEY, {"a": b"first"})
    second = cache.put(KEY, {"a": b"second"})
    assert first == second
    assert (second / "a").read_bytes() == b"first"


def test_entry_with_a_file_missing_is_written_again(cache: Cache) -> None:
    entry = cache.put(KEY, {"a": b"1", "b": b"2"})
    (entry / "a").unlink()
    assert cache.put(KEY, {"a": b"3", "b": b"4"}) == entry
    assert ((entry / "a").read_bytes(), (entry / "b").read_bytes()) == (b"3", b"4")


def test_root_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONVC_CACHE_DIR", str(tmp_path / "asked"))
    assert Cache().root == tmp_path / "asked"
    monkeypatch.delenv("CONVC_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert Cache().root == Path(platformdirs.user_cache_dir("convc"))


def test_root_and_entries_are_their_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        cache = Cache(tmp_path / "deep" / "root")
        entry = cache.put(KEY, {"a": b""})
    finally:
        os.umask(before)
    assert stat.S_IMODE(cache.root.stat().st_mode) == 0o700
    assert stat.S_IMODE(entry.stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777])
def test_root_that_others_may_write_is_refused(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    with pytest.raises(ToolchainError, match=f"may be written by others.*{mode:04o}.*chmod go-w") as error:
        Cache(tmp_path)
    assert str(tmp_path) in one_line(error)


def test_link_to_a_root_that_others_may_write_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "link").symlink_to(tmp_path / "open")
    with pytest.raises(ToolchainError, match="may be written by others"):
        Cache(tmp_path / "link")


def test_root_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = tmp_path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(ToolchainError, match=f"belongs to user id {owner}, not to {owner + 1}") as error:
        Cache(tmp_path)
    assert "CONVC_CACHE_DIR" in one_line(error)


def test_root_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "root").write_text("")
    with pytest.raises(ToolchainError, match=r"cannot be written.*set CONVC_CACHE_DIR") as error:
        Cache(tmp_path / "root")
    assert str(tmp_path / "root") in one_line(error)


@pytest.mark.parametrize("call", ["rename", "fsync", "mkdir"])
def test_full_or_read_only_cache(cache: Cache, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:  # root may write anywhere, so that permissions would prove nothing
        patch.setattr(os, call, refuse)
        with pytest.raises(ToolchainError, match=r"cannot be written \(No space left on device\)") as error:
            cache.put(KEY, {"a": b"content"})
    text = one_line(error)
    assert str(cache.root) in text
    assert "set CONVC_CACHE_DIR" in text
    assert cache.get(KEY, "a") is None
    assert not list(cache.root.glob(".new-*"))  # nothing half-written stays


def put_own_number(root: Path, number: int, start: multiprocessing.synchronize.Barrier) -> None:
    cache = Cache(root)
    for round_ in range(20):
        start.wait()
        entry = cache.put(Cache.key(str(round_)), {name: str(number).encode() for name in "ab"})
        a, b = ((entry / name).read_bytes() for name in "ab")
        assert a == b  # never one file of each writer


def test_rival_writers_leave_whole_entries(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    start = context.Barrier(3)
    processes = [context.Process(target=put_own_number, args=(tmp_path / "root", i, start)) for i in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert len([path for path in (tmp_path / "root").iterdir() if path.name != ".lock"]) == 20
