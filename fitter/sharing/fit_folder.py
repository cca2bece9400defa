"""The folder of a fit: one fit at a time, and files that belong together.

The files of a fit are written into a folder within it and renamed together when all are there. Each
holds the fit's identity (`checkpoint.fit_key`): as ``fit`` in the document of model.forcemap and in
``provenance`` of that of potential.forcemap, as ``fit_id`` in report.json, in a comment at the top of
settings.yaml and in a ``<meta>`` of report.html. Where two of them differ, somebody has copied
files, or the fit was killed while it renamed them.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from forcemap.fitter.sharing.whole_file import new_folder
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.file.container import read_document
from forcemap.potentials.leaving import removed_when_ended
from forcemap.potentials.part_file import writing
from forcemap.potentials.runs.folder_lock import locked_folder

__all__ = ["FILES", "fit_folder", "identity_of", "put_together", "warn_of_mixture"]

FILES = ("potential.forcemap", "model.forcemap", "settings.yaml", "report.json", "report.html")
"""Files of a fit, put in place from the last to the first: where the potential is, the rest is."""

LOCK = "fit.lock"
PARTS = ".fit-"


@contextmanager
def fit_folder(out: Path) -> Iterator[None]:
    """Make a fit's folder, keep other fits out of it, and remove leftovers of a killed one.

    A folder made here that is empty when the block fails is removed again.

    Raises:
        ForcemapError: the folder cannot be written, or another fit is going on in it.
    """
    cure = "wait for its end, or give another folder"
    with new_folder(out), locked_folder(out, LOCK, "a fit", cure):
        for name in FILES:
            if (out / name).is_dir():
                raise ForcemapError(f"{out / name}: cannot be written: it is a folder")
        for left in out.glob(f"{PARTS}*"):
            shutil.rmtree(left, ignore_errors=True)
        yield


@contextmanager
def put_together(out: Path) -> Iterator[Path]:
    """A folder within `out` to write FILES to; they are put in place when the block ends well.

    Files among FILES that are not written are removed from `out`, where an earlier fit has left them.
    Only the holder of `fit_folder` may call this.

    Raises:
        ForcemapError: something cannot be written.
    """
    with writing(out):
        part = Path(tempfile.mkdtemp(prefix=PARTS, dir=out))
        with removed_when_ended(part):
            try:
                yield part
                written = [name for name in reversed(FILES) if (part / name).exists()]
                for name in written:
                    _to_disk(part / name)
                for name in written:
                    (part / name).replace(out / name)
                for name in FILES:
                    if name not in written:
                        (out / name).unlink(missing_ok=True)
            finally:
                shutil.rmtree(part, ignore_errors=True)


def _to_disk(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def identity_of(path: Path) -> str | None:
    """The identity of the fit that wrote one of FILES; None if it has none or cannot be read."""
    with suppress(ForcemapError, OSError, ValueError, TypeError, AttributeError):
        if path.suffix == ".forcemap":
            document = read_document(path)
            identity = document.get("fit") or document.get("provenance", {}).get("fit")
        elif path.suffix == ".json":
            identity = json.loads(path.read_text(encoding="utf-8")).get("fit_id")
        else:
            with path.open(encoding="utf-8", errors="replace") as file:
                head = file.read(2000)
            match = re.search(
                r'^# Fit ([0-9a-f]{16})\b|name="fit" content="([0-9a-f]{16})"', head, re.M
            )
            identity = match and (match[1] or match[2])
        return identity if isinstance(identity, str) else None
    return None


def warn_of_mixture(path: Path) -> None:
    """Warn (UserWarning) if `path` and the files beside it are of different fits.

    A `path` whose name is none of FILES was put there on purpose, and is not compared.
    """
    if path.name not in FILES:
        return
    own = identity_of(path)
    others = {name: identity_of(path.parent / name) for name in FILES if name != path.name}
    strange = [name for name, other in others.items() if own and other and other != own]
    if strange:
        warnings.warn(
            f"{path}: is of another fit than {' and '.join(strange)} beside it; fit anew, or copy the "
            "files of a fit together",
            stacklevel=2,
        )
