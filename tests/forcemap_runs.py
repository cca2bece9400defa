"""Runs `forcemap` as a user does, in this process or in others, and kills it where a test says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner, Result
from forcemap.fitter.cli import cli
from safetensors import safe_open

FAULTY = """
import json, os, signal, sys
from functools import reduce
from importlib import import_module

from forcemap.fitter.sharing.launch import rank_number

for fault in json.loads(os.environ["TEST_FAULTS"]):
    module, _, path = fault["where"].partition(":")
    *owners, name = path.split(".")
    owner = reduce(getattr, owners, import_module(module))

    def faulty(*args, fault=fault, function=getattr(owner, name), calls=[0], **options):
        calls[0] += 1
        over = calls[0] > fault["call"] and fault["signal"] != "SIGKILL"  # there is no second one
        if calls[0] < fault["call"] or over or rank_number() != fault["rank"]:
            return function(*args, **options)
        if fault["after"]:
            function(*args, **options)
        if fault["error"]:
            kind, text = fault["error"]
            errors = import_module("forcemap.potentials.errors")
            raise (getattr(errors, kind, None) or getattr(import_module("builtins"), kind))(text)
        os.kill(os.getpid(), getattr(signal, fault["signal"]))
        return function(*args, **options)

    setattr(owner, name, faulty)

from forcemap.fitter.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell in the background ignores it
main()
"""

UNDRAWN = ("forcemap.fitter.report.figures", "forcemap.fitter.report.honesty_figures")
"""Modules of figures, which take two thirds of the time of a small fit."""

WITHOUT_FIGURES = f"""
import sys, types

def undrawn(*arguments):  # other ranks are asked to draw: it must have a name
    return {{}}

def nothing(name):
    if name.startswith("_"):
        raise AttributeError(name)
    return undrawn

for name in {UNDRAWN}:
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__getattr__ = nothing
"""
"""The same as `Undrawn`, for another process."""


class Undrawn(ModuleType):
    """Stands for a module of figures, and draws none."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *arguments: {}


MPIRUN = Path(sys.executable).parent / "mpirun"


def fault(
    where: str,
    call: int = 1,
    *,
    rank: int = 0,
    after: bool = False,
    error: tuple[str, str] | None = None,
    number: str = "SIGKILL",
) -> dict[str, object]:
    """What goes wrong at a call of the function `where` ("module:name") on one rank.

    The process is killed (or gets another signal, by its name) instead of the call, or `after` it;
    with `error` (kind and text) it raises instead.
    """
    how = {"after": after, "error": error, "signal": number}
    return {"where": where, "call": call, "rank": rank, **how}


def invoke(*arguments: object, figures: bool = False) -> Result:
    """Run `forcemap` with arguments in this process; a fit's report has its figures if asked for."""
    with pytest.MonkeyPatch.context() as patch:
        if arguments[:1] == ("fit",) and not figures:
            for name in UNDRAWN:
                patch.setitem(sys.modules, name, Undrawn(name))
        return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def blocks_in(checkpoint: Path) -> int:
    """Blocks of rows in a checkpoint."""
    with safe_open(checkpoint, framework="numpy") as file:
        return int(file.get_tensor("counts")[0])


def run_forcemap(
    *arguments: object,
    ranks: int = 0,
    faults: tuple[Mapping[str, object], ...] = (),
    environment: Mapping[str, str] | None = None,
    timeout: float = 120.0,
    before: str = "",
) -> subprocess.CompletedProcess[str]:
    """Run `forcemap` with arguments; under mpirun with `ranks` > 0. `before`: Python to run first.

    A fit's report has no figures.
    """
    before += WITHOUT_FIGURES if arguments[:1] == ("fit",) else ""
    script = before + (FAULTY if faults else "from forcemap.fitter.cli import main; main()")
    launcher = [str(MPIRUN), "-n", str(ranks)] if ranks else []
    given = {"TEST_FAULTS": json.dumps(faults), "PYTHONWARNINGS": "default"}
    return subprocess.run(
        [*launcher, sys.executable, "-c", script, *(str(a) for a in arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env={**os.environ, **given, **(environment or {})},
    )
