"""GAP XMLs as untrusted input: what is read, and what is said of each fault."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from forcemap.fitter.importers.gap_file import read_gap
from forcemap.potentials.errors import ForcemapError
from gap_files import LABEL, PAIR, HandMade, changed, written, xml_text

THREE = HandMade(
    "angle_3b cutoff=3.0 Z=14 Z1=14 Z2=14",
    [[4.0, 0.1, 2.0], [3.5, 0.2, 2.5]],
    [1.0, -2.0],
    (1.0, 2.0, 3.0),
    cutoffs=[0.5, 0.25],
    permutations=[[1, 2, 3]],
)


def refused(path: Path, message: str, folder: Path | None = None) -> None:
    with pytest.raises(ForcemapError, match=re.escape(message)) as caught:
        read_gap(path, folder)
    assert str(caught.value).startswith(str(path))


def test_all_parts_of_a_gap_are_read(tmp_path: Path) -> None:
    gap = read_gap(written(tmp_path, PAIR, THREE, e0={14: -1.5, 8: 2.0}))
    assert (gap.label, gap.gap_version, gap.core) == (LABEL, "1686220958", False)
    assert gap.command_line == "at_file=train.xyz gap={by hand}"
    assert gap.e0 == {14: -1.5, 8: 2.0}
    assert gap.sha256 == hashlib.sha256((tmp_path / "gap.xml").read_bytes()).hexdigest()
    pair, three = gap.coordinates
    assert (pair.kind, pair.covariance, pair.delta, pair.f0) == ("distance_2b", "ard_se", 1.0, 0.0)
    assert pair.arguments.number("cutoff") == 4.0
    np.testing.assert_array_equal(three.points, THREE.points)
    np.testing.assert_array_equal(three.point_cutoffs, [0.5, 0.25])
    np.testing.assert_array_equal(three.permutations, [[0, 1, 2]])


def test_slices_of_long_points_are_joined(tmp_path: Path) -> None:
    text = xml_text(THREE)
    sliced = (
        '<sparseX_slice start="1" end="2">4.0 0.1</sparseX_slice>'
        '<sparseX_slice start="3" end="3">2.0</sparseX_slice>'
    )
    path = tmp_path / "gap.xml"
    path.write_text(text.replace("4.0 0.1 2.0", sliced))
    np.testing.assert_array_equal(read_gap(path).coordinates[0].points, THREE.points)


@pytest.mark.parametrize(
    ("text", "value"),
    [("1.5D+01", 15.0), (".5", 0.5), ("0.25-104", 0.25e-104), ("-1.d2", -100.0), ("7", 7.0)],
)
def test_numbers_of_fortran_are_read(tmp_path: Path, text: str, value: float) -> None:
    path = tmp_path / "gap.xml"
    path.write_text(xml_text(PAIR).replace('alpha="0.25"', f'alpha="{text}"'))
    assert read_gap(path).coordinates[0].alphas[0] == value


def test_the_training_data_in_the_file_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "gap.xml"
    more = "<XYZ><![CDATA[2\nenergy=1.0\nSi 0 0 0\n]]></XYZ></GAP_params>"
    path.write_text(xml_text(PAIR).replace("</GAP_params>", more))
    assert len(read_gap(path).coordinates) == 1


# ----- faults of the XML -----


def test_entities_are_not_expanded(tmp_path: Path) -> None:
    path = tmp_path / "gap.xml"
    bomb = "".join(f'<!ENTITY a{n + 1} "{f"&a{n};" * 10}">' for n in range(9))
    head = f'<!DOCTYPE x [<!ENTITY a0 "lol">{bomb}]>'
    path.write_text(head + xml_text(PAIR).replace("Z1=14 Z2=14", "Z1=14 Z2=14 &a9;"))
    refused(path, "has a document type (<!DOCTYPE ...>), which may expand without end")


def test_other_files_are_not_included(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    path = tmp_path / "gap.xml"
    head = f'<!DOCTYPE x [<!ENTITY s SYSTEM "file://{tmp_path}/secret">]>'
    path.write_text(head + xml_text(PAIR).replace("Z1=14 Z2=14", "&s;"))
    refused(path, "has a document type (<!DOCTYPE ...>)")


@pytest.mark.parametrize("part", [0.3, 0.7, 0.99])
def test_a_file_that_is_cut_off_is_no_complete_xml(tmp_path: Path, part: float) -> None:
    path = written(tmp_path, PAIR, THREE)
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    refused(path, "is no complete XML: ")


@pytest.mark.parametrize("content", [b"", b"\0\0\0\0", b"2\nSi 0 0 0", b"<?xml encoding='x'?><a/>"])
def test_what_is_no_xml_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "gap.xml"
    path.write_bytes(content)
    refused(path, "is no ")


def test_deep_elements_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "gap.xml"
    path.write_text("<a>" * 1000 + "</a>" * 1000)
    refused(path, "has elements within each other more than 50 deep")


def test_an_xml_without_a_gap_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "gap.xml"
    path.write_text("<a><Potential init_args='IP Glue'/></a>")
    refused(path, "holds no element <GAP_params>; give the XML that gap_fit wrote (gp_file)")


def test_several_gaps_in_a_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "gap.xml"
    path.write_text(f"<all>{xml_text(PAIR)}{xml_text(PAIR)}</all>")
    refused(path, "holds several GAPs")


COUNTS: list[tuple[str, Callable[[str], str], str]] = [
    (
        "coordinates",
        lambda t: t.replace('n_coordinate="2"', 'n_coordinate="3"'),
        '<gpSparse n_coordinate="3">: found 2 elements <gpCoordinates>; the file is not whole',
    ),
    (
        "too few points",
        lambda t: t.replace('n_sparseX="2"', 'n_sparseX="9"'),
        'n_sparseX="9": found 2 elements <sparseX>; the file is not whole, copy it again',
    ),
    (
        "too many points",
        lambda t: t.replace('n_sparseX="2"', 'n_sparseX="1"'),
        'n_sparseX="1": found more elements <sparseX>',
    ),
    (
        "dimensions",
        lambda t: t.replace('dimensions="3"', 'dimensions="2"'),
        "<theta>: found 3 numbers, expected 2 (dimensions)",
    ),
    (
        "a point",
        lambda t: t.replace("4.0 0.1 2.0", "4.0 0.1"),
        "<sparseX> number 1: found 2 numbers, expected 3 (dimensions)",
    ),
    (
        "too much memory",
        lambda t: t.replace('dimensions="3"', 'dimensions="900000"').replace(
            'n_sparseX="2"', 'n_sparseX="900000"'
        ),
        'dimensions="900000" n_sparseX="900000" are more than 536870912 numbers',
    ),
    (
        "no whole number",
        lambda t: t.replace('n_sparseX="2"', 'n_sparseX="-2"'),
        "n_sparseX='-2': expected a whole number from 0 to 1000000",
    ),
    (
        "permutations",
        lambda t: t.replace('n_permutations="1"', 'n_permutations="6"'),
        'n_permutations="6": found 1 elements <permutation>',
    ),
    (
        "a permutation",
        lambda t: t.replace(">1 2 3<", ">1 2 2<"),
        "<permutation> number 1: found '1 2 2', expected the numbers from 1 to 3 in some order",
    ),
    (
        "alpha",
        lambda t: t.replace('alpha="-2.0"', 'alpha="NaN"'),
        "<sparseX> number 2: alpha='NaN': expected a finite number",
    ),
    (
        "infinite point",
        lambda t: t.replace("4.0 0.1 2.0", "4.0 inf 2.0"),
        "<sparseX> number 1: 'inf' is no finite number",
    ),
    (
        "large point",
        lambda t: t.replace("4.0 0.1 2.0", "4.0 1e99 2.0"),
        "<sparseX> number 1: '1e99' is no finite number",
    ),
    (
        "word in a point",
        lambda t: t.replace("4.0 0.1 2.0", "4.0 x 2.0"),
        "<sparseX> number 1: 'x' is no finite number",
    ),
    (
        "delta",
        lambda t: t.replace('signal_variance="1.0"', 'signal_variance="Infinity"'),
        "signal_variance='Infinity': expected a finite number",
    ),
    (
        "covariance",
        lambda t: t.replace('covariance_type="1"', 'covariance_type="7"'),
        "covariance_type='7' is not known; known are 1 (ard_se), 2 (dot_product)",
    ),
    (
        "theta",
        lambda t: t.replace("<theta>1.0 2.0 3.0</theta>", ""),
        "has no element <theta>, the length scales of the covariance ard_se",
    ),
    (
        "theta of nothing",
        lambda t: t.replace("<theta>1.0 2.0 3.0</theta>", "<theta>1.0 0.0 3.0</theta>"),
        "<theta>: expected length scales above 1e-09, below 1e+09",
    ),
    (
        "descriptor",
        lambda t: t.replace("<descriptor>angle", "<other>angle").replace(
            'Z2=14</descriptor>\n<permutation i="1">1 2', 'Z2=14</other>\n<permutation i="1">1 2'
        ),
        "has no element <descriptor>",
    ),
    (
        "braces",
        lambda t: t.replace("angle_3b cutoff", "angle_3b {cutoff"),
        "no } closes the { at character 10",
    ),
    (
        "e0",
        lambda t: t.replace('value="-1.5"', 'value="nan"'),
        "<e0 Z=\"14\" value='nan'>: expected an atomic number from 1 to 118 and an energy in eV",
    ),
    (
        "element of e0",
        lambda t: t.replace('Z="14" value', 'Z="400" value'),
        "<e0>: Z='400': expected a whole number from 0 to 118",
    ),
]


@pytest.mark.parametrize(("name", "spoil", "message"), COUNTS, ids=[name for name, _, _ in COUNTS])
def test_a_wrong_count_or_value_is_named(
    tmp_path: Path, name: str, spoil: Callable[[str], str], message: str
) -> None:
    path = tmp_path / "gap.xml"
    text = xml_text(PAIR, THREE)
    path.write_text(spoil(text))
    assert spoil(text) != text
    refused(path, message)


# ----- files of sparse points -----


def beside(folder: Path, name: str = "points", content: str = "2.0\n", md5: str = "") -> Path:
    """A GAP whose one sparse point is in a file."""
    (folder / "points").write_text(content)
    attributes: dict[str, str | None] = {"sparseX_filename": name}
    if md5:
        attributes["sparseX_md5sum"] = md5
    return written(folder, changed(PAIR, **attributes))


def test_sparse_points_are_read_from_a_file_beside(tmp_path: Path) -> None:
    md5 = hashlib.md5(b"2.0\n", usedforsecurity=False).hexdigest()
    gap = read_gap(beside(tmp_path, md5=md5))
    np.testing.assert_array_equal(gap.coordinates[0].points, [[2.0]])


def test_another_folder_holds_them_by_the_last_part_of_their_names(tmp_path: Path) -> None:
    path = beside(tmp_path, name="/home/somebody/fit/points")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "points").rename(elsewhere / "points")
    np.testing.assert_array_equal(read_gap(path, elsewhere).coordinates[0].points, [[2.0]])


def test_a_missing_file_is_named_with_its_cure(tmp_path: Path) -> None:
    path = beside(tmp_path, name="pointz")
    refused(path, f"sparseX_filename='pointz': there is no such file in {tmp_path}; did you mean")
    refused(path, "or give its folder with --sparse-folder DIR")


def test_another_md5_sum_is_refused(tmp_path: Path) -> None:
    refused(beside(tmp_path, md5="0" * 32), "the file's MD5 sum is ")
    refused(beside(tmp_path, md5="0" * 32), "they do not belong together: copy both from one fit")
    refused(beside(tmp_path, md5="12"), "sparseX_md5sum='12' is no MD5 sum")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("2.0 3.0\n", "found 2 numbers, expected 1 x 1 (n_sparseX, dimensions)"),
        ("", "found 0 numbers, expected 1 x 1 (n_sparseX, dimensions)"),
        ("nan\n", "'nan' is no finite number"),
        ("ä\n", "is no text of numbers"),
        ("2.0\n" + " " * 1000, "the file has 1004 bytes, too many for 1 numbers"),
    ],
)
def test_a_file_with_other_content_is_refused(tmp_path: Path, content: str, message: str) -> None:
    refused(beside(tmp_path, content=content), message)


@pytest.mark.parametrize("name", ["../points", "/etc/passwd", "a/../../points", "..", "", "a\tb"])
def test_names_outside_of_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "gap"
    folder.mkdir()
    (tmp_path / "points").write_text("2.0\n")
    path = written(folder, changed(PAIR, sparseX_filename=name))
    with pytest.raises(ForcemapError, match=r"only files of the folder|there is no such file"):
        read_gap(path)


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "gap"
    folder.mkdir()
    (tmp_path / "points").write_text("2.0\n")
    (folder / "points").symlink_to(tmp_path / "points")
    path = written(folder, changed(PAIR, sparseX_filename="points"))
    refused(path, "leads out of the folder (a symbolic link), and only files of the folder")


def test_a_folder_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "points").mkdir()
    path = written(tmp_path, changed(PAIR, sparseX_filename="points"))
    refused(path, "there is no such file")


def test_no_sparse_point_is_no_fault(tmp_path: Path) -> None:
    empty = replace(PAIR, points=[[2.0]], changes={"n_sparseX": "0"})
    path = tmp_path / "gap.xml"
    text = re.sub(r"<sparseX .*</sparseX>\n", "", xml_text(empty))
    path.write_text(text)
    assert read_gap(path).coordinates[0].points.shape == (0, 1)
