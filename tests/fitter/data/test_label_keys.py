"""Which keys are read: labels under another name are read if certain, else named, never lost."""

import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forcemap.fitter.config import Keys
from forcemap.potentials.errors import ForcemapError
from labelled_copper import Labelled, copper, read, text

NAME_IT = "(data: keys: in the settings names what to read, or --keys)"
ANOTHER = "(data: keys: in the settings names another, or --keys)"


def said(folder: Path, content: str, **options: Any) -> list[str]:
    """The warnings of reading a file, without its name."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read(folder, content, **options)
    return [str(warning.message).removeprefix(f"{folder / 'data.xyz'}: ") for warning in caught]


def always(words: str) -> Callable[[int], str]:
    """The same of every frame."""
    return lambda number: words


def assert_labels(frames: list[Any], expected: tuple[Labelled, ...]) -> None:
    for frame, (_, energy, forces, stress) in zip(frames, expected, strict=True):
        assert frame.energy == pytest.approx(energy, abs=1e-8)
        np.testing.assert_allclose(frame.forces, forces, atol=1e-8)
        np.testing.assert_allclose(frame.stress, stress, atol=1e-8)


@pytest.mark.parametrize("prefix", ["REF_", "DFT_", "dft_", "QM_", "ref-"])
def test_one_usual_name_is_read_and_said(tmp_path: Path, prefix: str) -> None:
    names: dict[str, Any] = {label: f"{prefix}{label}" for label in ("energy", "forces", "virial")}
    content = text(copper(3), stress=None, **names)
    assert said(tmp_path, content) == [
        f'no energy label under "energy"; this file has {prefix}energy, which is read {ANOTHER}',
        f'no force label under "forces"; this file has {prefix}forces, which is read {ANOTHER}',
        f'no stress under "stress" or "virial"; this file has {prefix}virial, which is read {ANOTHER}',
    ]
    with pytest.warns(UserWarning, match="which is read"):
        assert_labels(read(tmp_path, content), copper(3))
    # Named, they are read without a word.
    assert said(tmp_path, content, keys=Keys(**names)) == []


@pytest.mark.parametrize(
    ("names", "key"),
    [
        ({"energy": "Energy"}, "Energy"),
        ({"forces": "FORCES"}, "FORCES"),
        ({"stress": "Stress"}, "Stress"),
        ({"stress": None, "virial": "Virial"}, "Virial"),
        ({"stress": None, "virial": "virials"}, "virials"),
        ({"forces": "Force"}, "Force"),
    ],
)
def test_other_cases_are_read_and_said(tmp_path: Path, names: dict[str, Any], key: str) -> None:
    content = text(copper(3), **names)
    (line,) = said(tmp_path, content)
    assert re.fullmatch(f"no .* under .*; this file has {key}, which is read .*", line)
    with pytest.warns(UserWarning, match=key):
        assert_labels(read(tmp_path, content), copper(3))


@pytest.mark.parametrize(
    ("names", "label", "title", "key"),
    [
        ({"forces": "frc"}, "force label", '"forces"', "frc"),
        ({"forces": "F"}, "force label", '"forces"', "F"),
        ({"energy": "Etot"}, "energy label", '"energy"', "Etot"),
        ({"energy": "E"}, "energy label", '"energy"', "E"),
        ({"stress": "virial_stress"}, "stress", '"stress" or "virial"', "virial_stress"),
        ({"stress": "sig"}, "stress", '"stress" or "virial"', "sig"),
    ],
)
def test_uncertain_names_are_named_but_not_read(
    tmp_path: Path, names: dict[str, Any], label: str, title: str, key: str
) -> None:
    expected = f"no {label} under {title}, so none is used; this file has {key} {NAME_IT}"
    assert said(tmp_path, text(copper(3), **names)) == [expected]


def test_missing_labels_are_said_even_without_a_candidate(tmp_path: Path) -> None:
    none = f", so none is used; nothing in this file may be it {NAME_IT}"
    assert said(tmp_path, text(copper(2), forces=None)) == [f'no force label under "forces"{none}']
    assert said(tmp_path, text(copper(2), energy=None)) == [f'no energy label under "energy"{none}']
    # Velocities are no forces; files without a stress are usual; a lone atom has no force.
    velocities = text(copper(2), stress=None, columns=":vel:R:3", values=lambda n, a: "0.1 0.2 0.3")
    assert said(tmp_path, velocities) == []
    assert said(tmp_path, '1\nenergy=1 pbc="F F F"\nCu 0 0 0\n') == []


LONE = (
    '1\nProperties=species:S:1:pos:R:3 energy=3.51 config_type=IsolatedAtom pbc="F F F"\nCu 0 0 0\n'
)


def test_labels_of_some_frames_under_a_second_name_are_an_error(tmp_path: Path) -> None:
    content = text(copper(4), energy="REF_energy", forces="REF_forces") + LONE
    message = (
        '4 of 5 frames have no energy under "energy"; they have REF_energy (first: frame 0, counted '
        "from 0). One name is read: give the labels of all frames the same, or write the name under "
        "data: keys: in the settings (or --keys), such as {energy: REF_energy}, which leaves the "
        "others out"
    )
    with pytest.raises(ForcemapError) as caught:
        read(tmp_path, content)
    assert str(caught.value) == f"{tmp_path / 'data.xyz'}: {message}"
    # Where the settings choose, it is a warning; what the choice loses is said.
    lines = said(tmp_path, content, keys=Keys(energy="REF_energy", forces="REF_forces"))
    assert [line[:80] for line in lines] == [
        '1 of 5 frames have no energy under "REF_energy"; they have energy (first: frame '
    ]


@pytest.mark.parametrize(
    ("label", "first", "second"),
    [
        ("forces", {}, {"forces": "REF_forces"}),
        ("stress", {}, {"stress": "DFT_stress"}),
        ("stress", {}, {"stress": None, "virial": "REF_virial"}),
        ("energy", {}, {"energy": "free_energy"}),
    ],
)
def test_every_kind_of_label_is_looked_for_under_second_names(
    tmp_path: Path, label: str, first: dict[str, Any], second: dict[str, Any]
) -> None:
    content = text(copper(2), **first) + text(copper(3), **second)
    with pytest.raises(ForcemapError, match=f"3 of 5 frames have no {label} under .*frame 2,"):
        read(tmp_path, content)


def test_several_candidates_are_an_error_that_lists_them(tmp_path: Path) -> None:
    content = text(copper(3), energy="REF_energy", more=lambda n: "DFT_energy=1" if n else "")
    message = (
        'no energy under "energy", but under several other names: REF_energy (3 frames), DFT_energy '
        "(2 frames). Name the one to read under data: keys: in the settings (or --keys), such as "
        "{energy: REF_energy}"
    )
    with pytest.raises(ForcemapError, match=re.escape(message)):
        read(tmp_path, content)
    (frame, _, _) = read(tmp_path, content, keys=Keys(energy="REF_energy"))
    assert frame.energy == pytest.approx(copper(3)[0].energy, abs=1e-8)
    # Predictions need no labels.
    assert message in said(tmp_path, content, require_labels=False)
    with pytest.raises(
        ForcemapError, match=r"REF_stress .*, DFT_virial .* such as {stress: REF_st"
    ):
        read(tmp_path, text(copper(3), stress="REF_stress", virial="DFT_virial"))


def test_labels_that_stay_unread_beside_others_are_named(tmp_path: Path) -> None:
    content = text(
        copper(2), more=lambda n: "REF_energy=1 mace_energy=2 kinetic_energy=3 energy_std=4"
    )
    assert said(tmp_path, content) == [
        f'the energy is read from "energy"; REF_energy, mace_energy are not read {NAME_IT}'
    ]
    assert said(tmp_path, content, keys=Keys(energy="energy")) == []


def test_energy_that_the_forces_belong_to_is_read(tmp_path: Path) -> None:
    frames = copper(4)

    def free(number: int) -> str:
        return f"free_energy={frames[number].energy - 0.25 * number:.10g}"

    content = text(frames, more=free)
    assert said(tmp_path, content) == [
        '"energy" and "free_energy" differ in 3 frames, by up to 0.75 eV (frame 3, counted from 0); '
        '"free_energy" is read, which the forces belong to. To choose, write {energy: energy} or '
        "{energy: free_energy} under data: keys: in the settings (or --keys)"
    ]
    with pytest.warns(UserWarning, match="differ"):
        assert read(tmp_path, content)[3].energy == pytest.approx(frames[3].energy - 0.75, abs=1e-8)
    chosen = read(tmp_path, content, keys=Keys(energy="energy"))
    assert chosen[3].energy == pytest.approx(frames[3].energy, abs=1e-8)
    # Zero points are not mixed: where some frames have one energy only, it is that.
    (line,) = said(tmp_path, text(frames, more=lambda n: free(n) if n else ""))
    assert '"energy" is read, although forces belong to free_energy, which some frames lack' in line
    (first, *_) = said(tmp_path, text(frames, forces=None, more=free), keys=Keys(forces="none"))
    assert 'no force label under "none"' in first
    assert said(tmp_path, text(frames, more=lambda n: f"free_energy={frames[n].energy:.9g}")) == []


def test_free_energy_alone_is_an_energy(tmp_path: Path) -> None:
    (line,) = said(tmp_path, text(copper(2), energy="free_energy"))
    assert (
        line
        == f'no energy label under "energy"; this file has free_energy, which is read {ANOTHER}'
    )


def test_no_label_at_all_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(
        ForcemapError, match=r"no frame has an energy .* this file: Etot, frc, stress"
    ):
        read(tmp_path, text(copper(2), energy="Etot", forces="frc"))


def test_tensors_with_brackets_are_read(tmp_path: Path) -> None:
    (labelled,) = copper(1)
    nested = json.dumps((-labelled.stress * labelled.atoms.get_volume()).tolist())
    flat = json.dumps(labelled.stress.ravel().tolist())
    for label in (f"virial={nested}", f'virial="{nested}"', f"stress={flat}", f'stress="{flat}"'):
        frames = read(tmp_path, text([labelled], stress=None, more=always(label)))
        assert_labels(frames, (labelled,))
    with pytest.warns(UserWarning, match="REF_virial"):
        frames = read(
            tmp_path, text([labelled], stress=None, more=lambda n: f"REF_virial={nested}")
        )
    assert_labels(frames, (labelled,))


def test_keys_of_the_structure_are_found_in_any_case(tmp_path: Path) -> None:
    content = text(copper(2), more=lambda n: "Config_Type=liquid Sigma_Energy=0.5")
    other = content.replace("Properties=", "properties=").replace("Lattice=", "LATTICE=")
    for frame, expected in zip(
        read(tmp_path, other.replace("pbc=", "PBC=")), copper(2), strict=True
    ):
        np.testing.assert_allclose(frame.cell, expected.atoms.cell.array, atol=1e-8)
        assert frame.pbc.all()
        assert (frame.config_type, frame.sigma.energy) == ("liquid", 0.5)


def test_isotopes_are_their_elements(tmp_path: Path) -> None:
    content = (
        text(copper(1)).replace("Cu ", "D ", 1).replace("Cu ", "T ", 1).replace("Cu ", "H ", 1)
    )
    (line,) = said(tmp_path, content)
    assert line == "D and T are read as H: energies do not depend on masses"
    with pytest.warns(UserWarning, match="read as H"):
        (frame,) = read(tmp_path, content)
    assert frame.numbers.tolist() == [1, 1, 1, 29]
    with pytest.raises(ForcemapError, match="line 6: 'Q' is not the symbol of an element"):
        read(tmp_path, text(copper(1)).replace("Cu ", "D ", 3).replace("Cu ", "Q "))


@pytest.mark.parametrize(
    ("label", "names", "key"),
    [
        ("energy", {"energy": "Etot"}, "Etot"),
        ("forces", {"forces": "frc"}, "frc"),
        ("stress", {"stress": "virial_stress"}, "virial_stress"),
    ],
)
def test_frames_with_only_an_uncertain_name_are_said(
    tmp_path: Path, label: str, names: dict[str, Any], key: str
) -> None:
    lines = said(tmp_path, text(copper(2)) + text(copper(3), **names))
    title = '"stress" or "virial"' if label == "stress" else f'"{label}"'
    assert lines == [
        f"3 of 5 frames have no {label} under {title}, so none of them is used; they have {key} (first:"
        " frame 2, counted from 0). If that is it, give the labels of all frames one name"
    ]


def test_the_same_name_in_two_cases_is_one_label(tmp_path: Path) -> None:
    """In frames of their own both are read; in one frame the usual spelling is, and that is said."""
    content = text(copper(2)) + text(copper(2), energy="Energy")
    (line,) = said(tmp_path, content)
    assert (
        line == f'no energy label under "energy"; some frames have Energy, which is read {ANOTHER}'
    )
    with pytest.warns(UserWarning, match="some frames have Energy"):
        assert_labels(read(tmp_path, content), copper(2) + copper(2))
    (line,) = said(tmp_path, text(copper(2), more=lambda n: "Energy=1"))
    assert line == f'the energy is read from "energy"; Energy is not read {NAME_IT}'


@pytest.mark.parametrize(("quantity", "other"), [("virial", "stress"), ("stress", "virial")])
def test_a_key_named_as_one_quantity_is_not_read_as_the_other(
    tmp_path: Path, quantity: str, other: str
) -> None:
    content = text(copper(3), **{"stress": None, "virial": None, quantity: other})
    keys = Keys(**{quantity: other})
    assert said(tmp_path, content, keys=keys) == []
    assert_labels(read(tmp_path, content, keys=keys), copper(3))


def test_what_stays_unread_beside_a_usual_name_is_named(tmp_path: Path) -> None:
    """Predictions of other potentials, and energies of other kinds."""
    content = text(
        copper(2),
        energy="REF_energy",
        more=lambda n: "MACE_energy=1 free_energy=2 vdw_energy=3",
        columns=":MACE_forces:R:3",
        values=lambda n, a: "1 2 3",
    )
    assert said(tmp_path, content) == [
        f'no energy label under "energy"; this file has REF_energy, which is read {ANOTHER}',
        'the energy is read from "REF_energy"; MACE_energy, free_energy are not read ' + NAME_IT,
        f'the forces are read from "forces"; MACE_forces is not read {NAME_IT}',
    ]


def test_one_usual_name_in_two_cases_is_one_label_if_frames_have_one_of_them(
    tmp_path: Path,
) -> None:
    content = text(copper(2), energy="REF_energy") + text(copper(2), energy="ref_Energy")
    with pytest.warns(UserWarning, match="has REF_energy and ref_Energy, which are read"):
        assert_labels(read(tmp_path, content), copper(2) + copper(2))
    both = text(copper(2), energy="REF_energy", more=lambda n: "ref_Energy=3")
    with pytest.raises(
        ForcemapError, match=r"other names: REF_energy \(2 frames\), ref_Energy \(2 frames\)"
    ):
        read(tmp_path, both)


@pytest.mark.parametrize(
    ("energy", "free"), [("REF_energy", "REF_free_energy"), ("Energy", "free_energy")]
)
def test_free_energies_are_found_in_any_case_and_prefix(
    tmp_path: Path, energy: str, free: str
) -> None:
    frames = copper(3)

    def more(number: int) -> str:
        return f"{free}={frames[number].energy - 0.25 * number:.10g}"

    content = text(frames, energy=energy, more=more)
    (_, line) = said(tmp_path, content)
    assert line == (
        f'"{energy}" and "{free}" differ in 2 frames, by up to 0.5 eV (frame 2, counted from 0); '
        f'"{free}" is read, which the forces belong to. To choose, write {{energy: {energy}}} or '
        f"{{energy: {free}}} under data: keys: in the settings (or --keys)"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = read(tmp_path, content)
    assert found[2].energy == pytest.approx(frames[2].energy - 0.5, abs=1e-8)


def test_free_energy_alone_is_read_with_its_prefix(tmp_path: Path) -> None:
    (line,) = said(tmp_path, text(copper(2), energy="DFT_free_energy"))
    assert "this file has DFT_free_energy, which is read" in line
