"""Files that appear whole or not at all, and what a killed process has left of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.part_file import part_file, writing

KILLED = """
import os, signal, sys
from forcemap.potentials.part_file import part_file
with part_file(sys.argv[1]) as part:
    part.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def fail_halfway() -> None:
        with part_file(path) as part:
            part.write_text("half")
            assert path.read_text() == "old"
            raise ForcemapError("made up")

    with pytest.raises(ForcemapError, match="made up"):
        fail_halfway()
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    with part_file(path) as part:
        part.write_text("new")
        assert path.read_text() == "old"
    assert (path.read_text(), len(list(tmp_path.iterdir()))) == ("new", 1)
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


@pytest.mark.parametrize("name", ["file.xyz", "[a]*?.x"])
def test_what_a_killed_process_has_left_goes_with_the_next(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", KILLED, path], check=False, timeout=60)
        assert done.returncode == -9
    # The second one has removed what the first had left.
    (left,) = tmp_path.iterdir()
    host = left.name.removeprefix(f".{name}.").split(".")[0]
    living = tmp_path / f".{name}.{host}.{os.getppid()}.0123.part"
    distant = tmp_path / f".{name}.not-{host}.{2**22 + 1}.0123.part"
    for other in (living, distant, tmp_path / f".{name}.{host}.mine.part"):
        other.touch()
    before = set(tmp_path.iterdir())
    with part_file(path):
        pass
    assert set(tmp_path.iterdir()) == before - {left} | {path}


def test_what_cannot_be_written_is_named() -> None:
    with (
        pytest.raises(ForcemapError, match=r"^out: cannot be written: No space left on device$"),
        writing("out"),
    ):
        raise OSError(28, "No space left on device")
