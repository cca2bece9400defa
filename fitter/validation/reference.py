"""Reference values, from a YAML file whose names are those of the table."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from forcemap.fitter.checked import Place, load_yaml, mapping, nearest, number
from forcemap.fitter.validation.check import Case, Check

__all__ = ["Reference"]

EXAMPLE = "Si Fd-3m: {C11: 160, C12: 63}"


@dataclass(frozen=True)
class Reference:
    """Values by subject and row."""

    values: Mapping[tuple[str, str], float] = field(default_factory=dict)

    def value(self, subject: str, quantity: str) -> float | None:
        """The value of a row; None where none is given."""
        return self.values.get((subject, quantity))

    @classmethod
    def read(cls, path: Path | None, case: Case, checks: Sequence[Check]) -> Reference:
        """Read a file; values may stand under their subject, or alone where only one subject has them.

        Raises ForcemapError for a name that the table cannot have, and for what is no number.
        """
        if path is None:
            return cls()
        known: dict[str, dict[str, None]] = {}
        missing = [check for check in checks if check.is_missing]
        for check in checks:
            if check.name in case.settings and not check.is_missing:
                for subject in check.subjects(case):
                    names = check.names(subject, case.settings[check.name])
                    known.setdefault(subject.name, {}).update(dict.fromkeys(names))
        place = Place(str(path))
        values: dict[tuple[str, str], float] = {}
        for key, item in mapping(load_yaml(path), place, EXAMPLE).items():
            name, where = str(key), place.key(key)
            if isinstance(item, Mapping):
                if name not in known:
                    where.fail(f"the table has no such heading{nearest(name, known)}")
                for row, value in item.items():
                    if row not in known[name]:
                        where.key(row).fail(
                            f"{name} has no such row{nearest(str(row), known[name])}"
                        )
                    values[name, str(row)] = number()(value, where.key(row))
                continue
            having = [subject for subject, rows in known.items() if name in rows]
            if not having:
                every = dict.fromkeys(row for rows in known.values() for row in rows)
                _unknown(where, "the table has no such row", [*known, *every], missing)
                continue
            if len(having) > 1:
                where.fail(
                    f"{', '.join(having)} have such a row; put it under the one that is meant"
                )
            values[having[0], name] = number()(item, where)
        return cls(values)


def _unknown(place: Place, text: str, known: Iterable[str], missing: Sequence[Check]) -> None:
    """Refuse a name; only warn (UserWarning) of one that a check that cannot be made may have."""
    if not missing:
        place.fail(f"{text}{nearest(place.path.rpartition('.')[2], known)}")
    names = ", ".join(str(check.extra) for check in missing)
    warnings.warn(f"{place.origin}: {place.path}: {text} without {names}", stacklevel=3)
