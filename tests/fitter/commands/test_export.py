"""`forcemap export`: its list of formats, what it writes, and what it says where it cannot."""

from __future__ import annotations

import json
from pathlib import Path

from forcemap.potentials.export.registry import EXPORTS
from forcemap.potentials.file.potential_file import write_potential
from forcemap_runs import invoke
from potentials_factory import random_potential


def test_list_has_every_format_and_what_it_takes() -> None:
    """Without a potential, which a format is chosen for."""
    listed = invoke("export", "--list")
    assert listed.exit_code == 0, listed.output
    lines = listed.stdout.splitlines()
    assert len(lines) == len(EXPORTS)
    for line, (name, form) in zip(lines, EXPORTS.items(), strict=True):
        kinds = ", ".join(term.kind for term in form.takes)
        assert line == f"{name}: {form.summary}; takes terms of the kinds {kinds}"


def test_list_is_json_where_that_is_asked_for() -> None:
    for words in (("--list", "--json"), ("--json", "--list")):
        listed = json.loads(invoke("export", *words).stdout)
        assert listed["formats"].keys() == EXPORTS.keys()
        for name, form in EXPORTS.items():
            assert listed["formats"][name] == {
                "summary": form.summary,
                "takes": [term.kind for term in form.takes],
            }


def test_files_are_named_after_the_potential(tmp_path: Path) -> None:
    potential = tmp_path / "sic.forcemap"
    write_potential(random_potential(["Si", "C"], 1), potential)
    result = invoke(
        "export", potential, "--format", "uf3", "-o", tmp_path / "uf3", "--types", "Si C Si"
    )
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        str(tmp_path / "uf3" / name) for name in ("sic.uf3", "in.potential")
    ]
    assert f"include {tmp_path / 'uf3' / 'in.potential'}" in result.stderr
    lines = (tmp_path / "uf3" / "in.potential").read_text()
    assert "# Atom types: 1 Si, 2 C, 3 Si" in lines


def test_what_cannot_be_exported_is_answered_with_a_message(tmp_path: Path) -> None:
    potential = tmp_path / "sic.forcemap"
    write_potential(random_potential(["Si", "C"], 1), potential)
    arguments = ["--format", "uf3", "-o", tmp_path / "uf3"]
    wrong = invoke("export", potential, *arguments, "--types", "Si Si C")
    assert wrong.exit_code == 1
    assert "Error: export: found the atom types Si Si C" in wrong.stderr
    assert "Traceback" not in wrong.output
    missing = invoke("export", tmp_path / "none", *arguments)
    assert missing.exit_code == 2
    unknown = invoke("export", potential, "--format", "uf4", *arguments[2:])
    assert unknown.exit_code == 1
    assert 'Error: --format: there is no format "uf4"; did you mean "uf3"?' in unknown.stderr
    potential.write_bytes(b"nonsense")
    damaged = invoke("export", potential, *arguments)
    assert damaged.exit_code == 1
    assert "is a text file, expected a potential" in damaged.stderr
    assert not (tmp_path / "uf3").exists()
