"""Files of frames: every kind gives the same structures, and every fault of a file is one message."""

import bz2
import gzip
import lzma
import re
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.io import write
from forcemap.fitter.config import Keys, Settings, Source
from forcemap.fitter.data import sources, xyz_frames
from forcemap.fitter.data.dataset import read_frames
from forcemap.fitter.data.sources import known_count, read_structures
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.file.potential_file import write_potential
from hypothesis import given
from hypothesis import strategies as st
from potentials_factory import random_potential

LATTICE = 'Lattice="6.0 0.0 0.0 0.0 6.5 0.0 0.0 0.0 7.0"'
COLUMNS = "species:S:1:pos:R:3:forces:R:3"
ATOMS = "Si 0.0 0.0 0.0 0.1 0.2 0.3\nO 1.5 0.5 0.1 -0.1 -0.2 -0.3\n"


def frame_text(
    energy: object = -9.5, *, more: str = "", columns: str = COLUMNS, atoms: str = ATOMS
) -> str:
    return f"2\n{LATTICE} Properties={columns} energy={energy} {more}\n{atoms}"


def frames_text(count: int) -> str:
    """Frames whose energies are their numbers."""
    return "".join(frame_text(number) for number in range(count))


def packed(path: Path, text: str) -> Path:
    opened: dict[str, Callable[..., Any]] = {
        ".gz": gzip.open,
        ".bz2": bz2.open,
        ".xz": lzma.open,
    }
    with opened.get(path.suffix, open)(path, "wt", encoding="utf-8") as file:
        file.write(text)
    return path


def message_of(path: Path, index: str = ":", **more: Any) -> str:
    """The message with which a file is refused, without the folder."""
    with pytest.raises(ForcemapError) as caught:
        read_frames([Source(path, index)], **more)
    return str(caught.value).replace(f"{path.parent}/", "")


def refused(tmp_path: Path, text: str | bytes, index: str = ":") -> str:
    path = tmp_path / "data.xyz"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return message_of(path, index)


PACKED = ["data.xyz", "data.xyz.gz", "data.xyz.bz2", "data.xyz.xz", "data.extxyz.gz", "data.txt.xz"]


# ----- what is selected -----


@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize(
    ("index", "numbers"),
    [
        (":", list(range(9))),
        ("2", [2]),
        ("-2", [7]),
        ("1:8:3", [1, 4, 7]),
        (":3", [0, 1, 2]),
        ("-3:", [6, 7, 8]),
        ("2:-5", [2, 3]),
        ("::-4", [8, 4, 0]),
        ("6:2:-2", [6, 4]),
        ("7:100", [7, 8]),
    ],
)
def test_selection_is_the_same_in_every_packing(
    tmp_path: Path, name: str, index: str, numbers: list[int]
) -> None:
    path = packed(tmp_path / name, frames_text(9))
    found = read_frames([Source(path, index)])
    assert [(f.index, f.energy) for f in found] == [(n, float(n)) for n in numbers]


@pytest.mark.parametrize("name", ["data.xyz", "data.xyz.gz", "data.traj", "data.db"])
@pytest.mark.parametrize("index", ["9:", "9", "-10", "5:5"])
def test_selection_of_nothing_is_told_with_the_number_of_frames(
    tmp_path: Path, name: str, index: str
) -> None:
    if name.startswith("data.xyz"):
        path = packed(tmp_path / name, frames_text(9))
    else:
        path = tmp_path / name
        write(path, labelled(9))
    expected = f'{name}: index "{index}" selects none of its 9 frames (0 to 8)'
    assert message_of(path, index) == expected


def test_only_the_selected_frames_are_parsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[int] = []
    read = sources.read_regular

    def counted(frame: Any) -> Any:
        parsed.append(1)
        return read(frame)

    monkeypatch.setattr(sources, "read_regular", counted)
    faulty = frame_text().replace("Si", "Xx")
    path = packed(tmp_path / "data.xyz.gz", faulty * 3 + frame_text() + faulty * 3 + frame_text())
    assert [index for index, _ in read_structures(Source(path, "3::4"))] == [3, 7]
    assert len(parsed) == 2


@pytest.mark.parametrize("suffix", ["", ".gz", ".bz2", ".xz"])
def test_work_grows_with_the_number_of_frames_not_faster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    """Lines read from the file, however often, are the same number for each frame."""
    count = 0

    class Counted(xyz_frames.TextIOWrapper):
        def readline(self, *args: Any) -> str:
            nonlocal count
            count += 1
            return super().readline(*args)

        def seek(self, *args: Any) -> int:
            raise AssertionError("a compressed file would be unpacked from its start again")

        tell = seek  # type: ignore[assignment]

    monkeypatch.setattr(xyz_frames, "TextIOWrapper", Counted)
    lines = []
    for frames in (50, 100):
        count = 0
        path = packed(tmp_path / f"{frames}.xyz{suffix}", frames_text(frames))
        assert len(read_frames([Source(path)])) == frames
        lines.append(count)
    assert lines == [50 * 4 + 1, 100 * 4 + 1]


