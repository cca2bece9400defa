"""The container of both model files: named arrays and one JSON document, in one safetensors file.

FORMAT. A safetensors file (8 bytes header length, JSON header, data) whose ``__metadata__`` has
the entry ``"forcemap"``: the text of a JSON object, which begins with ``"format"`` (the kind of file)
and ``"version"``; and before it ``"checksum":"0123456789abcdef"``, in this very form: the CRC-64/XZ of
the whole file with these 16 digits taken as zeros. A file without a checksum is read as it is; one
whose checksum is not its own is damaged, and refused before anything in it is used. Arrays are F64,
F32, I64, I32, U8 or BOOL, little-endian, row-major; floating-point arrays hold finite numbers only.
What the document and the arrays mean is described where each kind is written:
:mod:`forcemap.potentials.file.potential_file` for ``forcemap.potential``.

The C++ reader of ``forcemap.potential`` (cpp/src/potential_file.cpp) accepts the same files.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from forcemap.potentials import _core
from forcemap.potentials.errors import ForcemapError, ModelFileError
from forcemap.potentials.file.document import DocumentView, parse_document
from forcemap.potentials.file.file_kind import HEAD_BYTES, near_name
from forcemap.potentials.part_file import part_file
from forcemap.potentials.quoting import quoted
from numpy.typing import NDArray

__all__ = [
    "Container",
    "check_whole",
    "packed",
    "read_bytes",
    "read_container",
    "read_document",
    "tensor_sizes",
    "unpacked",
    "write_bytes",
    "write_container",
]

MAX_FILE_BYTES = 4 << 30
MAX_HEADER_BYTES = 64 << 20
_LENGTH_BYTES = 8
_ENTRY = "forcemap"
_CHECKSUM = "checksum"
_DTYPES = {"F64": "<f8", "F32": "<f4", "I64": "<i8", "I32": "<i4", "U8": "|u1", "BOOL": "|b1"}


@dataclass(frozen=True)
class Container:
    """The content of a file: the JSON document and the arrays by name."""

    path: Path
    document: dict[str, Any]
    tensors: dict[str, NDArray[Any]]

    def view(self) -> DocumentView:
        """The document, for reading with checks."""
        return DocumentView(self.document, str(self.path))

    def tensor(self, name: str, shape: tuple[int, ...], dtype: str = "F64") -> NDArray[Any]:
        """The array `name`; raises ModelFileError unless it has this shape and dtype."""
        if name not in self.tensors:
            raise ModelFileError(
                f"{self.path}: found no tensor {quoted(name)}, which the document asks for"
            )
        array = self.tensors[name]
        if array.dtype != np.dtype(_DTYPES[dtype]):
            raise ModelFileError(
                f"{self.path}: tensor {quoted(name)}: found the type {array.dtype}, expected {dtype}"
            )
        if array.shape != shape:
            raise ModelFileError(
                f"{self.path}: tensor {quoted(name)}: found the shape {array.shape}, expected {shape}"
            )
        return array


def write_container(
    path: str | os.PathLike[str],
    document: Mapping[str, Any],
    tensors: Mapping[str, NDArray[Any]],
) -> None:
    """Write `document` and `tensors` to `path`, whole or not at all.

    The file is written under a temporary name in the same folder and then renamed. Raises
    ModelFileError as `packed`, or for a folder that cannot be written.
    """
    write_bytes(Path(path), packed(document, tensors, f"writing {path}"))


def packed(document: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]], what: str) -> bytes:
    """The bytes of a file with this content.

    Raises ModelFileError, whose text begins with `what`, for a number that is not finite, an array
    type that the format does not have, or a document that is no JSON.
    """
    arrays: dict[str, NDArray[Any]] = {}
    for name, tensor in tensors.items():
        array = np.ascontiguousarray(tensor).reshape(np.shape(tensor))
        if array.dtype.newbyteorder("<").str not in _DTYPES.values():
            raise ModelFileError(
                f"{what}: tensor {quoted(name)}: found the type {array.dtype}, "
                f"expected one of {', '.join(_DTYPES)}"
            )
        _check_finite(array, f"{what}: tensor {quoted(name)}")
        arrays[name] = array
    try:
        text = json.dumps(document, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ModelFileError(f"{what}: the document is not valid JSON: {error}") from None
    # File names in the provenance may hold bytes that are no UTF-8; they come as lone surrogates.
    text = text.encode("utf-8", "replace").decode("utf-8")
    return _sealed(safetensors.numpy.save(arrays, metadata={_ENTRY: text}))


def _sealed(content: bytes) -> bytes:
    """What `safetensors.numpy.save` made, with its checksum."""
    start = _LENGTH_BYTES + int.from_bytes(content[:_LENGTH_BYTES], "little")
    opening, digits = b'{"__metadata__":{', b"0" * 16
    text = content[_LENGTH_BYTES:start].rstrip(b" ")
    if not text.startswith(opening):
        raise AssertionError("safetensors writes its header in another order")
    entry = b'"%s":"%s",' % (_CHECKSUM.encode(), digits)
    text = opening + entry + text.removeprefix(opening)
    text += b" " * (-len(text) % 8)  # the data begin at a multiple of 8
    head = len(text).to_bytes(_LENGTH_BYTES, "little") + text
    before = _core.crc64(np.frombuffer(head, dtype=np.uint8))
    checksum = _core.crc64(np.frombuffer(content, dtype=np.uint8)[start:], before)
    return head.replace(entry, entry.replace(digits, b"%016x" % checksum), 1) + content[start:]


def read_container(path: str | os.PathLike[str]) -> Container:
    """Read a whole file. Raises ModelFileError, which names the file, if anything is wrong."""
    path = Path(path)
    return unpacked(read_bytes(path), path)


def unpacked(content: bytes, path: Path) -> Container:
    """What the bytes of a file hold; `path` is named in messages. Raises ModelFileError."""
    header = _header(path, content)
    _check_size(path, header, len(content))
    is_checked = _check_checksum(path, content)
    document = _document(path, header, is_checked)
    try:
        entries = safetensors.deserialize(content)  # type: ignore[no-untyped-call]
    except safetensors.SafetensorError as error:
        raise ModelFileError(
            f"{path}: this is no intact safetensors file ({error}); it is damaged, make it again"
        ) from None
    tensors: dict[str, NDArray[Any]] = {}
    for name, entry in entries:
        dtype = _DTYPES.get(entry["dtype"])
        if dtype is None:
            raise ModelFileError(
                f"{path}: tensor {quoted(name)}: found the type {entry['dtype']}, "
                f"expected one of {', '.join(_DTYPES)}"
            )
        array = np.frombuffer(entry["data"], dtype=dtype).reshape(entry["shape"])
        _check_finite(array, f"{path}: tensor {quoted(name)}")
        tensors[name] = array
    return Container(path, document, tensors)


def read_document(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read only the JSON document of a file (quick, whatever its size)."""
    path = Path(path)
    return _document(path, _header(path, read_bytes(path, _LENGTH_BYTES + MAX_HEADER_BYTES)))


