"""Warnings of fits whose labels are inconsistent: which reason is named, and when nothing is."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import write
from forcemap.fitter.config import Settings
from forcemap.fitter.data.frame import Frame, FrameSigma
from forcemap.fitter.fitting import fit_frames
from forcemap.fitter.process.truth import Truth
from forcemap.fitter.report.misfit import misfit_warnings
from forcemap_runs import invoke
from numpy.typing import NDArray
from structures import as_frame

pytestmark = pytest.mark.usefixtures("one_thread")

PAIRS = {"kind": "two_body", "cutoff": 4.5, "n_sparse": 12}
SOAP = {"kind": "soap", "cutoff": 4.5, "n_max": 3, "l_max": 2, "n_sparse": 40}


@cache
def copper() -> tuple[Frame, ...]:
    """Strained and rattled copper with energies and forces of EMT."""
    rng = np.random.default_rng(0)
    frames = []
    for n in range(16):
        atoms = bulk("Cu", cubic=True, a=3.6).repeat((2, 1, 1))
        strain = rng.normal(0.0, 0.03, (3, 3))
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain + strain.T), scale_atoms=True)
        atoms.positions += rng.normal(0.0, 0.08, atoms.positions.shape)
        atoms.calc = EMT()
        frames.append(
            as_frame(
                atoms,
                energy=atoms.get_potential_energy(),
                forces=atoms.get_forces(),
                sigma=FrameSigma(0.002, 0.05, 0.01),
                source="/data/train.xyz",
                index=n,
            )
        )
    return tuple(frames)


def energy_of(frame: Frame) -> float:
    assert frame.energy is not None
    return frame.energy


def forces_of(frame: Frame) -> NDArray[np.float64]:
    assert frame.forces is not None
    return frame.forces


def changed(frame: Frame, energy: float, forces: NDArray[np.float64]) -> Frame:
    return replace(frame, energy=energy, forces=forces)


def scaled(frames: tuple[Frame, ...], energy: float = 1.0, force: float = 1.0) -> list[Frame]:
    return [changed(f, energy * energy_of(f), force * forces_of(f)) for f in frames]


def with_fault(n: int, energy: float = 0.0, force: float = 0.0) -> list[Frame]:
    frames = list(copper())
    frame = frames[n]
    frames[n] = changed(frame, energy_of(frame) + energy, forces_of(frame) + force * np.eye(8, 3))
    return frames


def warnings_of(frames: list[Frame], *terms: dict[str, Any], **changes: Any) -> list[str]:
    given = {"data": {"train": "made.xyz"}, "terms": list(terms or [PAIRS])}
    settings = Settings.from_dict({**given, **changes})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = fit_frames(settings, frames)
    truth = Truth(model)
    return misfit_warnings(model, settings, [(f, truth.prediction(f)) for f in frames])


@pytest.mark.parametrize("terms", [[PAIRS], [PAIRS, SOAP], [SOAP]], ids=["pairs", "both", "soap"])
def test_consistent_labels_give_no_warning(terms: list[dict[str, Any]]) -> None:
    assert warnings_of(list(copper()), *terms) == []


UNITS = [
    (1.0, 23.0605, "forces in kcal/mol/Å beside energies in eV"),
    (1.0, 96.485, "forces in kJ/mol/Å beside energies in eV"),
    (23.0605, 1.0, "energies in kcal/mol beside forces in eV/Å"),
    (1 / 27.2114, 1.0, "energies in Hartree beside forces in eV/Å"),
    (1.0, -1.0, "forces of the opposite sign"),
    (1 / 8, 1.0, "energies per atom, not of the whole frame"),
]


@pytest.mark.parametrize(
    ("energy", "force", "reason", "terms"),
    [(*units, [PAIRS]) for units in UNITS] + [(*units, [PAIRS, SOAP]) for units in UNITS[:3]],
)
def test_units_are_named(
    energy: float, force: float, reason: str, terms: list[dict[str, Any]]
) -> None:
    (text,) = warnings_of(scaled(copper(), energy, force), *terms)
    assert "times the sigmas given" in text
    assert "Energies change by" in text
    assert reason in text
    assert "The worst frame is train.xyz: frame" in text


@pytest.mark.parametrize("terms", [[PAIRS], [SOAP]], ids=["pairs", "soap"])
def test_isolated_atoms_of_another_code_are_named(terms: list[dict[str, Any]]) -> None:
    """Also where environments' functions reach the energies nevertheless."""
    (text,) = warnings_of(list(copper()), *terms, e0={"Cu": 1000.0})
    assert "eV per atom from those of the isolated atoms, e0 {Cu: 1000}" in text
    assert warnings_of(list(copper()), *terms, e0={"Cu": 3.0}) == []


