"""The structure of the program: only its own files name a kind of term, and functions are short.

What a kind of term is stands in `fitter/terms`, `potentials/terms` and `potentials/cpp/src/terms`, with
the loops that are compiled for each instruction set in `potentials/cpp/src/loops`. Exports, in
`potentials/export`, are for particular kinds, which each of them states; importers, in
`fitter/importers`, make terms of particular kinds. Everywhere else a kind's name, its classes and its
modules may not appear, but for the exceptions that are listed here with their reasons. An exception
that nothing needs any more fails, too.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest
from forcemap.fitter.terms import kinds as fitted
from forcemap.fitter.terms.base import Term, TermSettings
from forcemap.potentials import terms as mapped
from forcemap.potentials.terms.base import MappedTerm

ROOT = Path(__file__).parents[2]

PYTHON = ("fitter", "potentials", "ipi_driver", "lammps_plugin")
PYTHON_HOMES = ("fitter/terms/", "fitter/importers/", "potentials/terms/", "potentials/export/")
"""Of the knowledge of kinds, in Python."""

CPP = ("potentials/cpp", "lammps_plugin")
CPP_HOMES = ("potentials/cpp/src/terms/", "potentials/cpp/src/loops/")

PYTHON_EXCEPTIONS = {
    ("fitter/baseline/baseline.py", "ZblPairs"): "builds the repulsion, a term of the potential",
    ("fitter/process/prior.py", "ConstantsTerm"): "adds the constants of e0: average",
    ("fitter/process/prior.py", "constants"): "their module",
    ("fitter/config.py", "zbl"): "a value of the setting core, which names LAMMPS' pair_style",
    ("fitter/config.py", "soap"): "the setting map: soap: of users' files",
    ("fitter/mapping/map.py", "soap"): "hands that setting on",
    ("fitter/job.py", "soap"): "hands that setting on",
    ("fitter/remapping/job.py", "soap"): "hands that setting on",
}
"""Reasons by file and name."""

CPP_EXCEPTIONS = {
    "potentials/cpp/src/soap.cpp": "expands densities for the term and for the rows of its process",
    "potentials/cpp/include/forcemap/soap.hpp": "the same",
    "potentials/cpp/src/sphere_products.cpp": "products of these densities, for the same two",
    "potentials/cpp/include/forcemap/sphere_products.hpp": "the same",
    "potentials/cpp/src/zbl.cpp": "the repulsion's function, for the term and for tests of it",
    "potentials/cpp/include/forcemap/zbl.hpp": "the same",
    "potentials/cpp/src/rows/*": "rows of a process, a file for each number of atoms and the embedding",
    "potentials/cpp/include/forcemap/rows.hpp": "declares them",
    "potentials/cpp/bindings/*": "gives Python the rows of each kind by name",
}
"""Reasons by file, or pattern of files."""

LONGEST = 60
"""Lines of a function, its docstring included."""

MOST_ARGUMENTS = 7
"""Of a function, self and cls not counted."""

LONG: dict[tuple[str, str], str] = {}
"""Functions that are longer, with reasons."""

# ---- names of kinds --------------------------------------------------------------------------------

COMMON = (Term, TermSettings, MappedTerm)
"""What all kinds share, and what they build on (settings that check themselves, abstract classes)."""


def _classes_of(kind: type) -> Iterator[type]:
    """A kind's class and those that it shares with some other kinds only."""
    for one in kind.__mro__:
        if not any(issubclass(base, one) for base in COMMON):
            yield one


def _kinds() -> tuple[set[str], list[type]]:
    """Names of all kinds, and their classes."""
    found = [cls for kind in fitted.KINDS for cls in (kind.term, kind.settings) if cls]
    both = [*found, *mapped.KINDS.values()]
    return {kind.kind for kind in both}, [cls for kind in both for cls in _classes_of(kind)]


