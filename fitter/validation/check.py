"""What a physical check is: its subjects, its numbers, its verdicts, its figures.

A check is one file with a class of its own, and one line in `registry`. It gets a `Task` and gives an
`Outcome`, which is plain enough for JSON: outcomes are kept in files (`steps`), and tables and figures
are made from them alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import Enum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from forcemap.fitter.checked import Checked
from forcemap.fitter.validation.models import Model

if TYPE_CHECKING:
    from ase import Atoms
    from forcemap.fitter.data.frame import Frame
    from matplotlib.figure import Figure

__all__ = [
    "Case",
    "Check",
    "CrystalCheck",
    "Grade",
    "NotComputed",
    "Number",
    "Outcome",
    "Shown",
    "Subject",
    "Task",
    "Verdict",
]


class NotComputed(Exception):
    """A step that cannot be computed, with the reason; all others go on."""


class Grade(Enum):
    """How a criterion is met."""

    PASS = "pass"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Verdict:
    """A criterion and how it is met.

    Attributes:
        name: stable, for programs: words in lower case with hyphens, "no-imaginary-modes".
        grade: whether it is met.
        message: a sentence with its figure.
        criterion: what is asked for.
    """

    name: str
    grade: Grade
    message: str
    criterion: str


@dataclass(frozen=True)
class Number:
    """A row of the table."""

    value: float
    unit: str = ""


@dataclass(frozen=True)
class Outcome:
    """What a step gave.

    Attributes:
        numbers: rows of the table by name.
        verdicts: criteria and how they are met.
        data: curves and structures, plain for JSON, for figures and for checks that build on this one.
        remarks: sentences that belong to the numbers.
    """

    numbers: Mapping[str, Number] = field(default_factory=dict)
    verdicts: Sequence[Verdict] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    remarks: Sequence[str] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values that `from_json` takes back."""
        return {
            "numbers": {name: [n.value, n.unit] for name, n in self.numbers.items()},
            "verdicts": [asdict(v) | {"grade": v.grade.value} for v in self.verdicts],
            "data": self.data,
            "remarks": list(self.remarks),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Outcome:
        """Raises KeyError, TypeError or ValueError for anything that `to_json` does not give."""
        return cls(
            numbers={
                name: Number(float(value), str(unit))
                for name, (value, unit) in content["numbers"].items()
                if value is not None
            },
            verdicts=[Verdict(**v | {"grade": Grade(v["grade"])}) for v in content["verdicts"]],
            data=dict(content["data"]),
            remarks=[str(text) for text in content["remarks"]],
        )


@dataclass(frozen=True)
class Subject:
    """What a check is made on.

    Attributes:
        name: heads its rows in the table: "Si Fd-3m", "Si-Si", "Liquid-2000K".
        content: says all about it, plain for JSON: its part of the key of a step.
        atoms: the structure; None where there is none.
    """

    name: str
    content: Any
    atoms: Atoms | None = None


@dataclass(frozen=True)
class Case:
    """A potential, and what it is to be checked on.

    Attributes:
        settings: of each check by its name.
        crystals: with their structures before they are relaxed.
        frames: labelled frames, of the training data as a rule; may be empty.
        species: symbols of the potential's elements.
        seed: of all random numbers.
    """

    settings: Mapping[str, Checked]
    crystals: Sequence[Subject]
    frames: Sequence[Frame]
    species: Sequence[str]
    seed: int = 0


@dataclass(frozen=True)
class Task:
    """One step: a check of one subject with one model.

    Attributes:
        case: all that is checked.
        subject: of this step.
        model: what gives energies and forces.
        settings: of the check.
        given: outcomes of the checks that this one needs, by check and subject.
        folder: an empty one, for files of programs; removed afterwards.
        advance: shows that n (default 1) units of `Check.parts`, or a share of one, are done.
        jobs: threads.
    """

    case: Case
    subject: Subject
    model: Model
    settings: Any
    given: Mapping[str, Mapping[str, Outcome]]
    folder: Path
    advance: Callable[..., None]
    jobs: int = 1

    def crystal(self, name: str = "") -> Atoms:
        """The relaxed crystal of the subject, or of another one's name, with the model's calculator.

        Raises NotComputed if there is none.
        """
        from forcemap.fitter.validation.structures import atoms_of

        name = name or self.subject.name
        found = self.given.get("crystal", {}).get(name)
        if found is None:
            raise NotComputed(f"the crystal {name} could not be relaxed")
        atoms = atoms_of(found.data["atoms"])
        atoms.calc = self.model.calculator(self.jobs)
        return atoms


@dataclass(frozen=True)
class Shown:
    """Outcomes of one subject by the model's name, for a figure."""

    subject: Subject
    outcomes: Mapping[str, Outcome]


class Check(ABC):
    """One physical check.

    Attributes:
        name: its key in settings, in the names of steps, and on the command line.
        title: heads its figures and progress.
        settings: dataclass of its settings; all have defaults.
        needs: checks whose outcomes it builds on.
        extra: a module of the extra "validate" that it cannot do without.
        by_lammps: whether LAMMPS does it, for potential files only.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    settings: ClassVar[type[Checked]]
    needs: ClassVar[tuple[str, ...]] = ()
    extra: ClassVar[str | None] = None
    by_lammps: ClassVar[bool] = False

    @property
    def is_missing(self) -> bool:
        """Whether the module that it cannot do without is not installed."""
        return self.extra is not None and find_spec(self.extra) is None

    @abstractmethod
    def subjects(self, case: Case) -> Sequence[Subject]:
        """What it is made on; a step for each."""

    @abstractmethod
    def run(self, task: Task) -> Outcome:
        """Do one step. Raises NotComputed with the reason if that cannot be."""

    @abstractmethod
    def names(self, subject: Subject, settings: Any) -> Sequence[str]:
        """Names of all rows that `run` may give for the subject."""

    def is_usable(self, outcome: Outcome) -> bool:
        """Whether other checks can build on an outcome."""
        return True

    def parts(self, subject: Subject, settings: Any) -> int | None:
        """What all calls of `advance` add up to; 1 of shares where their number is not known before."""
        return 1

    def figures(self, shown: Sequence[Shown], case: Case) -> dict[str, Figure]:
        """Figures by title."""
        return {}


class CrystalCheck(Check):
    """A check of every crystal, relaxed."""

    needs: ClassVar[tuple[str, ...]] = ("crystal",)

    def subjects(self, case: Case) -> Sequence[Subject]:
        """All crystals."""
        return case.crystals