def test_memory_is_that_of_a_frame_not_of_the_file(tmp_path: Path) -> None:
    """Selecting one frame of a file keeps its text away from memory: 1 MB of 8 MB."""
    atoms = "Si 0.0 0.0 0.0 0.1 0.2 0.3\n" * 20
    text = f"20\n{LATTICE} Properties={COLUMNS} energy=1\n{atoms}"
    path = packed(tmp_path / "data.xyz.gz", text * 14_000)
    list(read_structures(Source(path, "0")))  # imports
    tracemalloc.start()
    try:
        assert len(list(read_structures(Source(path, "13999")))) == 1
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["data.xyz", "data.xyz.gz", "data.traj", "data.db", "data.json"])
def test_frames_are_counted_for_a_bar_that_moves_by_frames(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if "xyz" in name:
        packed(path, frames_text(120))
    else:
        write(path, labelled(2)[1:] * 120)
    moved: list[int] = []
    wanted = [Source(path, "::2"), Source(path, ":5")]
    assert known_count(wanted) == 65
    assert len(read_frames(wanted, advance=moved.append)) == sum(moved) == 65
    assert len(moved) > 2


def test_formats_that_are_slow_to_count_are_not_counted(tmp_path: Path) -> None:
    path = tmp_path / "vasprun.xml"
    path.write_text(VASPRUN.format(steps=STEP.format(energy=1, free=1)), encoding="utf-8")
    assert known_count([Source(path)]) is None
    with pytest.raises(ForcemapError, match=r"none\.xyz: no such file"):
        known_count([Source(tmp_path / "none.xyz")])


# ----- compressed files that are broken -----


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz"])
def test_cut_off_compressed_file_is_told(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(1)
    text = "".join(frame_text(x) for x in rng.normal(size=2000))
    path = packed(tmp_path / f"data.xyz{suffix}", text)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    message = message_of(path, "-1")
    pattern = r"data\.xyz\S+: the compressed file is cut off after line \d+; copy or make it again"
    assert re.fullmatch(pattern, message) or (
        suffix == ".bz2" and "cut off from its begin" in message
    )


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz"])
def test_damaged_compressed_file_is_told(tmp_path: Path, suffix: str) -> None:
    path = packed(tmp_path / f"data.xyz{suffix}", frames_text(200))
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 8] = b"\x55" * 8
    path.write_bytes(content)
    assert re.fullmatch(
        r"data\.xyz\S+: the compressed file is (damaged|cut off) (after line \d+|somewhere|from its "
        r"beginning)( \(.{5,80}\))?; copy or make it again",
        message_of(path),
    )


def test_wrong_checksum_is_told(tmp_path: Path) -> None:
    path = packed(tmp_path / "data.xyz.gz", frames_text(3))
    content = bytearray(path.read_bytes())
    content[-6] ^= 0xFF
    path.write_bytes(content)
    assert message_of(path).startswith(
        "data.xyz.gz: the compressed file is damaged after line 12 (CRC"
    )


def test_suffix_and_compression_must_agree(tmp_path: Path) -> None:
    plain = tmp_path / "data.xyz.gz"
    plain.write_text(frame_text())
    assert message_of(plain) == (
        "data.xyz.gz: is a file of frames (XYZ), not compressed by gzip as its name says; take .gz off "
        "its name, or compress it"
    )
    other = tmp_path / "data.xyz"
    other.write_bytes(lzma.compress(frame_text().encode()))
    expected = "data.xyz: is compressed by xz, but its name does not end in .xz; rename it"
    assert message_of(other) == expected


# ----- other formats that ASE reads -----


def labelled(count: int = 4) -> list[Atoms]:
    """Frames with labels of a calculator; the first atom is fixed."""
    rng = np.random.default_rng(0)
    found = []
    for number in range(count):
        atoms = bulk("Si", cubic=True)
        atoms.rattle(0.1, seed=number)
        atoms.set_constraint(FixAtoms([0]))
        atoms.calc = SinglePointCalculator(
            atoms,
            energy=float(number),
            forces=rng.normal(size=(8, 3)),
            stress=rng.normal(size=6),
        )
        found.append(atoms)
    return found


@pytest.mark.parametrize("name", ["data.traj", "data.db", "data.json", "data.extxyz.bz2"])
def test_formats_of_ase_are_read_with_raw_forces(tmp_path: Path, name: str) -> None:
    """Forces of fixed atoms are those of the calculation, not zero."""
    images = labelled()
    path = tmp_path / name
    write(path, images)
    found = read_frames([Source(path, "1::2")])
    assert [f.index for f in found] == [1, 3]
    for frame, atoms in zip(found, images[1::2], strict=True):
        assert frame.energy == atoms.calc.results["energy"]
        assert frame.forces is not None
        assert frame.stress is not None
        assert np.abs(frame.forces[0]).min() > 1e-3
        np.testing.assert_allclose(frame.forces, atoms.calc.results["forces"], atol=1e-8)
        stress = atoms.calc.results["stress"]
        np.testing.assert_allclose(frame.stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]], stress)
        np.testing.assert_allclose(frame.positions, atoms.positions, atol=1e-8)


