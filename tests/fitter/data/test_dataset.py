"""Frames: every way labels are written gives the same numbers, and every fault is told."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from forcemap.fitter.config import Keys, Settings, SigmaOverride, SigmaSettings, Source
from forcemap.fitter.data.dataset import read_frames
from forcemap.fitter.data.frame import Frame, data_hash
from forcemap.fitter.process.groups import check_groups
from forcemap.potentials.errors import ForcemapError

CELL = [[4.0, 0.0, 0.0], [0.5, 5.0, 0.0], [0.1, 0.2, 6.0]]
ENERGY = -9.5
FORCES = np.array([[0.1, 0.2, 0.3], [-0.1, -0.2, -0.3]])
STRESS = np.array([[0.01, 0.002, 0.003], [0.002, 0.02, 0.004], [0.003, 0.004, 0.03]])
VIRIAL = -abs(np.linalg.det(CELL)) * STRESS
VOIGT = STRESS[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]


def dimer(pbc: bool = True) -> Atoms:
    return Atoms("SiO", [[0, 0, 0], [1.5, 0.5, 0.1]], cell=CELL if pbc else None, pbc=pbc)


def assert_close(found: np.ndarray | None, expected: object, atol: float = 0.0) -> None:
    assert found is not None
    np.testing.assert_allclose(found, np.array(expected), rtol=1e-12, atol=atol)


def nine(tensor: np.ndarray) -> str:
    return " ".join(repr(float(x)) for x in np.ravel(tensor))


def frame_text(
    comment: str = "",
    forces: np.ndarray | None = FORCES,
    *,
    name: str = "forces",
    pbc: str = "T T T",
    lattice: str | None = None,
) -> str:
    """One frame of extended XYZ as a user's script may write it."""
    lattice = nine(np.array(CELL)) if lattice is None else lattice
    columns = "species:S:1:pos:R:3" + (f":{name}:R:3" if forces is not None else "")
    lines = ["2", f'Lattice="{lattice}" Properties={columns} pbc="{pbc}" {comment}']
    for atom, (symbol, position) in enumerate(
        zip(["Si", "O"], dimer().positions.tolist(), strict=True)
    ):
        row = [*position, *(forces[atom] if forces is not None else [])]
        lines.append(" ".join([symbol, *(repr(float(x)) for x in row)]))
    return "\n".join(lines) + "\n"


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., list[Frame]]:
    """Reads frames from text."""

    def read_text(text: str, index: str = ":", **more: Any) -> list[Frame]:
        path = tmp_path / "data.xyz"
        path.write_text(text, encoding="utf-8")
        return read_frames([Source(path, index)], **more)

    return read_text


Reader = Callable[..., list[Frame]]


# ----- where labels stand -----


def test_labels_written_by_an_ase_calculator_are_read(tmp_path: Path) -> None:
    atoms = dimer()
    atoms.calc = SinglePointCalculator(atoms, energy=ENERGY, forces=FORCES, stress=VOIGT)
    atoms.info["config_type"] = "bulk"
    path = tmp_path / "calculator.xyz"
    write(path, [atoms, atoms])
    first, second = read_frames([Source(path)])
    assert first.numbers.tolist() == [14, 8]
    assert first.numbers.dtype == np.int32
    assert first.pbc.tolist() == [True] * 3
    assert_close(first.positions, atoms.positions, atol=1e-8)
    assert_close(first.cell, CELL, atol=1e-12)
    assert first.energy == ENERGY
    assert_close(first.forces, FORCES, atol=1e-8)
    assert_close(first.stress, STRESS, atol=1e-12)
    assert (first.config_type, first.source, second.index) == ("bulk", str(path), 1)


STRESSES = {
    "stress, nine numbers": f'stress="{nine(STRESS)}"',
    "stress, six numbers": f'stress="{nine(VOIGT)}"',
    "stress with commas": f'stress="{nine(STRESS).replace(" ", ", ")}"',
    "stress as JSON": f'stress="_JSON {STRESS.tolist()}"',
    "virial, nine numbers": f'virial="{nine(VIRIAL)}"',
    "virial as JSON": f'virial="_JSON {VIRIAL.tolist()}"',
    "both, which agree": f'virial="{nine(VIRIAL)}" stress="{nine(STRESS)}"',
}


@pytest.mark.parametrize("comment", STRESSES.values(), ids=STRESSES.keys())
def test_stress_and_virial_are_understood_however_written(read: Reader, comment: str) -> None:
    (frame,) = read(frame_text(f"energy=-9.5 {comment}"))
    assert_close(frame.stress, STRESS, atol=1e-12)


