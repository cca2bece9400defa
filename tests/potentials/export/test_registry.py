"""Every export states which terms it takes, writes those and refuses all others by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.export.registry import EXPORTS
from forcemap.potentials.terms import KINDS, MappedTerm, TermView
from forcemap.potentials.terms.base import Coefficients
from potentials_factory import random_potential

ALL = random_potential(["Si", "C"], 4, soap=True, embedding=True, kernels=True)


@dataclass(frozen=True, eq=False)
class OtherTerm(MappedTerm):
    """A kind that no export has heard of."""

    kind: ClassVar[str] = "other"

    def document(self) -> dict[str, Any]:
        return {}

    def tensors(self) -> dict[str, Coefficients]:
        return {}

    @classmethod
    def read(cls, view: TermView) -> OtherTerm:
        return cls()

    @classmethod
    def described(cls, document: Mapping[str, Any]) -> str:
        return ""


SAMPLES: dict[str, MappedTerm] = {term.kind: term for term in (*ALL.terms, OtherTerm())}


def test_there_is_a_sample_of_every_kind() -> None:
    assert set(SAMPLES) == {*KINDS, OtherTerm.kind}


@pytest.mark.parametrize("name", list(EXPORTS))
def test_what_an_export_takes_is_kinds_of_the_registry(name: str) -> None:
    takes = EXPORTS[name].takes
    assert takes
    assert set(takes) <= set(KINDS.values())
    assert len(set(takes)) == len(takes)
    assert EXPORTS[name].summary


@pytest.mark.parametrize("kind", list(SAMPLES))
@pytest.mark.parametrize("name", list(EXPORTS))
def test_terms_are_written_or_refused_by_name(name: str, kind: str, tmp_path: Path) -> None:
    """Also beside terms that the export takes; nothing is written then."""
    export = EXPORTS[name]
    data = replace(ALL, terms=(SAMPLES[kind],))
    if type(SAMPLES[kind]) in export.takes:
        written = export.write(data, tmp_path / "out", "stem", None)
        assert written.files
        assert sorted(written.files) == sorted((tmp_path / "out").iterdir())
        assert str(written.files[-1]) in "".join(written.use)
        return
    taken = tuple(term for term in ALL.terms if type(term) in export.takes)
    for terms in (data.terms, taken + data.terms):
        with pytest.raises(ForcemapError, match=f"a term of the kind {kind}, which"):
            export.write(replace(ALL, terms=terms), tmp_path / "out", "stem", None)
        assert not (tmp_path / "out").exists()
