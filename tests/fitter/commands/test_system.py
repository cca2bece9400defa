"""``forcemap info --system``: every item has a verdict, a broken one is an item too."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from forcemap.fitter.commands import system
from forcemap.fitter.commands.system import Item, examined, verdict
from forcemap.potentials.exit_codes import ExitCode
from forcemap_runs import invoke


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """No program is installed but those that a test makes, as shell scripts."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    def make(name: str, script: str) -> None:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    return make


def by_name() -> dict[str, Item]:
    return {item.name: item for item in examined()}


def test_verdicts_give_the_exit_code() -> None:
    ok, absent, failed = (Item("a", "b", how) for how in ("ok", "absent", "failed"))
    for items, code in (
        ([], ExitCode.OK),
        ([Item("version", "1"), ok], ExitCode.OK),
        ([ok, absent], ExitCode.ABSENT),
        ([absent, failed, ok], ExitCode.FAULT),
    ):
        assert verdict(items) == code


def test_what_is_not_installed_is_absent_with_its_cure(
    programs: Callable[[str, str], None],
) -> None:
    items = by_name()
    for name in (
        "LAMMPS",
        "run of LAMMPS",
        "plugin for LAMMPS",
        "i-PI",
        "run of LAMMPS on 2 ranks",
    ):
        assert items[name].verdict == "absent", items[name]
        assert "was not found" in items[name].found
        assert "install" in items[name].found
    assert items["run with ASE"].verdict == "ok"
    assert items["core of forcemap"].verdict == "ok"
    assert items["run with ASE"].found.startswith("energy right to 1e-09 eV, ")
    result = invoke("info", "--system", "--json", "-q")
    assert (result.exit_code, result.stderr) == (ExitCode.ABSENT, "")
    document = json.loads(result.stdout)
    assert document["exit_code"] == ExitCode.ABSENT
    assert {"name", "found", "verdict"} == set(document["items"][0])


def test_broken_programs_are_items(programs: Callable[[str, str], None]) -> None:
    programs("lmp", "echo 'lmp: cannot open libmpi.so.12' >&2; exit 127")
    programs("python", "exit 1")
    programs("i-pi", "echo 'no module named ipi' >&2; exit 1")
    programs("mpirun", "echo HYDRA 4.3")
    items = by_name()
    for name in ("LAMMPS", "run of LAMMPS"):
        assert items[name].verdict == "failed"
        assert "ended with exit code 127: lmp: cannot open libmpi.so.12" in items[name].found
    assert items["MPI"].verdict == "ok"
    assert items["MPI"].found.startswith("MPICH, HYDRA 4.3, ")
    assert items["run of i-PI with the driver"].verdict == "failed"
    assert "no module named ipi" in items["run of i-PI with the driver"].found
    result = invoke("info", "--system", "-q")
    assert result.exit_code == ExitCode.FAULT
    assert "failed: " in result.stdout
    assert "Traceback" not in result.output


def test_wrong_energy_is_a_failure(programs: Callable[[str, str], None]) -> None:
    programs("lmp", "printf '   Step  PotEng  TotEng\\n  0  1.25  1.25\\n'")
    item = by_name()["run of LAMMPS"]
    assert item.verdict == "failed"
    assert item.found.startswith("LAMMPS gives 1.25 eV, expected ")
    programs("lmp", "echo nothing")
    assert "LAMMPS printed no energy: nothing" in by_name()["run of LAMMPS"].found


def test_unforeseen_errors_are_items(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Any:
        raise OSError("libblas.so: cannot open")

    monkeypatch.setattr(system, "_blas", broken)
    for name in ("_lammps", "_plugin", "_i_pi", "_mpi", "_run_lammps", "_run_lammps_by_mpi"):
        monkeypatch.setattr(system, name, lambda: "well")
    monkeypatch.setattr(system, "_run_i_pi", lambda: "well")
    found = by_name()
    assert found["numpy's BLAS"] == Item(
        "numpy's BLAS", "OSError: libblas.so: cannot open", "failed"
    )
    assert found["run with ASE"].verdict == "ok"


def test_system_goes_without_a_file(tmp_path: Path) -> None:
    assert invoke("info", "--system", "--ipi-pes").exit_code == ExitCode.USAGE
    assert invoke("info", "--system", __file__).exit_code == ExitCode.USAGE


@pytest.mark.lammps
def test_installation_of_the_tests_is_in_order() -> None:
    """LAMMPS with the plugin, on one rank and on two, and i-PI with the driver, by this command."""
    pytest.importorskip("lammps")
    pytest.importorskip("ipi")
    result = invoke("info", "--system", "--json", "-q")
    items = {one["name"]: one for one in json.loads(result.stdout)["items"]}
    assert {one["verdict"] for one in items.values()} == {"", "ok"}, result.stdout
    assert result.exit_code == ExitCode.OK
    assert items["forcemap"]["found"]
    assert items["processor"]["found"]
