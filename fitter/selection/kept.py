"""Judgements of a selection that was interrupted, kept for the next run of the same command.

FORMAT. ``unfinished.json`` in the selection's folder:
``{"format": "forcemap.selection", "judged": {KEY: ...}}`` with the fields of `Judged`. KEY is a hash of
everything that a judgement follows from: the settings of the candidate, the frames, what was asked for,
the version of the program. The file is removed when the selection is finished.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from forcemap.fitter.config import Settings
from forcemap.fitter.data.frame import data_hash
from forcemap.fitter.selection.candidates import Candidate
from forcemap.fitter.selection.judge import CurvePoint, Errors, Judged, Plan
from forcemap.fitter.sharing.checkpoint import fit_key
from forcemap.fitter.sharing.whole_file import write_whole
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.plain import plain

__all__ = ["KeptJudgements", "left_in"]

UNFINISHED = "unfinished.json"
FORMAT = "forcemap.selection"


class KeptJudgements:
    """The judgements of one selection, as far as it has come."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        """Those in the file of an interrupted run, if `folder` has one.

        Warns (UserWarning) if the file is damaged; then there are none.
        """
        self.path = folder / UNFINISHED
        self._wishes = {"optimise": plan.optimise, "repeats": plan.repeats}
        self._frames = data_hash(plan.train) + data_hash(plan.test)
        self._found = _read(self.path)
        self._kept: dict[str, Any] = {}

    def of(self, candidate: Candidate) -> Judged | None:
        """The judgement of a candidate from before; None if there is none."""
        key = self._key(candidate)
        if key not in self._found:
            return None
        try:
            judged = _from_plain(candidate, self._found[key], str(self.path))
        except (ForcemapError, KeyError, TypeError, ValueError):
            warnings.warn(f"{self.path}: is damaged, and not used", stacklevel=2)
            return None
        self._kept[key] = self._found[key]
        return judged

    def keep(self, judged: Judged) -> None:
        """Write the judgement to the file. Without room for it the selection goes on."""
        self._kept[self._key(judged.candidate)] = _to_plain(judged)
        content = {"format": FORMAT, "judged": self._kept}
        with suppress(ForcemapError):
            write_whole(self.path, json.dumps(content, indent=1, allow_nan=False) + "\n")

    def remove(self) -> None:
        """The selection is finished."""
        with suppress(OSError):
            self.path.unlink(missing_ok=True)

    def _key(self, candidate: Candidate) -> str:
        return fit_key({**candidate.settings.to_dict(), "select": self._wishes}, self._frames)


def left_in(folder: Path) -> str:
    """What an interrupted selection has left in its folder, as a sentence; "" for nothing."""
    count = len(_read(folder / UNFINISHED))
    if not count:
        return ""
    return (
        f"{folder / UNFINISHED} holds the judgement of {count} candidate{'s' if count > 1 else ''}."
    )


def _read(path: Path) -> Mapping[str, Any]:
    """The judgements in a file; none without it."""
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] == FORMAT and isinstance(content["judged"], dict):
            return dict(content["judged"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    warnings.warn(f"{path}: is damaged, and not used", stacklevel=3)
    return {}


def _to_plain(judged: Judged) -> Any:
    return plain(
        {
            "settings": judged.settings.to_dict(),
            "optimised": judged.optimised,
            "rows": judged.rows,
            "sparse": judged.sparse,
            "log_evidence": judged.log_evidence,
            "trace": judged.trace,
            "bic": judged.bic,
            "left_out": asdict(judged.left_out) if judged.left_out else None,
            "test": asdict(judged.test) if judged.test else None,
            "curve": [[point.frames, point.force_rmse] for point in judged.curve],
            "microseconds": judged.microseconds,
            "fit_seconds": judged.fit_seconds,
        }
    )


def _from_plain(candidate: Candidate, found: Mapping[str, Any], origin: str) -> Judged:
    """Raises KeyError, TypeError, ValueError or ForcemapError for what `_to_plain` does not write."""
    optimised = found["optimised"]
    return Judged(
        candidate=candidate,
        settings=Settings.from_dict(found["settings"], origin=origin),
        optimised=None if optimised is None else dict(optimised),
        rows=int(found["rows"]),
        sparse=int(found["sparse"]),
        log_evidence=float(found["log_evidence"]),
        trace=float(found["trace"]),
        bic=float(found["bic"]),
        left_out=_optional(_errors, found["left_out"]),
        test=_optional(_errors, found["test"]),
        curve=tuple(CurvePoint(int(n), tuple(float(r) for r in rs)) for n, rs in found["curve"]),
        microseconds=_optional(float, found["microseconds"]),
        fit_seconds=float(found["fit_seconds"]),
    )


def _errors(found: Mapping[str, Any]) -> Errors:
    return Errors(**{name: _optional(float, value) for name, value in found.items()})


def _optional(reader: Callable[[Any], Any], value: Any) -> Any:
    return None if value is None else reader(value)
