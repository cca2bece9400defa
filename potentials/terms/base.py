"""What the kinds of terms of a potential file have in common, as Python holds them.

A kind is one class here, in a module of its own, and one reader with its loop in the C++ core
(cpp/src/terms), each entered in one registry (`kinds`, terms.def). The core checks files, also those
that are about to be written; the classes here only hold what is in them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias, TypeVar

import numpy as np
from forcemap.potentials.file.document import DocumentView
from numpy.typing import NDArray

__all__ = ["Coefficients", "MappedTerm", "Pair", "Tensor", "TermView", "Triplet", "joined"]

Coefficients: TypeAlias = NDArray[np.float64]
Tensor: TypeAlias = NDArray[np.float64] | NDArray[np.float32]
Pair: TypeAlias = tuple[str, str]
Triplet: TypeAlias = tuple[str, str, str]
AnyTerm = TypeVar("AnyTerm", bound="MappedTerm")


def joined(symbols: Iterable[str]) -> str:
    """The name of a table: its elements, ``O-H-H``."""
    return "-".join(symbols)


@dataclass(frozen=True)
class TermView:
    """A term in a file that the core has checked.

    Attributes:
        document: its entry among the document's terms.
        arrays: its tensors by name, without the prefix of the term.
        species: the symbols of the file's elements, by increasing atomic number.
    """

    document: DocumentView
    arrays: Mapping[str, Coefficients]
    species: tuple[str, ...]

    def number(self, name: str) -> float:
        """A number of the term's document."""
        return self.document[name].number()

    def integer(self, name: str) -> int:
        """A whole number of the term's document."""
        return self.document[name].integer(0, 2**53)

    def tables(self) -> list[tuple[str, ...]]:
        """The elements of each of the term's tables."""
        return [tuple(item.string() for item in names) for names in self.document["tables"]]


@dataclass(frozen=True, eq=False)
class MappedTerm(ABC):
    """One kind of site energy, as a potential file holds it.

    It is that of one set of weights, the mean of the process, or that of several, its draws. Of the
    latter every tensor that is linear in the weights has a leading axis, one entry for each draw;
    all else they share.

    Attributes:
        kind: its name in files.
    """

    kind: ClassVar[str]

    @abstractmethod
    def document(self) -> dict[str, Any]:
        """The entry of the file's document, without ``kind``."""

    @abstractmethod
    def tensors(self) -> Mapping[str, Tensor]:
        """Arrays by name, which the file prefixes with the term's number.

        Those of float32 are of single precision in the file, all others of double.
        """

    @classmethod
    @abstractmethod
    def read(cls: type[AnyTerm], view: TermView) -> AnyTerm:
        """The term in a file."""

    @classmethod
    @abstractmethod
    def described(cls, document: Mapping[str, Any]) -> str:
        """A line about a term, for people, from its entry in the document."""

    def sizes(self) -> dict[str, Any]:
        """What resolution it has, for the report; nothing where there is none to speak of."""
        return {}

    @property
    def rank(self) -> int:
        """Functions of which some may be left out, in the largest of its parts; 1 where none may."""
        return 1

    def in_single_precision(self: AnyTerm) -> AnyTerm:
        """The same term, evaluated in single precision; itself where it knows no other than double."""
        return self

    def features(self, symbol: str) -> int:
        """How many features it has of a site with a centre of this element, for the grade."""
        return 0
