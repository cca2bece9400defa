"""Regular frames are read as ASE reads them, to the last bit and type; others are left to ASE."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forcemap.fitter.data import comment_line, sources
from forcemap.fitter.data.labels import FramePlace
from forcemap.fitter.data.regular_xyz import read_regular
from forcemap.fitter.data.settings import Source
from forcemap.fitter.data.sources import read_raw, read_structures
from forcemap.fitter.data.xyz_frames import XyzFrame
from forcemap.potentials import _core
from forcemap.potentials.errors import ForcemapError
from hypothesis import given
from hypothesis import strategies as st

LATTICE = 'Lattice="6.0 0.0 0.1 0.0 6.5 0.0 0.3 0.0 7.0"'
COLUMNS = "Properties=species:S:1:pos:R:3"
ATOMS = ("Si 0.0 0.0 0.0", "O 1.5 0.5 0.1")


def frame(comment: str = f"{LATTICE} {COLUMNS}", *atoms: str) -> XyzFrame:
    return XyzFrame(1, comment, [f"{line}\n" for line in atoms or ATOMS])


def by_ase(text: XyzFrame, monkeypatch: pytest.MonkeyPatch) -> Any:
    """ASE's Atoms; None for what is refused."""
    with monkeypatch.context() as patch:
        patch.setattr(comment_line, "parse_regular_comment", lambda line: None)
        try:
            atoms, _ = sources._atoms(text, FramePlace("data.xyz", 0), {"energy"})
        except ForcemapError:
            return None
        return atoms


def assert_same_value(found: Any, expected: Any) -> None:
    assert type(found) is type(expected)
    if isinstance(found, np.ndarray):
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    np.testing.assert_array_equal(found, expected)


