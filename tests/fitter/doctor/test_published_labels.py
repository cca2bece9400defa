"""Published data, whose oddities are known."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from forcemap.fitter.data.dataset import read_frames
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.data.settings import Source
from forcemap.fitter.doctor.finding import Finding, Severity
from forcemap.fitter.doctor.near_environments import examine as near
from forcemap.fitter.doctor.outliers import examine as outliers
from forcemap.fitter.doctor.virtual_work import examine
from published_data import published
from quick_frames import stress_in_order, stress_times, with_fault

pytestmark = pytest.mark.usefixtures("one_thread")

EXAMPLES = Path(__file__).parents[3] / "examples"

SETS = (
    "InP_SNAP/all.xyz",
    "mlearn_Ni/train.xyz",
    "mlearn_Si/train.xyz",
    "mlearn_Mo/train.xyz",
    "Ni19_cluster/bip300.xyz",
    "water_RPBE-D3_n2p2/all.xyz",
)


def frames_of(path: Path) -> list[Frame]:
    return read_frames([Source(path)])


def named(findings: Sequence[Finding], severity: Severity) -> set[str]:
    return {finding.name for finding in findings if finding.severity is severity}


@pytest.mark.parametrize("name", ["silicon", "lithium_hydride"])
def test_the_examples_are_sound(name: str) -> None:
    frames = frames_of(EXAMPLES / name / "train.xyz")
    findings = examine(frames) + outliers(frames) + near(frames)
    assert {finding.severity for finding in findings} <= {Severity.NOTE}, findings


@pytest.mark.parametrize("name", SETS)
def test_published_sets_have_no_wrong_units(name: str) -> None:
    frames = frames_of(*published(name))
    findings = examine(frames)
    assert not named(findings, Severity.WRONG), findings
    assert named(findings, Severity.DOUBT) == ({"stress-offset"} if "Ni/" in name else set())


@pytest.mark.parametrize("name", SETS)
def test_published_sets_have_no_wrong_frames(name: str) -> None:
    frames = frames_of(*published(name))
    assert not named(outliers(frames), Severity.WRONG)


def test_the_zero_of_the_stress_of_nickel_is_off() -> None:
    findings = examine(frames_of(*published("mlearn_Ni/train.xyz")))
    offsets = {f.message.split(":")[0]: (f.figures or {})["offset_gpa"] for f in findings}
    elastic = next(value for name, value in offsets.items() if "Elastic" in name)
    assert elastic == pytest.approx(2.8, abs=0.2)
    assert all(1.0 < value < 3.5 for value in offsets.values())


def test_extremes_of_water_are_at_odds() -> None:
    findings = outliers(frames_of(*published("water_RPBE-D3_n2p2/all.xyz")))
    energies = next(f for f in findings if f.name == "outlier-energy")
    assert len(energies.frames) > 5


@pytest.mark.parametrize(
    "name", [name for name in SETS if "Ni19" not in name and "water" not in name]
)
def test_faults_of_published_stresses_are_recognised(name: str) -> None:
    frames = frames_of(*published(name))
    (finding,) = examine(with_fault(frames, stress_times(-1602.1766)))
    assert "the stresses are in kBar, and their sign is wrong" in finding.message
    findings = examine(with_fault(frames, stress_in_order((0, 1, 2, 5, 3, 4))))
    order = next(f for f in findings if f.name == "stress-order")
    assert "VASP's order" in order.message
    assert len(order.frames) == len(frames)


@pytest.mark.parametrize("name", SETS)
def test_faults_of_published_forces_are_recognised(name: str) -> None:
    frames = frames_of(*published(name))
    bad = [replace(f, forces=None if f.forces is None else f.forces / 0.0433641) for f in frames]
    finding = next(f for f in examine(bad) if f.severity is Severity.WRONG)
    assert finding.name == "forces-unit"
    assert "the forces are in kcal/mol/Å" in finding.message