@pytest.mark.parametrize(
    "comment",
    [
        f'REF_energy=-9.5 REF_stress="{nine(STRESS)}"',
        f'REF_energy=-9.5 REF_stress="_JSON {STRESS.tolist()}"',
        f'REF_energy=-9.5 REF_virial="{nine(VIRIAL)}"',
    ],
)
def test_keys_are_renamed(read: Reader, comment: str) -> None:
    keys = Keys("REF_energy", "REF_forces", "REF_stress", "REF_virial")
    # The plain names hold something else here, which must not be read.
    text = frame_text(f'energy=1.0 stress="{nine(0 * STRESS)}" {comment}', name="REF_forces")
    (frame,) = read(text, keys=keys)
    assert frame.energy == ENERGY
    assert_close(frame.forces, FORCES)
    assert_close(frame.stress, STRESS, atol=1e-12)


def test_force_is_an_alias_of_forces_unless_renamed(read: Reader) -> None:
    (frame,) = read(frame_text("energy=-9.5", name="force"))
    assert_close(frame.forces, FORCES)
    with pytest.warns(UserWarning, match='no force label under "other"'):
        (frame,) = read(frame_text("energy=-9.5", name="force"), keys=Keys(forces="other"))
    assert frame.forces is None


def test_frames_keep_the_labels_they_have(read: Reader) -> None:
    energy_only, forces_only, none = read(
        frame_text("energy=-9.5", None) + frame_text("") + frame_text("", None)
    )
    assert (energy_only.energy, energy_only.forces, energy_only.stress) == (ENERGY, None, None)
    assert forces_only.energy is None
    assert forces_only.forces is not None
    assert (none.energy, none.forces, none.config_type) == (None, None, "default")


def test_index_keeps_the_number_in_the_file(read: Reader) -> None:
    text = "".join(frame_text(f"energy={i}") for i in range(5))
    assert [(f.index, f.energy) for f in read(text, "1::2")] == [(1, 1.0), (3, 3.0)]
    assert [(f.index, f.energy) for f in read(text, "-1")] == [(4, 4.0)]
    assert [f.index for f in read(text, "::-2")] == [4, 2, 0]


def test_structures_without_labels_are_read_where_none_are_needed(read: Reader) -> None:
    (frame,) = read(frame_text("", None), require_labels=False)
    assert len(frame.numbers) == 2


def test_stress_of_open_structures_is_ignored_with_a_warning(read: Reader) -> None:
    text = frame_text(f'energy=1 stress="{nine(STRESS)}"', pbc="T T F")
    with pytest.warns(UserWarning, match="stress of 2 frames is not used: they are not periodic"):
        frames = read(text + text + frame_text("energy=1"))
    assert [f.stress for f in frames] == [None] * 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (frame_text("dft_energy=1"), 'no energy label under "energy".* this file has dft_energy'),
        (frame_text("energy=1", name="dft_forces"), "no force label.* this file has dft_forces"),
    ],
)
def test_overlooked_labels_are_warned_of(read: Reader, text: str, message: str) -> None:
    with pytest.warns(UserWarning, match=message):
        read(text)


# ----- sigma -----


def test_sigma_comes_from_frame_then_config_type_then_settings(read: Reader) -> None:
    sigma = SigmaSettings(0.01, 0.1, 0.2, {"A": SigmaOverride(energy=0.001, force=0.5)})
    frames = read(
        frame_text("energy=1 config_type=A sigma_force=0.7")
        + frame_text("energy=1 config_type=B sigma_energy=0.3 sigma_stress=2")
        + frame_text("energy=1"),
        sigma=sigma,
    )
    found = [(f.sigma.energy, f.sigma.force, f.sigma.stress) for f in frames]
    assert found == [(0.001, 0.7, 0.2), (0.3, 0.1, 2.0), (0.01, 0.1, 0.2)]


def test_numeric_config_types_are_names(read: Reader) -> None:
    sigma = SigmaSettings(config_type={"300": SigmaOverride(energy=0.5)})
    (frame,) = read(frame_text("energy=1 config_type=300"), sigma=sigma)
    assert (frame.config_type, frame.sigma.energy) == ("300", 0.5)


