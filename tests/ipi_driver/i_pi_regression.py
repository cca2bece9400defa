"""Runs i-PI's own regression tests against our client.

The tests are not in i-PI's wheel. They are in i-PI's repository, and in the source archives on PyPI of
some versions (3.1.12; not 3.3.1)::

    pip download --no-deps --no-binary :all: ipi==3.1.12 && tar xzf ipi-3.1.12.tar.gz
    make -C ipi-3.1.12/drivers/f90 driver.x                      # i-PI's Fortran potentials; gfortran
    python tests/ipi_driver/i_pi_regression.py ipi-3.1.12        # minutes
    python tests/ipi_driver/i_pi_regression.py ipi-3.1.12 --batch-size 4 --mode shm -k "NVT or NPT"

Each test starts the installed i-PI and drivers by name from PATH; there they find `i_pi_shim.py`, which
is our client with i-PI's potentials behind it, and compare trajectories with i-PI's reference files.
With ``--theirs`` i-PI's own drivers answer, to tell whose fault a failure is. With ``--batch-size`` or
``--mode`` the tests' inputs are changed on the way (i-PI's own Fortran driver could not follow).

What passes, with the tests of 3.1.12 and i-PI 3.3.1: all 62, that is all but PLUMED's, which i-PI
itself leaves out; one structure a message, in batches of 4 and through shared memory. Their
potentials: ch4hcbe, doublewell, doublewell_1D (with friction and dipole as extras), DW_friction, gas,
harm3d, harmonic, lj, pswater, qtip4pf, -sr, -c-1, -c-2 and -c-json (committees), zundel.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SHIM = Path(__file__).resolve().with_name("i_pi_shim.py")


def write_program(path: Path, command: list[str]) -> None:
    path.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n', encoding="utf-8")
    path.chmod(0o755)


def changed(text: str, batch_size: int) -> str:
    """The input with batches in each of its ``<ffsocket>``."""
    size = f"<batch_size> {batch_size} </batch_size>"
    return re.sub(r"(<ff(?:cavph)?socket\b[^>]*>)", rf"\1 {size}", text)


def parsed() -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Other options are handed to pytest.",
    )
    parser.add_argument("sources", type=Path, help="folder of i-PI's sources")
    parser.add_argument("--driver", type=Path, help="[default: SOURCES/drivers/f90/driver.x]")
    parser.add_argument("--theirs", action="store_true", help="with i-PI's own drivers")
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--mode", choices=["unix", "shm"], default="unix")
    return parser.parse_known_args()


def main() -> None:
    options, others = parsed()
    tests = options.sources / "ipi_tests"
    driver = (options.driver or options.sources / "drivers" / "f90" / "driver.x").resolve()
    if not (tests / "regression_tests").is_dir():
        sys.exit(
            f"{tests / 'regression_tests'} is missing: these are not sources with i-PI's tests"
        )
    if not driver.is_file():
        sys.exit(f"{driver} is missing: make -C {driver.parent} driver.x, which needs gfortran")
    with tempfile.TemporaryDirectory(prefix="i-pi-") as scratch:
        programs = Path(scratch) / "bin"
        programs.mkdir()
        if options.theirs:
            (programs / "i-pi-driver").symlink_to(driver)
        else:
            ours = [sys.executable, str(SHIM)]
            write_program(programs / "i-pi-py_driver", ours)
            write_program(programs / "i-pi-driver", [*ours, "--behind", str(driver)])
        # A copy, as the tests write beside their inputs.
        copy = Path(scratch) / "ipi_tests"
        shutil.copytree(tests, copy)
        for file in copy.rglob("input.xml"):
            if options.batch_size > 1:
                file.write_text(changed(file.read_text(), options.batch_size))
        # i-PI's 20 s for a run are too few for some on a machine with other work.
        tools = copy / "test_tools.py"
        tools.write_text(re.sub(r"(?m)^TIMEOUT = .*", "TIMEOUT = 300", tools.read_text()))
        for file in copy.rglob("test_settings.dat"):
            text = re.sub(r"(?m)^(\s*socket_mode\s+)unix", rf"\1{options.mode}", file.read_text())
            file.write_text(text)
        path = os.pathsep.join(
            [str(programs), str(Path(sys.executable).parent), os.environ["PATH"]]
        )
        command = ["-m", "pytest", "-p", "no:cacheprovider", "--tb=line", "--show-capture=no", "-q"]
        done = subprocess.run(
            [sys.executable, *command, *others, str(copy / "regression_tests")],
            cwd=scratch,
            env={**os.environ, "PATH": path},
            check=False,
        )
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