@pytest.mark.parametrize(
    "fault",
    [{"energy": 500.0}, {"energy": 5.0}, {"force": 500.0}],
    ids=["energy", "small", "force"],
)
@pytest.mark.parametrize("terms", [[PAIRS], [PAIRS, SOAP]], ids=["pairs", "both"])
def test_one_faulty_frame_is_named(fault: dict[str, float], terms: list[dict[str, Any]]) -> None:
    (text,) = warnings_of(with_fault(9, **fault), *terms)
    assert "train.xyz: frame 9" in text
    assert text.count("train.xyz: frame") == text.count("train.xyz: frame 9")
    assert "faulty calculation?" in text


def test_an_outlier_is_named_where_the_factor_stays_small() -> None:
    """Of a frame whose sigmas are wide, the sigmas say little."""
    frames = with_fault(4, force=40.0)
    frames[4] = replace(frames[4], sigma=FrameSigma(1.0, 20.0, 1.0))
    (text,) = warnings_of(frames)
    assert text.startswith("train.xyz: frame 4 (counted from 0; ")
    assert "more than 20 times the errors of the other frames" in text


def test_a_fit_with_small_errors_is_meant_whatever_its_sigmas() -> None:
    tight = FrameSigma(2e-5, 5e-4, 1e-4)
    assert warnings_of([replace(f, sigma=tight) for f in copper()], PAIRS, SOAP) == []


def test_given_deltas_leave_the_factor_alone_and_are_judged_by_errors() -> None:
    """With a delta the sigmas stand as given: the fit has no factor of its own."""
    (text,) = warnings_of(scaled(copper(), 1.0, 23.0605), {**PAIRS, "delta": 1.0})
    assert "times the sigmas given" in text


@pytest.mark.parametrize("missing", ["energy", "forces"])
def test_labels_of_one_kind_are_not_compared(missing: str) -> None:
    frames = with_fault(9, energy=500.0, force=500.0)
    none: dict[str, Any] = {missing: None}
    (text,) = warnings_of([replace(f, **none) for f in frames], e0={"Cu": 0.0})
    assert "train.xyz: frame 9" in text
    assert "imply" not in text


def test_warning_is_printed_and_kept_in_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    structures = []
    for frame in copper():
        atoms = bulk("Cu", cubic=True, a=3.6).repeat((2, 1, 1))
        atoms.set_cell(frame.cell)
        atoms.positions = frame.positions
        atoms.info["REF_energy"] = frame.energy
        atoms.arrays["REF_forces"] = 23.0605 * forces_of(frame)
        structures.append(atoms)
    write("train.xyz", structures)
    keys = {"energy": "REF_energy", "forces": "REF_forces"}
    given = {"data": {"train": "train.xyz", "keys": keys}, "terms": [PAIRS]}
    Path("settings.yaml").write_text(yaml.safe_dump(given), encoding="utf-8")
    result = invoke("fit", "settings.yaml", "-o", "out", "--quiet")
    assert result.exit_code == 0, result.output
    assert "Warning: the fit misses its labels by" in result.stderr
    (text,) = json.loads(Path("out/report.json").read_text(encoding="utf-8"))["warnings"]
    assert text in result.stderr
    page = Path("out/report.html").read_text(encoding="utf-8")
    assert "Warning: the fit misses its labels by" in page
