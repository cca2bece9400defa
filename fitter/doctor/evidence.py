"""Evidence on a factor between labels, and what is concluded from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from forcemap.fitter.doctor.regression import Ratio

__all__ = ["LEAST_CORRELATION", "Evidence", "combined", "is_right", "is_wrong", "rounded"]

LEAST_CORRELATION = 0.75
"""Evidence with less is none."""

SIGNIFICANT = 4.0
"""Standard errors by which a factor must differ from 1."""


@dataclass(frozen=True)
class Evidence:
    """A factor that ought to be 1.

    Attributes:
        value: the factor.
        error: its standard error, statistical and of the method.
        correlation: of the labels and what explains them.
        threshold: least factor (or 1 over it) that the method can distinguish from 1.
        how: where it is from, "between 250 pairs of frames".
    """

    value: float
    error: float
    correlation: float
    threshold: float
    how: str

    @classmethod
    def of(cls, ratio: Ratio | None, method: float, threshold: float, how: str) -> Evidence | None:
        """The evidence of a ratio; `method`: relative error of the method, besides that of scatter."""
        if ratio is None or abs(ratio.correlation) < LEAST_CORRELATION:
            return None
        scatter = 1.0 - abs(ratio.correlation)
        error = float(np.hypot(ratio.error, (method + scatter) * abs(ratio.value)))
        return cls(ratio.value, error, ratio.correlation, threshold, how)

    @property
    def log(self) -> tuple[float, float]:
        """Logarithm of the size of the factor, and its error."""
        size = max(abs(self.value), 1e-300)
        return float(np.log(size)), self.error / size

    def inverse(self) -> Evidence:
        """The evidence for 1 over the factor."""
        error = self.error / self.value**2
        return Evidence(1.0 / self.value, error, self.correlation, self.threshold, self.how)


def combined(evidence: Sequence[Evidence]) -> Evidence | None:
    """The most exact evidence; None if there is none, or if others contradict its sign."""
    if not evidence:
        return None
    best = min(evidence, key=lambda each: each.log[1])
    rivals = [e for e in evidence if e.value * best.value < 0 and e.log[1] < 2.0 * best.log[1]]
    return None if rivals else best


def is_wrong(evidence: Evidence) -> bool:
    """Whether the factor certainly is not 1."""
    log, error = evidence.log
    if error > 0.5:
        return False
    if evidence.value < 0.0:
        return True
    return abs(log) > np.log(evidence.threshold) and abs(log) > SIGNIFICANT * error


def is_right(evidence: Evidence) -> bool:
    """Whether the factor is 1 as far as can be said."""
    log, error = evidence.log
    return evidence.value > 0.0 and error < 0.5 and abs(log) < np.log(max(evidence.threshold, 1.6))


def rounded(value: float, error: float) -> str:
    """A value with its error, "0.0434 ± 0.0002"."""
    if not (np.isfinite(error) and error > 0.0):
        return f"{value:.4g}"
    digits = int(np.clip(1 - np.floor(np.log10(error)), 0, 12))
    if max(abs(value), error) >= 1e5 or abs(value) < 1e-4:
        return f"{value:.3e} ± {error:.1e}"
    return f"{value:.{digits}f} ± {error:.{digits}f}"