def test_pairs_of_a_database_are_keys_of_its_frames(tmp_path: Path) -> None:
    import ase.db

    with ase.db.connect(tmp_path / "data.db") as database:
        for number, atoms in enumerate(labelled(3)):
            database.write(atoms, config_type=f"group {number}", REF_energy=10.0 + number)
    found = read_frames([Source(tmp_path / "data.db")], Keys(energy="REF_energy"))
    assert [(f.config_type, f.energy) for f in found] == [
        (f"group {n}", 10.0 + n) for n in range(3)
    ]


VASPRUN = """<?xml version="1.0" encoding="ISO-8859-1"?>
<modeling>
 <atominfo><atoms>2</atoms><types>2</types>
  <array name="atoms"><set><rc><c>Si</c><c>1</c></rc><rc><c>O</c><c>2</c></rc></set></array>
 </atominfo>
 <kpoints><varray name="kpointlist"><v>0.0 0.0 0.0</v></varray>
  <varray name="weights"><v>1.0</v></varray></kpoints>
 <structure name="initialpos"><crystal><varray name="basis">
   <v>6.0 0.0 0.0</v><v>0.0 6.0 0.0</v><v>0.0 0.0 6.0</v></varray></crystal>
  <varray name="positions"><v>0.0 0.0 0.0</v><v>0.25 0.0 0.0</v></varray></structure>
 {steps}
</modeling>
"""
STEP = """<calculation>
  <structure><crystal><varray name="basis">
   <v>6.0 0.0 0.0</v><v>0.0 6.0 0.0</v><v>0.0 0.0 6.0</v></varray></crystal>
   <varray name="positions"><v>0.0 0.0 0.0</v><v>0.25 0.0 0.0</v></varray></structure>
  <varray name="forces"><v>0.5 0.0 0.0</v><v>-0.5 0.0 0.0</v></varray>
  <varray name="stress"><v>1.0 0.0 0.0</v><v>0.0 1.0 0.0</v><v>0.0 0.0 1.0</v></varray>
  <scstep><energy><i name="e_fr_energy">{free}</i><i name="e_wo_entrp">{energy}</i>
   <i name="e_0_energy">{energy}</i></energy></scstep>
  <energy><i name="e_fr_energy">{free}</i><i name="e_wo_entrp">{energy}</i>
   <i name="e_0_energy">{energy}</i></energy>
 </calculation>"""


@pytest.mark.parametrize("name", ["vasprun.xml", "vasprun.xml.gz", "vasprun.xml.xz"])
def test_vasprun_is_read(tmp_path: Path, name: str) -> None:
    steps = "".join(STEP.format(energy=-8.0 - n, free=-9.0 - n) for n in range(3))
    path = packed(tmp_path / name, VASPRUN.format(steps=steps))
    with pytest.warns(UserWarning, match='"free_energy" is read, which the forces belong to'):
        found = read_frames([Source(path, "1:")])
    assert [(f.index, f.energy) for f in found] == [(1, -10.0), (2, -11.0)]
    assert found[0].forces is not None
    assert found[0].forces.tolist() == [[0.5, 0.0, 0.0], [-0.5, 0.0, 0.0]]
    assert found[0].stress is not None
    (other,) = read_frames([Source(path, "0")], Keys(energy="energy"))
    assert other.energy == -8.0


@pytest.mark.parametrize("key", ["Properties", "Lattice"])
def test_lower_case_is_read(tmp_path: Path, key: str) -> None:
    paths = [tmp_path / "as_usual.xyz", tmp_path / "lower.xyz"]
    for path, text in zip(paths, (GOOD, GOOD.replace(key, key.lower())), strict=True):
        path.write_text(text, encoding="utf-8")
    usual, lower = (read_frames([Source(path)], require_labels=False) for path in paths)
    for one, other in zip(usual, lower, strict=True):
        np.testing.assert_array_equal(one.cell, other.cell)
        np.testing.assert_array_equal(one.positions, other.positions)


def test_broken_files_of_other_formats_are_one_message(tmp_path: Path) -> None:
    path = tmp_path / "data.traj"
    write(path, labelled())
    path.write_bytes(path.read_bytes()[:400])
    assert message_of(path).startswith(
        "data.traj: frame 0 (counted from 0): cannot be read as traj: "
    )
    path = tmp_path / "vasprun.xml"
    path.write_text("<?xml version='1.0'?><modeling><atom")
    expected = r"vasprun\.xml: (frame 0 .*cannot be read as vasp-xml: |holds no frames)"
    assert re.match(expected, message_of(path))
    path = tmp_path / "data.db"
    path.write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    assert message_of(path).startswith("data.db: frame 0 (counted from 0): cannot be read as db: ")


@pytest.mark.parametrize("name", ["data.traj", "data.db", "data.json"])
@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz"])
def test_what_ase_cannot_unpack_is_unpacked(tmp_path: Path, name: str, suffix: str) -> None:
    images = labelled(3)
    write(tmp_path / name, images)
    path = tmp_path / f"{name}{suffix}"
    opened: Any = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}[suffix]
    with opened(path, "wb") as file:
        file.write((tmp_path / name).read_bytes())
    found = read_frames([Source(path, "-2:")])
    assert [(f.source, f.index, f.energy) for f in found] == [(str(path), n, n) for n in (1, 2)]
    assert known_count([Source(path)]) == 3
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(
        ForcemapError, match=rf"{name}{suffix}: the compressed file is (cut|damaged)"
    ):
        read_frames([Source(path)])


