"""Evaluators and calculators in threads, forked children, copies and pickles: right everywhere."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structures
from ase import Atoms
from forcemap.ipi_driver.evaluation import BeadEvaluator
from forcemap.ipi_driver.protocol import Batch
from forcemap.ipi_driver.template import Template
from forcemap.potentials import (
    BatchEvaluator,
    Evaluator,
    ForcemapCalculator,
    ForcemapError,
    Potential,
    Result,
    load,
)
from forcemap.potentials.file.potential_file import potential_bytes, write_potential
from forcemap.potentials.process_lock import ProcessLock
from numpy.typing import NDArray
from potentials_factory import random_potential

Array = NDArray[np.float64]

SPECIES = ["H", "O", "Si"]
PATIENCE = 120.0
"""s; how long a child may take before it counts as hanging. It takes a second."""


@pytest.fixture(scope="module")
def content() -> bytes:
    return potential_bytes(random_potential(SPECIES, 7, embedding=True))


@pytest.fixture(scope="module")
def potential(content: bytes) -> Potential:
    return Potential(content)


def frames(count: int) -> list[Atoms]:
    """Structures of different sizes, cells and elements, each one twice as large as another."""
    names = ["molecule", "triclinic cell", "slab", "cell smaller than the cutoff"]
    made = []
    for n in range(count):
        atoms = structures.get(names[n % len(names)], SPECIES)
        atoms.positions += 0.02 * np.random.default_rng(n).normal(size=atoms.positions.shape)
        made.append(atoms)
    return made


def compute(evaluator: Evaluator, atoms: Atoms) -> Result:
    return evaluator.compute(atoms.positions, atoms.numbers, atoms.cell.array, atoms.pbc)


def assert_close(found: Any, expected: Any) -> None:
    """To rounding: a neighbour list's order depends on the structure it was made for."""
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-10)


def in_threads(function: Callable[[int], Any], count: int) -> list[Any]:
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(function, range(count)))


# ----- threads -----


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_that_share_an_evaluator_get_the_answers_to_their_structures(
    potential: Potential, threads: int
) -> None:
    given = frames(12)
    expected = [compute(potential.evaluator(), atoms) for atoms in given]
    shared = potential.evaluator(threads=threads)
    found = in_threads(lambda n: compute(shared, given[n % 12]), 96)
    for n, result in enumerate(found):
        assert_close(result.energy, expected[n % 12].energy)
        assert_close(result.forces, expected[n % 12].forces)
        assert_close(result.virial, expected[n % 12].virial)


@pytest.mark.parametrize("name", ["energy", "forces", "energies", "free_energy"])
def test_threads_that_share_a_calculator_get_the_answers_to_their_atoms(
    potential: Potential, name: str
) -> None:
    given = frames(12)
    expected = [ForcemapCalculator(potential).get_property(name, atoms) for atoms in given]
    shared = ForcemapCalculator(potential)
    for atoms in given:
        atoms.calc = shared
    found = in_threads(lambda n: shared.get_property(name, given[n % 12]), 96)
    for n, value in enumerate(found):
        assert_close(value, expected[n % 12])


def test_threads_ask_one_calculator_for_different_properties(potential: Potential) -> None:
    """Energy, forces and stress of the same atoms, which the calculator forgets in between."""
    given = [atoms for atoms in frames(12) if atoms.pbc.all()]
    questions = ("get_potential_energy", "get_forces", "get_stress")
    expected = []
    for atoms in given:
        atoms.calc = ForcemapCalculator(potential)
        expected.append([getattr(atoms, question)() for question in questions])
    shared = ForcemapCalculator(potential)
    for atoms in given:
        atoms.calc = shared

    def ask(n: int) -> list[Any]:
        return [getattr(given[n % len(given)], question)() for question in questions]

    for n, values in enumerate(in_threads(ask, 60)):
        for value, right in zip(values, expected[n % len(given)], strict=True):
            assert_close(value, right)


def batch_of(atoms: Atoms, count: int, seed: int) -> tuple[Array, ...]:
    """Arguments of BatchEvaluator.compute for `count` structures near `atoms`."""
    rng = np.random.default_rng(seed)
    positions = atoms.positions + 0.05 * rng.normal(size=(count, len(atoms), 3))
    cells = np.array([atoms.cell.array.T] * count, order="C")
    answers = np.zeros(count), np.zeros_like(positions), np.zeros((count, 3, 3))
    return cells, positions, *answers


