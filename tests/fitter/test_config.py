"""Settings: what is read is what was written, and every mistake is reported with its place."""

import math
from dataclasses import FrozenInstanceError, asdict
from pathlib import Path

import pytest
from forcemap.fitter.config import DataSettings, Settings, Source
from forcemap.fitter.terms.kinds import SETTINGS
from forcemap.fitter.terms.nbody import NBodySettings
from forcemap.fitter.terms.three_body import ThreeBodySettings
from forcemap.fitter.terms.two_body import TwoBodySettings
from forcemap.potentials.errors import ForcemapError

SMALLEST = {"data": {"train": "train.xyz"}, "terms": [{"kind": "two_body"}]}

EVERYTHING = """
data:
  train: [a.xyz, {path: sub/b.xyz, index: "::2"}]
  test: {path: c.xyz, index: 1:10}
  keys: {energy: REF_energy}
e0: {Si: -0.79, O: -1}
sigma: {energy: 1e-3, force: 0.1, config_type: {Elastic: {energy: 5e-4}, 300: {force: .2}}}
terms:
  - {kind: two_body, cutoff: 5.0, n_sparse: 30, lengthscale: 1, kernel: matern52}
  - {kind: three_body, cutoff: 4, sparse_method: cur, cutoff_width: 1.5, symmetry: full}
core: none
map: {tolerance: 1e-5}
seed: 7
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "settings.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults_stand_for_all_but_data_and_terms() -> None:
    settings = Settings.from_dict(SMALLEST)
    assert settings.e0 == "cohesive"
    assert settings.outside == "guided"
    assert (settings.sigma.energy, settings.sigma.force, settings.sigma.stress) == (
        0.002,
        0.05,
        None,
    )
    assert settings.sigma.config_type == {}
    assert settings.core == "zbl"
    assert settings.map.tolerance == 1e-4
    assert settings.seed == 0
    assert settings.data.test == ()
    (term,) = settings.terms
    assert term == TwoBodySettings(cutoff=5.5, n_sparse=None)
    assert (term.lengthscale, term.delta, term.sparse_method, term.cutoff_width) == (None,) * 4


def test_every_setting_is_read(tmp_path: Path) -> None:
    settings = Settings.read(written(tmp_path, EVERYTHING))
    assert settings.data.train == (
        Source(tmp_path / "a.xyz"),
        Source(tmp_path / "sub/b.xyz", "::2"),
    )
    assert settings.data.test == (Source(tmp_path / "c.xyz", "1:10"),)
    assert asdict(settings.data.keys) == {
        "energy": "REF_energy",
        "forces": None,
        "stress": None,
        "virial": None,
    }
    assert settings.e0 == {"Si": -0.79, "O": -1.0}
    assert settings.sigma.energy == 1e-3
    assert settings.sigma.config_type["Elastic"].energy == 5e-4
    assert settings.sigma.config_type["Elastic"].force is None
    assert settings.sigma.config_type["300"].force == 0.2
    assert settings.terms == (
        TwoBodySettings(cutoff=5.0, n_sparse=30, lengthscale=1.0, kernel="matern52"),
        ThreeBodySettings(cutoff=4.0, sparse_method="cur", cutoff_width=1.5, symmetry="full"),
    )
    assert (settings.core, settings.map.tolerance, settings.seed) == ("none", 1e-5, 7)


@pytest.mark.parametrize("folder", ["", "out", "a/b"])
def test_dumped_settings_are_the_same_when_read_from_any_folder(
    tmp_path: Path, folder: str
) -> None:
    settings = Settings.read(written(tmp_path, EVERYTHING))
    (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    dumped = tmp_path / folder / "expanded.yaml"
    settings.dump(dumped)
    again = Settings.read(dumped)
    assert [s.path.resolve() for s in again.data.train] == [s.path for s in settings.data.train]
    assert again.to_dict()["terms"] == settings.to_dict()["terms"]
    assert again.sigma == settings.sigma
    assert again.e0 == settings.e0
    assert str(tmp_path) not in dumped.read_text(encoding="utf-8")


def test_dictionary_of_settings_gives_the_settings_back() -> None:
    settings = Settings.from_dict({**SMALLEST, "data": {"train": Path("/data/train.xyz")}})
    assert Settings.from_dict(settings.to_dict()) == settings


@pytest.mark.parametrize("energy", [-0.79, 0, -1])
def test_one_energy_for_every_element_is_kept(energy: float) -> None:
    settings = Settings.from_dict(
        {**SMALLEST, "data": {"train": Path("/data/train.xyz")}, "e0": energy}
    )
    assert settings.e0 == energy
    assert Settings.from_dict(settings.to_dict()) == settings


def test_settings_are_frozen() -> None:
    settings = Settings.from_dict(SMALLEST)
    with pytest.raises(FrozenInstanceError):
        settings.seed = 1  # type: ignore[misc]


def test_nbody_term_is_read(tmp_path: Path) -> None:
    text = """
data: {train: a.xyz}
terms:
  - {kind: nbody}
  - {kind: nbody, kernel: squared_exponential, distance_lengthscale: 0.5, n_sparse: {Si: 20}}
