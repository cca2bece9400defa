"""Fits in several sizes, and what a soap term takes from the data where nothing is given."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from forcemap.fitter import fit
from forcemap.fitter.config import Settings
from forcemap.fitter.data.dataset import read_frames
from forcemap.fitter.planning.sizes import parse_sizes, scaled
from forcemap.fitter.process.survey import Survey
from forcemap.fitter.terms.base import TermSettings
from forcemap.fitter.terms.environments import LEAST_POINTS, MOST_POINTS, MOST_POINTS_OF_ALL
from forcemap.fitter.terms.soap.channels import channels_of, learned_similarity
from forcemap.fitter.terms.soap.settings import SoapSettings
from forcemap.fitter.terms.three_body import RESOLVED, ThreeBodySettings, ThreeBodyTerm
from forcemap.fitter.terms.two_body import TwoBodySettings
from forcemap.potentials import ForcemapError, load
from forcemap_runs import invoke
from structures import SILICON


def pair_labelled(atoms: Atoms, similar: bool) -> Atoms:
    """Labels of a repulsive pair potential; two of the three elements act alike if `similar`."""
    strength = {1: 1.0, 8: 2.0, 14: 2.0 if similar else -1.5}
    positions, numbers = atoms.positions, atoms.numbers
    energy, forces = 0.0, np.zeros((len(atoms), 3))
    for i in range(len(atoms)):
        for j in range(i):
            vector = positions[i] - positions[j]
            r = float(np.linalg.norm(vector))
            factor = strength[int(numbers[i])] * strength[int(numbers[j])]
            energy += factor * np.exp(-r)
            forces[i] += factor * np.exp(-r) * vector / r
            forces[j] -= factor * np.exp(-r) * vector / r
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
    return atoms


# ----- from the data -----


def test_points_follow_the_number_of_environments() -> None:
    assert SoapSettings().points_wanted((14,), 10, 1) == LEAST_POINTS
    assert SoapSettings().points_wanted((14,), 6000, 1) == 1000
    assert SoapSettings().points_wanted((14,), 10**6, 1) == MOST_POINTS
    assert SoapSettings().points_wanted((14,), 10**6, 2) == MOST_POINTS
    assert SoapSettings().points_wanted((14,), 10**6, 5) == MOST_POINTS_OF_ALL // 5
    assert SoapSettings().points_wanted((14,), 10**6, 100) == LEAST_POINTS
    assert SoapSettings(n_sparse_factor=0.5).points_wanted((14,), 6000, 1) == 500
    assert SoapSettings(n_sparse={"Si": 7}).points_wanted((14,), 6000, 1) == 7
    assert SoapSettings(n_sparse={"Si": 7}).points_wanted((8,), 6000, 1) == 1000


@pytest.mark.parametrize(
    ("species", "of_triplets"),
    [((14,), 400), ((8, 14), 400), ((1, 8, 14), MOST_POINTS_OF_ALL // 18), (range(1, 21), 100)],
)
def test_points_of_pairs_and_triplets_follow_the_species(
    species: Sequence[int], of_triplets: int
) -> None:

    def points(settings: TermSettings) -> set[int]:
        """Of all combinations of the species, whatever number of candidates there is."""
        survey = Survey([], tuple(species))
        combinations = settings.open(survey).combinations(species)
        return {
            settings.points_wanted(combination, candidates, len(combinations))
            for combination in combinations
            for candidates in (10, 10**6)
        }

    assert points(ThreeBodySettings()) == {of_triplets}
    assert points(ThreeBodySettings(n_sparse_factor=0.5)) == {of_triplets // 2}
    assert points(ThreeBodySettings(n_sparse=7)) == {7}
    assert points(TwoBodySettings()) == {40}


@pytest.mark.parametrize(
    ("given", "part"),
    [
        # Half of the distance in each of three dimensions for eight times as many points.
        ({"n_sparse": 50}, 0.3),
        ({"n_sparse": RESOLVED}, 0.3),
        ({"n_sparse": 8 * RESOLVED}, 0.15),
        ({"n_sparse": 10**6}, 0.1),
        ({"n_sparse": 1600, "lengthscale": 0.9}, 0.25),
    ],
)
def test_more_triplets_resolve_shorter_lengthscales(given: dict[str, Any], part: float) -> None:
    data = {"path": str(SILICON / "train.xyz"), "index": "0:3"}
    term = {"kind": "three_body", "cutoff": 3.6, **given}
    model = fit(Settings.from_dict({"data": {"train": data}, "terms": [term]}))
    (found,) = (t for t in model.terms if isinstance(t, ThreeBodyTerm))
    assert found.lengthscale == pytest.approx(part * 3.6)


@pytest.mark.parametrize("similar", [True, False])
def test_elements_that_act_alike_are_similar(similar: bool, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    structures = []
    for _ in range(12):
        grid = np.stack(np.meshgrid(*[np.arange(3)] * 3), -1).reshape(-1, 3) * 1.8
        positions = grid + rng.uniform(-0.3, 0.3, grid.shape)
        numbers = rng.choice([1, 8, 14], len(grid))
        structures.append(pair_labelled(Atoms(numbers, positions), similar))
    path = tmp_path / "mixed.xyz"
    write(path, structures)
    settings = Settings.from_dict({"data": {"train": str(path)}, "terms": [{"kind": "soap"}]})
    frames = read_frames(settings.data.train, settings.data.keys, settings.sigma)
    similarity = learned_similarity(frames, (1, 8, 14), 4.5)
    assert np.linalg.eigvalsh(similarity)[0] > -1e-12
    assert np.allclose(np.diag(similarity), 1.0)
    # Cosines: the pair functions of 8 and 14 are the same, or of opposite sign.
    assert similarity[1, 2] > 0.99 if similar else similarity[1, 2] < -0.9
    assert np.allclose(channels_of(similarity, 3).T @ channels_of(similarity, 3), similarity)
    assert channels_of(similarity, 2).shape == (2, 3)


# ----- sizes -----


def test_names_of_sizes() -> None:
    assert parse_sizes("small, large") == ["small", "large"]
    for wrong in ("", "small,small"):
        with pytest.raises(ForcemapError, match="--sizes"):
            parse_sizes(wrong)
    with pytest.raises(ForcemapError, match="'huge' is not one of small, medium, large"):
        parse_sizes("small,huge")


def test_scaled_settings_keep_what_a_size_does_not_change() -> None:
    settings = Settings.from_dict(
        {
            "data": {"train": "a.xyz"},
            "terms": [
                {"kind": "two_body", "cutoff": 4.4, "n_sparse": 40},
                {"kind": "soap", "cutoff": 4.8, "n_sparse": {"Si": 400}, "n_max": 8, "l_max": 6},
                {"kind": "soap"},
                {"kind": "three_body"},
            ],
        }
    )
    assert scaled(settings, "medium") == settings
    small = scaled(settings, "small")
    two_body, soap, bare, triplets = small.terms
    assert (two_body.cutoff, two_body.n_sparse) == (4.4, 20)
    assert isinstance(soap, SoapSettings)
    assert isinstance(bare, SoapSettings)
    assert isinstance(triplets, ThreeBodySettings)
    assert (soap.cutoff, soap.n_sparse, soap.n_max, soap.l_max) == (4.8, {"Si": 200}, 5, 4)
    assert (bare.n_sparse, bare.n_sparse_factor) == (None, 0.5)
    assert (bare.n_channels, bare.l_max) == (4, 3)
    assert (triplets.n_sparse, triplets.n_sparse_factor) == (None, 0.5)


def test_quotas_of_groups_are_scaled_and_fit_into_the_points() -> None:
    term = {"kind": "soap", "n_sparse": 10, "config_type_n_sparse": {"a": 3, "b": 3, "c": 4}}
    settings = Settings.from_dict({"data": {"train": "made.xyz"}, "terms": [term]})
    assert scaled(settings, "medium") == settings
    found = {}
    for name in ("small", "large"):
        (soap,) = scaled(settings, name).terms
        assert isinstance(soap, SoapSettings)
        found[name] = (soap.n_sparse, soap.config_type_n_sparse)
    assert found == {
        "small": (8, {"a": 2, "b": 2, "c": 2}),
        "large": (26, {"a": 8, "b": 8, "c": 10}),
    }


def test_every_size_is_a_whole_fit_and_the_report_compares_them(tmp_path: Path) -> None:
    data = SILICON / "train.xyz"
    (tmp_path / "settings.yaml").write_text(
        f"data: {{train: {{path: {data}, index: '::12'}}}}\n"
        "terms: [{kind: soap, cutoff: 4.0, n_sparse: 40, n_max: 4, l_max: 2}]\n"
    )
    out = tmp_path / "out"
    settings = tmp_path / "settings.yaml"
    run = invoke("fit", settings, "-o", out, "--sizes", "small,medium", "--quiet", figures=True)
    assert run.exit_code == 0, run.output
    report = json.loads((out / "report.json").read_text())
    assert [point["name"] for point in report["sizes"]] == ["small", "medium"]
    small, medium = report["sizes"]
    assert small["n_sparse"] < medium["n_sparse"]
    assert small["force_rmse_ev_per_a"] > medium["force_rmse_ev_per_a"]
    assert small["run_microseconds_per_atom"] > 0.0
    assert "Accuracy and cost of the sizes" in (out / "report.html").read_text()
    for folder in (out, out / "small", out / "medium"):
        assert load(folder / "potential.forcemap").species == ["Si"]
    assert (out / "potential.forcemap").read_bytes() == (
        out / "medium" / "potential.forcemap"
    ).read_bytes()
