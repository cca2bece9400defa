"""Models under validation: a potential file, or any ASE calculator by its name."""

from __future__ import annotations

import ast
import hashlib
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.quoting import printable, quoted

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator

__all__ = ["Model", "model_of", "of_potential"]

EXAMPLES = 'other.forcemap, "ase.calculators.emt:EMT()" or "package.module:Class(keyword=1)"'

_SPEC = re.compile(
    r"\s*(?P<module>[A-Za-z_][\w.]*):(?P<name>[A-Za-z_]\w*)\s*(?P<call>\(.*\))?\s*", re.S
)


@dataclass(frozen=True)
class Model:
    """What gives energies, forces and stresses.

    Attributes:
        name: heads its column.
        identity: of what it computes: the file's SHA-256, or how the calculator is made.
        calculator: makes one, for a number of threads.
        potential: its file, for LAMMPS; None for other calculators.
        species: symbols that it knows; None if that is not known.
        free_atoms: energies of free atoms by symbol that stand in for its own, eV.
    """

    name: str
    identity: str
    calculator: Callable[[int], Calculator] = field(compare=False)
    potential: Path | None = None
    species: tuple[str, ...] | None = None
    free_atoms: Mapping[str, float] = field(default_factory=dict, compare=False)


def of_potential(path: Path) -> Model:
    """The model of a potential file. Raises ForcemapError if it is not one that can be run."""
    from forcemap.potentials import load
    from forcemap.potentials.calculator import ForcemapCalculator
    from forcemap.potentials.file.potential_file import file_format

    if file_format(path) == "forcemap.model":
        beside = path.with_name("potential.forcemap")
        hint = f"; its potential is {beside}" if beside.is_file() else "; map it with: forcemap map"
        raise ForcemapError(f"{path}: is a model (a Gaussian process), expected a potential{hint}")
    potential = load(path)
    return Model(
        name=path.stem,
        identity=hashlib.sha256(path.read_bytes()).hexdigest(),
        calculator=lambda threads: ForcemapCalculator(potential, threads=threads),
        potential=path.resolve(),
        species=tuple(potential.species),
    )


def model_of(spec: str, beside: Model | None = None) -> Model:
    """The model that `--against` names: a potential file, or module:Class(keywords) of a calculator.

    Its name differs from that of the model `beside`.
    Raises ForcemapError with what is wrong with it.
    """
    path = Path(spec)
    if path.is_file():
        model = of_potential(path)
        if beside is not None and model.name == beside.name:
            model = replace(model, name=str(path.with_suffix("")))
        return model
    match = _SPEC.fullmatch(spec)
    if match is None:
        from forcemap.potentials.file.file_kind import near_name

        missing = f": no such file{near_name(path)}" if path.suffix == ".forcemap" else ""
        raise ForcemapError(
            f"--against {printable(spec, 100)}{missing}; expected a potential file or an ASE "
            f"calculator, such as {EXAMPLES}"
        )
    make = _found(spec, match["module"], match["name"])
    keywords = _keywords(spec, match["call"] or "()")

    def calculator(threads: int) -> Calculator:
        from ase.calculators.calculator import BaseCalculator

        try:
            made = make(**keywords)
        except Exception as error:  # of foreign code, which may raise anything
            raise ForcemapError(
                f"--against {printable(spec, 100)}: cannot be made: {_reason(error)}"
            ) from error
        if not isinstance(made, BaseCalculator) and not hasattr(made, "get_property"):
            raise ForcemapError(
                f"--against {printable(spec, 100)}: gives {quoted(made)}, which is no ASE calculator"
            )
        return made

    calculator(1)  # here, so that a mistake ends the command before the work
    version = getattr(import_module(match["module"].partition(".")[0]), "__version__", "")
    return Model(match["name"], f"{spec} {version}", calculator)


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {printable(error, 300)}"


def _found(spec: str, module: str, name: str) -> Callable[..., Any]:
    """The class or function of a spec."""
    from forcemap.fitter.checked import nearest

    where = f"--against {printable(spec, 100)}"
    try:
        holder = import_module(module)
    except ModuleNotFoundError as error:
        raise ForcemapError(
            f"{where}: there is no module {error.name}; is its package installed?"
        ) from None
    except Exception as error:  # of foreign code
        raise ForcemapError(f"{where}: {module} cannot be imported: {_reason(error)}") from error
    found = getattr(holder, name, None)
    if not callable(found):
        classes = [n for n, value in vars(holder).items() if inspect.isclass(value) and n[0] != "_"]
        raise ForcemapError(f"{where}: {module} has no class {name}{nearest(name, classes)}")
    return found  # type: ignore[no-any-return]


def _keywords(spec: str, call: str) -> dict[str, Any]:
    """Keywords of "(a=1, b='x')": plain Python values only, so that nothing is executed."""
    where = f"--against {printable(spec, 100)}"
    try:
        node = ast.parse(f"f{call}", mode="eval").body
    except (SyntaxError, ValueError):
        node = ast.Constant(None)
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        raise ForcemapError(
            f"{where}: {printable(call, 100)} is not a list of keywords, such as (cutoff=5.0)"
        )
    if node.args or any(keyword.arg is None for keyword in node.keywords):
        raise ForcemapError(f"{where}: give arguments by keyword, such as (cutoff=5.0)")
    values = {}
    for keyword in node.keywords:
        try:
            values[str(keyword.arg)] = ast.literal_eval(keyword.value)
        except ValueError:
            raise ForcemapError(
                f"{where}: {keyword.arg}: {printable(ast.unparse(keyword.value), 60)} is not a plain "
                "value (a number, a string, true or false, a list or a dictionary of them)"
            ) from None
    return values