def _modules(classes: Iterable[type]) -> list[ModuleType]:
    """Modules of kinds: those of their classes, and others in a package of a kind's own."""
    shared = {fitted.__package__, mapped.__name__}
    found = {cls.__module__ for cls in classes}
    packages = {name.rpartition(".")[0] for name in found} - shared
    for package in packages:
        folder = Path(str(import_module(package).__file__)).parent
        found |= {f"{package}.{path.stem}" for path in folder.glob("*.py")} | {package}
    return [import_module(name.removesuffix(".__init__")) for name in sorted(found)]


NAMES, CLASSES = _kinds()
MODULES = {module.__name__ for module in _modules(CLASSES)}
CLASS_NAMES = {cls.__name__ for cls in CLASSES} | {
    name for name, value in vars(mapped).items() if getattr(value, "__module__", "") in MODULES
}
"""Of the kinds, and of their parts that `potentials.terms` hands on."""


class Found(NamedTuple):
    """A name of a kind where it does not belong."""

    path: str
    line: int
    name: str


def kinds_in_python(source: str, path: str = "") -> Iterator[Found]:
    """Names, classes and modules of kinds in Python code.

    A name counts as a whole word of code (of a variable, an attribute, an argument, a definition) and
    as a whole string, as in comparisons, keys and cases; prose in strings and comments does not.
    """
    for node in ast.walk(ast.parse(source)):
        line = getattr(node, "lineno", 0)
        for name in _words(node):
            if name in NAMES or name in CLASS_NAMES:
                yield Found(path, line, name)
        for module in _imported(node):
            if module in MODULES:
                yield Found(path, line, module.rpartition(".")[2])


def _words(node: ast.AST) -> list[str]:
    match node:
        case ast.Constant(value=str(word)) | ast.Name(id=word) | ast.Attribute(attr=word):
            return [word]
        case ast.arg(arg=word) | ast.keyword(arg=str(word)) | ast.alias(name=word):
            return [word]
        case ast.FunctionDef(name=word) | ast.ClassDef(name=word) | ast.MatchAs(name=str(word)):
            return [word]
    return []


def _imported(node: ast.AST) -> list[str]:
    """Modules that a statement imports, whole or names of them."""
    match node:
        case ast.Import(names=names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module=str(module), names=names):
            inside = [f"{module}.{alias.name}" for alias in names]
            return [module, *(name for name in inside if name in MODULES)]
    return []


def files(folders: Iterable[str], endings: set[str], but: Iterable[str] = ()) -> dict[str, str]:
    """Text of all files below some folders by their path from the repository."""
    paths = [p for folder in folders for p in sorted((ROOT / folder).rglob("*"))]
    found = {p.relative_to(ROOT).as_posix(): p for p in paths if p.suffix in endings}
    return {
        name: path.read_text(encoding="utf-8")
        for name, path in found.items()
        if not name.startswith(tuple(but))
    }


def test_no_python_file_but_its_own_names_a_kind() -> None:
    code = files(PYTHON, {".py"}, PYTHON_HOMES)
    assert len(code) > 100
    found = {f for name, text in code.items() for f in kinds_in_python(text, name)}
    stray = sorted(f for f in found if (f.path, f.name) not in PYTHON_EXCEPTIONS)
    assert not stray, "a kind of term is named outside its own files: " + _listed(stray)
    needed = {(f.path, f.name) for f in found}
    assert set(PYTHON_EXCEPTIONS) <= needed, "not needed any more"


def _listed(found: Iterable[Found]) -> str:
    return "".join(f"\n  {f.path}:{f.line}: {f.name}" for f in found)


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("from forcemap.potentials.terms import ZblPairs", "ZblPairs"),
        ("from forcemap.potentials.terms import SoapCenter", "SoapCenter"),
        ("from forcemap.potentials.terms.zbl import ZblPairs", "zbl"),
        ("from forcemap.fitter.terms import nbody", "nbody"),
        ("from forcemap.fitter.terms.soap.channels import species_weights", "channels"),
        ("from forcemap.fitter.terms.distances import DistanceTerm", "DistanceTerm"),
        ("import forcemap.fitter.terms.two_body", "two_body"),
        ("isinstance(term, terms.SoapTerm)", "SoapTerm"),
        ("term.kind == 'three_body'", "three_body"),
        ("'embedding' in kinds", "embedding"),
        ("COST = {'soap': 3}", "soap"),
        ("match kind:\n    case 'nbody': pass", "nbody"),
        ("document.get('zbl')", "zbl"),
        ("def two_body(term): ...", "two_body"),
        ("f(one_body=1)", "one_body"),
    ],
)
def test_naming_a_kind_is_noticed(code: str, name: str) -> None:
    assert name in {found.name for found in kinds_in_python(code)}