def test_unused_group_is_warned_of_with_the_nearest(read: Reader) -> None:
    frames = read(frame_text("energy=1 config_type=Elastic"))
    where = 'sigma.config_type: no training frame .* "Elastik"; did you mean "Elastic"'
    with pytest.warns(UserWarning, match=where):
        check_groups(frames, with_groups(sigma="Elastik"))
    where = r"terms\[1\].config_type_n_sparse: no training frame .* \"Elastik\"; did you mean"
    with pytest.warns(UserWarning, match=where):
        check_groups(frames, with_groups(quotas={"Elastik": 3}))
    check_groups(frames, with_groups(sigma="Elastic", quotas={"Elastic": 3}))


def with_groups(sigma: str = "", quotas: Mapping[str, int] | None = None, **soap: Any) -> Settings:
    """Settings that name groups of frames."""
    return Settings.from_dict(
        {
            "data": {"train": "made.xyz"},
            "sigma": {"config_type": {sigma: {"energy": 0.5}}} if sigma else {},
            "terms": [
                {"kind": "two_body"},
                {"kind": "soap", "config_type_n_sparse": quotas or {}, **soap},
            ],
        }
    )


def test_quotas_beyond_the_number_of_points_are_refused(read: Reader) -> None:
    """Those of the groups that hold the element; where no number is given they may be any."""
    lone = '1\nenergy=1 config_type={} pbc="F F F"\n{} 0 0 0\n'
    frames = read(lone.format("a", "Si") + lone.format("b", "Si") + lone.format("b", "O"))
    quotas = {"a": 6, "b": 5}
    with pytest.raises(ForcemapError) as caught:
        check_groups(frames, with_groups(quotas=quotas, n_sparse=10))
    assert str(caught.value) == (
        "terms[1].config_type_n_sparse: asks for 11 sparse points of Si in all, more than the 10 of "
        "n_sparse; raise n_sparse, or lower these"
    )
    check_groups(frames, with_groups(quotas=quotas, n_sparse=11))
    check_groups(frames, with_groups(quotas=quotas, n_sparse={"O": 5, "Si": 11}))
    check_groups(frames, with_groups(quotas=quotas))
    with pytest.raises(ForcemapError, match="asks for 5 sparse points of O"):
        check_groups(frames, with_groups(quotas=quotas, n_sparse={"O": 4, "Si": 11}))


# ----- faults -----