def tensor_sizes(path: str | os.PathLike[str]) -> dict[str, int]:
    """Bytes of each array of a file that has been checked, by name (quick, whatever its size)."""
    path = Path(path)
    header = _header(path, read_bytes(path, _LENGTH_BYTES + MAX_HEADER_BYTES))
    entries = parse_document(header, f"{path}, header")
    ends = {n: e["data_offsets"] for n, e in entries.items() if n != "__metadata__"}
    return {name: int(last) - int(first) for name, (first, last) in ends.items()}


def check_whole(path: str | os.PathLike[str]) -> None:
    """Raise ModelFileError if a file ends before its header says (quick, whatever its size)."""
    path = Path(path)
    header = _header(path, read_bytes(path, _LENGTH_BYTES + MAX_HEADER_BYTES))
    _check_size(path, header, path.stat().st_size)


def read_bytes(path: Path, limit: int | None = None) -> bytes:
    """The file's first `limit` bytes, or all of them. Raises ModelFileError."""
    try:
        status = path.stat()  # before opening: a pipe would wait for its writer
        if not stat.S_ISREG(status.st_mode):
            raise ModelFileError(f"{path}: this is not a regular file")
        with path.open("rb") as file:
            if status.st_size > MAX_FILE_BYTES:
                raise ModelFileError(
                    f"{path}: found a file of {status.st_size} bytes, "
                    f"expected at most {MAX_FILE_BYTES}"
                )
            if limit is None:
                return file.read()
            # A header is small as a rule: do not read the data for it.
            length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
            file.seek(0)
            return file.read(min(limit, max(HEAD_BYTES, _LENGTH_BYTES + length)))
    except FileNotFoundError as error:
        raise ModelFileError(f"{path}: {error.strerror}{near_name(path)}") from None
    except OSError as error:
        raise ModelFileError(f"{path}: {error.strerror or error}") from None