def test_files_of_vasp_are_known_by_their_content(tmp_path: Path) -> None:
    steps = STEP.format(energy=-8.0, free=-8.0)
    path = packed(tmp_path / "300K.xml.gz", VASPRUN.format(steps=steps))
    (frame,) = read_frames([Source(path)])
    assert frame.energy == -8.0
    path = tmp_path / "silicon.out"
    path.write_text(" vasp.6.4.1 05Apr23 complex\n", encoding="utf-8")
    assert message_of(path) == (
        "silicon.out: frame 0 (counted from 0): cannot be read as vasp-out: Incomplete OUTCAR"
    )


OUTCAR = """ vasp.6.3.0 20Jan22 (build) complex
 POTCAR:    PAW_PBE Si 05Jan2001
 POTCAR:    PAW_PBE Si 05Jan2001
   ions per type =               2
   ISPIN  =      1    spin polarized calculation?
  LATTYP: Found a simple cubic cell.
{steps} General timing and accounting informations for this job:
"""
OUTCAR_STEP = """
--------------------------------------- Iteration    {n}(   1)  ---------------------------------------
  FORCE on cell =-STRESS in cart. coord.  units (eV):
  Direction    XX          YY          ZZ          XY          YZ          ZX
  --------------------------------------------------------------------------------------
  Total     1.25000     2.50000     3.75000     0.50000     0.62500     0.75000
  in kB    16.02177    32.04353    48.06530     6.40871     8.01088     9.61306
  external pressure =       32.04 kB  Pullay stress =        0.00 kB

 VOLUME and BASIS-vectors are now :
 -----------------------------------------------------------------------------
  volume of cell :      125.00
      direct lattice vectors                 reciprocal lattice vectors
     5.000000000  0.000000000  0.000000000     0.200000000  0.000000000  0.000000000
     0.000000000  5.000000000  0.000000000     0.000000000  0.200000000  0.000000000
     0.000000000  0.000000000  5.000000000     0.000000000  0.000000000  0.200000000

 POSITION                                       TOTAL-FORCE (eV/Angst)
 -----------------------------------------------------------------------------------
      0.00000      0.00000      0.00000         0.500000     -0.100000      0.200000
      2.40000      0.10000      0.00000        -0.500000      0.100000     -0.200000
 -----------------------------------------------------------------------------------
    total drift:                                0.000000      0.000000      0.000000

  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)
  ---------------------------------------------------
  free  energy   TOTEN  =       {free:.8f} eV

  energy  without entropy=      {energy:.8f}  energy(sigma->0) =      {energy:.8f}
"""


def test_outcar_is_read_with_the_raw_forces_of_fixed_atoms(tmp_path: Path) -> None:
    """ASE takes constraints from the CONTCAR beside it; stress (kB) gets ASE's sign."""
    steps = "".join(OUTCAR_STEP.format(n=n, free=-9.0 - n, energy=-8.0 - n) for n in (1, 2))
    path = tmp_path / "OUTCAR"
    path.write_text(OUTCAR.format(steps=steps), encoding="utf-8")
    fixed = "x\n1.0\n5 0 0\n0 5 0\n0 0 5\nSi\n2\nSelective dynamics\nCartesian\n"
    (tmp_path / "CONTCAR").write_text(f"{fixed}0 0 0 F F F\n2.4 0.1 0 T T T\n", encoding="utf-8")
    with pytest.warns(UserWarning, match='"free_energy" is read, which the forces belong to'):
        found = read_frames([Source(path)])
    assert [frame.energy for frame in found] == [-10.0, -11.0]
    assert found[0].forces is not None
    assert found[0].forces.tolist() == [[0.5, -0.1, 0.2], [-0.5, 0.1, -0.2]]
    assert found[0].stress is not None
    expected = -0.01 * np.array([[1.0, 0.4, 0.6], [0.4, 2.0, 0.5], [0.6, 0.5, 3.0]])
    np.testing.assert_allclose(found[0].stress, expected, rtol=1e-5)


DUMP = """ITEM: TIMESTEP
0
ITEM: NUMBER OF ATOMS
2
ITEM: BOX BOUNDS pp pp pp
0 10
0 10
0 10
ITEM: ATOMS id {columns} x y z
1 {first} 0 0 0
2 {second} 1 0 0
"""


def test_dumps_of_lammps_are_read_by_elements_and_not_by_types(tmp_path: Path) -> None:
    path = tmp_path / "passed.lammpstrj"
    for columns, first, second in (
        ("element", "O", "H"),
        ("type element", "1 O", "2 H"),
        ("mass", "15.999", "1.008"),
    ):
        path.write_text(DUMP.format(columns=columns, first=first, second=second))
        ((_, atoms),) = read_structures(Source(path))
        assert atoms.get_chemical_symbols() == ["O", "H"], columns
    path.write_text(DUMP.format(columns="type", first=1, second=2))  # to ASE, H and He
    with pytest.raises(ForcemapError, match=r"passed.lammpstrj: is a dump .* without elements; .*"):
        list(read_structures(Source(path)))


