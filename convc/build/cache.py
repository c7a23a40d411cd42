"""The one cache of convc: folders named by the hash of everything that went into them.

    <root>/<key>/            one entry: a binary, the source that it came from, the compiler's messages
    <root>/.new-<random>/    an entry while it is written; renamed to its key when complete

An entry never changes once it has its name, so readers need no lock.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from convc.errors import ToolchainError


class Cache:
    """Entries under `root`, by default $CONVC_CACHE_DIR, else the platform's folder for caches.

    The folder is created for its owner alone (mode 0700). What lies in it is later loaded and run, so a
    folder that another user owns, or that others may write, raises ToolchainError.
    """

    root: Path

    def __init__(self, root: Path | None = None) -> None:
        asked = root or os.environ.get("CONVC_CACHE_DIR") or _default_root()
        # Resolved once: a symbolic link that is turned later must not lead past the check below.
        self.root = Path(asked).expanduser().resolve()
        with self._writing():
            self.root.parent.mkdir(parents=True, exist_ok=True)
            self.root.mkdir(mode=0o700, exist_ok=True)
        status = self.root.stat()
        if status.st_uid != os.geteuid():
            raise ToolchainError(
                f"cache folder {self.root} belongs to user id {status.st_uid}, not to {os.geteuid()}, who "
                "runs convc: set CONVC_CACHE_DIR to a folder of your own"
            )
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise ToolchainError(
                f"cache folder {self.root} may be written by others (mode {status.st_mode & 0o7777:04o}): "
                "run chmod go-w on it, or set CONVC_CACHE_DIR to a folder of your own"
            )

    @staticmethod
    def key(*parts: str | bytes) -> str:
        """SHA-256, in hex, of the parts, each after its length: ("ab", "c") and ("a", "bc") differ."""
        digest = hashlib.sha256()
        for part in parts:
            data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
            digest.update(len(data).to_bytes(8, "little"))
            digest.update(data)
        return digest.hexdigest()

    def get(self, key: str, name: str) -> Path | None:
        """The file `name` of the entry `key`, or None where the cache has none."""
        path = self.root / key / name
        return path if path.is_file() else None

    def put(self, key: str, files: Mapping[str, bytes | Path]) -> Path:
        """Stores the files (contents, or a path to copy) as the entry `key`, and returns its folder.

        Where another writer was first, its entry stays and is returned. Raises ToolchainError where the
        folder cannot be written.
        """
        entry = self.root / key
        with self.scratch(files) as fresh, self._writing():
            for name in files:
                _sync(fresh / name)
            self._publish(fresh, entry, files)
        return entry

    @contextmanager
    def scratch(self, files: Mapping[str, bytes | Path]) -> Iterator[Path]:
        """A fresh folder in the cache that holds the files, and is gone at the end.

        It lies in the cache, on the same file system as the entries, so that a rename is atomic.
        """
        with self._writing():
            folder = Path(tempfile.mkdtemp(prefix=".new-", dir=self.root))  # mode 0700
        try:
            with self._writing():
                for name, content in files.items():
                    _write(folder / name, content)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _publish(self, fresh: Path, entry: Path, names: Iterable[str]) -> None:
        from filelock import FileLock  # here: what is in the cache already needs no lock

        # Renaming alone is safe against readers; the lock is for the writer that has to replace an entry
        # out of which files were deleted.
        with FileLock(self.root / ".lock", poll_interval=0.002):
            if all((entry / name).is_file() for name in names):
                return
            if entry.exists():
                damaged = tempfile.mkdtemp(prefix=".old-", dir=self.root)
                os.rename(entry, damaged)
                shutil.rmtree(damaged)
            os.rename(fresh, entry)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ToolchainError(
                f"cache folder {self.root} cannot be written ({error.strerror or error}): "
                "set CONVC_CACHE_DIR to a folder that can"
            ) from error


def _default_root() -> str:
    import platformdirs  # here: who names a folder can do without

    return platformdirs.user_cache_dir("convc")


def _write(path: Path, content: bytes | Path) -> None:
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        shutil.copyfile(content, path)


def _sync(path: Path) -> None:
    # A rename may reach the disk before the bytes do: after a power cut half a binary would be run.
    with path.open("rb") as file:
        os.fsync(file.fileno())
