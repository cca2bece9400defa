"""What a file is by its first bytes, and which file is near a missing one."""

import bz2
import gzip
import lzma
import os
import struct
from pathlib import Path

import pytest
from ase import Atoms
from ase.io import write
from forcemap.potentials import _core
from forcemap.potentials.file.file_kind import kind_of_file, near_name
from forcemap.potentials.file.potential_file import write_potential
from potentials_factory import random_potential

CONTENTS = {
    b"": "an empty file",
    b"16\nenergy=1\n": "a file of frames (XYZ)",
    b"\xef\xbb\xbf  16 \t\r\nenergy=1\r\n": "a file of frames (XYZ)",
    b"16": "a file of frames (XYZ)",
    b"16 atoms\n": "a text file",
    b"data: {train: a.xyz}\n": "a settings file (YAML)",
    b"# made by hand\nterms:\n": "a settings file (YAML)",
    b"metadata: of something\n": "a text file",
    b"{data: {train: a.xyz}}": "a text file",
    "Größe\n".encode("latin-1"): "a text file",
    b"<?xml version='1.0'?>": "an XML file",
    b"\n<simulation>": "a text file",
    "16\n".encode("utf-16"): "text in UTF-16",
    gzip.compress(b"16\n"): "a file compressed by gzip",
    bz2.compress(b"16\n"): "a file compressed by bzip2",
    lzma.compress(b"16\n"): "a file compressed by xz",
    b"PK\x03\x04": "a zip archive",
    b"\x89HDF\r\n": "an HDF5 file",
    b"\x00\x01\x02\x03": "a binary file",
    b"16\n\x00": "a binary file",
    struct.pack("<Q", 200) + b'{"__metadata__": {}}': "a safetensors file",
    # Lengths of a header that begin as gzip or UTF-16 do.
    struct.pack("<Q", 0x8B1F) + b'{"a":': "a safetensors file",
    struct.pack("<Q", 0xFEFF) + b'{"a":': "a safetensors file",
}


@pytest.mark.parametrize(("content", "kind"), CONTENTS.items(), ids=range(len(CONTENTS)))
def test_kind_is_told_from_the_first_bytes(tmp_path: Path, content: bytes, kind: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    assert kind_of_file(path) == kind
    assert _core.is_of_another_kind(content) == (
        kind not in ("a binary file", "a safetensors file")
    )


def test_kinds_of_files_that_programs_write(tmp_path: Path) -> None:
    write_potential(random_potential(["Si", "O"], 3), tmp_path / "potential.forcemap")
    assert kind_of_file(tmp_path / "potential.forcemap") == "a potential of forcemap"
    write(tmp_path / "a.traj", Atoms("H"))
    assert kind_of_file(tmp_path / "a.traj") == "a trajectory of ASE"
    write(tmp_path / "a.db", Atoms("H"))
    assert kind_of_file(tmp_path / "a.db") == "an SQLite database"
    assert kind_of_file(tmp_path) == "a folder"
    os.mkfifo(tmp_path / "pipe")
    assert kind_of_file(tmp_path / "pipe") == "not a regular file"


def test_near_name_is_of_the_same_folder(tmp_path: Path) -> None:
    (tmp_path / "Train.xyz").touch()
    (tmp_path / "unlike").touch()
    assert near_name(tmp_path / "trian.xyz") == f'; did you mean "{tmp_path / "Train.xyz"}"?'
    assert near_name(tmp_path / "settings.yaml") == ""
    assert near_name(tmp_path / "no folder" / "Train.xyz") == ""
