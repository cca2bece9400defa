"""One run in a folder at a time: a lock that ends with its process, whatever ends it.

The lock is the operating system's (flock) on a file in the folder, which says who holds it. It holds
between the machines of a network file system too, where that has locks (NFS from version 4 or with its
lock service); where it has none, a warning says so and the run goes on.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.leaving import removed_when_ended
from forcemap.potentials.part_file import writing

__all__ = ["locked_folder"]

NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
"""What file systems without locks answer."""


@contextmanager
def locked_folder(
    folder: str | os.PathLike[str], name: str, run: str, cure: str, keep: bool = False
) -> Iterator[int]:
    """Hold the lock `name` of a folder; yields its descriptor, which a program may inherit.

    Args:
        folder: an existing folder.
        name: of the file.
        run: what holds it, "a fit", for the message.
        cure: what to do about one that goes on, for the message.
        keep: leave the file there in the end, since an heir of the descriptor may still hold it.

    Raises:
        ForcemapError: another process holds the lock, or the file cannot be made.
    """
    path = Path(folder) / name
    with writing(path):
        descriptor = _locked(path)
        if descriptor is None:
            raise ForcemapError(
                f"{folder}: {run} is still going on in this folder{_holder(path)}; {cure}"
            )
        try:
            os.ftruncate(descriptor, 0)
            about = f"{os.getpid()} {socket.gethostname()} {time.strftime('%Y-%m-%d %H:%M:%S')}\n"
            os.write(descriptor, about.encode())
        except OSError:
            _release(path, descriptor, keep)
            raise
    try:
        if keep:
            yield descriptor
        else:
            with removed_when_ended(path):
                yield descriptor
    finally:
        _release(path, descriptor, keep)


def _locked(path: Path) -> int | None:
    """A descriptor of the file with its lock; None if another process has that."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                os.close(descriptor)
                raise
            warnings.warn(
                f"{path}: the file system has no locks ({error.strerror}); see to it that nothing else "
                "writes into this folder",
                stacklevel=4,
            )
            return descriptor
        # Whoever held it before may have removed the file after it was opened here.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        os.close(descriptor)


def _release(path: Path, descriptor: int, keep: bool) -> None:
    if not keep:
        with suppress(OSError):
            path.unlink()
    os.close(descriptor)


def _holder(path: Path) -> str:
    """Who holds the lock, as its file says, for a message."""
    try:
        words = path.read_text(encoding="utf-8", errors="replace")[:300].split(maxsplit=2)
    except OSError:
        return ""
    if len(words) != 3 or not words[0].isdecimal():
        return ""
    process, host, since = words
    where = "" if host == socket.gethostname() else f" on {host}"
    return f" (process {process}{where}, since {since.strip()})"
