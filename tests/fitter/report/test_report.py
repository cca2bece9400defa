"""The report: its numbers are those of five lines of numpy, its page stands alone."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from ase import Atoms
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.data.prediction import Prediction
from forcemap.fitter.data.units import GPA
from forcemap.fitter.report.figures import curve_figures
from forcemap.fitter.report.metrics import METRICS, SizePoint, compare, error_block
from forcemap.fitter.report.page import verdict
from forcemap.fitter.report.report import (
    Judgement,
    build_report,
    plain,
    worst_frames,
    write_report,
)
from forcemap.potentials.voigt import six_of
from structures import as_frame

MAPPING = {
    "force_max_error_ev_per_a": 5e-5,
    "force_rmse_error_ev_per_a": 1e-5,
    "energy_max_error_ev_per_atom": 1e-6,
}
FIT = {"seconds": 12.5, "peak_memory_mb": 300.0, "n_frames": 3, "log_marginal_likelihood": -1.5}


def labelled(
    count: int,
    seed: int,
    *,
    group: str = "bulk",
    energy: bool = True,
    forces: bool = True,
    stress: bool = True,
) -> Frame:
    rng = np.random.default_rng(seed)
    tensor = rng.normal(size=(3, 3))
    atoms = Atoms(f"Si{count}", rng.normal(size=(count, 3)), cell=5.0 * np.eye(3), pbc=True)
    return as_frame(
        atoms,
        energy=float(rng.normal()) if energy else None,
        forces=rng.normal(size=(count, 3)) if forces else None,
        stress=tensor + tensor.T if stress else None,
        config_type=group,
        source="/data/train.xyz",
        index=seed,
    )


def predicted(frame: Frame, seed: int) -> tuple[Frame, Prediction]:
    rng = np.random.default_rng(100 + seed)
    tensor = 0.1 * rng.normal(size=(3, 3))
    energy = (frame.energy or 0.0) + float(rng.normal())
    forces = 0.2 * rng.normal(size=(len(frame.numbers), 3))
    if frame.forces is not None:
        forces += frame.forces
    stress = (0.0 if frame.stress is None else frame.stress) + tensor + tensor.T
    strain = six_of(stress) * abs(np.linalg.det(frame.cell))
    return frame, Prediction.of(frame, energy, forces, strain)


TRAIN = [
    predicted(labelled(2, 0), 0),
    predicted(labelled(5, 1, group="slab"), 1),
    predicted(labelled(3, 2, stress=False), 2),
    predicted(labelled(4, 3, energy=False), 3),
]
TEST = [predicted(labelled(3, 4, group="<b>&'\""), 4)]


def test_errors_are_those_of_numpy() -> None:
    block = error_block(TRAIN)
    energies = [
        1000 * (p.energy - f.energy) / len(f.numbers) for f, p in TRAIN if f.energy is not None
    ]
    forces = np.concatenate(
        [(p.forces - f.forces).ravel() for f, p in TRAIN if f.forces is not None]
    )
    stresses = []
    for frame, (_, _, stress) in TRAIN:
        if frame.stress is not None and stress is not None:
            difference = 160.21766208 * (stress - frame.stress)
            stresses += [difference[i, j] for i in range(3) for j in range(i, 3)]
    assert block["energy_rmse_mev_per_atom"] == pytest.approx(np.sqrt(np.mean(np.square(energies))))
    assert block["energy_mae_mev_per_atom"] == pytest.approx(np.mean(np.abs(energies)))
    assert block["force_rmse_ev_per_a"] == pytest.approx(np.sqrt(np.mean(forces**2)))
    assert block["force_mae_ev_per_a"] == pytest.approx(np.mean(np.abs(forces)))
    assert block["stress_rmse_gpa"] == pytest.approx(np.sqrt(np.mean(np.square(stresses))))
    assert (block["n_frames"], block["n_atoms"]) == (4, 14)
    assert len(energies) == 3
    assert len(stresses) == 18


def test_groups_have_their_own_errors() -> None:
    groups = error_block(TRAIN)["by_config_type"]
    assert list(groups) == ["bulk", "slab"]
    alone = error_block([TRAIN[1]])
    assert groups["slab"] == {key: alone[key] for key in groups["slab"]}
    assert set(groups["slab"]) == {"n_frames", "n_atoms", *METRICS}


def test_missing_labels_and_predictions_give_none() -> None:
    bare = labelled(2, 0, energy=False, forces=False, stress=False)
    block = error_block([predicted(bare, 0)])
    assert [block[name] for name in METRICS] == [None] * 5
    frame, prediction = TRAIN[0]
    assert error_block([(frame, replace(prediction, volume=None))])["stress_rmse_gpa"] is None
    assert error_block([])["n_frames"] == 0


def test_stress_is_compared_in_gpa() -> None:
    frame, prediction = TRAIN[0]
    found = compare([(frame, prediction)]).stresses
    assert frame.stress is not None
    # The order of components: xx yy zz yz xz xy.
    expected = GPA * frame.stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
    np.testing.assert_allclose(found[:, 0], expected)


def test_report_has_the_names_that_programs_read() -> None:
    report = build_report(Judgement(TRAIN, TEST, MAPPING, FIT, {"seed": 0}))
    names = {"forcemap_version", "fit_id", "train", "test", "mapping", "fit", "settings"}
    names |= {"errors_of", "warnings", "leave_one_out", "uncertainty", "optimised"}
    assert set(report) == names
    for part in ("train", "test"):
        assert {*METRICS, "by_config_type"} <= set(report[part])
    assert report["mapping"] == MAPPING
    assert report["fit"] == FIT


def test_numpy_and_infinite_values_become_strict_json() -> None:
    value = {"a": np.float64(1.5), "b": [np.int32(2), np.array([1.0, np.nan])], "c": -np.inf}
    assert plain(value) == {"a": 1.5, "b": [2, [1.0, None]], "c": None}
    json.dumps(plain(value), allow_nan=False)


def test_worst_frames_come_first() -> None:
    rows = worst_frames(TRAIN, 3)
    errors = {
        f.index: float(np.linalg.norm(p.forces - f.forces, axis=1).max())
        for f, p in TRAIN
        if f.forces is not None
    }
    assert len(errors) == 4
    assert [row["index"] for row in rows] == sorted(errors, key=lambda i: -errors[i])[:3]
    assert rows[0]["force_ev_per_a"] == pytest.approx(max(errors.values()))
    assert rows[0]["source"] == "train.xyz"


class Page(HTMLParser):
    """Checks that elements are closed in order, and collects what the page points to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.words = ""
        self.preformatted = ""
        self.tags: set[str] = set()
        self.contents: list[str] = []
        self.alternatives: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for key, value in attrs if key in ("src", "href")]
        self.contents += [value or "" for key, value in attrs if key == "content"]
        self.alternatives += [value or "" for key, value in attrs if key == "alt"]
        self.tags.add(tag)
        if tag not in ("meta", "br", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data
        if self.open and self.open[-1] == "pre":
            self.preformatted += data


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report")
    r = np.linspace(0.3, 5.5, 100)
    curves = {"Si-Si": (r, (2.0 / r) ** 12 - (2.0 / r) ** 6)}
    fit = FIT | {"terms": [{"kind": "two_body", "cutoff": 5.5, "n_sparse": 40}]}
    settings = {"data": {"train": "<script>"}}
    write_report(out, Judgement(TRAIN, TEST, MAPPING, fit, settings, curves))
    return out


def test_written_json_is_the_report(written: Path) -> None:
    report = json.loads((written / "report.json").read_text(encoding="utf-8"))
    assert report["train"]["force_rmse_ev_per_a"] == error_block(TRAIN)["force_rmse_ev_per_a"]
    assert sorted(path.name for path in written.iterdir()) == ["report.html", "report.json"]


def test_page_is_well_formed_and_opens_offline(written: Path) -> None:
    text = (written / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    # Three parity plots and one figure of curves, all inside the file.
    assert len(page.links) == 4
    assert all(link.startswith("data:image/svg+xml;base64,") for link in page.links)
    assert not re.search(r"https?://", text)


def test_page_shows_numbers_groups_and_settings_as_text(written: Path) -> None:
    page = Page((written / "report.html").read_text(encoding="utf-8"))
    block = error_block(TEST)
    for shown in (
        f"{block['force_rmse_ev_per_a']:.4f}",
        f"{error_block(TRAIN)['by_config_type']['slab']['energy_rmse_mev_per_atom']:.2f}",
        "<b>&'\"",
        "train: <script>",
        "12.5 s",
    ):
        assert shown in page.words


MARKUP = "<i title='x'>&amp;{{ 7 * 7 }}</i>"
"""What no page may take for its own, and no template for its."""


def test_every_text_from_users_is_shown_as_it_stands(tmp_path: Path) -> None:
    """Names of files and groups, settings, warnings, terms, sizes, pairs: as text, never as HTML."""

    def hostile(number: int) -> str:
        return f"{number}{MARKUP}"

    def file(number: int) -> str:
        return f"{number + 10}{MARKUP}".replace("/", "")

    train, test = (
        [
            predicted(replace(labelled(3, n, group=hostile(n)), source=f"/data/{file(n)}"), n)
            for n in numbers
        ]
        for numbers in ((1, 2), (3, 4))
    )
    # One group stands out by its errors: the first paragraph names it.
    worst = test[1][1]
    test[1] = (test[1][0], replace(worst, forces=9.0 + worst.forces))
    written = write_report(
        tmp_path,
        Judgement(
            train,
            test,
            mapping={},
            fit=FIT
            | {"n_sparse": 7, "run_microseconds_per_atom": 1.0}
            | {"terms": [{"kind": hostile(20), hostile(21): hostile(22), "cutoff": 5.0}]},
            settings={"e0": hostile(23), hostile(24): [hostile(25)]},
            curves={hostile(26): (np.linspace(1.0, 2.0, 5), np.zeros(5))},
            warnings=[hostile(27)],
            fit_id=hostile(28),
            size=hostile(29),
            smaller=[SizePoint(hostile(30), 1.0, 1.0, 2.0, 1.0, 3)],
        ),
    )
    assert written["warnings"] == [hostile(27)]
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert "i" not in page.tags
    shown = " ".join(page.words.split())
    for number in (1, 2, 3, 4, 20, 21, 22, 27, 29, 30):
        assert hostile(number) in shown, number
    assert f"The weakest group is {hostile(4)} with" in shown
    for number in (1, 2, 3, 4):
        assert file(number) in shown
    # In YAML, which has quotes of its own for such text.
    settings = yaml.safe_load(page.preformatted)
    assert settings == {"e0": hostile(23), hostile(24): [hostile(25)]}
    assert hostile(28) in page.contents
    assert f"Pair energy {hostile(26)}" in page.alternatives


def test_page_without_test_frames_says_so(tmp_path: Path) -> None:
    write_report(tmp_path, Judgement(TRAIN, [], mapping={}, fit={}))
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "No test frames were given" in page.words
    assert "Test frames" not in page.words


def verdict_on(train: float, test: float | None, groups: dict[str, float], mapped: float) -> str:
    def block(force: float | None) -> dict[str, Any]:
        return {
            "n_frames": 0 if force is None else 7,
            "energy_rmse_mev_per_atom": None,
            "force_rmse_ev_per_a": force,
            "stress_rmse_gpa": None,
            "by_config_type": {name: {"force_rmse_ev_per_a": f} for name, f in groups.items()},
        }

    report = {
        "train": block(train),
        "test": block(test),
        "mapping": {"force_max_error_ev_per_a": mapped},
    }
    return verdict(report, 1.0)


def test_verdict_follows_the_numbers() -> None:
    good = verdict_on(0.1, 0.11, {"a": 0.1, "b": 0.12}, 1e-5)
    assert good.startswith("On 7 test frames the potential gives forces with 0.110 eV/Å (11 % of")
    assert "errors are alike" in good
    assert "weakest" not in good
    assert "far below these errors" in good
    bad = verdict_on(0.1, 0.3, {"a": 0.1, "b": 0.9}, 0.1)
    assert "Test errors are 3.0 times the training errors" in bad
    assert "The weakest group is b with 0.900 eV/Å" in bad
    assert "lower map: tolerance:" in bad
    assert verdict_on(0.1, None, {}, 1e-5).startswith("On 7 training frames")


def test_many_curves_are_spread_over_figures_and_flat_ones_are_drawn() -> None:
    r = np.linspace(0.3, 5.0, 20)
    curves = {f"A-{i}": (r, np.zeros_like(r)) for i in range(9)}
    figures = curve_figures(curves)
    assert len(figures) == 2
    assert all(svg.count("<svg") == 1 for svg in figures.values())
    assert curve_figures({}) == {}
