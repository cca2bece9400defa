"""The frames of a file of extended XYZ as text, streamed: one frame is held at a time.

A file is read once from its beginning to its end, compressed or not: going back in a compressed file
would unpack it from the start again.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import IO, Any, NoReturn

from forcemap.potentials import _core
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.file.file_kind import HEAD_BYTES, near_name
from forcemap.potentials.quoting import printable, quoted

__all__ = [
    "COMPRESSED",
    "DAMAGED",
    "DamagedFileError",
    "XyzFrame",
    "check_unpacks",
    "open_unpacked",
    "reading_faults",
    "uncompressed_name",
    "xyz_frames",
]

COMPRESSED: dict[str, tuple[str, bytes, Callable[..., Any]]] = {
    ".gz": ("gzip", b"\x1f\x8b", gzip.open),
    ".bz2": ("bzip2", b"BZh", bz2.open),
    ".xz": ("xz", b"\xfd7zXZ\0", lzma.open),
}
"""Suffixes, with the compression's name, its first bytes and what opens it."""

DAMAGED = (OSError, EOFError, zlib.error, lzma.LZMAError)
"""Exceptions that reading a file, also a compressed one, may raise."""

UTF8_MARK = b"\xef\xbb\xbf"

COUNT_CHARACTERS = 1000
"""Longest line with a number of atoms: a file without line ends is not read as a whole."""

COMMENT_CHARACTERS = 1 << 26

LINES_AT_ONCE = 4096
"""Lines of a frame read at once: a wrong number of atoms shows before the whole file is in memory."""

LEAST_WORDS = 4
"""Fewest words in the line of an atom: an element and a position."""


class DamagedFileError(ForcemapError):
    """A compressed file that is cut off or damaged."""


@dataclass(frozen=True)
class XyzFrame:
    """The text of one frame.

    Attributes:
        line: number of its first line in the file, from 1.
        comment: its second line.
        atoms: the lines of its atoms, with their ends.
    """

    line: int
    comment: str
    atoms: list[str]

    @property
    def text(self) -> str:
        """The frame as it stands in the file."""
        return "".join([f"{len(self.atoms)}\n", self.comment, "\n", *self.atoms])


def uncompressed_name(path: Path) -> str:
    """The file's name without the suffix of a compression."""
    return path.stem if path.suffix.lower() in COMPRESSED else path.name


@contextmanager
def open_unpacked(path: Path) -> Iterator[Any]:
    """The bytes of a file, unpacked while they are read; has `peek`.

    Raises ForcemapError if the file cannot be opened, or its suffix and its compression differ.
    """
    try:
        with path.open("rb") as raw:
            head = raw.peek(HEAD_BYTES)
            suffix = path.suffix.lower()
            for ending, (name, magic, _) in COMPRESSED.items():
                if head.startswith(magic) and suffix != ending:
                    raise ForcemapError(
                        f"{path}: is compressed by {name}, but its name does not end in {ending}; "
                        "rename it"
                    )
            if suffix not in COMPRESSED or not head:
                yield raw
                return
            name, magic, unpacked = COMPRESSED[suffix]
            if not head.startswith(magic):
                raise ForcemapError(
                    f"{path}: is {_core.describe_content(head)}, not compressed by {name} as its name "
                    f"says; take {suffix} off its name, or compress it"
                )
            with unpacked(raw, "rb") as file:
                yield file
    except FileNotFoundError:
        raise ForcemapError(f"{path}: no such file{near_name(path)}") from None


@contextmanager
def reading_faults(path: Path, where: Callable[[], str]) -> Iterator[None]:
    """Faults of the disk and of damaged compressed files as ForcemapErrors."""
    try:
        yield
    except EOFError:
        raise DamagedFileError(
            f"{path}: the compressed file is cut off {where()}; copy or make it again"
        ) from None
    except DAMAGED as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise ForcemapError(f"{path}: cannot be read: {error.strerror}") from None
        reason = printable(error, 80)
        raise DamagedFileError(
            f"{path}: the compressed file is damaged {where()} ({reason}); copy or make it again"
        ) from None


def check_unpacks(path: Path) -> None:
    """Raise DamagedFileError if a compressed file is damaged; text that is senseless may come of it."""
    if path.suffix.lower() in COMPRESSED:
        with reading_faults(path, lambda: "somewhere"), open_unpacked(path) as file:
            while file.read(1 << 20):
                pass