def test_threads_that_share_a_batch_evaluator_get_the_answers_to_their_batches(
    potential: Potential,
) -> None:
    atoms = structures.get("triclinic cell", SPECIES)

    def answered(evaluator: BatchEvaluator, n: int) -> tuple[Array, ...]:
        batch = batch_of(atoms, 1 + n % 5, n % 5)
        evaluator.compute(*batch)
        return batch

    expected = [answered(potential.batch_evaluator(atoms.numbers, True), n) for n in range(5)]
    shared = potential.batch_evaluator(atoms.numbers, True, threads=2)
    for n, batch in enumerate(in_threads(lambda n: answered(shared, n), 40)):
        for found, right in zip(batch, expected[n % 5], strict=True):
            assert_close(found, right)


def test_an_error_says_which_structure_of_its_own_batch_is_at_fault(potential: Potential) -> None:
    """Though another thread's fault may be the last one by then."""
    atoms = structures.get("triclinic cell", SPECIES)
    shared = potential.batch_evaluator(atoms.numbers, True, threads=2)

    def fault_of(n: int) -> int | None:
        batch = batch_of(atoms, 6, n)
        batch[1][n % 6, 0, 0] = np.nan
        with pytest.raises(ForcemapError, match="is not finite") as caught:
            shared.compute(*batch)
        return caught.value.structure

    assert in_threads(fault_of, 48) == [n % 6 for n in range(48)]
    assert ForcemapError("not of a batch").structure is None


def test_threads_that_share_a_committee_of_the_driver(potential: Potential) -> None:
    atoms = structures.get("triclinic cell", SPECIES)
    template = Template(numbers=atoms.numbers, pbc=atoms.pbc)
    other = Potential(potential_bytes(random_potential(SPECIES, 8)))

    def answered(driver: BeadEvaluator, n: int) -> tuple[Array, list[str]]:
        cells, positions, *_ = batch_of(atoms, 1 + n % 4, n % 4)
        batch = Batch.empty(cells * 1.9, len(atoms))
        batch.positions[:] = positions * 1.9
        return batch.forces, driver.evaluate(batch)

    expected = [answered(BeadEvaluator([potential, other], template), n) for n in range(4)]
    shared = BeadEvaluator([potential, other], template)
    for n, (forces, extras) in enumerate(in_threads(lambda n: answered(shared, n), 40)):
        assert_close(forces, expected[n % 4][0])
        assert len(extras) == len(expected[n % 4][1])


def test_a_calculator_forgets_the_results_of_other_atoms_when_it_fails(
    potential: Potential,
) -> None:
    atoms = structures.get("molecule", SPECIES)
    calculator = ForcemapCalculator(potential)
    calculator.calculate(atoms, ["energy"])
    unknown = Atoms("Xe2", [[0, 0, 0], [0, 0, 2]])
    with pytest.raises(Exception, match="not an element of this potential"):
        calculator.calculate(unknown, ["energy"])
    assert calculator.results == {}


# ----- processes -----


def outcome(function: Callable[[], Any], method: str = "fork") -> Any:
    """What `function` returns in a child process, which is killed if it hangs."""
    context = multiprocessing.get_context(method)
    reader, writer = context.Pipe(duplex=False)
    child = context.Process(target=_answer, args=(function, writer))
    child.start()
    writer.close()
    try:
        assert reader.poll(PATIENCE), "the child hangs"
        answer = reader.recv()
        child.join(PATIENCE)
        assert child.exitcode == 0, "the child hangs at its end, or dies"
        return answer
    finally:
        if child.is_alive():
            child.kill()
            child.join()


def _answer(function: Callable[[], Any], writer: Any) -> None:
    writer.send(function())
    writer.close()


@pytest.fixture
def used(potential: Potential) -> tuple[Evaluator, BatchEvaluator, Atoms]:
    """An evaluator of each kind with threads that have run, and the atoms that they know."""
    atoms = structures.get("triclinic cell", SPECIES)
    evaluator = potential.evaluator(threads=2)
    batch_evaluator = potential.batch_evaluator(atoms.numbers, True, threads=2)
    compute(evaluator, atoms)
    batch_evaluator.compute(*batch_of(atoms, 4, 1))
    return evaluator, batch_evaluator, atoms


Used = tuple[Evaluator, BatchEvaluator, Atoms]


