"""i-PI's potentials served by our client give what i-PI's own driver gives."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms

pytest.importorskip("ipi")

SHIM = Path(__file__).with_name("i_pi_shim.py")
ATOMS = Atoms("H4", np.arange(12.0).reshape(4, 3) / 3.0, cell=[9, 9, 9], pbc=True)


# Takes the Fortran driver's command line, where -h is the address.
BEHIND = """\
#!/bin/sh
for word; do
  [ "$word" = -h ] && word=-a
  set -- "$@" "$word"
  shift
done
exec {driver} "$@"
"""


@pytest.mark.parametrize(
    ("potential", "settings", "mode", "behind"),
    [
        (["harmonic", "-o", "0.1,0.2,0.3"], "", "unix", False),
        (["gas"], "<batch_size>2</batch_size>", "unix", False),
        (["harmonic", "-o", "0.2"], "<batch_size>2</batch_size>", "shm", False),
        (["harmonic", "-o", "0.1,0.2,0.3"], "<batch_size>3</batch_size>", "unix", True),
    ],
    ids=["harmonic", "gas-batches", "harmonic-shm", "behind-another-driver"],
)
def test_shim_and_ipis_driver_agree(
    ipi_in: Callable[[Path], Any],
    helpers: Any,
    find_program: Callable[[str], str],
    tmp_path: Path,
    potential: list[str],
    settings: str,
    mode: str,
    behind: bool,
) -> None:
    theirs = find_program("i-pi-py_driver")
    ours = [sys.executable, str(SHIM)]
    if behind:
        program = tmp_path / "behind"
        program.write_text(BEHIND.format(driver=theirs))
        program.chmod(0o755)
        ours += ["--behind", str(program)]
    tables = []
    for name, command in (("ours", ours), ("theirs", [theirs])):
        run = ipi_in(tmp_path / name)
        run.start(ATOMS, run.unix(settings, mode), steps=10, beads=3)
        while not Path(f"/tmp/ipi_{run.address}").exists():
            assert run.process.poll() is None
        flag = "--shm" if mode == "shm" else "-u"
        client = helpers.start([*command, flag, "-a", run.address, "-m", *potential], run.folder)
        assert run.wait() == 0, run.log()
        tables.append(run.table())
        client.kill()
        client.communicate(timeout=120)
    assert tables[0][-1, 0] == 10
    np.testing.assert_array_equal(tables[0], tables[1])


def test_regression_runner_says_what_is_missing(tmp_path: Path) -> None:
    runner = SHIM.with_name("i_pi_regression.py")

    def complaint() -> str:
        done = subprocess.run(
            [sys.executable, str(runner), str(tmp_path)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        return done.stderr

    assert "are not sources with i-PI's tests" in complaint()
    (tmp_path / "ipi_tests" / "regression_tests").mkdir(parents=True)
    assert "driver.x is missing: make -C" in complaint()
