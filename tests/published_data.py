"""Data that others have published, in a folder ``shared/data`` beside the repository or above it.

None of it comes with the program: a test that reads it is skipped where it is absent.
"""

from __future__ import annotations

from pathlib import Path

import pytest

__all__ = ["published"]


def published(*names: str) -> list[Path]:
    """Paths of files such as "mlearn_Ni/train.xyz"; skips the test if there is no such folder."""
    for folder in Path(__file__).resolve().parents:
        paths = [folder / "shared" / "data" / name for name in names]
        if all(path.exists() for path in paths):
            return paths
    pytest.skip(f"shared/data has no {', '.join(names)}")