def test_files_without_frames_name_the_format(tmp_path: Path) -> None:
    path = tmp_path / "OUTCAR"
    path.write_text(OUTCAR.format(steps=" Iteration    1(   1)\n"), encoding="utf-8")
    assert message_of(path) == "OUTCAR: holds no frames (read as vasp-out)"


ESPRESSO = """
     Program PWSCF v.7.2 starts on  1Jan2024 at 12: 0: 0
     bravais-lattice index     =            0
     lattice parameter (alat)  =       9.4486  a.u.
     celldm(1)=   9.448600  celldm(2)=   0.000000  celldm(3)=   0.000000
     number of atoms/cell      =            2
     number of atomic types    =            1
     number of electrons       =         8.00
     crystal axes: (cart. coord. in units of alat)
               a(1) = (   1.000000   0.000000   0.000000 )
               a(2) = (   0.000000   1.000000   0.000000 )
               a(3) = (   0.000000   0.000000   1.000000 )

   Cartesian axes

     site n.     atom                  positions (alat units)
         1           Si  tau(   1) = (   0.0000000   0.0000000   0.0000000  )
         2           Si  tau(   2) = (   0.5000000   0.0000000   0.0000000  )

!    total energy              =     -10.00000000 Ry

     Forces acting on atoms (cartesian axes, Ry/au):

     atom    1 type  1   force =     0.01000000    0.00000000    0.00000000
     atom    2 type  1   force =    -0.01000000    0.00000000    0.00000000

     Total force =     0.014142     Total SCF correction =     0.000000

          total   stress  (Ry/bohr**3)                   (kbar)     P=      147.11
   0.00100000   0.00000000   0.00000000          147.11        0.00        0.00
   0.00000000   0.00100000   0.00000000            0.00      147.11        0.00
   0.00000000   0.00000000   0.00100000            0.00        0.00      147.11

     End of BFGS Geometry Optimization
"""


def test_outputs_of_espresso_are_read_in_our_units_and_signs(tmp_path: Path) -> None:
    """QE prints the pressure's sign: under compression ASE's stress is negative."""
    path = packed(tmp_path / "pw.out.gz", ESPRESSO)
    (frame,) = read_frames([Source(path)])
    rydberg, bohr = 13.605693, 0.5291772
    assert frame.energy == pytest.approx(-10.0 * rydberg, rel=1e-6)
    assert frame.forces is not None
    assert frame.forces[0, 0] == pytest.approx(0.01 * rydberg / bohr, rel=1e-6)
    assert frame.stress is not None
    np.testing.assert_allclose(np.diag(frame.stress), -0.001 * rydberg / bohr**3, rtol=1e-6)


def test_warnings_of_ase_name_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ase.io

    def speaking(*args: Any, **options: Any) -> Iterator[Atoms]:
        for atoms in labelled(3)[1:]:
            warnings.warn("the run  had\n problems", stacklevel=1)
            warnings.warn("old name", DeprecationWarning, stacklevel=1)
            yield atoms

    monkeypatch.setattr(ase.io, "iread", speaking)
    path = packed(tmp_path / "vasprun.xml", VASPRUN.format(steps=""))
    with pytest.warns(UserWarning, match=r"vasprun\.xml: ASE says: the run had problems") as caught:
        assert len(read_frames([Source(path)])) == 2
    assert len(caught) == 1


def test_frames_without_atoms_are_told_in_every_format(tmp_path: Path) -> None:
    path = tmp_path / "data.traj"
    write(path, [labelled(1)[0], Atoms()])
    assert message_of(path) == "data.traj: frame 1 (counted from 0): has no atoms; remove it"


# ----- a file of another kind -----


def test_what_is_no_file_of_frames_is_named(tmp_path: Path) -> None:
    potential = tmp_path / "potential.forcemap"
    write_potential(random_potential(["Si", "O"], 3), potential)
    settings = tmp_path / "settings.yaml"
    settings.write_text("data: {train: train.xyz}\nterms: [{kind: two_body}]\n")
    expected = "expected a file of frames (extended XYZ, or what ASE reads)"
    assert message_of(potential) == f"potential.forcemap: is a potential of forcemap, {expected}"
    assert message_of(settings) == f"settings.yaml: is a settings file (YAML), {expected}"
    (tmp_path / "data.xyz").write_bytes(b"\x00\x01\x02" * 100)
    expected = "data.xyz: is not a text file; frames are read as extended XYZ"
    assert message_of(tmp_path / "data.xyz") == expected
    (tmp_path / "data.txt").write_text("hello\nworld\n")
    assert message_of(tmp_path / "data.txt") == (
        "data.txt: line 1: found 'hello' where the number of atoms of frame 0 should stand; is this "
        "extended XYZ?"
    )


