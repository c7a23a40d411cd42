"""Who else may change what convc loads and runs: what others could have put there is refused."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from convc.errors import ToolchainError

REMEDY = "set CONVC_CACHE_DIR to a folder of your own"


def check_root(root: Path) -> None:
    """Raise ToolchainError unless the folder is the user's, and nobody else may write it or put another in its place.

    `root` is resolved. Its parents must belong to the user or to root, and only those with the sticky bit, as /tmp
    has it, may be written by others.
    """
    status = root.stat()
    if status.st_uid != os.geteuid():
        raise ToolchainError(
            f"cache folder {root} belongs to user id {status.st_uid}, not to {os.geteuid()}, who runs convc: {REMEDY}"
        )
    if _others_write(status):
        raise ToolchainError(
            f"cache folder {root} may be written by others (mode {_mode(status)}): run chmod go-w on it, or {REMEDY}"
        )
    for parent in root.parents:
        _check_parent(root, parent)


def check_entry(path: Path) -> os.stat_result:
    """The status of an entry of the cache, or of a file of one, that is there.

    Raises ToolchainError where it is a symbolic link, belongs to another user, or may be written by others; OSError
    where there is none.
    """
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        raise ToolchainError(f"{path} is a symbolic link, and the cache holds none: delete it")
    if status.st_uid != os.geteuid():
        raise ToolchainError(
            f"{path} in the cache belongs to user id {status.st_uid}, not to {os.geteuid()}: delete it"
        )
    if _others_write(status):
        raise ToolchainError(f"{path} in the cache may be written by others (mode {_mode(status)}): delete it")
    return status


def _check_parent(root: Path, parent: Path) -> None:
    status = parent.stat()
    if status.st_uid not in (0, os.geteuid()) and not _is_unmapped(status.st_uid):
        raise ToolchainError(
            f"cache folder {root} lies in {parent}, whose owner, user id {status.st_uid}, may put another in its "
            f"place: {REMEDY}"
        )
    if _others_write(status) and not status.st_mode & stat.S_ISVTX and not _only_by_own_group(status):
        raise ToolchainError(
            f"cache folder {root} lies in {parent}, where others may put another in its place (mode {_mode(status)}): "
            f"run chmod go-w on {parent}, or {REMEDY}"
        )


def _others_write(status: os.stat_result) -> bool:
    return bool(status.st_mode & (stat.S_IWGRP | stat.S_IWOTH))


def _mode(status: os.stat_result) -> str:
    return f"{status.st_mode & 0o7777:04o}"


def _only_by_own_group(status: os.stat_result) -> bool:
    """Whether writing is open to nobody but a group of the user's own name and no other members.

    Many distributions give each user such a group, and make home folders that it may write.
    """
    import grp
    import pwd

    if status.st_mode & stat.S_IWOTH:
        return False
    try:
        user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(status.st_gid)
    except KeyError:
        return False
    return user.pw_gid == group.gr_gid and group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}


def _is_unmapped(user: int) -> bool:
    """Whether the number stands for all users that a container does not know: the host's root, for one."""
    try:
        every_user_is_known = "4294967295" in Path("/proc/self/uid_map").read_text(encoding="ascii")
        return not every_user_is_known and user == int(Path("/proc/sys/kernel/overflowuid").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return False