def test_a_forked_child_goes_on_with_evaluators_of_its_parent(used: Used) -> None:
    evaluator, batch_evaluator, atoms = used

    def child() -> tuple[float, Array]:
        batch = batch_of(atoms, 4, 2)
        batch_evaluator.compute(*batch)
        return compute(evaluator, atoms).energy, batch[2]

    energy, energies = outcome(child)
    assert_close(energy, compute(evaluator, atoms).energy)
    batch = batch_of(atoms, 4, 2)
    batch_evaluator.compute(*batch)
    assert_close(energies, batch[2])


def test_a_forked_child_ends_with_evaluators_of_its_parent(potential: Potential) -> None:
    """They are taken apart there, where their threads do not run."""
    kept = [potential.evaluator(threads=3)]
    compute(kept[0], structures.get("slab", SPECIES))

    def child() -> int:
        kept.clear()
        return os.getpid()

    assert outcome(child) != os.getpid()
    assert len(kept) == 1


def test_the_interpreter_of_a_forked_child_ends(content: bytes, tmp_path: Path) -> None:
    """os.fork without multiprocessing: the child runs the whole end of the interpreter."""
    import subprocess
    import sys

    (tmp_path / "potential.forcemap").write_bytes(content)
    script = """
import os, sys
import numpy as np
from forcemap.potentials import load
evaluator = load("potential.forcemap").evaluator(threads=2)
atoms = np.array([[0.0, 0, 0], [0, 0, 1.5]]), [8, 8], np.zeros((3, 3)), False
expected = evaluator.compute(*atoms).energy
child = os.fork()
if child == 0:
    sys.exit(0 if abs(evaluator.compute(*atoms).energy - expected) < 1e-12 else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert done.stdout == "0\n"


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_fork_while_another_thread_evaluates(potential: Potential) -> None:
    """What the child inherits is locked and half changed; it answers all the same."""
    atoms = structures.get("molecule", SPECIES)
    large = structures.get("triclinic cell", SPECIES).repeat(3)
    large.calc = shared = ForcemapCalculator(potential, skin=0.0, threads=2)
    expected = ForcemapCalculator(potential).get_potential_energy(atoms)
    stop = threading.Event()

    def evaluate() -> None:
        while not stop.is_set():
            large.rattle(0.01)
            large.get_potential_energy()

    busy = threading.Thread(target=evaluate)
    busy.start()
    try:
        for _ in range(6):
            assert_close(outcome(lambda: shared.get_potential_energy(atoms)), expected)
    finally:
        stop.set()
        busy.join()


def test_a_lock_is_not_held_in_a_forked_child() -> None:
    lock = ProcessLock()
    with lock, lock:
        assert outcome(lambda: _enters(lock))
        assert _enters(copy.deepcopy(lock))


def _enters(lock: ProcessLock) -> bool:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lock.__enter__).result(PATIENCE) is None


# ----- copies and pickles -----

COPIES: dict[str, Callable[[Any], Any]] = {
    "pickle": lambda it: pickle.loads(pickle.dumps(it)),
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
}


@pytest.fixture(params=list(COPIES))
def copied(request: pytest.FixtureRequest) -> Callable[[Any], Any]:
    return COPIES[request.param]


@pytest.fixture
def vanished(content: bytes, tmp_path: Path) -> Potential:
    """A potential whose file was replaced by another's, and then removed."""
    path = tmp_path / "potential.forcemap"
    path.write_bytes(content)
    read = load(path)
    write_potential(random_potential(["Si"], 1), path)
    path.unlink()
    return read


def test_copies_of_a_potential_need_no_file(
    vanished: Potential, copied: Callable[[Any], Any]
) -> None:
    other = copied(vanished)
    assert (other.name, other.species, other.e0) == (vanished.name, vanished.species, vanished.e0)
    assert other.metadata == vanished.metadata
    atoms = structures.get("slab", SPECIES)
    np.testing.assert_array_equal(
        compute(other.evaluator(), atoms).forces, compute(vanished.evaluator(), atoms).forces
    )


def test_potentials_that_come_by_pickle_are_shared(potential: Potential) -> None:
    """So that a pool's thousand results do not hold a thousand tables; and let go in the end."""
    sent = [pickle.dumps(potential) for _ in range(3)]
    received = [pickle.loads(text) for text in sent]
    assert received[0] is received[1] is received[2]
    assert copy.deepcopy(potential) is potential
    renamed = pickle.loads(pickle.dumps(Potential(potential._content, "another name")))
    assert renamed.name == "another name"


