"""Files that are written at once or not at all, and files that are read whole, whatever lies under their name."""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from convc.build import memory
from convc.errors import DataError

PARTIAL = ".partial"
"""How a file's name ends while it is written; it begins with a dot."""


def write_atomically(path: Path, content: bytes | str) -> Path:
    """Write to a temporary name in the same folder, then rename; returns `path`.

    Makes the folder where there is none. The bytes are on the disk before the name is, and the name before this
    returns: of two files that are written one after the other, no power cut leaves the second alone. Raises
    DataError where the folder or the file cannot be written; what the name held before then stays.
    """
    data = content.encode() if isinstance(content, str) else content
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=PARTIAL)
        _fill(handle, data, 0o644)
        os.replace(temporary, path)
        temporary = ""
        sync_folder(path.parent)
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"cannot write {path}: {reason}; choose a folder that can be written") from None
    finally:
        if temporary:  # whatever stopped the write, Ctrl-C too
            with suppress(OSError):
                os.unlink(temporary)
    return path


def write_synced(path: Path, data: bytes) -> None:
    """A new file for its owner alone (mode 0600), on the disk when this returns. Raises OSError."""
    _fill(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), data, 0o600)


def sync_folder(folder: Path) -> None:
    """Bring to the disk which names the folder holds. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_partial(folder: Path) -> None:
    """Delete what writers that were killed left half-written in the folder. Nobody may be writing there."""
    for path in folder.glob(f".*{PARTIAL}"):
        with suppress(OSError):
            path.unlink()


def read_whole(path: Path, what: str = "") -> bytes:
    """The bytes of a file. Raises DataError where it cannot be read, is no regular file, or does not fit memory.

    `what` goes before the file's name in these lines: "weights from ".
    """
    try:
        # Not blocking: a named pipe would wait for a writer.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(handle, "rb") as file:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise DataError(f"cannot read {what}{path}: it is {_kind(status.st_mode)}; give a file")
            check_memory(status.st_size, f"{status.st_size} bytes", str(path))
            return file.read()
    except OSError as error:
        raise DataError(f"cannot read {what}{path}: {error.strerror or error}") from None
    except ValueError:
        raise DataError(f"cannot read {what}{str(path)!r}: a name holds no NUL") from None
    except MemoryError:
        raise DataError(
            f"cannot read {what}{path}: its {status.st_size} bytes do not fit the memory that is free"
        ) from None


def check_memory(size: int, what: str, place: str) -> None:
    """Raise DataError where the `size` bytes that `what`, a plural from `place`, takes are more than is free.

    Asked first: the system may promise more than it has, and end the process that takes it at its word.
    """
    free = memory.available()
    if size > free:
        raise DataError(
            f"data must fit memory, but {what} take {memory.text(size)}, and {memory.text(free)} are free: "
            f"{place}; take fewer or smaller ones"
        )


def _fill(handle: int, data: bytes, mode: int) -> None:
    """Write all of `data`, give the file its mode, bring both to the disk, and close it."""
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(handle, rest) :]
        os.fchmod(handle, mode)
        os.fsync(handle)
    finally:
        os.close(handle)


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a folder"
    return "a pipe" if stat.S_ISFIFO(mode) else "a socket" if stat.S_ISSOCK(mode) else "a device"
