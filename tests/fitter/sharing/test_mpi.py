"""One fit on several MPI ranks: the same potential, one message for a fault, nobody hangs."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forcemap.fitter.commands import options
from forcemap.fitter.sharing.checkpoint import PATTERN
from forcemap.fitter.sharing.launch import Launch, launched, rank_number
from forcemap.fitter.sharing.ranks import dealt, share, started_ranks
from forcemap.potentials import ForcemapError, load
from forcemap.potentials.file.container import Container, read_container
from forcemap_runs import MPIRUN, blocks_in, fault, run_forcemap
from structures import SILICON

with_mpi = pytest.mark.skipif(
    find_spec("mpi4py") is None or not MPIRUN.exists(),
    reason="needs mpi4py (pip install 'forcemap[mpi]') and the MPICH wheel's mpirun",
)

SETTINGS = f"""
data: {{train: ["{SILICON}/train.xyz", "{SILICON}/train.xyz", "{SILICON}/isolated.xyz"]}}
e0: average
outside: free
terms:
  - {{kind: two_body, cutoff: 4.5, n_sparse: 12}}
  - {{kind: three_body, cutoff: 3.6, n_sparse: 40}}
"""
"""Holes take seconds to find, in the first process alone: one test has them (`GUIDED`)."""

GUIDED = f"""
data: {{train: {SILICON}/train.xyz}}
e0: average
terms:
  - {{kind: two_body, cutoff: 4.5, n_sparse: 12}}
  - {{kind: three_body, cutoff: 3.6, n_sparse: 40}}
"""


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("settings") / "settings.yaml"
    path.write_text(SETTINGS, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def alone(settings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the fit by one process without a launcher."""
    out = tmp_path_factory.mktemp("alone")
    done = run_forcemap("fit", settings, "-o", out, "--quiet")
    assert done.returncode == 0, done.stderr
    return out


def sparse_points(container: Container) -> dict[str, bytes]:
    return {
        name: tensor.tobytes()
        for name, tensor in container.tensors.items()
        if name.startswith("points.")
    }


def forces(folder: Path) -> np.ndarray:
    from ase.io import read

    evaluator = load(folder / "potential.forcemap").evaluator()
    return np.concatenate(
        [
            evaluator.compute(a.positions, a.numbers, a.cell.array, a.pbc).forces
            for a in read(SILICON / "test.xyz", ":")
        ]
    )


def numbers_in(value: Any) -> list[float]:
    """All numbers in a part of a report, in their order."""
    if isinstance(value, dict):
        return [number for item in value.values() for number in numbers_in(item)]
    if isinstance(value, list):
        return [number for item in value for number in numbers_in(item)]
    return [float(value)] if isinstance(value, int | float) else []


# ----- the fit -----


@with_mpi
@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_same_sparse_points_and_forces_on_any_number_of_ranks(
    ranks: int, settings: Path, alone: Path, tmp_path: Path
) -> None:
    done = run_forcemap("fit", settings, "-o", tmp_path, ranks=ranks)
    assert done.returncode == 0, done.stderr
    one, several = (read_container(f / "model.forcemap") for f in (alone, tmp_path))
    assert sparse_points(several) == sparse_points(one)
    assert len(sparse_points(one)) == 3
    np.testing.assert_allclose(forces(tmp_path), forces(alone), rtol=0, atol=1e-8)
    assert np.abs(forces(alone)).max() > 0.1
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["fit"]["mpi_ranks"] == ranks
    known = json.loads((alone / "report.json").read_text(encoding="utf-8"))
    for name in ("leave_one_out", "uncertainty"):
        assert numbers_in(report[name]) == pytest.approx(numbers_in(known[name]), rel=1e-7)
    # One rank shows progress, writes the files and lists them.
    assert done.stderr.count("fitting: done in") == 1
    assert done.stdout.count("report.html") == 1
    names = sorted(path.name for path in alone.iterdir())
    assert sorted(path.name for path in tmp_path.iterdir()) == names


