"""The one cache of convc: folders named by the hash of everything that went into them.

    <root>/<key>/               one entry: a binary, the source that it came from, the compiler's messages
    <root>/<key>/SHA256SUMS     the digest of each file, as `sha256sum -c` reads them
    <root>/.new-<random>/       an entry while it is written; renamed to its key when complete

An entry never changes once it has its name, so readers need no lock. Whatever is asked for is compared with its
digest first; a damaged entry counts as none, and is written again.

What was checked is what is loaded afterwards: nobody but the user may write the root, an entry or a file in it, or
put another root in its place (`convc.build.ownership`), and convc itself only ever renames a damaged entry away.
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

from convc.build.files import sync_folder, write_synced
from convc.build.ownership import check_entry, check_root
from convc.debug import LINES, say
from convc.errors import ToolchainError

DIGESTS = "SHA256SUMS"


class Cache:
    """Entries under `root`, by default $CONVC_CACHE_DIR, else the platform's folder for caches.

    The folder is created for its owner alone (mode 0700). What lies in it is later loaded and run, so a
    folder that another user owns, that others may write, or that others may replace, raises ToolchainError.
    """

    root: Path

    def __init__(self, root: Path | None = None) -> None:
        asked = root or os.environ.get("CONVC_CACHE_DIR") or _default_root()
        # Resolved once: a symbolic link that is turned later must not lead past the check below.
        self.root = Path(asked).expanduser().resolve()
        with self._writing():
            missing = [folder for folder in (self.root, *self.root.parents) if not folder.exists()]
            for folder in (*reversed(missing), self.root):
                folder.mkdir(mode=0o700, exist_ok=True)
        check_root(self.root)

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
        """The file `name` of the entry `key`, compared with its digest; None where the cache has none.

        A damaged one is none; CONVC_DEBUG says so. Raises ToolchainError where others may have written it.
        """
        entry = self.root / key
        if not os.path.lexists(entry):
            return None
        if damage := _damage(entry, name):
            say(LINES, f"convc: {entry / name} {damage}: built again")
            return None
        return entry / name

    def put(self, key: str, files: Mapping[str, bytes | Path]) -> Path:
        """Stores the files (contents, or a path to copy) as the entry `key`, and returns its folder.

        Where another writer was first, its entry stays and is returned. Raises ToolchainError where the
        folder cannot be written.
        """
        entry = self.root / key
        with self.scratch({}) as fresh, self._writing():
            contents = {name: c if isinstance(c, bytes) else c.read_bytes() for name, c in files.items()}
            sums = (f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in sorted(contents.items()))
            # Synced: a rename may reach the disk before the bytes do, and a power cut would leave half a binary.
            for name, data in (*contents.items(), (DIGESTS, "".join(sums).encode())):
                write_synced(fresh / name, data)
            sync_folder(fresh)
            self._publish(fresh, entry, files)
            sync_folder(self.root)
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
                    data = content if isinstance(content, bytes) else content.read_bytes()
                    (folder / name).write_bytes(data)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _publish(self, fresh: Path, entry: Path, names: Iterable[str]) -> None:
        from filelock import FileLock  # here: what is in the cache already needs no lock

        # Renaming alone is safe against readers; the lock is for the writer that has to replace a damaged entry.
        with FileLock(self.root / ".lock", poll_interval=0.002):
            there = os.path.lexists(entry)
            if there and not any(_damage(entry, name) for name in names):
                return
            if there:
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


def _damage(entry: Path, name: str) -> str:
    """What is wrong with the file `name` of an entry, "" where nothing is. Raises ToolchainError as `Cache.get`."""
    try:
        check_entry(entry)
        for file in (DIGESTS, name):
            if not stat.S_ISREG(check_entry(entry / file).st_mode):
                return f"is damaged ({file} is no file)"
        with (entry / name).open("rb") as content:
            found = hashlib.file_digest(content, "sha256").hexdigest()
        listed = (entry / DIGESTS).read_bytes().split(b"\n")
        return "" if f"{found}  {name}".encode() in listed else f"is damaged (its digest is not that in {DIGESTS})"
    except OSError as error:
        return f"is damaged ({error.strerror}: {Path(error.filename or name).name})"