@pytest.mark.parametrize(
    "code",
    [
        "'''Of soap terms.'''",
        "message = 'such as [{kind: two_body, cutoff: 5.5}]'",
        "from forcemap.fitter.terms.base import Term",
        "from forcemap.fitter.terms.kinds import KINDS",
        "from forcemap.potentials.terms import KINDS, MappedTerm",
        "isinstance(term, Term)  # or soap",
    ],
)
def test_what_all_kinds_share_may_be_named(code: str) -> None:
    assert list(kinds_in_python(code)) == []


# ---- C++ -------------------------------------------------------------------------------------------

NO_CODE = re.compile(r"//[^\n]*|/\*(?s:.*?)\*/|\"(?:\\.|[^\"\\\n])*\"")
"""Comments and strings."""


def kinds_in_cpp(source: str, path: str = "") -> Iterator[Found]:
    """Kinds named in C++ code, as words of an identifier or of an included file."""

    def kept(match: re.Match[str]) -> str:
        included = source[: match.start()].endswith("#include ")
        return match[0] if included else "\n" * match[0].count("\n")

    for number, line in enumerate(NO_CODE.sub(kept, source).splitlines(), start=1):
        for identifier in re.findall(r"[A-Za-z_]\w*", line):
            parts = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", identifier)
            words = "_".join(parts).lower()
            yield from (Found(path, number, name) for name in NAMES if f"_{name}_" in f"_{words}_")


def test_no_cpp_file_but_its_own_names_a_kind() -> None:
    code = files(CPP, {".cpp", ".hpp", ".ipp", ".h"}, CPP_HOMES)
    assert len(code) > 30
    found = {f for name, text in code.items() for f in kinds_in_cpp(text, name)}

    def excepted(path: str) -> bool:
        return any(fnmatch(path, pattern) for pattern in CPP_EXCEPTIONS)

    stray = sorted(f for f in found if not excepted(f.path))
    assert not stray, "a kind of term is named outside its own files: " + _listed(stray)
    paths = {f.path for f in found}
    unused = [p for p in CPP_EXCEPTIONS if not any(fnmatch(path, p) for path in paths)]
    assert not unused, "not needed any more"


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("void add_two_body(int a);", "two_body"),
        ("struct SoapExpansion {};", "soap"),
        ("ZblFunction f;", "zbl"),
        ("class ThreeBodyTerm;", "three_body"),
        ('#include "forcemap/zbl.hpp"', "zbl"),
        ('const char* a = "//"; embedding();', "embedding"),
    ],
)
def test_naming_a_kind_in_cpp_is_noticed(code: str, name: str) -> None:
    assert [found.name for found in kinds_in_cpp(code)] == [name]


@pytest.mark.parametrize(
    "code",
    [
        "// of soap terms\nint a;",
        "/* two_body\n zbl */ int a;",
        'fail("found no embedding");',
        "int soapy, two, body;",
    ],
)
def test_prose_in_cpp_may_name_a_kind(code: str) -> None:
    assert list(kinds_in_cpp(code)) == []


# ---- functions -------------------------------------------------------------------------------------

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions() -> Iterator[tuple[str, Function]]:
    """All functions and methods with their file; also those in terms."""
    for path, text in files(PYTHON, {".py"}).items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, Function):
                yield path, node


def arguments(function: Function) -> int:
    """How many a caller may give, self and cls not counted."""
    spec = function.args
    names = [a.arg for a in (*spec.posonlyargs, *spec.args, *spec.kwonlyargs)]
    return len(names) - (names[:1] in (["self"], ["cls"]))


def is_command(function: Function) -> bool:
    """Whether click calls it, with an argument for each option."""
    return any(ast.unparse(d).startswith("click.command(") for d in function.decorator_list)