def test_copies_of_an_evaluator_keep_settings_and_not_the_list(
    vanished: Potential, copied: Callable[[Any], Any]
) -> None:
    evaluator = vanished.evaluator(skin=0.8, threads=2)
    atoms = structures.get("slab", SPECIES)
    expected = compute(evaluator, atoms)
    other = copied(evaluator)
    assert (other.skin, other.threads, other.rebuilds) == (0.8, 2, 0)
    assert_close(compute(other, atoms).forces, expected.forces)
    assert (other.rebuilds, evaluator.rebuilds) == (1, 1)
    atoms.positions[0, 0] += 0.35  # within half of this skin, beyond that of the default
    compute(other, atoms)
    assert other.rebuilds == 1


def test_copies_of_a_batch_evaluator_keep_settings(
    vanished: Potential, copied: Callable[[Any], Any]
) -> None:
    atoms = structures.get("slab", SPECIES)
    numbers = atoms.numbers.copy()
    evaluator = vanished.batch_evaluator(
        numbers, atoms.pbc, skin=0.8, threads=2, length=1.9, energy=0.04
    )
    numbers[:] = 0  # the evaluator has its own
    expected, found = batch_of(atoms, 3, 1), batch_of(atoms, 3, 1)
    for batch in (expected, found):
        for array in batch[:2]:
            array *= 1.9
    evaluator.compute(*expected)
    other = copied(evaluator)
    other.compute(*found)
    for one, right in zip(found, expected, strict=True):
        assert_close(one, right)
    found[1][:, 0, 0] += 0.35 * 1.9
    rebuilds = other.rebuilds
    other.compute(*found)
    assert other.rebuilds == rebuilds


def test_copies_of_atoms_bring_a_calculator(
    vanished: Potential, copied: Callable[[Any], Any]
) -> None:
    atoms = structures.get("triclinic cell", SPECIES)
    atoms.calc = ForcemapCalculator(vanished, skin=0.8, threads=2, directory="/tmp")
    energy = atoms.get_potential_energy()
    calc = copied(atoms.calc)
    assert calc.results["energy"] == energy
    assert calc.directory == "/tmp"
    other = atoms.copy()
    other.calc = calc
    other.positions[0] += 0.3
    moved = other.get_potential_energy()
    assert_close(moved, ForcemapCalculator(vanished).get_potential_energy(other))
    assert atoms.calc.results["energy"] == energy
    assert copied(atoms).get_potential_energy() == energy
    assert (calc._evaluator.skin, calc._evaluator.threads) == (0.8, 2)


def test_results_and_errors_are_pickled(potential: Potential, copied: Callable[[Any], Any]) -> None:
    """A pool sends them home; an exception that cannot be unpickled would hang it."""
    result = copied(compute(potential.evaluator(), structures.get("molecule", SPECIES)))
    assert np.isfinite(result.energy)
    error = ForcemapError("words")
    error.structure = 3
    assert str(copied(error)) == "words"
    assert copied(error).structure == 3


def test_a_driver_of_beads_is_copied(potential: Potential, copied: Callable[[Any], Any]) -> None:
    atoms = structures.get("triclinic cell", SPECIES)
    driver = BeadEvaluator(potential, Template(numbers=atoms.numbers, pbc=atoms.pbc))
    batch = Batch.empty(np.array([atoms.cell.array.T * 1.9] * 2, order="C"), len(atoms))
    batch.positions[:] = atoms.positions * 1.9
    driver.evaluate(batch)
    forces = batch.forces.copy()
    copied(driver).evaluate(batch)
    assert_close(batch.forces, forces)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_pool_of_processes_maps_over_atoms_with_a_calculator(
    vanished: Potential, method: str
) -> None:
    given = frames(6)
    expected = [ForcemapCalculator(vanished).get_potential_energy(atoms) for atoms in given]
    shared = ForcemapCalculator(vanished, threads=2)
    for atoms in given:
        atoms.calc = shared
        atoms.get_potential_energy()
    with multiprocessing.get_context(method).Pool(2) as pool:
        # Functions that a spawned process can import.
        found = pool.map_async(Atoms.get_potential_energy, given).get(PATIENCE)
        back = pool.map_async(copy.deepcopy, given).get(PATIENCE)
    assert_close(found, expected)
    for atoms in back:
        atoms.rattle(0.01, seed=1)
        fresh = ForcemapCalculator(vanished).get_potential_energy(atoms.copy())
        assert_close(atoms.get_potential_energy(), fresh)
