"""i-PI's potentials served by our client give what i-PI's own driver gives."""

from __future__ import annotations

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


@pytest.mark.parametrize(
    ("potential", "settings", "mode"),
    [
        (["harmonic", "-o", "0.1,0.2,0.3"], "", "unix"),
        (["gas"], "<batch_size>2</batch_size>", "unix"),
        (["harmonic", "-o", "0.2"], "<batch_size>2</batch_size>", "shm"),
    ],
    ids=["harmonic", "gas-batches", "harmonic-shm"],
)
def test_shim_and_ipis_driver_agree(
    ipi_in: Callable[[Path], Any],
    helpers: Any,
    find_program: Callable[[str], str],
    tmp_path: Path,
    potential: list[str],
    settings: str,
    mode: str,
) -> None:
    tables = []
    for name, program in (
        ("ours", [sys.executable, str(SHIM)]),
        ("theirs", [find_program("i-pi-py_driver")]),
    ):
        run = ipi_in(tmp_path / name)
        run.start(ATOMS, run.unix(settings, mode), steps=10, beads=3)
        while not Path(f"/tmp/ipi_{run.address}").exists():
            assert run.process.poll() is None
        flag = "--shm" if mode == "shm" else "-u"
        client = helpers.start([*program, flag, "-a", run.address, "-m", *potential], run.folder)
        assert run.wait() == 0, run.log()
        tables.append(run.table())
        client.kill()
        client.communicate(timeout=120)
    assert tables[0][-1, 0] == 10
    np.testing.assert_array_equal(tables[0], tables[1])
