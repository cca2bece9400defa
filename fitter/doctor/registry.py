"""All examinations, in the order in which they are made."""

from __future__ import annotations

from forcemap.fitter.doctor import labels
from forcemap.fitter.doctor.examination import Examination

__all__ = ["EXAMINATIONS"]

EXAMINATIONS: tuple[Examination, ...] = (Examination("labels", labels.examine),)
