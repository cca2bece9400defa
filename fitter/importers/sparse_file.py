"""Files of sparse points beside a GAP XML, which names them; they lie in one folder."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path, PurePosixPath
from typing import NoReturn

from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.file.file_kind import near_name
from forcemap.potentials.quoting import quoted

__all__ = ["SparseFolder"]

BYTES_A_NUMBER = 64
"""At most; gap_fit writes 27."""

_MD5 = re.compile("[0-9a-f]{32}")


class SparseFolder:
    """Where the sparse points of a GAP are looked for.

    Attributes:
        xml: the GAP's file.
        folder: of the sparse points.
        given: whether the user has named the folder, for files that were moved.
    """

    def __init__(self, xml: Path, folder: Path | None = None) -> None:
        self.xml = xml
        self.folder = xml.parent if folder is None else folder
        self.given = folder is not None

    def text(self, name: str, place: str, md5: str | None, numbers: int) -> str:
        """The text of a file.

        Args:
            name: as the XML has it. In a folder that was given its last part counts.
            place: begins messages.
            md5: of the file, if the XML has it.
            numbers: in the file; a much larger file is not read.

        Raises:
            ForcemapError: there is no such file in the folder, or not with this content.
        """
        path = self._path(name, place)
        try:
            size = path.stat().st_size
            if size > BYTES_A_NUMBER * (numbers + 1):
                raise ForcemapError(
                    f"{place}: the file has {size} bytes, too many for {numbers} numbers; the XML and "
                    "the file do not belong together"
                )
            content = path.read_bytes()
        except OSError as error:
            raise ForcemapError(f"{place}: cannot be read: {error.strerror or error}") from None
        self._check_md5(content, place, md5)
        try:
            return content.decode("ascii")
        except UnicodeDecodeError:
            raise ForcemapError(f"{place}: is no text of numbers") from None

    def _check_md5(self, content: bytes, place: str, md5: str | None) -> None:
        wanted = (md5 or "").strip().lower()
        if not wanted:
            return
        if not _MD5.fullmatch(wanted):
            raise ForcemapError(f"{place}: sparseX_md5sum={quoted(md5)} is no MD5 sum")
        found = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if found != wanted:
            raise ForcemapError(
                f"{place}: the file's MD5 sum is {found}, the XML has {wanted}; they do not belong "
                "together: copy both from one fit"
            )

    def _path(self, name: str, place: str) -> Path:
        relative = PurePosixPath(name)
        if self.given:
            relative = PurePosixPath(relative.name)
        if relative.is_absolute() or ".." in relative.parts or "\0" in name or not relative.name:
            self._outside(place, "is no name of a file beside the XML")
        path = self.folder / relative
        if not path.is_file():
            near = near_name(path)
            raise ForcemapError(
                f"{place}: there is no such file in {self.folder}{near}; put it there, or give its "
                "folder with --sparse-folder DIR"
            )
        if not path.resolve().is_relative_to(self.folder.resolve()):
            self._outside(place, "leads out of the folder (a symbolic link)")
        return path

    def _outside(self, place: str, why: str) -> NoReturn:
        raise ForcemapError(
            f"{place}: {why}, and only files of the folder {self.folder} are read; give another "
            "folder with --sparse-folder DIR"
        )
