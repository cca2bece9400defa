"""Units and signs of labels in all frames, or in one group."""

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.doctor.finding import Finding, Severity
from forcemap.fitter.doctor.virtual_work import examine
from forcemap.potentials.voigt import six_of
from quick_frames import (
    KINDS,
    alloy,
    clusters,
    liquid,
    molecules,
    strains,
    stress_in_order,
    stress_times,
    with_fault,
)

pytestmark = pytest.mark.usefixtures("one_thread")

KCAL, HARTREE, BOHR, GPA = 0.0433641153, 27.2113862, 0.529177211, 160.21766208


def forces_times(factor: float, frames: Sequence[Frame]) -> list[Frame]:
    return [replace(f, forces=f.forces * factor) for f in frames if f.forces is not None]


def energies_times(factor: float, frames: Sequence[Frame]) -> list[Frame]:
    return [replace(f, energy=f.energy * factor) for f in frames if f.energy is not None]


def wrong(findings: Sequence[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.severity is not Severity.NOTE]


def only(findings: Sequence[Finding], name: str) -> Finding:
    those = wrong(findings)
    assert [finding.name for finding in those] == [name], [f.message for f in those]
    assert those[0].severity is Severity.WRONG
    return those[0]


def mended(finding: Finding, frames: Sequence[Frame]) -> list[Frame]:
    assert finding.correction is not None, finding.message
    found = [finding.correction.change(frame) for frame in frames]
    return [frame for frame in found if frame is not None]


@pytest.mark.parametrize("kind", KINDS)
def test_sound_labels_are_not_accused(kind: str) -> None:
    assert not wrong(examine(KINDS[kind]()))


@pytest.mark.parametrize("kind", ["liquid", "clusters", "molecules"])
@pytest.mark.parametrize(
    ("unit", "size", "words"),
    [
        ("kcal/mol/Å", KCAL, "the forces are in kcal/mol/Å"),
        ("Hartree/Bohr", HARTREE / BOHR, "the forces are in Hartree/Bohr"),
        ("Rydberg/Bohr", 0.5 * HARTREE / BOHR, "the forces are in Rydberg/Bohr"),
    ],
)
def test_units_of_forces_show_in_the_energies(
    kind: str, unit: str, size: float, words: str
) -> None:
    frames = KINDS[kind]()
    finding = only(examine(forces_times(1.0 / size, frames)), "forces-unit")
    assert words in finding.message
    assert finding.figures is not None
    # Anharmonic energies and quick fits are off by some per cent.
    assert finding.figures["ratio"] == pytest.approx(size, rel=0.2)
    assert finding.figures["error"] < 0.25 * size


@pytest.mark.parametrize("kind", ["alloy", "liquid", "clusters", "molecules"])
def test_gradients_instead_of_forces_are_recognised(kind: str) -> None:
    frames = KINDS[kind]()
    bad = forces_times(-1.0, frames)
    finding = only(examine(bad), "forces-sign")
    assert "the sign of the forces is wrong (they are gradients)" in finding.message
    assert finding.cure == "Multiply the forces by -1"
    for frame, original in zip(mended(finding, bad), frames, strict=True):
        np.testing.assert_allclose(frame.forces, original.forces)


@pytest.mark.parametrize("kind", ["liquid", "clusters", "molecules"])
@pytest.mark.parametrize(("unit", "size"), [("Hartree", HARTREE), ("kcal/mol", KCAL)])
def test_units_of_energies_show_in_the_forces(kind: str, unit: str, size: float) -> None:
    finding = only(examine(energies_times(1.0 / size, KINDS[kind]())), "energy-unit")
    assert f"the energies are in {unit}" in finding.message
    assert f"multiply the energies by {size:.9g}" in finding.cure.lower()


def test_energies_per_atom_are_named() -> None:
    frames = [replace(f, energy=(f.energy or 0.0) / len(f.numbers)) for f in molecules()]
    finding = only(examine(frames), "energy-unit")
    assert "the energies are per atom" in finding.message
    assert "multiply the energies by the number of atoms" in finding.cure.lower()


def test_a_message_has_ratio_error_and_source() -> None:
    finding = only(examine(forces_times(1.0 / KCAL, clusters())), "forces-unit")
    assert re.fullmatch(
        r"made.xyz: between \d+ pairs of similar frames, energies change by 0\.0\d+ ± 0\.00\d+ times "
        r"the work of the forces, where 1 is expected: the forces are in kcal/mol/Å",
        finding.message,
    )


@pytest.mark.parametrize("kind", ["strains", "alloy", "liquid"])
@pytest.mark.parametrize(
    ("factor", "volume", "words"),
    [
        (-1.0, False, "the sign of the stresses is wrong"),
        (GPA, False, "the stresses are in GPa"),
        (-10.0 * GPA, False, "the stresses are in kBar, and their sign is wrong"),
        (1e4 * GPA, False, "the stresses are in bar"),
        (-1.0, True, "the stresses are the virials in eV, not divided by the volume"),
        (1.0 / 183.6315, False, "the stresses are in Hartree/Bohr³"),
    ],
)
def test_units_and_signs_of_stresses_are_recognised(
    kind: str, factor: float, volume: bool, words: str
) -> None:
    frames = KINDS[kind]()
    bad = with_fault(frames, stress_times(factor, volume))
    finding = only(examine(bad), "stress-sign" if factor == -1.0 and not volume else "stress-unit")
    assert words in finding.message
    assert "expected are eV/Å³, positive under tension" in finding.cure
    for frame, original in zip(mended(finding, bad), frames, strict=True):
        np.testing.assert_allclose(frame.stress, original.stress, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("kind", ["strains", "alloy", "liquid"])
@pytest.mark.parametrize(
    ("order", "words"),
    [
        ((0, 1, 2, 5, 3, 4), "(VASP's order xx yy zz xy yz zx): yz holds xy, xz holds yz"),
        ((0, 1, 2, 5, 4, 3), "swapped: yz holds xy, xy holds yz"),
        ((2, 1, 0, 5, 4, 3), "xx holds zz, zz holds xx, yz holds xy, xy holds yz"),
    ],
)
def test_swapped_components_are_recognised(kind: str, order: tuple[int, ...], words: str) -> None:
    frames = KINDS[kind]()
    bad = with_fault(frames, stress_in_order(order))
    finding = only(examine(bad), "stress-order")
    assert words in finding.message
    for frame, original in zip(mended(finding, bad), frames, strict=True):
        np.testing.assert_allclose(six_of(frame.stress), six_of(original.stress))


def test_one_group_in_another_unit_is_named_alone() -> None:
    first = [replace(f, config_type="first") for f in liquid()[::2]]
    second = [replace(f, config_type="second") for f in liquid()[1::2]]
    findings = examine(first + with_fault(second, stress_times(-10.0 * GPA)))
    finding = only(findings, "stress-unit")
    assert finding.message.startswith("made.xyz (config_type second): ")
    assert {place.index % 2 for place in finding.frames} == {1}
    finding = only(examine(first + forces_times(1.0 / KCAL, second)), "forces-unit")
    assert finding.message.startswith("made.xyz (config_type second): ")
    assert finding.correction is not None
    assert finding.correction.text == "forces multiplied by 0.0433641153"


def test_a_wrong_zero_of_the_stress_is_measured() -> None:
    """The pairs of EOS frames tell it to a few per cent: 3 per cent strain, trapezoidal rule."""
    pressure = 2.0 / GPA * np.eye(3)
    frames = [replace(f, stress=f.stress + pressure) for f in strains() if f.stress is not None]
    found = wrong(examine(frames))
    assert {finding.name for finding in found} == {"stress-offset"}
    assert all(finding.severity is Severity.DOUBT for finding in found)
    offsets = {f.message.split(":")[0]: (f.figures or {})["offset_gpa"] for f in found}
    assert offsets["made.xyz (config_type volumes)"] == pytest.approx(2.0, rel=0.05)


def test_energies_of_unstrained_frames_without_forces_are_undecided() -> None:
    """Frames at rest, in one cell: nothing can be told, and it is said."""
    frames = [replace(f, energy=None) for f in liquid()[:5]]
    assert not wrong(examine(frames))
    frames = [replace(f, stress=None) for f in alloy()[:4]]
    findings = examine(frames)
    assert [finding.name for finding in findings] == ["forces-undecided"]
    assert findings[0].severity is Severity.NOTE
    assert "cannot be told from these data" in findings[0].message


@pytest.mark.parametrize("count", [1, 2, 3])
def test_tiny_sets_are_not_accused(count: int) -> None:
    for kind in KINDS.values():
        assert not wrong(examine(kind()[:count]))


def test_energies_alone_are_judged_by_stresses() -> None:
    frames = energies_times(1.0 / HARTREE, strains())
    finding = only(examine(frames), "energy-unit")
    assert "the energies are in Hartree" in finding.message
