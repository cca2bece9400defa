"""Laws of filled holes: random structures do not end below the data, which lose nothing by it."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.neighborlist import neighbor_list
from forcemap.fitter import Frame, Model, Settings, fit_frames
from forcemap.fitter.addition.growth import grown
from forcemap.fitter.baseline.baseline import Baseline, free_energy
from forcemap.fitter.baseline.beyond import binding
from forcemap.fitter.data.dataset import read_frames
from forcemap.fitter.data.frame import FrameSigma
from forcemap.fitter.fitting import fitted
from forcemap.fitter.holes.relaxation import Relaxation, Start
from forcemap.fitter.holes.search import Relax, compositions_of, holes_among, piece_of, starts
from forcemap.fitter.job import prior_lines
from forcemap.fitter.mapping.map import map_model
from forcemap.fitter.process.beyond import Rises
from forcemap.fitter.process.model_file import read_model, write_model
from forcemap.fitter.sharing.run import Run
from forcemap.fitter.validation.random_structures import RandomSettings, random_structure
from forcemap.potentials.runs.progress import Progress
from numpy.typing import NDArray
from structures import as_frame

pytestmark = pytest.mark.usefixtures("one_thread")

SILICON = Path(__file__).resolve().parents[3] / "examples" / "silicon"

TERMS = [{"kind": "two_body", "cutoff": 5.5}, {"kind": "three_body", "cutoff": 4.0}]
"""Functions of few bodies: they have holes everywhere."""


def frames_of(name: str) -> list[Frame]:
    given = {"data": {"train": str(SILICON / name)}, "terms": TERMS}
    return read_frames(Settings.from_dict(given).data.train)


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    return frames_of("train.xyz")


def settings(**changes: object) -> Settings:
    given = {"data": {"train": "made.xyz"}, "terms": TERMS, "e0": "average"}
    return Settings.from_dict({**given, **changes})


@pytest.fixture(scope="module")
def model(frames: Sequence[Frame]) -> Model:
    return fit_frames(settings(), frames)


@pytest.fixture(scope="module")
def free(frames: Sequence[Frame]) -> Model:
    return fit_frames(settings(outside="free"), frames)


def relaxing(model: Model, frames: Sequence[Frame]) -> Relax:
    return partial(map, Relaxation(map_model(model, frames, 1e-3).potential))


def found_by(model: Model, frames: Sequence[Frame]) -> list[float]:
    """Depths (eV per atom) of the holes that random structures of another seed fall into."""
    relax = relaxing(model, frames)
    compositions = compositions_of(frames, model.e0)
    structures = starts(compositions, [], frames[0], np.random.default_rng(99), 100)
    return [hole.depth for hole in holes_among(relax, structures, model.e0, model.repulsion)]


def force_error(model: Model, frames: Sequence[Frame]) -> float:
    baseline = Baseline(model.species, model.repulsion)
    errors = [
        (model.predict(frame)[1] + baseline.of(frame).forces - frame.forces).ravel()
        for frame in frames
        if frame.forces is not None
    ]
    return float(np.sqrt(np.mean(np.square(np.concatenate(errors)))))


def test_other_random_structures_do_not_fall_into_holes(
    frames: Sequence[Frame], model: Model, free: Model
) -> None:
    before, after = found_by(free, frames), found_by(model, frames)
    assert len(before) >= 50
    assert max(before) > 0.5
    assert len(after) <= 1
    assert max(after, default=0.0) < 0.01  # the validation's limit for what is below: 0.005


def test_validation_finds_no_hole(frames: Sequence[Frame], model: Model) -> None:
    relax = relaxing(model, frames)
    (composition,) = compositions_of(frames, model.e0)
    rng = np.random.default_rng(7)
    structures = []
    for atoms in (5, 7, 9, 12) * 8:  # other numbers of atoms than those of the search, too
        asked = RandomSettings(atoms=atoms)
        start = random_structure("Si", asked, composition.volume, rng)
        structures.append((composition, as_frame(start)))
    holes = holes_among(relax, structures, model.e0, model.repulsion)
    assert max((hole.depth for hole in holes), default=0.0) < 0.01


def test_filling_costs_no_accuracy_on_unseen_frames(
    frames: Sequence[Frame], model: Model, free: Model
) -> None:
    unseen = frames_of("test.xyz")[::2]
    assert force_error(model, unseen) < 1.03 * force_error(free, unseen)


def test_holes_are_no_rows_of_the_data(frames: Sequence[Frame], model: Model, free: Model) -> None:
    assert model.data["holes"]
    assert "holes" not in free.data
    assert model.data["n_rows"] == free.data["n_rows"]
    assert model.log_marginal_likelihood == pytest.approx(free.log_marginal_likelihood)
    assert model.labels is not None
    assert model.labels.count == model.data["n_rows"] + len(model.data["holes"])


SOAP = [TERMS[0], {"kind": "soap", "cutoff": 4.0, "n_max": 3, "l_max": 2, "n_sparse": 20}]
"""Few functions of many bodies: there are holes, and crystals beyond the data are imagined."""


def fall_when_expanded(model: Model, frames: Sequence[Frame]) -> float:
    """Largest fall of the energy per atom (eV) of a crystal that is expanded."""
    crystal = min(
        (frame for frame in frames if frame.energy is not None),
        key=lambda frame: (len(frame.numbers), frame.energy),
    )
    baseline = Baseline(model.species, model.repulsion)
    energies = []
    for scale in np.arange(1.2, 1.8, 0.025):
        wide = replace(crystal, positions=scale * crystal.positions, cell=scale * crystal.cell)
        energies.append((model.predict(wide)[0] + baseline.energy(wide)) / len(crystal.numbers))
    return float(np.max(np.maximum.accumulate(energies) - energies))


def test_structures_are_not_lifted_at_the_cost_of_expanded_crystals(
    frames: Sequence[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = Settings.from_dict({"data": {"train": "made.xyz"}, "terms": SOAP})
    found = fit_frames(given, frames)
    none = Rises([], np.zeros((0, len(found.weights))), np.zeros(0))
    monkeypatch.setattr(Rises, "of", lambda imagined, prior: none)
    alone = fit_frames(given, frames)
    assert found.data["holes"]
    assert len(found.data["rises"]) > len(alone.data["rises"]) > 0
    assert found.labels is not None
    labels = [found.data[name] for name in ("imagined_sigmas", "rises", "holes")]
    assert found.labels.count == found.data["n_rows"] + sum(map(len, labels))
    # So few functions cannot rise everywhere.
    assert fall_when_expanded(found, frames) < 0.8 * fall_when_expanded(alone, frames)


def test_potential_does_not_carry_the_holes(frames: Sequence[Frame], model: Model) -> None:
    assert "holes" not in map_model(model, frames, 1e-2).data.provenance["data"]


def test_threads_do_not_change_what_is_filled(frames: Sequence[Frame], model: Model) -> None:
    found = fitted(settings(), frames, Run(2, Progress.silent()))
    assert found is not None
    np.testing.assert_array_equal(found.model.weights, model.weights)


def test_threads_of_matrices_do_not_change_what_is_filled(
    frames: Sequence[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In large fits BLAS rounds differently with threads, which random structures would multiply."""
    monkeypatch.setattr("forcemap.fitter.solve.blas.WORTH_THREADS", 50)
    few = Settings.from_dict(
        {"data": {"train": "made.xyz"}, "terms": [{**term, "n_sparse": 60} for term in TERMS]}
    )
    one, two = (fit_frames(few, frames, jobs=jobs) for jobs in (1, 2))
    assert one.data["holes"] == two.data["holes"]
    for frame in frames[1:6:2]:
        np.testing.assert_allclose(one.predict(frame)[1], two.predict(frame)[1], atol=1e-8)