def xyz_frames(path: Path, wanted: Callable[[int], bool]) -> Iterator[XyzFrame | None]:
    """The frames of a file in their order; None for each that is not `wanted` by its number.

    Raises:
        ForcemapError: the file cannot be read, or is no sequence of frames; the text names the line.
    """
    reader = _Reader(path)
    with reading_faults(path, reader.where), open_unpacked(path) as file:
        reader.check_head(file)
        # Bytes that are no UTF-8 pass, to be named with their line where they matter.
        with TextIOWrapper(file, "utf-8", errors="surrogateescape") as text:
            yield from reader.frames(text, wanted)


class _Reader:
    """Counts the lines of one file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.number = 0  # of the last line read
        self.index = 0  # of the frame being read

    def where(self) -> str:
        """The place for a message about a fault of the file as a whole."""
        return f"after line {self.number}" if self.number else "from its beginning"

    def fail(self, text: str, line: int | None = None) -> NoReturn:
        """Raise ForcemapError with the file and, if given, a line before `text`."""
        place = f"line {line}: " if line is not None else ""
        raise ForcemapError(f"{self.path}: {place}{text}")

    def check_head(self, file: Any) -> None:
        """Refuse what is no text, and step over the byte order mark."""
        head = file.peek(HEAD_BYTES)[:HEAD_BYTES]
        if not head:
            self.fail("holds no frames")
        kind = _core.describe_content(head)
        if "UTF-16" in kind:
            self.fail(
                "is text in UTF-16, expected UTF-8; save it as UTF-8 (iconv -f utf-16 -t utf-8)"
            )
        if kind == "a binary file":
            self.fail("is not a text file; frames are read as extended XYZ")
        if "XYZ" not in kind and "text" not in kind:
            self.fail(f"is {kind}, expected a file of frames (extended XYZ, or what ASE reads)")
        if head.startswith(UTF8_MARK):
            file.read(len(UTF8_MARK))

    def frames(self, text: IO[str], wanted: Callable[[int], bool]) -> Iterator[XyzFrame | None]:
        """The frames of an open file whose numbers are `wanted`, None for the others."""
        while line := text.readline(COUNT_CHARACTERS):
            self.number += 1
            if not line.strip():
                continue
            count, first = self._count(line), self.number
            if wanted(self.index):
                yield XyzFrame(first, self._comment(text), self._atoms(text, count))
            else:
                self._skip(text, count)
                yield None
            self.index += 1
        if self.index == 0:
            self.fail("holds no frames")

    def _count(self, line: str) -> int:
        word = line.strip()
        if not (word.isascii() and word.isdecimal()):
            self.fail(
                f"found {quoted(word)} where the number of atoms of frame {self.index} should stand; "
                "is this extended XYZ?",
                self.number,
            )
        if len(word) > 18:
            self.fail(f"frame {self.index} cannot have {quoted(word)} atoms", self.number)
        if int(word) == 0:
            self.fail(f"frame {self.index} has no atoms; remove it", self.number)
        return int(word)

    def _comment(self, text: IO[str]) -> str:
        comment = text.readline(COMMENT_CHARACTERS)
        self.number += 1
        if len(comment) == COMMENT_CHARACTERS:
            self.fail(f"is longer than {COMMENT_CHARACTERS >> 20} MB", self.number)
        self._check_utf8([comment], self.number)
        return comment.strip()

    def _atoms(self, text: IO[str], count: int) -> list[str]:
        lines: list[str] = []
        while len(lines) < count:
            some = list(islice(text, min(LINES_AT_ONCE, count - len(lines))))
            if not some:
                self._ends_within(count)
            self._check_utf8(some, self.number + 1)
            if count > LINES_AT_ONCE:
                self._check_words(some, count)
            lines += some
            self.number += len(some)
        return lines

    def _skip(self, text: IO[str], count: int) -> None:
        found = sum(1 for _ in islice(text, count + 1))
        self.number += found
        if found < count + 1:
            self._ends_within(count)

    def _ends_within(self, count: int) -> NoReturn:
        self.fail(
            f"ends within frame {self.index}, which should have {count} atoms, after line {self.number}"
        )

    def _check_words(self, lines: list[str], count: int) -> None:
        for number, line in enumerate(lines, self.number + 1):
            if len(line.split(None, LEAST_WORDS)) < LEAST_WORDS:
                self.fail(
                    f"found {quoted(line.strip())} among the {count} atoms that frame {self.index} "
                    "should have",
                    number,
                )

    def _check_utf8(self, lines: list[str], first: int) -> None:
        for number, line in enumerate(lines, first):
            if line.isascii():
                continue
            try:
                line.encode()
            except UnicodeEncodeError as error:
                byte = ord(line[error.start]) - 0xDC00
                self.fail(
                    f"holds bytes that are not UTF-8, such as {byte:#04x} (Latin-1?); convert the file "
                    "(iconv -f latin1 -t utf-8)",
                    number,
                )