@with_mpi
def test_holes_are_filled_alike(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(GUIDED, encoding="utf-8")
    for ranks in (0, 2):
        out = tmp_path / str(ranks)
        done = run_forcemap("fit", path, "-o", out, "--quiet", ranks=ranks)
        assert (done.returncode, done.stderr) == (0, "")
        assert "that lay below all data are lifted" in " ".join(done.stdout.split())
    np.testing.assert_allclose(forces(tmp_path / "2"), forces(tmp_path / "0"), rtol=0, atol=1e-8)
    models = (read_container(tmp_path / name / "model.forcemap") for name in ("2", "0"))
    holes, known = (model.document["data"]["holes"] for model in models)
    assert len(known) > 50
    assert numbers_in(holes) == pytest.approx(numbers_in(known), rel=1e-9)


def test_every_piece_of_work_has_one_rank() -> None:
    rng = np.random.default_rng(0)
    for size in (1, 2, 3, 8):
        for count in (0, 1, 5, 100):
            costs = rng.integers(1, 1000, count).tolist()
            shares = [share(costs, rank, size) for rank in range(size)]
            assert sorted(n for mine in shares for n in mine) == list(range(count))
            assert all(mine == sorted(mine) for mine in shares)
            loads = [sum(costs[n] for n in mine) for mine in shares]
            assert max(loads) - min(loads) <= max(costs, default=0)
            hands = dealt(costs, size)
            assert sorted(n for mine in hands for n in mine) == list(range(count))
            loads = [sum(costs[n] for n in mine) for mine in hands]
            assert max(loads) - min(loads) <= max(costs, default=0)


EXCHANGE = """
import os

import numpy as np
from forcemap.fitter.sharing import ranks as sharing
from forcemap.fitter.solve.solver import Groups

sharing.PIECE = 512  # bytes: nothing below fits into one message

rng = np.random.default_rng(7)
sent = {
    "rows": rng.normal(size=(30, 20)),
    "columns": np.asfortranarray(rng.normal(size=(30, 20))),
    "part": rng.normal(size=(30, 20))[::2, ::3],
    "numbers": np.arange(1000, dtype=np.int32),
    "empty": np.zeros((0, 3)),
    "plain": ("text", 1.5, None),
}
blocks = [rng.normal(size=(9, 23)) for _ in range(11)]

def known(n):
    return n, os.getpid()

def summed(numbers):
    data = Groups(23, 2)
    for n in numbers:
        half = blocks[n][:4], blocks[n][4:]
        data.add([(rows, rows[:, 0], 0.1 * n) for rows in half])
    return data

with sharing.started_ranks() as ranks:
    calls = []
    got = ranks.on_first(lambda: calls.append(1) or sent)
    assert len(calls) == (ranks.rank == 0)
    for name, value in sent.items():
        if isinstance(value, np.ndarray):
            assert got[name].dtype == value.dtype and got[name].flags.writeable
            assert np.array_equal(got[name], value), name
            assert got[name].flags.f_contiguous == value.flags.f_contiguous or name == "part"
        else:
            assert got[name] == value

    mine = sharing.share([len(b) for b in blocks], ranks.rank, ranks.size)
    data = summed(mine)
    ranks.add_up(data)
    if ranks.is_first:
        whole = summed(range(len(blocks)))
        whole.settle()
        for one, other in zip(data.members, whole.members, strict=True):
            assert np.array_equal(one.gram, other.gram)
            assert np.array_equal(one.vector, other.vector)
        assert data.counts.tolist() == whole.counts.tolist() == [44, 55]

    def worked(n):
        done.append(n)
        return n, np.full(n, float(n))

    done = []
    results = ranks.map_in_order(worked, range(1, 200), np.ones(199), 2)
    assert 0 < len(done) < 199 or ranks.size == 1
    if ranks.is_first:
        assert [n for n, _ in results] == list(range(1, 200))
        assert all(np.array_equal(array, np.full(n, n)) for n, array in results)

    def on_first():
        assert ranks.is_first
        numbers, workers = zip(*ranks.hand_out(known, range(40), np.ones(40), 2))
        assert numbers == tuple(range(40)) and len(set(workers)) == ranks.size
        more = ranks.hand_out(np.negative, [np.arange(n) for n in range(50)], range(50), 1)
        assert all(np.array_equal(one, -np.arange(n)) for n, one in enumerate(more))
        return True

    led = ranks.lead(on_first)
    assert (led is not None) == ranks.is_first
    alone = list(ranks.hand_out(lambda n: 2 * n, [1, 2], [1, 1], 1))  # nobody leads: no exchange
    assert alone == [2, 4]
    if ranks.is_first:
        print("all is well on", ranks.size)
"""


@with_mpi
@pytest.mark.parametrize("ranks", [1, 2, 3, 5])
def test_arrays_of_any_size_are_sent_and_summed_exactly(ranks: int) -> None:
    done = subprocess.run(
        [str(MPIRUN), "-n", str(ranks), sys.executable, "-c", EXCHANGE],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"all is well on {ranks}\n"


HANDED_OUT = """
from forcemap.fitter.sharing.ranks import started_ranks
from forcemap.potentials.errors import ForcemapError

def failing(n):
    if n == FAULT:
        raise ForcemapError(f"item {n} is wrong")
    return n

with started_ranks() as ranks:
    ranks.lead(lambda: list(ranks.hand_out(failing, range(8), [1.0] * 8, 1)))
    print("not reached")
"""


@with_mpi
@pytest.mark.parametrize("item", [0, 1, 6])
def test_fault_in_what_was_handed_out_ends_all_ranks(item: int) -> None:
    script = HANDED_OUT.replace("FAULT", str(item))
    done = subprocess.run(
        [str(MPIRUN), "-n", "3", sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode != 0
    assert done.stdout == ""
    assert done.stderr.count(f"item {item} is wrong") == 1


@with_mpi
def test_killed_ranks_resume(settings: Path, alone: Path, tmp_path: Path) -> None:
    """A rank is killed in its third block; every rank goes on from its own last one."""
    arguments = ("fit", settings, "-o", tmp_path, "--quiet", "--checkpoint-every", "0")
    where = "forcemap.fitter.solve.solver:Groups.add"
    done = run_forcemap(*arguments, ranks=2, faults=(fault(where, 3, rank=1),))
    assert done.returncode != 0
    kept = {path.name.split("-")[2]: blocks_in(path) for path in tmp_path.glob(PATTERN)}
    assert kept["1"] == 2
    again = run_forcemap(*arguments, "--resume", ranks=1)
    assert again.returncode == 1
    assert "resume it with mpirun -n 2, or start anew without --resume" in again.stderr
    # Two blocks less than without the checkpoint: at the third of them nothing happens any more.
    total = 5
    again = run_forcemap(*arguments, "--resume", ranks=2, faults=(fault(where, total - 1, rank=1),))
    assert (again.returncode, again.stderr) == (0, "")
    np.testing.assert_array_equal(forces(tmp_path), forces(alone))
    assert not list(tmp_path.glob(PATTERN))


# ----- faults -----


def one_message(stderr: str, text: str) -> None:
    assert stderr.startswith("Error: "), stderr
    assert stderr.count("\n") == stderr.count("Error") == 1, stderr
    assert text in stderr


SOAP = """  - {kind: soap, cutoff: 3.5, n_sparse: 30, n_max: 3, l_max: 2}
"""


@with_mpi
def test_soap_terms_are_shared(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(SETTINGS + SOAP, encoding="utf-8")
    for ranks in (0, 2):
        out = tmp_path / str(ranks)
        done = run_forcemap("fit", path, "-o", out, "--quiet", ranks=ranks)
        assert (done.returncode, done.stderr) == (0, "")
    one, two = tmp_path / "0", tmp_path / "2"
    points = [sparse_points(read_container(out / "model.forcemap")) for out in (one, two)]
    assert points[0] == points[1]
    assert len(points[0]) == 4
    np.testing.assert_allclose(forces(two), forces(one), rtol=0, atol=1e-8)
    maps = [
        json.loads((out / "report.json").read_text(encoding="utf-8"))["mapping"]
        for out in (one, two)
    ]
    assert maps[0]["frames_measured"] == maps[1]["frames_measured"]
    worst = "force_max_error_ev_per_a"
    assert maps[1][worst] == pytest.approx(maps[0][worst], rel=1e-3, abs=1e-9)


@with_mpi
def test_ranks_learn_the_same(tmp_path: Path) -> None:
    """The channels of a fit on two ranks are those of one; both learn as many steps."""
    settings = tmp_path / "settings.yaml"
    settings.write_text(
        f"data: {{train: {SILICON}/train.xyz}}\ne0: average\nuncertainty: {{draws: 0}}\n"
        "outside: free\nlearning_steps: 2\nterms:\n"
        "  - {kind: soap, cutoff: 3.5, n_max: 4, n_channels: 2, l_max: 2, n_sparse: 20}\n",
        encoding="utf-8",
    )
    for out, ranks in (("one", 0), ("two", 2)):
        done = run_forcemap("fit", settings, "-o", tmp_path / out, ranks=ranks)
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("learned channels: ") == 1
    one, two = (read_container(tmp_path / out / "model.forcemap") for out in ("one", "two"))
    np.testing.assert_array_equal(two.tensors["mixing.0"], one.tensors["mixing.0"])


@with_mpi
def test_fault_on_all_ranks_is_told_once(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("data: {train: nowhere.xyz}\nterms: [{kind: two_body}]\n", encoding="utf-8")
    done = run_forcemap("fit", path, "-o", tmp_path / "out", "--quiet", ranks=3)
    assert done.returncode == 1
    one_message(done.stderr, f"{tmp_path / 'nowhere.xyz'}: no such file")
    done = run_forcemap("fit", path, "--no-such-option", ranks=3)
    assert done.returncode == 2
    assert done.stderr.count("No such option") == 1


@with_mpi
@pytest.mark.parametrize(
    ("where", "rank"),
    [
        pytest.param("forcemap.fitter.job:read_frames", 1, id="reading, not the first rank"),
        pytest.param("forcemap.fitter.process.prior:Prior.of", 0, id="choosing, the first alone"),
        pytest.param("forcemap.fitter.process.accumulate:whitened_rows", 2, id="rows, the last"),
        pytest.param("forcemap.fitter.fitting:maximise_evidence", 0, id="solving"),
        pytest.param("forcemap.fitter.job:map_model", 0, id="mapping, others have finished"),
    ],
)
def test_fault_on_one_rank_ends_all_with_its_message(
    where: str, rank: int, settings: Path, tmp_path: Path
) -> None:
    wrong = fault(where, rank=rank, error=("ForcemapError", "this is wrong"))
    done = run_forcemap("fit", settings, "-o", tmp_path, "--quiet", ranks=3, faults=(wrong,))
    assert done.returncode == 1
    one_message(done.stderr, "this is wrong")


@with_mpi
def test_faults_on_two_ranks_have_one_message(settings: Path, tmp_path: Path) -> None:
    where = "forcemap.fitter.process.accumulate:whitened_rows"
    wrong = tuple(
        fault(where, rank=rank, error=("ForcemapError", "this is wrong")) for rank in (1, 2)
    )
    done = run_forcemap("fit", settings, "-o", tmp_path, "--quiet", ranks=3, faults=wrong)
    assert done.returncode == 1
    one_message(done.stderr, "this is wrong")


@with_mpi
def test_unforeseen_fault_ends_all_ranks(settings: Path, tmp_path: Path) -> None:
    wrong = fault(
        "forcemap.fitter.process.accumulate:whitened_rows",
        rank=1,
        error=("RuntimeError", "out of order"),
    )
    done = run_forcemap("fit", settings, "-o", tmp_path, "--quiet", ranks=3, faults=(wrong,))
    assert done.returncode != 0
    assert "forcemap: rank 1 of 3 failed:" in done.stderr
    assert done.stderr.count("RuntimeError: out of order") == 1


@with_mpi
def test_warnings_are_those_of_one_rank(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(SETTINGS + "sigma: {config_type: {nobody: {energy: 0.1}}}\n", encoding="utf-8")
    done = run_forcemap("fit", path, "-o", tmp_path / "out", "--quiet", ranks=2)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("no training frame has the config_type") == 1


@pytest.mark.skipif(not MPIRUN.exists(), reason="the MPICH wheel's mpirun is not installed")
def test_missing_mpi4py_is_told_once(settings: Path, tmp_path: Path) -> None:
    (tmp_path / "mpi4py.py").write_text("raise ImportError('not here')", encoding="utf-8")
    out = tmp_path / "out"
    environment = {"PYTHONPATH": str(tmp_path)}
    done = run_forcemap("fit", settings, "-o", out, ranks=2, environment=environment)
    assert done.returncode == 1
    one_message(done.stderr, "pip install 'forcemap[mpi]' (not here)")
    assert not out.exists()
    # One process needs no MPI, with or without a launcher.
    done = run_forcemap("fit", settings, "-o", out, ranks=1, environment=environment)
    assert done.returncode == 0, done.stderr


@with_mpi
def test_launcher_of_another_mpi_is_told(settings: Path, tmp_path: Path) -> None:
    other = {"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "2"}
    done = run_forcemap("fit", settings, "-o", tmp_path, environment=other)
    assert done.returncode == 1
    assert done.stderr.count("Error: the launcher started 2 processes, but mpi4py's MPI ") == 1
    other["OMPI_COMM_WORLD_RANK"] = "1"
    done = run_forcemap("fit", settings, "-o", tmp_path, environment=other)
    assert done.returncode == 1
    assert "Error" not in done.stderr


# ----- the launcher -----


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PMI", "OMPI_COMM_WORLD", "MV2_COMM_WORLD", "PMIX"):
        for what in ("RANK", "SIZE"):
            monkeypatch.delenv(f"{name}_{what}", raising=False)


def test_no_launcher_means_one_rank() -> None:
    assert launched() is None
    assert rank_number() == 0
    with started_ranks() as ranks:
        assert (ranks.rank, ranks.size, ranks.is_first) == (0, 1, True)
        assert ranks.on_first(lambda: 7) == 7


@pytest.mark.parametrize("name", ["PMI", "OMPI_COMM_WORLD", "MV2_COMM_WORLD"])
def test_launchers_are_known(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{name}_RANK", "3")
    assert launched() is None
    monkeypatch.setenv(f"{name}_SIZE", "4")
    assert launched() == Launch(3, 4, 4)
    monkeypatch.setenv(f"{name}_SIZE", "1")
    assert launched() is None


@pytest.mark.parametrize(
    ("allowed", "machine", "ranks", "expected"),
    [(8, 8, 2, 4), (8, 8, 3, 2), (4, 8, 2, 4), (1, 8, 8, 1), (2, 2, 4, 1), (6, 8, 2, 3)],
)
def test_ranks_share_the_processors(
    allowed: int, machine: int, ranks: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 8 processors two ranks get 4 each, also where the launcher has bound them to 4 already."""
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(allowed)), raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: machine)
    assert options.available_cpus() == allowed
    monkeypatch.setenv("PMI_RANK", "0")
    monkeypatch.setenv("PMI_SIZE", str(2 * ranks))
    monkeypatch.setenv("MPI_LOCALNRANKS", str(ranks))
    assert options.available_cpus() == expected


def test_error_without_a_launcher_is_passed_on() -> None:
    with pytest.raises(ForcemapError, match="as it is"), started_ranks():
        raise ForcemapError("as it is")