def assert_same_values(found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for key, value in found.items():
        assert_same_value(value, expected[key])


def assert_same(text: XyzFrame, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the frame is regular; if it is, both ways of reading agree."""
    regular = read_regular(text)
    if regular is None:
        return False
    expected = by_ase(text, monkeypatch)
    assert expected is not None, "read, though it should be refused"
    found = regular.atoms()
    assert_same_values(found.info, expected.info)
    assert_same_values(found.arrays, expected.arrays)
    assert_same_value(found.cell.array, expected.cell.array)
    assert_same_value(found.pbc, expected.pbc)
    assert not expected.constraints
    results = [{} if a.calc is None else a.calc.results for a in (found, expected)]
    assert_same_values(*results)
    return True


BASE = f"{LATTICE} {COLUMNS}"
NINE = '"1.0 2.0 3.0 4.0 5.0 6.0 7.0 8.0 9.0"'
REGULAR = {
    "bare": COLUMNS,
    "no comment": "",
    "energy": f"{BASE} energy=-1.5 free_energy=-1.6 magmom=0.5",
    "whole energy": f"{BASE} energy=-15 charge=+1",
    "stress": f"{BASE} stress={NINE} virial={NINE} REF_virial={NINE}",
    "six": f'{BASE} stress="1.0 2.0 3.0 4.0 5.0 6.0" dipole="1 2 3"',
    "whole numbers": f'{BASE} stress="1 2 3 4 5 6 7 8 9" k="1 2 3" one="7"',
    "text": f'{BASE} config_type=liquid name="two words" comment="a, b" path=/x/y:z',
    "almost numbers": f"{BASE} a=1.0D0 b=1-2 c=3x d=- e=. f=1e g=0x10",
    "mixed": f'{BASE} a="1 2 x" b="T 1" c="1 2.5" d="1e5 2"',
    "truth": f'{BASE} pbc="T F T" a=T b=false c="True F" d=t',
    "any case": f'lattice={NINE} {COLUMNS.replace("P", "p")} PBC="T T F"',
    "keys": f"{BASE} a.b-c=1 Ünit=eV _x=2 energy.x=1",
    "key twice": f"{BASE} a=1 a=2.5",
    "brackets in quotes": f'{BASE} a="[1, 2, 3]" b="{{x}}" c="it\'s" d="k=v"',
    "commas": f'{BASE} a="1, 2, 3" b="1.5, 2.5"',
    "blanks": f"  {LATTICE}\t{COLUMNS}   energy=1  ",
    "many digits": f"{BASE} a=123456789012345678 b=0.1234567890123456789 c=1e-320 d=-0 e=-0.0",
    "long list": f'{BASE} a="{" ".join(str(0.1 * n) for n in range(50))}"',
    "forms": f'{BASE} a="+1.5 .5 5. -1E+3 1e-3 00.10 1.0"',
    "whole lattice": f'Lattice="6 0 0 0 6 0 0 0 6" {COLUMNS}',
}


@pytest.mark.parametrize("comment", REGULAR.values(), ids=REGULAR.keys())
def test_regular_comments_are_read_as_by_ase(comment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert assert_same(frame(comment), monkeypatch)


COLUMNS_OF_ATOMS = {
    "forces": (":forces:R:3", "0.1 -2e-3 +3"),
    "force": (":force:R:3", "0.1 0.2 0.3"),
    "numbers of all kinds": (":a:R:1:b:I:1:c:I:2:d:L:1:e:S:1:f:S:2", "1.5 2 3 4 T word x y"),
    "truth": (":force_mask:L:1:m:L:3", "False T F True"),
    "results": (":charges:R:1:magmoms:R:1:energies:R:1:stresses:R:6", "1 2 3 4 5 6 7 8 9"),
    "between": (":tags:I:1:forces:R:3:mass:R:1", "7 0.1 0.2 0.3 28.0"),
    "nine": (":local_virial:R:9", " ".join(map(str, range(9)))),
    "small": (":forces:R:3", "1e-310 0.1234567890123456789 -0.0"),
}


@pytest.mark.parametrize(("columns", "words"), COLUMNS_OF_ATOMS.values(), ids=COLUMNS_OF_ATOMS)
def test_columns_are_read_as_by_ase(
    columns: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    atoms = [f"{line} {words}" for line in ATOMS]
    regular = assert_same(frame(f"{BASE}{columns}", *atoms), monkeypatch)
    assert regular or "e-310" in words  # out of the normal range: left to ASE
    first = COLUMNS.replace("Properties=", f"Properties=a:R:1:{columns[1:]}:")
    assert assert_same(
        frame(f"{LATTICE} {first}", *(f"1.5 {words} {line}" for line in ATOMS)), monkeypatch
    ) or ("e-310" in words or ":a:R" in columns)


@pytest.mark.parametrize("symbols", [("si", "O"), ("SI", "he"), ("Og", "U")])
def test_elements_are_read_in_any_case(
    symbols: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    atoms = (f"{symbol}\t0.5 1.5  2.5 " for symbol in symbols)
    assert assert_same(frame(BASE, *atoms), monkeypatch)


LEFT_TO_ASE = {
    "flag": (f"{BASE} flag", ATOMS),
    "single quotes": (f"{BASE} a='1 2'", ATOMS),
    "brackets": (f"{BASE} a=[1,2,3] stress=[[1,2,3],[4,5,6],[7,8,9]]", ATOMS),
    "spaces": (f"{BASE} a = 1", ATOMS),
    "backslash": (rf"{BASE} a=b\ c", ATOMS),
    "json": (f'{BASE} a="_JSON {{}}"', ATOMS),
    "nan": (f"{BASE} a=nan", ATOMS),
    "underscore": (f"{BASE} a=1_000", ATOMS),
    "long integer": (f"{BASE} a=1234567890123456789", ATOMS),
    "decimal comma": (f'{BASE} a="1,5"', ATOMS),
    "one pbc": (f"{BASE} pbc=T", ATOMS),
    "empty": (f'{BASE} a=""', ATOMS),
    "open quote": (f'{BASE} a="1', ATOMS),
    "glued": (f'{BASE} a="1"b=2', ATOMS),
    "text for a number": (f"{BASE} dipole=x", ATOMS),
    "text columns": (f"{BASE} Properties=4", ATOMS),
    "move_mask": (f"{BASE}:move_mask:L:1", [f"{line} T" for line in ATOMS]),
    "Z": (f"{LATTICE} Properties=Z:I:1:pos:R:3", ["14 0 0 0", "8 1 1 1"]),
    "both": (f"{BASE}:Z:I:1", [f"{line} 8" for line in ATOMS]),
    "charge": (f"{BASE}:initial_charges:R:1", [f"{line} 1" for line in ATOMS]),
    "isotope": (BASE, ["D 0 0 0", "T 1 1 1"]),
    "no element": (BASE, ["Qq 0 0 0", "Si 1 1 1"]),
    "X": (BASE, ["X 0 0 0", "Si 1 1 1"]),
    "more words": (BASE, ["Si 0 0 0 9", "Si 1 1 1"]),
    "fewer words": (BASE, ["Si 0 0", "Si 1 1 1"]),
    "ragged": (BASE, ["Si 0 0", "0 Si 1 1 1"]),
    "ragged numbers": (f"{BASE}:a:R:1:b:S:1", ["Si 0 0 0 1", "T Si 1 1 1 1 T"]),
    "NaN": (BASE, ["Si 0 0 nan", "Si 1 1 1"]),
    "no number": (BASE, ["Si 0 0 x", "Si 1 1 1"]),
    "two signs": (BASE, ["Si 0 0 +-1", "Si 1 1 1"]),
    "Fortran": (BASE, ["Si 0 0 1.0D0", "Si 1 1 1"]),
    "non-breaking space": (BASE, ["Si 0 0\u00a01", "Si 1 1 1"]),
    "fraction among integers": (f"{BASE}:a:I:1", [f"{line} 1.5" for line in ATOMS]),
    "no truth": (f"{BASE}:force_mask:L:1", [f"{line} 1" for line in ATOMS]),
    "many columns": (f"{BASE}:a:R:999999999", ATOMS),
    "no columns": (f"{BASE}:a:R:0", ATOMS),
}


@pytest.mark.parametrize(("comment", "atoms"), LEFT_TO_ASE.values(), ids=LEFT_TO_ASE.keys())
def test_irregular_frames_are_left_to_ase(comment: str, atoms: list[str]) -> None:
    assert read_regular(frame(comment, *atoms)) is None


WORD = st.sampled_from(
    ["1", "-2.5", "T", "F", "x", "1e3", "nan", "a,b", "[1", "}", "'", '"', "\\", "=", "k=v", "1,5"]
)


@given(st.lists(WORD, max_size=6), st.sampled_from(["{}", 'a="{}"', "a={} b={}"]))
def test_any_comment_is_read_as_by_ase_or_left_to_it(words: list[str], form: str) -> None:
    text = form.format(*([" ".join(words)] * 2))
    with pytest.MonkeyPatch.context() as patch:
        assert_same(frame(f"{BASE} {text}"), patch)


NUMBER = st.one_of(
    st.floats(allow_nan=True).map(repr),
    st.integers(-(10**20), 10**20).map(str),
    st.text(alphabet="0123456789+-.eE_dDxn", min_size=1, max_size=8),
)


@given(st.lists(NUMBER, min_size=1, max_size=5))
def test_a_number_is_what_python_reads_or_left_to_it(words: list[str]) -> None:
    found = _core.parse_atom_lines(" ".join(words), 1, "R" * len(words))
    if found is not None:
        assert found[1].tolist() == [[float(word) for word in words]]


def test_lines_need_no_last_end_and_no_other_number() -> None:
    assert _core.parse_atom_lines("Cu 1\nAu 2", 2, "ER")[0].tolist() == [29, 79]
    for text in ("Cu 1\n", "Cu 1\nAu 2\n\n", "Cu 1\nAu 2\nAg 3\n", "", "\n\n", "Cu\n1 Au 2\n"):
        assert _core.parse_atom_lines(text, 2, "ER") is None
    assert _core.parse_atom_lines("Cu 1\n", 10**18, "ER") is None
    assert _core.parse_atom_lines("Cu \ud800 1\n", 1, "E-R") is None


def test_structures_are_the_same_however_they_are_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "data.xyz"
    lines = "".join(frame().atoms)
    path.write_text(
        f"2\n{BASE} energy=1.5\n{lines}2\n{BASE} energy=2.5 flag\n{lines}", encoding="utf-8"
    )
    for (_, raw), (_, atoms) in zip(
        read_raw(Source(path)), read_structures(Source(path)), strict=True
    ):
        assert len(raw) == len(atoms) == 2
        np.testing.assert_array_equal(raw.cell, atoms.cell.array)
        assert raw.results["energy"] == atoms.get_potential_energy()


def test_what_is_no_truth_value_is_refused(tmp_path: Path) -> None:
    """ASE would take 1 for false, QUIP takes it for true."""
    path = tmp_path / "data.xyz"
    atoms = "".join(f"{line} 1\n" for line in ATOMS)
    path.write_text(f"2\n{BASE}:force_mask:L:1\n{atoms}", encoding="utf-8")
    with pytest.raises(ForcemapError, match="line 3: '1' in the column of force_mask is neither T"):
        list(read_raw(Source(path)))