def test_functions_are_short() -> None:
    lengths = {
        (path, node.name): (node.end_lineno or 0) - node.lineno + 1 for path, node in functions()
    }
    assert len(lengths) > 500
    long = {place for place, length in lengths.items() if length > LONGEST}
    assert long - set(LONG) == set(), f"longer than {LONGEST} lines"
    assert set(LONG) <= long, "not needed any more"


def test_functions_take_few_arguments() -> None:
    many = [
        (path, node.name, arguments(node))
        for path, node in functions()
        if arguments(node) > MOST_ARGUMENTS and not is_command(node)
    ]
    assert many == [], f"more than {MOST_ARGUMENTS} arguments; put together what goes together"


# ---- functions of C++ ------------------------------------------------------------------------------

DEFINED = re.compile(r"\b(\w+)\s*(\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\))[\s\w]*?(?:{|->|:(?!:))")
"""Name and arguments of what may be the definition of a function: a body or initializers follow."""

NO_FUNCTION = {"if", "for", "while", "switch", "catch", "return", "constexpr", "new"}


class CppFunction(NamedTuple):
    """A definition of a function."""

    name: str
    arguments: int
    lines: int


def cpp_functions(source: str) -> Iterator[CppFunction]:
    """Functions that have a name, as they are defined in C++ code formatted by clang-format."""
    code = NO_CODE.sub(lambda match: "\n" * match[0].count("\n"), source)
    for match in (m for m in DEFINED.finditer(code) if m[1] not in NO_FUNCTION):
        line = code[code.rfind("\n", 0, match.start()) + 1 : match.start()]
        # Neither a ? b(c) : d nor a member's own initializer is a function.
        is_name = not match[0].endswith(":") or re.fullmatch(r" *(explicit )?(\w+::)*", line)
        if not is_name or re.match(r" *:(?!:)|.*, *$", line) or match[1].endswith("_"):
            continue
        rest = code[match.start() :]
        indent = " " * (len(line) - len(line.lstrip(" ")))
        end = re.match(r".*} *$", rest, re.MULTILINE) or re.search(rf"(?m)^{indent}}}|{{}}$", rest)
        yield CppFunction(
            match[1], _commas(match[2]), rest[: end.end() if end else None].count("\n") + 1
        )


def _commas(arguments: str) -> int:
    """Number of arguments in "(...)"; commas of their types do not count."""
    inside = arguments[1:-1]
    while (less := re.sub(r"\([^()]*\)|<[^<>]*>|\[[^\[\]]*\]|\{[^{}]*\}", "", inside)) != inside:
        inside = less
    return inside.count(",") + 1 if inside.strip() else 0


def test_functions_of_cpp_are_short_and_take_few_arguments() -> None:
    defined = [
        (path, function)
        for path, text in files(CPP, {".cpp", ".hpp", ".ipp", ".h"}).items()
        for function in cpp_functions(text)
    ]
    assert len(defined) > 300
    wide = [(path, f.name) for path, f in defined if f.arguments > MOST_ARGUMENTS]
    assert wide == [], f"more than {MOST_ARGUMENTS} arguments; put together what goes together"
    long = [(path, f.name, f.lines) for path, f in defined if f.lines > LONGEST]
    assert long == [], f"longer than {LONGEST} lines"


@pytest.mark.parametrize(
    ("code", "function"),
    [
        ("void f(int a, int b) {\n  g(a);\n  if (a) {\n  }\n}\n", ("f", 2, 5)),
        ("void f() {}\n", ("f", 0, 1)),
        ("  double f(std::pair<int, int> a, void (*b)(int, int)) const {\n  }\n", ("f", 2, 2)),
        ("A::A(int a, int b, int c)\n    : a_(a), b_{b} {\n  c;\n}\n", ("A", 3, 4)),
        ("auto f(int a) -> int {\n  return a;\n}\n", ("f", 1, 3)),
    ],
)
def test_a_function_of_cpp_is_measured(code: str, function: tuple[str, int, int]) -> None:
    assert function in [tuple(found) for found in cpp_functions(code)]