GOOD = frame_text("energy=1")
NAN_FORCES = np.array([[0, 0, 0], [0, np.nan, 0]])
SHEAR = np.array([[0.0, 0.5, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
AT_1 = "data.xyz: frame 1 (counted from 0): "

FAULTS = {
    "energy nan": (GOOD + frame_text("energy=nan"), AT_1 + 'the energy ("energy") is nan; correct'),
    "energy text": (
        GOOD + frame_text("energy=abc"),
        AT_1 + "the energy (\"energy\") is 'abc', which is not numeric",
    ),
    "energy list": (
        GOOD + frame_text('energy="1 2"'),
        AT_1 + 'the energy ("energy") has the shape (2,), expected one number',
    ),
    "force nan": (
        GOOD + frame_text("energy=1", NAN_FORCES),
        AT_1 + 'the force ("forces") of atom 1 is nan; correct',
    ),
    "force shape": (
        GOOD + frame_text("energy=1", FORCES[:, :2]).replace("forces:R:3", "forces:R:2"),
        AT_1 + 'the force ("forces") has the shape (2, 2), expected (2, 3)',
    ),
    "stress inf": (
        GOOD + frame_text(f'energy=1 stress="{nine(np.full(9, np.inf))}"'),
        AT_1 + 'the tensor "stress" is inf',
    ),
    "stress shape": (
        GOOD + frame_text('energy=1 stress="1 2 3"'),
        AT_1 + 'the tensor "stress" has the shape (3,), expected (3, 3) or (9,) or (6,)',
    ),
    "virial shape": (
        GOOD + frame_text('energy=1 virial="1 2 3 4 5 6"'),
        AT_1 + 'the tensor "virial" has the shape (6,), expected (3, 3) or (9,)',
    ),
    "stress not symmetric": (
        GOOD + frame_text(f'energy=1 stress="{nine(SHEAR)}"'),
        AT_1 + 'the tensor "stress" is not symmetric: components differ by 0.5',
    ),
    "stress against virial": (
        GOOD + frame_text(f'energy=1 stress="{nine(STRESS)}" virial="{nine(-VIRIAL)}"'),
        AT_1 + '"stress" and "virial" differ by 0.06 eV/Å³, where virial (eV) = -volume * stress',
    ),
    "sigma negative": (
        GOOD + frame_text("energy=1 sigma_energy=-1"),
        AT_1 + '"sigma_energy" is -1, expected more than 0',
    ),
    "no cell": (
        GOOD + frame_text("energy=1", lattice="4 0 0 0 4 0 0 0 0"),
        AT_1 + "is periodic along axis 3 but has no cell vector there",
    ),
    "flat cell": (
        GOOD + frame_text("energy=1", lattice="4 0 0 0 4 0 4 4 0"),
        AT_1 + "its cell [[4.0, 0.0, 0.0], [0.0, 4.0, 0.0], [4.0, 4.0, 0.0]] has no volume",
    ),
    "position nan": (
        GOOD + GOOD.replace("1.5", "nan"),
        AT_1 + "a position of atom 1 is nan",
    ),
    "unknown element": (
        GOOD + GOOD.replace("Si ", "Sx "),
        AT_1 + "line 7: 'Sx' is not the symbol of an element",
    ),
    "columns missing": (
        GOOD + GOOD.replace("O ", ""),
        AT_1 + "line 8: found 6 columns, expected the 7 that Properties name",
    ),
    "columns not told": (
        GOOD + GOOD.replace("pos:R:3", "pos:R"),
        AT_1 + "line 6: Properties are not names, types and numbers of columns",
    ),
    "lattice of three numbers": (
        GOOD + frame_text("energy=1", lattice="4 4 4"),
        AT_1 + "line 6: Lattice is '4 4 4', expected nine numbers",
    ),
    "atoms in the same place": (
        GOOD + GOOD.replace("1.5 0.5 0.1", "0.0 0.0 0.0"),
        AT_1 + "atoms 0 and 1 are in the same place",
    ),
    "no element": (GOOD + GOOD.replace("Si ", "X "), AT_1 + "has an atom that is no element"),
    "words in columns": (
        GOOD + GOOD.replace("1.5", "x.5"),
        AT_1 + "line 8: 'x.5' in the column of pos is not a number",
    ),
    "cut off": (GOOD + GOOD[: GOOD.rindex("O ")], "data.xyz: ends within frame 1, which should"),
    "not XYZ": ("hello\nworld\n", "data.xyz: line 1: found 'hello' where the number of atoms"),
    "empty": ("", "data.xyz: holds no frames"),
    "no labels": (
        frame_text("E0=1 T=300 density=2.5", name="f"),
        'data.xyz: no frame has an energy under "energy" or forces under "forces". Keys in this '
        "file: E0, T, density, f. Name the right ones under data: keys:",
    ),
}


@pytest.mark.parametrize(("text", "message"), FAULTS.values(), ids=FAULTS.keys())
def test_fault_is_told_with_file_frame_and_value(read: Reader, text: str, message: str) -> None:
    with pytest.raises(ForcemapError, match=re.escape(message)):
        read(text)


def test_missing_file_and_empty_selection_are_told(read: Reader, tmp_path: Path) -> None:
    with pytest.raises(ForcemapError, match=r"nowhere\.xyz: no such file"):
        read_frames([Source(tmp_path / "nowhere.xyz")])
    with pytest.raises(ForcemapError, match='index "7:" selects none of its 2 frames'):
        read(GOOD + GOOD, "7:")


# ----- hash -----


def test_hash_is_of_content_not_of_names(read: Reader) -> None:
    text = frame_text(f'energy=1 stress="{nine(STRESS)}"')
    (frame,) = read(text)
    same = replace(frame, source="other", index=9)
    assert data_hash([frame]) == data_hash([same])
    assert re.fullmatch("[0-9a-f]{64}", data_hash([frame]))
    changes: list[dict[str, Any]] = [
        {"energy": 1.0 + 1e-15},
        {"energy": None},
        {"forces": None},
        {"stress": frame.stress * 2 if frame.stress is not None else None},
        {"positions": frame.positions[::-1].copy()},
        {"numbers": frame.numbers[::-1].copy()},
        {"pbc": np.array([True, True, False])},
        {"config_type": "x"},
    ]
    hashes = {data_hash([replace(frame, **change)]) for change in changes}
    assert len(hashes | {data_hash([frame]), data_hash([frame, frame])}) == len(changes) + 2


def test_frames_are_read_by_the_names_that_scripts_use() -> None:
    from forcemap import fitter
    from forcemap.fitter import dataset

    assert fitter.read_frames is dataset.read_frames is read_frames