def test_folder_and_missing_file_are_told_with_the_cure(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    assert message_of(tmp_path / "data").startswith(
        "data: is a folder, expected a file of frames; a pattern such as "
    )
    (tmp_path / "train.xyz").write_text(frame_text())
    for name in ("trian.xyz", "train.xyz.gz"):
        assert message_of(tmp_path / name) == f'{name}: no such file; did you mean "train.xyz"?'
    assert message_of(tmp_path / "other.traj") == "other.traj: no such file"
    (tmp_path / "dangling.traj").symlink_to("nowhere")
    for name in ("x" * 300 + ".xyz", "x" * 300 + ".traj", "dangling.traj", "train.xyz/a.traj"):
        assert re.fullmatch(
            r"\S+: (cannot be read: [A-Z].+|no such file)", message_of(tmp_path / name)
        )


@pytest.mark.parametrize("content", ["", "\n \n\t\n"])
@pytest.mark.parametrize("name", ["data.xyz", "data.xyz.gz"])
def test_empty_files_are_told(tmp_path: Path, name: str, content: str) -> None:
    assert message_of(packed(tmp_path / name, content)) == f"{name}: holds no frames"


# ----- text -----


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda text: b"\xef\xbb\xbf" + text, id="byte order mark"),
        pytest.param(lambda text: text.replace(b"\n", b"\r\n"), id="Windows"),
        pytest.param(lambda text: text.replace(b"\n", b"\r"), id="old Mac"),
        pytest.param(lambda text: text.replace(b"\n", b" \t\n"), id="trailing blanks"),
        pytest.param(lambda text: text.replace(b" 0.1 ", b"\t0.1\t"), id="tabs"),
        pytest.param(lambda text: text.replace(b"2\n", b"\n2\n"), id="blank lines between"),
        pytest.param(lambda text: text + b"\n\n  \n", id="blank lines at the end"),
        pytest.param(lambda text: text.rstrip(), id="no end of the last line"),
        pytest.param(lambda text: text.replace(b"more=1", "name='Å'".encode()), id="UTF-8"),
    ],
)
def test_text_is_read_however_it_was_saved(
    tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "data.xyz"
    path.write_bytes(change((frame_text(0, more="more=1") + frame_text(1, more="more=1")).encode()))
    found = read_frames([Source(path)])
    assert [f.energy for f in found] == [0.0, 1.0]
    for frame in found:
        assert frame.positions.tolist() == [[0.0, 0.0, 0.0], [1.5, 0.5, 0.1]]
        assert frame.forces is not None
        assert frame.forces.tolist() == [[0.1, 0.2, 0.3], [-0.1, -0.2, -0.3]]
        assert np.diag(frame.cell).tolist() == [6.0, 6.5, 7.0]


LATIN = (
    "holds bytes that are not UTF-8, such as {} (Latin-1?); convert the file "
    "(iconv -f latin1 -t utf-8)"
)
COMMA = ": a decimal comma?"
AT_1 = "data.xyz: frame 1 (counted from 0): "
GOOD = frame_text()

TEXTS = {
    "Latin-1": (
        (GOOD + frame_text(more='note="5 Å"')).encode("latin-1"),
        f"data.xyz: line 6: {LATIN.format('0xc5')}",
    ),
    "Latin-1 in an atom's line": (
        GOOD.replace("O 1.5", "Ö 1.5").encode("latin-1"),
        f"data.xyz: line 4: {LATIN.format('0xd6')}",
    ),
    "UTF-16": (
        GOOD.encode("utf-16"),
        "data.xyz: is text in UTF-16, expected UTF-8; save it as UTF-8 (iconv -f utf-16 -t utf-8)",
    ),
    "comma in the energy": (
        GOOD + frame_text("-1,5"),
        AT_1 + f"line 6: energy: '-1,5'{COMMA} Write numbers with a point",
    ),
    "comma in the lattice": (
        GOOD + GOOD.replace("6.5", "6,5"),
        AT_1 + f"line 6: Lattice: '6,5'{COMMA} Write numbers with a point",
    ),
    "comma in the stress": (
        GOOD + frame_text(more='stress="0,1 0 0 0 0,1 0 0 0 1e-3"'),
        AT_1 + f"line 6: stress: '0,1'{COMMA} Write numbers with a point",
    ),
    "comma in a position": (
        GOOD + GOOD.replace("1.5 0.5", "1,5 0,5"),
        AT_1 + f"line 8: '1,5' in the column of pos is not a number{COMMA}",
    ),
    "comma in a force": (
        GOOD + GOOD.replace("-0.3", "-0,3"),
        AT_1 + f"line 8: '-0,3' in the column of forces is not a number{COMMA}",
    ),
    "no atoms": (
        GOOD + f"0\n{LATTICE}\n" + GOOD,
        "data.xyz: line 5: frame 1 has no atoms; remove it",
    ),
    "no atoms, without a comment": ("0\n\n", "data.xyz: line 1: frame 0 has no atoms; remove it"),
    "too many atoms": (
        "1000000000000\n" + GOOD[2:],
        "data.xyz: ends within frame 0, which should have 1000000000000 atoms, after line 4",
    ),
    "endless number": (
        "9" * 400 + "\n" + GOOD[2:],
        f"data.xyz: line 1: frame 0 cannot have '{'9' * 60}'… atoms",
    ),
    "negative number": (
        "-2\n" + GOOD[2:],
        "data.xyz: line 1: found '-2' where the number of atoms of frame 0 should stand; is this "
        "extended XYZ?",
    ),
    "escape sequences": (
        "\x1b[31m" + "x" * 100 + "\n",
        f"data.xyz: line 1: found '\\x1b[31m{'x' * 55}'… where the number of atoms of frame 0 should "
        "stand; is this extended XYZ?",
    ),
    "wrong number of atoms in a large frame": (
        "9000\n" + GOOD[2:] + GOOD * 3000,
        "data.xyz: line 5: found '2' among the 9000 atoms that frame 0 should have",
    ),
    "wrong number of atoms": (
        GOOD + "3" + GOOD[1:] + GOOD,
        AT_1 + "line 9: found 1 columns, expected the 7 that Properties name",
    ),
    "cut off": (
        GOOD + GOOD[: GOOD.rindex("O ")],
        "data.xyz: ends within frame 1, which should have 2 atoms, after line 7",
    ),
}


@pytest.mark.parametrize(("text", "message"), TEXTS.values(), ids=TEXTS.keys())
def test_fault_of_the_text_is_told_with_its_line(
    tmp_path: Path, text: str | bytes, message: str
) -> None:
    assert refused(tmp_path, text) == message


def test_commas_between_numbers_are_none_within_them(tmp_path: Path) -> None:
    path = tmp_path / "data.xyz"
    path.write_text(
        frame_text(1, more='size=3,4 virial="1, 0, 0, 0, 1, 0, 0, 0, 1" note="energy = 1,5 eV"')
    )
    (frame,) = read_frames([Source(path)])
    assert frame.energy == 1.0
    assert frame.stress is not None


def test_comment_is_read_as_by_ase_alone(tmp_path: Path) -> None:
    """Whatever reads it, the comment means the same."""
    from ase.io import read

    more = (
        'dipole="0.10000000 -2.00000000 3.0e-10" one="1.2345678901234567890123456" flag '
        'words="some of them" whole="100000000 200000000 300000000"'
    )
    for extra in ("", " note='x'"):
        path = tmp_path / "data.xyz"
        path.write_text(frame_text(-1.5, more=more + extra))
        ((_, found),) = read_structures(Source(path))
        expected = read(path)
        assert found.info.keys() == expected.info.keys()
        for key, value in expected.info.items():
            assert np.array_equal(np.squeeze(found.info[key]), value), key
        assert np.array_equal(found.cell.array, expected.cell.array)


# ----- columns and comments that do not make sense -----


def with_columns(columns: str) -> str:
    return frame_text(columns=columns)


MALFORMED = {
    "huge number of columns": (
        with_columns("species:S:1:pos:R:3:foo:R:100000000"),
        "line 3: found 7 columns, expected the 100000004 that Properties name",
    ),
    "larger than any": (
        with_columns("species:S:1:pos:R:3:foo:R:" + "9" * 5000),
        f"line 2: Properties give 'foo' '{'9' * 60}'… columns, expected a number from 1",
    ),
    "negative": (
        with_columns("species:S:1:pos:R:3:foo:R:-3"),
        "line 2: Properties give 'foo' '-3' columns, expected a number from 1",
    ),
    "none": (
        with_columns("species:S:1:pos:R:3:foo:R:0"),
        "line 2: Properties give 'foo' '0' columns, expected a number from 1",
    ),
    "no number": (
        with_columns("species:S:1:pos:R:three"),
        "line 2: Properties give 'pos' 'three' columns, expected a number from 1",
    ),
    "unknown type": (
        with_columns("species:S:1:pos:R:3:forces:Q:3"),
        "line 2: Properties give 'forces' the type 'Q', expected R, I, S or L",
    ),
    "twice": (
        with_columns("species:S:1:pos:R:3:pos:R:3"),
        "line 2: Properties name 'pos' twice",
    ),
    "no positions": (
        with_columns("species:S:1:forces:R:3"),
        "line 2: Properties name no column pos, as species:S:1:pos:R:3 does",
    ),
    "no elements": (
        with_columns("pos:R:3:forces:R:3"),
        "line 2: Properties name no column species, as species:S:1:pos:R:3 does",
    ),
    "two coordinates": (
        with_columns("species:S:1:pos:R:2"),
        "line 2: Properties give 'pos' 2 columns, expected 3",
    ),
    "no name": (
        with_columns("species:S:1:pos:R:3::R:3"),
        "line 2: Properties have a column without a name",
    ),
    "no type": (
        with_columns("species:S:1:pos:3"),
        "line 2: Properties are not names, types and numbers of columns, such as species:S:1:pos:R:3: "
        "'species:S:1:pos:3'",
    ),
    "nothing": (
        GOOD.replace(f"Properties={COLUMNS}", "Properties"),
        "line 2: Properties are not names, types and numbers of columns, such as species:S:1:pos:R:3: "
        "'True'",
    ),
    "open quote": (
        GOOD.replace('7.0"', "7.0"),
        f"""line 2: the " before '{LATTICE[9:][:30]}' is not closed, so the keys behind it """
        "would not be read; close or remove it",
    ),
    "apostrophe": (
        GOOD.replace(LATTICE, f"name=don't {LATTICE}"),
        "line 2: the ' before 't Lattice=\"6.0 0.0 0.0 0.0 6.5' is not closed, so the keys behind it "
        "would not be read; close or remove it",
    ),
    "words as lattice": (
        GOOD.replace("6.5", "six"),
        f"line 2: Lattice is '{LATTICE[9:-1].replace('6.5', 'six')}', expected nine numbers",
    ),
    "nested JSON": (
        frame_text(more=f'deep="_JSON {"[" * 100_000}"'),
        "line 1: cannot be read as extended XYZ: RecursionError: ",
    ),
}


@pytest.mark.parametrize(("text", "message"), MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_comment_is_told_before_anything_is_allocated(
    tmp_path: Path, text: str, message: str
) -> None:
    refused(tmp_path, "1\n\nHe 0 0\n")  # imports
    tracemalloc.start()
    try:
        found = refused(tmp_path, text)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()
    assert found.startswith(f"data.xyz: frame 0 (counted from 0): {message}")
    assert len(found) < 400


def test_free_text_in_a_plain_comment_is_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "data.xyz"
    path.write_text("1\nit's a molecule [of one atom\nHe 0 0 0\n")
    (frame,) = read_frames([Source(path)], require_labels=False)
    assert frame.numbers.tolist() == [2]


PIECES = [
    *("2", "0", "-1", "1" * 30, "\n", "\r", "\n\n", " ", "\t", "\x00", "\x1b[2J", "\ufeff", "é"),
    *(
        "Si 0 0 0\n",
        "O 1 1 1 2 2 2\n",
        "Si nan inf -inf\n",
        LATTICE,
        "Lattice=",
        '"',
        "'",
        "{",
        "\\",
    ),
    *(
        "Properties=",
        "Properties=:::",
        COLUMNS,
        ":R:",
        "99999999999",
        "energy=",
        "1,5",
        "=",
        "pbc=",
    ),
    *('pbc="T T F"', "_JSON [", "energy=nan", "stress=", "virial=1 ", "config_type="),
]


@given(st.lists(st.sampled_from(PIECES), max_size=25), st.booleans())
def test_any_text_is_read_or_refused_with_one_short_message(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[str], framed: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.xyz"
    text = "".join(pieces)
    comment = text.replace("\n", " ").replace("\r", " ")
    path.write_text(f"2\n{comment}\n{ATOMS}" if framed else text, encoding="utf-8")
    message = ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = read_frames([Source(path)], require_labels=False)
        except ForcemapError as error:
            message = str(error)
        else:
            assert all(len(frame.numbers) for frame in found)
    assert message.startswith(str(path)) or not message
    assert len(message) < len(str(path)) + 500
    assert "\x1b" not in message


# ----- patterns -----


def settings_with(tmp_path: Path, train: object) -> Settings:
    return Settings.from_dict(
        {"data": {"train": train}, "terms": [{"kind": "two_body"}]}, tmp_path, "settings.yaml"
    )


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for number, name in enumerate(["b.xyz", "a.xyz", "deep/c.xyz", "deep/er/d.xyz", "[x].xyz"]):
        path = tmp_path / "runs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(frame_text(number + 1) * 3)
    return tmp_path


@pytest.mark.parametrize(
    ("train", "names"),
    [
        ("runs/?.xyz", ["a.xyz", "b.xyz"]),
        ("runs/**/[cd].xyz", ["c.xyz", "d.xyz"]),
        (["runs/deep/*.xyz", "runs/[ab].xyz"], ["c.xyz", "a.xyz", "b.xyz"]),
        (["runs/b.xyz", {"path": "runs/deep/*"}], ["b.xyz", "c.xyz"]),
        ("runs/[x].xyz", ["[x].xyz"]),
    ],
)
def test_patterns_stand_for_files_by_name(runs: Path, train: object, names: list[str]) -> None:
    settings = settings_with(runs, train)
    assert [source.path.name for source in settings.data.train] == names
    assert [source["index"] for source in settings.to_dict()["data"]["train"]] == [":"] * len(names)


def test_index_of_a_pattern_goes_for_each_file(runs: Path) -> None:
    settings = settings_with(runs, {"path": "runs/?.xyz", "index": "1:"})
    found = read_frames(settings.data.train)
    assert [(Path(f.source).name, f.index) for f in found] == [
        *(("a.xyz", 1), ("a.xyz", 2), ("b.xyz", 1), ("b.xyz", 2)),
    ]


def test_pattern_without_a_file_and_files_named_twice_are_refused(runs: Path) -> None:
    with pytest.raises(ForcemapError) as caught:
        settings_with(runs, ["runs/a.xyz", "runs/*.traj"])
    expected = f"settings.yaml: data.train[1]: no file matches the pattern '{runs}/runs/*.traj'"
    assert str(caught.value)[:100] == expected[:100]
    assert len(settings_with(runs, ["runs/a.xyz"] * 2).data.train) == 2
    settings_with(runs, ["runs/?.xyz", {"path": "runs/a.xyz", "index": ":1"}])
    with pytest.raises(ForcemapError) as caught:
        settings_with(runs, ["runs/?.xyz", "runs/a.xyz"])
    assert str(caught.value) == (
        f"settings.yaml: data.train[1]: {runs}/runs/a.xyz is named twice; its frames would count twice"
    )
    parts = [{"path": "runs/a.xyz", "index": ":1"}, {"path": "runs/a.xyz", "index": "2:"}]
    assert len(settings_with(runs, parts).data.train) == 2
    with pytest.raises(ForcemapError, match=r"data\.train: 'a\\x00b' is not a path"):
        settings_with(runs, "a\0b")