def test_new_points_keep_the_holes_filled(
    frames: Sequence[Frame], model: Model, tmp_path: Path
) -> None:
    write_model(model, tmp_path / "model.forcemap")
    new = frames_of("test.xyz")[:1]
    assert new[0].stress is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        after = grown(read_model(tmp_path / "model.forcemap"), new, lambda: frames)
    assert after.data["n_rows"] == model.data["n_rows"] + 1 + 3 * len(new[0].numbers) + 6
    depths = found_by(after, frames)
    assert len(depths) <= 8
    assert max(depths, default=0.0) < 1.0


# ---- the search ----------------------------------------------------------------------------------


def test_ground_state_of_a_composition_is_its_lowest_frame(frames: Sequence[Frame]) -> None:
    (found,) = compositions_of(frames, {14: 0.5})
    bound = [frame for frame in frames if frame.energy is not None and len(frame.numbers) > 1]
    assert found.lowest == min(binding(frame, {14: 0.5}) for frame in bound)
    assert binding(found.crystal, {14: 0.5}) == found.lowest
    assert found.share == 1.0


def test_pieces_keep_the_shares_of_elements() -> None:
    alloy = np.array([29] * 12 + [47] * 4, dtype=np.int32)
    for atoms in (4, 8, 12):
        assert sorted(piece_of(alloy, atoms)) == [29] * (3 * atoms // 4) + [47] * (atoms // 4)
    water = np.array([8, 1, 1] * 50, dtype=np.int32)
    assert sorted(piece_of(water, 8)) == [1] * 4 + [8] * 2  # whole molecules
    defect = np.array([15] * 31 + [49] * 33, dtype=np.int32)
    assert sorted(piece_of(defect, 8)) == [15] * 4 + [49] * 4
    uneven = np.array([15] * 6 + [49] * 10, dtype=np.int32)
    assert sorted(piece_of(uneven, 8)) == [15] * 3 + [49] * 5


def test_few_energies_say_too_little_for_holes(frames: Sequence[Frame]) -> None:
    assert "holes" not in fit_frames(settings(), frames[:5]).data


def test_near_atoms_are_a_hole_also_where_they_are_images(
    frames: Sequence[Frame], free: Model
) -> None:
    """A structure just above the ground state is none, unless a bond is shorter than any before."""
    (composition,) = compositions_of(frames, free.e0)
    crystal, energy = composition.crystal, composition.lowest + 0.02 * composition.scale
    shortest = free.repulsion[14, 14].shortest
    found = []
    for edges in ((0.7, 3.0, 3.0), (1.5, 3.0, 3.0)):
        thin = replace(
            crystal,
            numbers=crystal.numbers[:1],
            positions=np.zeros((1, 3)),
            cell=np.diag(shortest * np.array(edges)),
        )
        total = energy + free.e0[14]

        def relax(starts: Sequence[Start], thin: Frame = thin, total: float = total) -> list[Start]:
            return [(thin, total) if frame is thin else (frame, np.inf) for frame, _ in starts]

        found.append(len(holes_among(relax, [(composition, thin)], free.e0, free.repulsion)))
    assert found == [1, 0]


def test_orders_of_an_alloy_that_the_data_know_are_no_holes() -> None:
    """Frames of random orders say all of a sum over pairs, that of the ordered crystal included."""
    frames = [mixture(seed) for seed in range(70)]
    terms = [{"kind": "two_body", "cutoff": PAIR_CUTOFF}]
    model = fit_frames(settings(terms=terms), frames)
    lowest = min(frame.energy for frame in frames if frame.energy is not None)
    ordered = mixture(0, order=np.array([29, 79] * 8))
    assert ordered.energy is not None
    assert ordered.energy < lowest - 0.05 * len(ordered.numbers)
    beneath = Baseline(model.species, model.repulsion).of(ordered).energy
    energy = model.predict(ordered)[0] + beneath + free_energy(ordered, model.e0)
    assert energy == pytest.approx(ordered.energy, abs=0.01 * 16)
    assert len(model.data.get("holes", [])) <= 3  # hundreds, if what is known were lifted
    (line,) = (line for line in prior_lines(model) if "ground states" in line)
    assert "AuCu 0." in line


PAIR_CUTOFF = 5.0


def mixture(seed: int, order: NDArray[np.int64] | None = None) -> Frame:
    """A bcc crystal of two elements in random order; unlike neighbours bind more than like ones."""
    rng = np.random.default_rng(seed)
    atoms = bulk("Cu", "bcc", a=3.0, cubic=True).repeat(2)
    numbers = rng.permutation(np.array([29, 79] * 8))
    if order is None:
        atoms.set_cell(atoms.cell.array * rng.uniform(0.93, 1.1), scale_atoms=True)
        atoms.positions += rng.normal(0.0, 0.12, atoms.positions.shape)
    atoms.numbers = numbers if order is None else order
    first, second, vectors, distances = neighbor_list("ijDd", atoms, PAIR_CUTOFF)
    depth = np.where(atoms.numbers[first] == atoms.numbers[second], 0.1, 0.5)
    bond = np.exp(-1.5 * (distances - 2.6))
    x = distances / PAIR_CUTOFF
    fade, slope = (1.0 - x**2) ** 2, -4.0 * x * (1.0 - x**2) / PAIR_CUTOFF
    values = depth * (bond**2 - 2.0 * bond)
    slopes = values * slope + fade * depth * (-3.0 * bond**2 + 3.0 * bond)
    pulls = (slopes / distances)[:, None] * vectors
    forces = np.zeros_like(atoms.positions)
    np.add.at(forces, first, pulls)
    sigma, energy = FrameSigma(5e-4, 5e-3, 5e-2), 0.5 * float(np.sum(values * fade))
    return as_frame(atoms, sigma=sigma, energy=energy, forces=forces)
