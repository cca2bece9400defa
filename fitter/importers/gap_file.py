"""Reads the files of a Gaussian approximation potential of QUIP: an XML with its sparse points.

The elements, as gap_fit writes them::

    <LABEL>
      <Potential label="LABEL" init_args="IP GAP label=LABEL"/>
      <GAP_params label="LABEL" gap_version="1686220958">
        <GAP_data do_core="F"> <e0 Z="1" value="-13.6"/> ... </GAP_data>
        <gpSparse n_coordinate="1">
          <gpCoordinates dimensions="1" signal_variance="0.5" signal_mean="0." n_permutations="1"
                         covariance_type="1" n_sparseX="20" [zeta="4."]
                         [sparseX_filename="FILE" sparseX_md5sum="..."]>
            <theta> 0.7 </theta>
            <descriptor>distance_2b cutoff=5.0 Z1=14 Z2=14</descriptor>
            <permutation i="1">1 </permutation>
            <sparseX i="1" alpha="1.3" sparseCutoff="1.0"> 2.1 </sparseX> ...
          </gpCoordinates>
        </gpSparse>
        <command_line>...</command_line>
      </GAP_params>
    </LABEL>

Long sparse points stand in several <sparseX_slice> of an element. Where they are in a file beside the
XML, the elements have the alphas alone. What is not needed (<XYZ>, the training data) is skipped.

XML from elsewhere is not trusted: there are no document types or entities, counts are compared with
what is there before memory is taken, and files of sparse points lie in one folder.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn
from xml.etree.ElementTree import Element, ParseError

import numpy as np
from forcemap.fitter.importers.gap import Array, Coordinate
from forcemap.fitter.importers.quip_arguments import parse_arguments
from forcemap.fitter.importers.sparse_file import SparseFolder
from forcemap.potentials.elements import SYMBOLS
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.quoting import QUOTED, printable, quoted

__all__ = ["GapFile", "read_gap", "read_glue"]

COVARIANCES = {1: "ard_se", 2: "dot_product", 3: "bond_real_space", 4: "pp"}
"""By the number in the XML."""

DEEPEST = 50
LARGEST = 1e9
"""Of amplitudes (eV), length scales and numbers of points."""

LARGEST_WEIGHT = 1e30
MOST_POINTS = 1_000_000
MOST_DIMENSIONS = 1_000_000
MOST_NUMBERS = 1 << 29
"""Sparse points times dimensions: 4 GiB."""

MOST_PERMUTATIONS = 5_040

_EXPONENT = re.compile(r"(?<=[0-9.])([+-]\d{3})$")


@dataclass(frozen=True, eq=False)
class GapFile:
    """The content of a GAP's files.

    Attributes:
        path: of the XML.
        label: of the GAP.
        gap_version: of the program that has fitted it; "" where there is none.
        command_line: of gap_fit; "" where there is none.
        sha256: of the XML.
        e0: energies of the isolated atoms by atomic number, eV.
        coordinates: in the order of the file.
        potential: what QUIP is to make of the file (``init_args``); "" where it does not say.
        glue: the element <Glue_params>, a baseline; None without one.
        core: whether there has to be a baseline.
    """

    path: Path
    label: str
    gap_version: str
    command_line: str
    sha256: str
    e0: dict[int, float]
    coordinates: tuple[Coordinate, ...]
    potential: str
    glue: Element | None
    core: bool


def read_gap(path: Path, sparse_folder: Path | None = None) -> GapFile:
    """Read a GAP XML with its sparse points.

    Args:
        path: of the XML.
        sparse_folder: where the files with sparse points are; by default beside the XML.

    Raises:
        ForcemapError: the file, the element, what was found and what to do.
    """
    params = _read_params(path, SparseFolder(path, sparse_folder))
    if not params:
        raise ForcemapError(
            f"{path}: holds no element <GAP_params>; give the XML that gap_fit wrote (gp_file)"
        )
    if len(params) > 1:
        labels = ", ".join(quoted(one.label) for one in params)
        raise ForcemapError(
            f"{path}: holds several GAPs (labels {labels}); keep one <GAP_params> in the file"
        )
    found = params[0]
    return GapFile(
        path,
        found.label,
        found.version,
        found.command_line,
        _sha256(path),
        found.e0,
        tuple(found.coordinates),
        found.potential,
        found.glue,
        found.core,
    )


def read_glue(path: Path) -> Element:
    """The element <Glue_params> of a core_param_file. Raises ForcemapError if there is none."""
    reader = _read(path, SparseFolder(path))
    if reader.glue is None:
        raise ForcemapError(
            f"{path}: holds no element <Glue_params>; give the core_param_file of the fit"
        )
    return reader.glue


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@dataclass
class _Params:
    """An element <GAP_params> as far as it has been read."""

    label: str
    version: str
    command_line: str = ""
    e0: dict[int, float] = field(default_factory=dict)
    coordinates: list[Coordinate] = field(default_factory=list)
    expected: int | None = None
    potential: str = ""
    glue: Element | None = None
    core: bool = False


def _read_params(path: Path, folder: SparseFolder) -> list[_Params]:
    reader = _read(path, folder)
    for one in reader.params:
        one.potential, one.glue = reader.potential, reader.glue
    return reader.params


def _read(path: Path, folder: SparseFolder) -> _Reader:
    """What an XML holds. Raises ForcemapError."""
    reader = _Reader(path, folder)
    for event, element in _events(path):
        if event == "start":
            reader.start(element)
        else:
            reader.end(element)
    return reader


def _events(path: Path) -> Iterator[tuple[str, Element]]:
    """Beginnings and ends of the elements of an XML. Raises ForcemapError if it is not one."""
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import iterparse

    try:
        with path.open("rb") as file:
            yield from iterparse(file, events=("start", "end"), forbid_dtd=True)
    except ParseError as error:
        raise ForcemapError(
            f"{path}: is no complete XML: {printable(error, 200)}; copy the file again, or give the "
            "XML that gap_fit wrote (gp_file)"
        ) from None
    except DefusedXmlException:
        raise ForcemapError(
            f"{path}: has a document type (<!DOCTYPE ...>), which may expand without end and no GAP "
            "needs; remove it if you trust the file"
        ) from None
    except (LookupError, ValueError) as error:  # an encoding that is not known, a NUL
        raise ForcemapError(
            f"{path}: is no XML that can be read: {printable(error, 200)}"
        ) from None
    except OSError as error:
        raise ForcemapError(f"{path}: cannot be read: {error.strerror or error}") from None


class _Reader:
    """Reads elements as they end, and forgets them."""

    def __init__(self, path: Path, folder: SparseFolder) -> None:
        self.path = path
        self.folder = folder
        self.params: list[_Params] = []
        self.potential = ""
        self.glue: Element | None = None
        self.open: list[Element] = []
        self.coordinate: _OpenCoordinate | None = None
        self.reading: dict[str, Callable[[Element], None]] = {
            "Potential": self._end_potential,
            "GAP_data": self._end_data,
            "e0": self._end_e0,
            "gpCoordinates": self._end_coordinates,
            "command_line": self._end_command,
            "Glue_params": self._end_glue,
        }

    def fail(self, text: str) -> NoReturn:
        raise ForcemapError(f"{self.path}: {text}")

    def start(self, element: Element) -> None:
        self.open.append(element)
        if len(self.open) > DEEPEST:
            self.fail(f"has elements within each other more than {DEEPEST} deep; no GAP has that")
        match element.tag:
            case "GAP_params":
                self.params.append(
                    _Params(element.get("label", ""), element.get("gap_version", ""))
                )
            case "gpSparse" if self.params:
                count = _integer(element, "n_coordinate", self.fail, "gpSparse", MOST_POINTS)
                self.params[-1].expected = count
            case "gpCoordinates":
                if not self.params:
                    self.fail("<gpCoordinates> stands outside of <GAP_params>")
                number = len(self.params[-1].coordinates) + 1
                self.coordinate = _OpenCoordinate(element, f"{self.path}: ", number, self.folder)

    def end(self, element: Element) -> None:
        self.open.pop()
        if self._inside("Glue_params"):
            return  # kept whole
        if self.coordinate is not None and self.open and self.open[-1].tag == "gpCoordinates":
            self.coordinate.end(element)
        if element.tag in self.reading:
            self.reading[element.tag](element)
        elif element.tag == "GAP_params":
            self._check(self.params[-1])
        if element.tag not in {"sparseX_slice", "Glue_params"}:
            element.clear()
            if self.open and element.tag not in {"theta", "descriptor"}:
                self.open[-1].remove(element)

    def _inside(self, tag: str) -> bool:
        return any(element.tag == tag for element in self.open)

    def _end_potential(self, element: Element) -> None:
        text = element.get("init_args", "")
        # Baselines have an element of their own within the GAP's.
        if not self.potential or "GAP" in text.upper():
            self.potential = text

    def _end_data(self, element: Element) -> None:
        if self.params:
            arguments = parse_arguments(f"do_core={element.get('do_core', 'F')}", str(self.path))
            self.params[-1].core = arguments.truth("do_core", False)

    def _end_e0(self, element: Element) -> None:
        if not self.params:
            return
        number = _integer(element, "Z", self.fail, "e0", len(SYMBOLS) - 1)
        value = element.get("value", "")
        energy = _real(value)
        if not number or energy is None:
            self.fail(
                f'<e0 Z="{number}" value={quoted(value)}>: expected an atomic number from 1 to '
                f"{len(SYMBOLS) - 1} and an energy in eV"
            )
        self.params[-1].e0[number] = energy

    def _end_coordinates(self, element: Element) -> None:
        assert self.coordinate is not None
        self.params[-1].coordinates.append(self.coordinate.whole())
        self.coordinate = None

    def _end_command(self, element: Element) -> None:
        if self.params:
            self.params[-1].command_line = (element.text or "").strip()

    def _end_glue(self, element: Element) -> None:
        if self.glue is not None:
            self.fail("has the element <Glue_params> twice; QUIP reads one baseline, keep one")
        self.glue = element

    def _check(self, params: _Params) -> None:
        count = len(params.coordinates)
        if params.expected is not None and count != params.expected:
            self.fail(
                f'<gpSparse n_coordinate="{params.expected}">: found {count} elements '
                "<gpCoordinates>; the file is not whole, copy it again"
            )


class _OpenCoordinate:
    """An element <gpCoordinates> as far as it has been read."""

    def __init__(self, element: Element, begin: str, number: int, folder: SparseFolder) -> None:
        label = element.get("label", "")
        shown = f'label="{printable(label, QUOTED)}"' if label else f"number {number}"
        self.place = f"{begin}<gpCoordinates {shown}>"
        self.element = dict(element.attrib)
        self.label = label
        self.folder = folder
        self.dimensions = self._count(element, "dimensions", MOST_DIMENSIONS, 1)
        self.sparse = self._count(element, "n_sparseX", MOST_POINTS, 0)
        if self.dimensions * self.sparse > MOST_NUMBERS:
            self.fail(
                f'dimensions="{self.dimensions}" n_sparseX="{self.sparse}" are more than '
                f"{MOST_NUMBERS} numbers, the most that is read"
            )
        self.permutations: dict[int, list[int]] = {}
        self.theta: Array | None = None
        self.descriptor: str | None = None
        self.points: list[Array] = []
        self.alphas: list[float] = []
        self.cutoffs: list[float] = []

    def fail(self, text: str) -> NoReturn:
        raise ForcemapError(f"{self.place}: {text}")

    def _count(self, element: Element, name: str, most: int, least: int) -> int:
        found = _integer(element, name, self.fail, None, most)
        if found < least:
            self.fail(f'{name}="{found}": expected {least} or more')
        return found

    def end(self, element: Element) -> None:
        match element.tag:
            case "theta":
                self.theta = self._numbers(element.text, self.dimensions, "<theta>")
            case "descriptor":
                self.descriptor = (element.text or "").strip()
            case "permutation":
                self._end_permutation(element)
            case "sparseX":
                self._end_point(element)

    def _end_permutation(self, element: Element) -> None:
        if len(self.permutations) == MOST_PERMUTATIONS:
            self.fail(f"has more than {MOST_PERMUTATIONS} elements <permutation>")
        words = (element.text or "").split()
        found = [int(word) if word.isdecimal() and len(word) < 8 else 0 for word in words]
        number = len(self.permutations) + 1
        if found == [
            1
        ]:  # of a descriptor of many numbers that is not permuted, all that stands there
            found = list(range(1, self.dimensions + 1))
        if sorted(found) != list(range(1, self.dimensions + 1)):
            self.fail(
                f"<permutation> number {number}: found {quoted(element.text)}, expected the numbers "
                f"from 1 to {self.dimensions} in some order"
            )
        self.permutations[number] = [index - 1 for index in found]

    def _end_point(self, element: Element) -> None:
        number = len(self.alphas) + 1
        if number > self.sparse:
            self.fail(f'n_sparseX="{self.sparse}": found more elements <sparseX>')
        for name, values in (("alpha", self.alphas), ("sparseCutoff", self.cutoffs)):
            text = element.get(name, "1" if name == "sparseCutoff" else "")
            value = _real(text)
            if value is None or abs(value) > LARGEST_WEIGHT:
                self.fail(
                    f"<sparseX> number {number}: {name}={quoted(text)}: expected a finite number"
                )
            values.append(value)
        if "sparseX_filename" in self.element:
            return
        slices = [part for part in element if part.tag == "sparseX_slice"]
        whole = " ".join(part.text or "" for part in slices or [element])
        self.points.append(self._numbers(whole, self.dimensions, f"<sparseX> number {number}"))

    def _numbers(self, text: str | None, count: int, where: str) -> Array:
        words = (text or "").split()
        if len(words) != count:
            self.fail(f"{where}: found {len(words)} numbers, expected {count} (dimensions)")
        return _reals(words, lambda word: self.fail(f"{where}: {quoted(word)} is no finite number"))

    def whole(self) -> Coordinate:
        """The coordinate, after its last element."""
        if len(self.alphas) != self.sparse:
            self.fail(
                f'n_sparseX="{self.sparse}": found {len(self.alphas)} elements <sparseX>; the file is '
                "not whole, copy it again"
            )
        if not self.descriptor:
            self.fail("has no element <descriptor>, which says what the sparse points are")
        permutations = self.element.get("n_permutations", "")
        if self.permutations and permutations and permutations != str(len(self.permutations)):
            self.fail(
                f'n_permutations="{printable(permutations, QUOTED)}": found '
                f"{len(self.permutations)} elements <permutation>"
            )
        arguments = parse_arguments(self.descriptor, f"{self.place}: <descriptor>")
        covariance = self._covariance()
        order = list(self.permutations.values()) or [list(range(self.dimensions))]
        return Coordinate(
            self.place,
            self.label,
            arguments.words[0].lower() if arguments.words else "",
            arguments,
            covariance,
            self._real("signal_variance"),
            self._real("signal_mean", 0.0),
            self._real("zeta") if covariance == "dot_product" else None,
            self._theta(covariance),
            np.array(order, dtype=np.intp),
            self._points(),
            np.array(self.alphas),
            np.array(self.cutoffs),
        )

    def _covariance(self) -> str:
        text = self.element.get("covariance_type", "")
        for number, name in COVARIANCES.items():
            if text.strip().lower() in {str(number), name}:
                return name
        known = ", ".join(f"{number} ({name})" for number, name in COVARIANCES.items())
        self.fail(f"covariance_type={quoted(text)} is not known; known are {known}")

    def _theta(self, covariance: str) -> Array | None:
        if covariance == "dot_product":
            return None
        if self.theta is None:
            self.fail(f"has no element <theta>, the length scales of the covariance {covariance}")
        if not ((self.theta > 1.0 / LARGEST) & (self.theta < LARGEST)).all():
            self.fail(f"<theta>: expected length scales above {1 / LARGEST:g}, below {LARGEST:g}")
        return self.theta

    def _real(self, name: str, default: float | None = None) -> float:
        text = self.element.get(name)
        if text is None and default is not None:
            return default
        value = _real(text or "")
        if value is None or abs(value) > LARGEST:
            self.fail(f"{name}={quoted(text or '')}: expected a finite number, up to {LARGEST:g}")
        return value

    def _points(self) -> Array:
        shape = (self.sparse, self.dimensions)
        if "sparseX_filename" not in self.element:
            return np.array(self.points).reshape(shape)
        name = self.element["sparseX_filename"]
        place = f"{self.place}: sparseX_filename={quoted(name)}"
        text = self.folder.text(name, place, self.element.get("sparseX_md5sum"), math.prod(shape))
        words = text.split()
        if len(words) != math.prod(shape):
            self.fail(
                f"sparseX_filename={quoted(name)}: found {len(words)} numbers, expected "
                f"{self.sparse} x {self.dimensions} (n_sparseX, dimensions)"
            )

        def reject(word: str) -> NoReturn:
            self.fail(f"sparseX_filename={quoted(name)}: {quoted(word)} is no finite number")

        return _reals(words, reject).reshape(shape)


def _integer(
    element: Element, name: str, fail: Callable[[str], NoReturn], tag: str | None, most: int
) -> int:
    """A whole attribute, from 0 to `most`."""
    text = element.get(name, "").strip()
    if not (text.isdecimal() and len(text) < 16 and int(text) <= most):
        place = f"<{tag}>: " if tag else ""
        fail(f"{place}{name}={quoted(text)}: expected a whole number from 0 to {most}")
    return int(text)


def _real(text: str) -> float | None:
    """A number as Fortran writes it: also 1.D+03, and 0.1-105 with a long exponent; else None."""
    text = text.strip()
    try:
        value = float(text)
    except ValueError:
        text = _EXPONENT.sub(r"E\1", text.replace("D", "E").replace("d", "e"))
        try:
            value = float(text)
        except ValueError:
            return None
    return value if math.isfinite(value) else None


def _reals(words: list[str], reject: Callable[[str], Any]) -> Array:
    """Numbers up to LARGEST; `reject` is for the first word that is none."""
    try:
        found = np.array(words, dtype=np.float64)
    except ValueError:
        values = [_real(word) for word in words]
        found = np.array([np.nan if value is None else value for value in values])
    wrong = np.flatnonzero(~(np.abs(found) <= LARGEST))
    if len(wrong):
        reject(words[wrong[0]])
    return found
