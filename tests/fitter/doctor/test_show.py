"""Findings on a terminal, and what is left out of it."""

from io import StringIO
from pathlib import Path

from ase import Atoms
from examined_data import case_of, written
from forcemap.fitter.doctor.examination import exit_code
from forcemap.fitter.doctor.finding import Finding, Place, Severity
from forcemap.fitter.doctor.show import frames_text, show, summary, to_json
from rich.console import Console

FINDINGS = [
    Finding("a-fault", Severity.WRONG, "it is 3 eV off", "Mend it", (Place("a.xyz", 4),)),
    Finding("a-doubt", Severity.DOUBT, "perhaps [not]"),
]


def test_frames_are_named_by_file() -> None:
    places = [*(Place("a.xyz", n) for n in range(20)), Place("b.xyz", 7)]
    assert frames_text(places) == "a.xyz: 0, 1, 2, 3, 4, 5, 6, 7 … (20 frames); b.xyz: 7"


def test_terminals_get_a_table() -> None:
    text = StringIO()
    show(Console(file=text, force_terminal=True, width=60, markup=False), FINDINGS)
    for part in (
        "wrong",
        "a-fault",
        "it is 3 eV off",
        "Frames: a.xyz: 4",
        "Cure: Mend it",
        "[not]",
    ):
        assert part in text.getvalue()
    assert max(map(len, text.getvalue().splitlines())) < 100


def test_only_what_is_wrong_fails() -> None:
    assert exit_code(FINDINGS) == 1
    assert exit_code(FINDINGS[1:]) == exit_code([]) == 0


def test_summaries_count_by_severity(tmp_path: Path) -> None:
    case = case_of(written(tmp_path / "a.xyz", [Atoms("H2", [[0, 0, 0], [0, 0, 0.8]])] * 2))
    assert summary(case, FINDINGS) == (
        "2 frames with 4 atoms examined: 1 wrong (a fit would be wrong), 1 doubt (a fit may be worse "
        "than it need be)."
    )
    assert summary(case, []) == "2 frames with 4 atoms examined: nothing found."
    content = to_json(case, [Finding("x", Severity.NOTE, "y", figures={"size": float("nan")})])
    assert content["findings"][0]["figures"] == {"size": None}