"""
    settings = Settings.read(written(tmp_path, text))
    first, second = settings.terms
    assert first == NBodySettings(cutoff=4.0, n_features=100, kernel="power")
    assert second == NBodySettings(
        kernel="squared_exponential", distance_lengthscale=0.5, n_sparse={"Si": 20}
    )
    assert Settings.from_dict(settings.to_dict()).terms == settings.terms


def test_python_construction_meets_the_same_checks() -> None:
    settings = Settings(data=DataSettings(train="a.xyz"), terms=[TwoBodySettings()])  # type: ignore[arg-type]
    assert settings.data.train == (Source(Path("a.xyz")),)
    with pytest.raises(ForcemapError, match="ThreeBodySettings: cutoff: -1 is not a number"):
        ThreeBodySettings(cutoff=-1)


def test_kinds_name_themselves() -> None:
    assert {kind: cls().kind for kind, cls in SETTINGS.items()} == {
        "two_body": "two_body",
        "three_body": "three_body",
        "embedding": "embedding",
        "soap": "soap",
        "bispectrum": "bispectrum",
        "nbody": "nbody",
    }


@pytest.mark.parametrize("text", ["1e-4", "1.0e-4", "1E-4", "+.0001", '"1e-4"', "0.0001"])
def test_numbers_may_be_written_in_any_way(tmp_path: Path, text: str) -> None:
    path = written(
        tmp_path, f"data: {{train: a.xyz}}\nterms: [{{kind: two_body}}]\nmap: {{tolerance: {text}}}"
    )
    assert Settings.read(path).map.tolerance == 1e-4


@pytest.mark.parametrize(
    ("given", "count", "expected"),
    [
        (":", 4, [0, 1, 2, 3]),
        ("::2", 5, [0, 2, 4]),
        ("-2:", 5, [3, 4]),
        ("3", 5, [3]),
        (3, 5, [3]),
        ("-1", 5, [4]),
        ("5", 5, []),
        ("-6", 5, []),
        (":100", 3, [0, 1, 2]),
        ("1:3:", 5, [1, 2]),
        ("::-1", 3, [2, 1, 0]),
    ],
)
def test_index_selects_as_python_does(given: object, count: int, expected: list[int]) -> None:
    source = Source(Path("a.xyz"), given)  # type: ignore[arg-type]
    assert list(range(count)[source.selection(count)]) == expected


MISTAKES = [
    ({"trems": []}, 'trems: unknown key; did you mean "terms"?'),
    (
        {"xyzzy": 1},
        "xyzzy: unknown key; known are data, terms, e0, sigma, core, outside, map, uncertainty, seed",
    ),
    (
        {"terms": [{"kind": "two_body"}, {"kind": "three_body", "cutof": 4}]},
        'terms[1].cutof: unknown key; did you mean "cutoff"?',
    ),
    (
        {"terms": [{"kind": "two_body", "symmetry": "full"}]},
        "terms[0].symmetry: unknown key; known are cutoff",
    ),
    (
        {"terms": [{"kind": "3body"}]},
        "terms[0].kind: '3body' is not one of two_body, three_body, embedding, soap, bispectrum, nbody",
    ),
    ({"terms": [{"cutoff": 4}]}, "terms[0].kind: is missing; known kinds are two_body, three_body"),
    ({"terms": []}, "terms: expected a list of terms"),
    ({"terms": {"kind": "two_body"}}, "terms: expected a list of terms"),
    ({"terms": ["two_body"]}, "terms[0]: expected keys and values, such as {kind: two_body"),
    (
        {"terms": [{"kind": "two_body", "cutoff": "far"}]},
        "terms[0].cutoff: 'far' is not a number above 0 and at most 100",
    ),
    (
        {"terms": [{"kind": "two_body", "cutoff": True}]},
        "terms[0].cutoff: True is not a number above 0 and at most 100",
    ),
    (
        {"terms": [{"kind": "two_body", "cutoff": math.nan}]},
        "terms[0].cutoff: nan is not a number above 0 and at most 100",
    ),
    (
        {"terms": [{"kind": "embedding", "decay": 2}]},
        "terms[0].decay: is not a parameter of the polynomial density",
    ),
    (
        {"terms": [{"kind": "embedding", "density": "exponential", "exponent": 4}]},
        "terms[0].exponent: is not a parameter of the exponential density",
    ),
    (
        {"terms": [{"kind": "embedding", "sparse_method": "cur"}]},
        "terms[0].sparse_method: is always uniform in embedding terms",
    ),
    (
        {"terms": [{"kind": "embedding", "weights": {"Xx": 1}}]},
        'terms[0].weights.Xx: "Xx" is not the symbol of an element',
    ),
    (
        {"terms": [{"kind": "two_body", "cutoff": 3, "cutoff_width": 4}]},
        "terms[0].cutoff_width: 4 Å is wider than the cutoff, 3 Å",
    ),
    (
        {"terms": [{"kind": "two_body", "n_sparse": 2.5}]},
        "terms[0].n_sparse: 2.5 is not a whole number from 1 to 1000000",
    ),
    (
        {"terms": [{"kind": "two_body", "sparse_method": "kur"}]},
        "terms[0].sparse_method: 'kur' is not one of uniform, random, farthest, cur, "
        'pivoted_cholesky; did you mean "cur"?',
    ),
    ({"data": None}, "data: expected keys and values, such as {train: train.xyz}, found nothing"),
    ({"data": {}}, "data.train: is missing and has no default"),
    ({"data": {"train": []}}, "data.train: names no file"),
    ({"data": {"train": 3}}, "data.train: 3 is not a path"),
    (
        {"data": {"train": ["a", {"path": "b", "indx": 1}]}},
        'data.train[1].indx: unknown key; did you mean "index"?',
    ),
    ({"data": {"train": {"index": ":"}}}, "data.train.path: is missing and has no default"),
    (
        {"data": {"train": {"path": "b", "index": "a:b"}}},
        "data.train.index: 'a:b' is not a selection of frames",
    ),
    (
        {"data": {"train": {"path": "b", "index": "::0"}}},
        "data.train.index: '::0' is not a selection of frames",
    ),
    (
        {"data": {"train": "a", "keys": {"enregy": "E"}}},
        'data.keys.enregy: unknown key; did you mean "energy"?',
    ),
    ({"data": {"train": "a", "keys": {"energy": 1}}}, "data.keys.energy: 1 is not a name"),
    ({"sigma": {"energy": 0}}, "sigma.energy: 0 is not a number above 0 and at most 1e+06"),
    (
        {"sigma": {"config_type": {"A": {"forces": 1}}}},
        'sigma.config_type.A.forces: unknown key; did you mean "force"?',
    ),
    ({"e0": "averge"}, "e0: 'averge' is not one of cohesive, average, isolated, or energies in eV"),
    ({"e0": True}, "e0: True is not one of cohesive, average, isolated, or energies in eV"),
    ({"e0": float("inf")}, "e0: inf is not a number"),
    ({"e0": {"Sl": 1}}, 'e0.Sl: "Sl" is not the symbol of an element'),
    ({"e0": {"Si": None}}, "e0.Si: None is not a number"),
    (
        {"terms": [{"kind": "nbody", "power": 0}]},
        "terms[0].power: 0 is not a whole number from 1 to 8",
    ),
    (
        {"terms": [{"kind": "nbody", "power": 2, "kernel": "squared_exponential"}]},
        "terms[0].power: goes with kernel: power, not squared_exponential",
    ),
    (
        {"terms": [{"kind": "nbody", "distance_lengthscale": 1}]},
        "terms[0].distance_lengthscale: goes with kernel: squared_exponential, not power",
    ),
    (
        {"terms": [{"kind": "nbody", "kernel": "matern52"}]},
        "terms[0].kernel: 'matern52' is not one of power, squared_exponential",
    ),
    (
        {"terms": [{"kind": "nbody", "sparse_method": "uniform"}]},
        "terms[0].sparse_method: 'uniform' is not one of random, farthest, cur",
    ),
    (
        {"terms": [{"kind": "soap", "sparse_method": "uniform"}]},
        "terms[0].sparse_method: 'uniform' is not one of random, farthest, cur",
    ),
    ({"core": "zlb"}, "core: 'zlb' is not one of zbl, none; did you mean \"zbl\"?"),
    ({"map": {"tolerance": 0}}, "map.tolerance: 0 is not a number at least 1e-10 and at most 1"),
    (
        {"uncertainty": {"draws": 5000}},
        "uncertainty.draws: 5000 is not a whole number from 0 to 4096",
    ),
    ({"uncertainty": 16}, "uncertainty: expected keys and values, such as {draws: 16}"),
    ({"seed": -1}, "seed: -1 is not a whole number from 0 to 4294967295"),
]


@pytest.mark.parametrize(("change", "message"), MISTAKES)
def test_mistake_is_told_with_file_place_and_cure(change: dict[str, object], message: str) -> None:
    with pytest.raises(ForcemapError) as caught:
        Settings.from_dict({**SMALLEST, **change}, origin="s.yaml")
    assert str(caught.value).startswith(f"s.yaml: {message}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data: [a\nterms: 1", "line 2: not valid YAML: "),
        ("seed: 1\nseed: 2", 'line 2: not valid YAML: the key "seed" is given twice'),
        ("", "is an empty file, expected settings (YAML)"),
        (
            "# nothing\n",
            "is empty, expected settings (YAML) such as data: {train: train.xyz}, terms: [",
        ),
        ("[1, 2]", "expected keys and values, such as {data: ..., terms: ...}, found [1, 2]"),
        ("just words", "expected keys and values"),
        ("a: !!python/object:os.system x", "line 1: not valid YAML: could not determine"),
    ],
)
def test_broken_file_is_told_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ForcemapError) as caught:
        Settings.read(path)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_missing_and_binary_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(ForcemapError, match=r"nowhere\.yaml: no such file$"):
        Settings.read(tmp_path / "nowhere.yaml")
    (tmp_path / "binary").write_bytes(b"\xff\x00")
    with pytest.raises(ForcemapError, match=r"is a binary file, expected settings \(YAML\)$"):
        Settings.read(tmp_path / "binary")
