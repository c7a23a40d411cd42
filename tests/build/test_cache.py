"""The cache: keys, entries, rival writers, and the lines it says when it cannot be used."""

from __future__ import annotations

import errno
import grp
import hashlib
import multiprocessing
import multiprocessing.synchronize
import os
import pwd
import re
import stat
from pathlib import Path

import platformdirs
import pytest

from convc.build import ownership
from convc.build.cache import DIGESTS, Cache
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


# Damaged entries

DAMAGES = {
    "emptied": lambda data: b"",
    "truncated": lambda data: data[:-1],
    "a bit flipped": lambda data: data[:3] + bytes([data[3] ^ 1]) + data[4:],
    "longer": lambda data: data + b"\0",
}


@pytest.mark.parametrize("file", ["a.so", DIGESTS])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_counts_as_none_and_is_written_again(
    cache: Cache, file: str, damage: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    content = bytes(range(100))
    entry = cache.put(KEY, {"a.so": content})
    whole = (entry / file).read_bytes()
    (entry / file).write_bytes(DAMAGES[damage](whole))
    if (file, damage) == (DIGESTS, "truncated") or (file, damage) == (DIGESTS, "longer"):
        assert cache.get(KEY, "a.so") == entry / "a.so"  # its line is whole
        return
    assert cache.get(KEY, "a.so") is None
    assert capfd.readouterr().err == ""
    monkeypatch.setenv("CONVC_DEBUG", "1")
    assert cache.get(KEY, "a.so") is None
    assert re.fullmatch(rf"convc: {entry / 'a.so'} is damaged \(.*\): built again\n", capfd.readouterr().err)
    assert cache.put(KEY, {"a.so": content}) == entry
    assert cache.get(KEY, "a.so") == entry / "a.so"
    assert (entry / "a.so").read_bytes() == content
    assert not [path for path in cache.root.iterdir() if path.name.startswith((".new-", ".old-"))]


def test_an_entry_without_digests_counts_as_none(cache: Cache) -> None:
    entry = cache.put(KEY, {"a": b"1"})
    (entry / DIGESTS).unlink()
    assert cache.get(KEY, "a") is None
    cache.put(KEY, {"a": b"2"})
    assert (entry / "a").read_bytes() == b"2"


def test_digests_are_those_that_sha256sum_writes(cache: Cache) -> None:
    entry = cache.put(KEY, {"b": b"2", "a": b"1"})
    expected = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in (("a", b"1"), ("b", b"2")))
    assert (entry / DIGESTS).read_text() == expected


@pytest.mark.parametrize("what", ["", "a"])
@pytest.mark.parametrize("mode", [0o720, 0o702])
def test_an_entry_that_others_may_write_is_refused(cache: Cache, what: str, mode: int) -> None:
    path = cache.put(KEY, {"a": b"1"}) / what
    path.chmod(mode)
    with pytest.raises(ToolchainError, match=f"may be written by others .mode {mode:04o}.: delete it") as error:
        cache.get(KEY, "a")
    assert str(path) in one_line(error)


@pytest.mark.parametrize("what", ["", "a", DIGESTS])
def test_an_entry_that_is_a_link_is_refused(cache: Cache, tmp_path: Path, what: str) -> None:
    path = cache.put(KEY, {"a": b"1"}) / what
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ToolchainError, match="is a symbolic link, and the cache holds none: delete it") as error:
        cache.get(KEY, "a")
    assert str(path) in one_line(error)


def test_an_entry_of_another_user_is_refused(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.put(KEY, {"a": b"1"})
    monkeypatch.setattr(os, "geteuid", lambda: cache.root.stat().st_uid + 1)
    with pytest.raises(ToolchainError, match=r"belongs to user id \d+, not to \d+: delete it"):
        cache.get(KEY, "a")


# Parents


def test_a_root_that_others_may_replace_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parent = tmp_path / "parent"
    (parent / "deep").mkdir(parents=True)
    parent.chmod(0o777)
    with pytest.raises(
        ToolchainError, match=r"others may put another in its place .mode 0777.*CONVC_CACHE_DIR"
    ) as error:
        Cache(parent / "deep" / "root")
    assert f"lies in {parent}," in one_line(error)
    parent.chmod(0o1777)  # as /tmp: only an owner renames
    Cache(parent / "deep" / "root")
    parent.chmod(0o770)
    monkeypatch.setattr(ownership, "_only_by_own_group", lambda _: False)
    with pytest.raises(ToolchainError, match=r"others may put another in its place .mode 0770"):
        Cache(parent / "deep" / "root")
    monkeypatch.setattr(ownership, "_only_by_own_group", lambda _: True)
    Cache(parent / "deep" / "root")


def test_a_root_under_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    class Owned(type(tmp_path)):  # type: ignore[misc]
        def stat(self, **_: object) -> os.stat_result:
            real = os.stat(self)
            return os.stat_result((*real[:4], 12345, *real[5:]))

    with pytest.raises(ToolchainError, match="whose owner, user id 12345, may put another in its place"):
        ownership._check_parent(tmp_path / "root", Owned(tmp_path))


@pytest.mark.parametrize(
    ("mode", "group", "members", "private"),
    [
        (0o775, "ann", [], True),
        (0o775, "ann", ["ann"], True),
        (0o775, "ann", ["bob"], False),
        (0o775, "staff", [], False),
        (0o777, "ann", [], False),
    ],
)
def test_a_group_of_the_user_alone_may_write(
    mode: int, group: str, members: list[str], private: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(mode)
    own = tmp_path.stat().st_gid
    monkeypatch.setattr(pwd, "getpwuid", lambda _: pwd.struct_passwd(("ann", "x", 1, own, "", "", "")))
    monkeypatch.setattr(grp, "getgrgid", lambda gid: grp.struct_group((group, "x", gid, members)))
    assert ownership._only_by_own_group(tmp_path.stat()) is private


# Writers side by side, over damaged entries


def put_over_damage(root: Path, number: int, start: multiprocessing.synchronize.Barrier) -> None:
    cache = Cache(root)
    for round_ in range(20):
        key, content = Cache.key(str(round_)), f"content {round_}".encode()
        entry = cache.put(key, {"a": content})
        start.wait()
        if number == 0:
            with (entry / "a").open("r+b") as file:
                file.truncate(round_ % 9)
        start.wait()
        if cache.get(key, "a") is None:
            cache.put(key, {"a": content})
        found = cache.get(key, "a")
        assert found is not None
        assert found.read_bytes() == content


def test_rivals_mend_a_damaged_entry(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    start = context.Barrier(3)
    processes = [context.Process(target=put_over_damage, args=(tmp_path / "root", i, start)) for i in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert len([path for path in (tmp_path / "root").iterdir() if path.name != ".lock"]) == 20