def _header(path: Path, content: bytes) -> bytes:
    """Return the JSON header of a safetensors file's bytes."""
    if _core.is_of_another_kind(content[:HEAD_BYTES]):
        kind = _core.describe_content(content[:HEAD_BYTES])
        raise ModelFileError(f"{path}: is {kind}, expected a potential or model of forcemap")
    if len(content) < _LENGTH_BYTES:
        raise ModelFileError(
            f"{path}: found {len(content)} bytes, expected a safetensors file "
            f"(at least {_LENGTH_BYTES} bytes)"
        )
    length = int.from_bytes(content[:_LENGTH_BYTES], "little")
    if length > MAX_HEADER_BYTES:
        raise ModelFileError(
            f"{path}: found a header of {length} bytes, expected at most {MAX_HEADER_BYTES}; "
            "this is no safetensors file or it is damaged"
        )
    header = content[_LENGTH_BYTES : _LENGTH_BYTES + length]
    if len(header) < length:
        raise ModelFileError(
            f"{path}: found {len(header)} bytes after the length, expected a header of {length}; "
            "the file is cut off"
        )
    return header


def _document(path: Path, header: bytes, is_checked: bool = True) -> dict[str, Any]:
    """Return the JSON document in a safetensors header; the checksum there must have been checked."""
    root = DocumentView(parse_document(header, f"{path}, header"), f"{path}, header")
    if "__metadata__" not in root:
        raise ModelFileError(f"{path}: found no metadata, expected the entry {_ENTRY!r}")
    metadata = root["__metadata__"]
    metadata.allow_only(_ENTRY, _CHECKSUM)
    if _CHECKSUM in metadata and not is_checked:
        metadata[_CHECKSUM].reject(
            "found a checksum that does not stand there as forcemap writes it"
        )
    text = metadata[_ENTRY].string()
    document = DocumentView(parse_document(text, f"{path}, document"), f"{path}, document")
    return document.members()


def _check_size(path: Path, header: bytes, size: int) -> None:
    """Refuse a file that ends before its tensors do; other faults are left to its readers."""
    entries = parse_document(header, f"{path}, header")
    tensors = entries.values() if isinstance(entries, Mapping) else ()
    offsets = [entry.get("data_offsets") for entry in tensors if isinstance(entry, Mapping)]
    ends = [o[1] for o in offsets if isinstance(o, list) and len(o) == 2 and type(o[1]) is int]
    expected = _LENGTH_BYTES + len(header) + max(ends, default=0)
    if size < expected:
        raise ModelFileError(
            f"{path}: this is no intact safetensors file: found {size} bytes, expected the {expected} "
            "that its header announces; the file is cut off"
        )


def _check_checksum(path: Path, content: bytes) -> bool:
    """Refuse a file whose checksum, if it has one, is not its own; whether it has one."""
    try:
        return _core.check_checksum(content, str(path))
    except ForcemapError as error:
        raise ModelFileError(str(error)) from None


def _check_finite(array: NDArray[Any], what: str) -> None:
    if array.dtype.kind != "f" or bool(np.isfinite(array).all()):
        return
    index = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
    raise ModelFileError(f"{what}: found {array[index]} at {index}, expected finite numbers")


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all. Raises ModelFileError."""
    try:
        with part_file(path) as part, part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise ModelFileError(f"cannot write {path}: {error.strerror or error}") from None
