"""The command line: what a user types, sees and gets back as an exit code."""

import json
import os
import re
import shlex
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write
from click.testing import Result
from forcemap.fitter.cli import COMMANDS, cli
from forcemap.fitter.commands.demo import copy_example
from forcemap.fitter.config import Source
from forcemap.fitter.data.dataset import read_frames
from forcemap.fitter.data.units import GPA
from forcemap.fitter.process.model_file import read_model
from forcemap.fitter.process.truth import Truth
from forcemap.fitter.report.metrics import METRICS
from forcemap.fitter.terms.rows import frame_rows
from forcemap.potentials import load
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.exit_codes import ExitCode
from forcemap.potentials.file.container import read_container
from forcemap.potentials.file.potential_file import (
    PotentialData,
    read_potential,
    write_potential,
)
from forcemap.potentials.terms import ZblPairs
from forcemap_runs import fault, invoke, run_forcemap
from potentials_factory import random_potential

MAIN = [sys.executable, "-c", "from forcemap.fitter.cli import main; main()"]


@pytest.fixture(scope="module")
def potential(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("potential") / "potential.forcemap"
    write_potential(random_potential(["Si", "O"], 3), path)
    return path


def structures(count: int = 4) -> list[Atoms]:
    """Small cells of silicon, moved, in two groups."""
    found = []
    for seed in range(count):
        atoms = bulk("Si", cubic=True)
        atoms.rattle(0.08, seed=seed)
        atoms.info["config_type"] = "even" if seed % 2 == 0 else "odd"
        found.append(atoms)
    return found


def labelled_by(path: Path, frames: list[Atoms], noise: float = 0.0) -> list[Atoms]:
    """Frames with the potential's own labels, wrong by `noise` (eV per atom and eV/Å)."""
    rng = np.random.default_rng(0)
    evaluator = load(path).evaluator()
    for atoms in frames:
        result = evaluator.compute(atoms.positions, atoms.numbers, atoms.cell.array, atoms.pbc)
        stress = -result.virial / atoms.get_volume()
        atoms.calc = SinglePointCalculator(
            atoms,
            energy=result.energy + noise * len(atoms),
            forces=result.forces + noise * rng.choice([-1.0, 1.0], size=(len(atoms), 3)),
            stress=stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]],
        )
    return frames


# ----- the group -----


def commands_of(
    group: click.Group = cli, before: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Names and commands, those of groups also."""
    ctx = click.Context(group)
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        assert command is not None
        yield (*before, name), command
        if isinstance(command, click.Group):
            yield from commands_of(command, (*before, name))


ALL = dict(commands_of())
LEAVES = {names: one for names, one in ALL.items() if not isinstance(one, click.Group)}


def example_of(command: click.Command) -> list[str]:
    """The words of the example in a command's help."""
    found = re.fullmatch("Example: (.+)", command.epilog or "")
    assert found is not None
    return shlex.split(found[1].partition(" > ")[0])


def test_help_lists_the_commands_in_the_order_of_use() -> None:
    result = invoke("--help")
    assert result.exit_code == 0
    listed = result.output.partition("Commands:")[2].partition("Exit codes:")[0]
    names = re.findall(r"^  ([\w-]+) +\w", listed, re.M)
    assert names == list(COMMANDS)
    order = (
        "check",
        "fit",
        "select",
        "map",
        "evaluate",
        "validate",
        "suggest",
        "info",
        "driver",
        "pimd",
        "demo",
    )
    assert [name for name in names if name in order] == list(order)
    assert "..." not in listed


def test_help_lists_the_exit_codes() -> None:
    listed = " ".join(invoke("--help").output.split()).partition("Exit codes: ")[2]
    shown = {int(part.split()[0]) for part in re.split(r"; (?=\d+ )", listed)}
    assert shown == {code.value for code in ExitCode} >= {0, 1, 2, 130}
    assert invoke("evaluate", "--no-such-option").exit_code == ExitCode.USAGE


@pytest.mark.parametrize("names", ALL, ids=" ".join)
def test_every_command_has_help_with_an_example(names: tuple[str, ...]) -> None:
    result = invoke(*names, "--help")
    assert result.exit_code == 0
    assert f"Example: forcemap {' '.join(names)} " in " ".join(result.output.split())


@pytest.mark.parametrize("names", LEAVES, ids=" ".join)
def test_example_of_every_command_is_a_command_line_that_it_takes(
    names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(click.Path, "convert", lambda self, value, param, ctx: Path(value))
    words = example_of(LEAVES[names])
    assert words[: 1 + len(names)] == ["forcemap", *names]
    LEAVES[names].make_context(names[-1], words[1 + len(names) :])
    with pytest.raises(click.UsageError):  # the same test sees what is wrong
        LEAVES[names].make_context(names[-1], [*words[1 + len(names) :], "--no-such-option"])


def test_help_of_no_command_waits_for_a_heavy_import() -> None:
    script = (
        "import contextlib, io, sys\n"
        "from forcemap.fitter.cli import main\n"
        "heavy = ('numpy', 'scipy', 'ase', 'matplotlib', 'yaml', 'rich', 'jinja2', 'ipi')\n"
        f"for words in [(), *{list(ALL)}]:\n"
        "    sys.argv = ['forcemap', *words, '--help']\n"
        "    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        "        main()\n"
        "    found = [name for name in heavy if name in sys.modules]\n"
        "    if not words:\n"
        "        found += [m for m in sys.modules if m.startswith('forcemap.fitter.commands.')]\n"
        "    print(words, found)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines() == [
        "() ['forcemap.fitter.commands.talk']",
        *(f"{names} []" for names in ALL),
    ]


def test_version_is_the_packages() -> None:
    from forcemap import __version__

    done = subprocess.run([*MAIN, "--version"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, f"forcemap {__version__}\n")


def test_misspelt_command_is_told_with_the_nearest() -> None:
    result = invoke("evalute")
    assert result.exit_code == 2
    assert 'there is no command "evalute"; did you mean "evaluate"?' in result.output


def test_faults_end_a_process_with_one_line_and_exit_code_1(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("dato: {}", encoding="utf-8")
    done = subprocess.run(
        [*MAIN, "fit", "bad.yaml", "-o", "out"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == 'Error: bad.yaml: dato: unknown key; did you mean "data"?\n'
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX")
def test_interrupt_ends_with_exit_code_130() -> None:
    script = (
        "import os, signal, click\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from forcemap.fitter import cli\n"
        "interrupted = click.Command('fit', callback=lambda: os.kill(os.getpid(), signal.SIGINT))\n"
        "cli.LazyGroup.get_command = lambda self, ctx, name: interrupted\n"
        "cli.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "fit"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr.strip()) == (130, "Interrupted.")


def test_error_of_our_own_is_shown_whole_with_its_own_exit_code(potential: Path) -> None:
    ours = fault("forcemap.fitter.commands.info:describe", error=("RuntimeError", "no such case"))
    done = run_forcemap("info", potential, faults=(ours,))
    assert done.returncode == ExitCode.BUG
    assert "RuntimeError: no such case" in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("Error: this is a fault of forcemap itself. Please report")
    assert last.endswith("forcemap info --system")


# ----- evaluate -----


def test_evaluate_finds_the_errors_that_were_put_in(potential: Path, tmp_path: Path) -> None:
    data = tmp_path / "data.xyz"
    write(data, labelled_by(potential, structures(), noise=0.25))
    result = invoke("evaluate", potential, data, "--json", "--quiet")
    assert result.exit_code == 0, result.output
    block = json.loads(result.stdout)
    assert block["energy_rmse_mev_per_atom"] == pytest.approx(250.0, rel=1e-6)
    assert block["force_mae_ev_per_a"] == pytest.approx(0.25, rel=1e-6)
    assert block["stress_rmse_gpa"] == pytest.approx(0.0, abs=1e-6)
    assert {*METRICS, "n_frames", "by_config_type"} <= set(block)
    assert {name: group["n_frames"] for name, group in block["by_config_type"].items()} == {
        "even": 2,
        "odd": 2,
    }


def test_evaluate_shows_a_table_by_group(potential: Path, tmp_path: Path) -> None:
    data = tmp_path / "data.xyz"
    write(data, labelled_by(potential, structures(), noise=0.25))
    result = invoke("evaluate", potential, data, "--index", "1:", "--jobs", "1")
    rows = {line.split()[0]: line.split() for line in result.stdout.splitlines() if line.split()}
    assert rows["odd"][1:5] == ["2", "16", "250.00", "250.00"]
    assert rows["all"][1:6] == ["3", "24", "250.00", "250.00", "0.2500"]
    assert "evaluating: done in" in result.stderr


def test_predicted_frames_hold_the_potentials_results(potential: Path, tmp_path: Path) -> None:
    frames = labelled_by(potential, structures(2), noise=0.5)
    open_frame = Atoms("SiO", [[0, 0, 0], [1.9, 0, 0]])
    data, output = tmp_path / "data.xyz", tmp_path / "predicted.xyz"
    write(data, [*frames, open_frame])
    result = invoke("evaluate", potential, data, "--output", output, "--quiet")
    assert result.exit_code == 0, result.output
    predicted = read(output, ":")
    evaluator = load(potential).evaluator()
    for atoms, given in zip(predicted, [*frames, open_frame], strict=True):
        expected = evaluator.compute(given.positions, given.numbers, given.cell.array, given.pbc)
        # Extended XYZ holds positions and forces to 1e-8.
        assert atoms.get_potential_energy() == pytest.approx(expected.energy, abs=1e-6)
        np.testing.assert_allclose(atoms.get_forces(), expected.forces, atol=1e-6)
        if given.pbc.all():
            stress = -expected.virial / given.get_volume()
            np.testing.assert_allclose(atoms.get_stress(voigt=False), stress, atol=1e-7)
            assert atoms.info["reference_energy"] == given.get_potential_energy()
            np.testing.assert_allclose(
                atoms.arrays["reference_forces"], given.get_forces(), atol=1e-8
            )
        else:
            assert "stress" not in atoms.calc.results
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_evaluate_reads_renamed_labels(potential: Path, tmp_path: Path) -> None:
    (atoms,) = labelled_by(potential, structures(1))
    atoms.info["REF_energy"] = atoms.get_potential_energy() + 8.0
    atoms.calc = None
    data = tmp_path / "data.xyz"
    write(data, atoms)
    result = invoke("evaluate", potential, data, "--keys", "energy=REF_energy", "--json", "--quiet")
    block = json.loads(result.stdout)
    assert block["energy_mae_mev_per_atom"] == pytest.approx(1000.0, rel=1e-6)
    assert block["force_rmse_ev_per_a"] is None
    result = invoke("evaluate", potential, data, "--keys", "enrgy=REF_energy")
    assert (result.exit_code, result.stderr) == (
        1,
        'Error: --keys: enrgy: unknown key; did you mean "energy"?\n',
    )
    result = invoke("evaluate", potential, data, "--keys", "energy")
    assert "--keys: found 'energy', expected label=name" in result.stderr
    result = invoke("evaluate", potential, data, "--keys", "energy=REF_energi")
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (
        1,
        f'Error: {data}: no frame has its energy under "REF_energi", as --keys says',
    )
    result = invoke("evaluate", potential, data, "--quiet")
    assert result.exit_code == 0
    assert (
        'no energy label under "energy"; this file has REF_energy, which is read' in result.stderr
    )


def test_evaluate_tells_faults(potential: Path, tmp_path: Path) -> None:
    data = tmp_path / "data.xyz"
    write(data, [Atoms("Si"), Atoms("Ar")])
    result = invoke("evaluate", potential, data, "--quiet")
    assert result.exit_code == 1
    assert result.stderr == (
        f"Error: {data}: frame 1 (counted from 0): holds Ar, but the potential is for O and "
        "Si only\n"
    )
    write(data, [Atoms("Si")])
    result = invoke("evaluate", potential, data, "--quiet")
    assert result.exit_code == 0
    assert "no labels to compare 1 frames with" in result.stderr
    result = invoke("evaluate", potential, data, "--output", data)
    assert result.exit_code == 2
    assert "--output is DATA itself" in result.stderr
    result = invoke("evaluate", data, data)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {data}: ")
    result = invoke("evaluate", potential, data, "--output", tmp_path / "no" / "out.xyz", "--quiet")
    assert result.exit_code == 1
    assert "out.xyz: cannot be written: No such file or directory" in result.stderr
    assert invoke("evaluate", potential, tmp_path / "nowhere.xyz").exit_code == 2
    result = invoke("evaluate", potential, data, "--index", "last")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {data}: index: 'last' is not a selection of frames")


def test_warnings_are_lines_without_code(potential: Path, tmp_path: Path) -> None:
    atoms = Atoms("Si2", [[0, 0, 0], [2.3, 0, 0]])
    atoms.info["stress"] = np.zeros((3, 3))
    data = tmp_path / "data.xyz"
    write(data, atoms)
    with warnings.catch_warnings():
        result = invoke("evaluate", potential, data, "--quiet")
    assert result.exit_code == 0, result.output
    assert f"Warning: {data}: stress of 1 frames is not used: they are not" in result.stderr


# ----- info -----


def test_info_tells_what_a_potential_holds(potential: Path, tmp_path: Path) -> None:
    result = invoke("info", potential)
    assert result.exit_code == 0, result.output
    words = " ".join(result.stdout.split())
    for shown in (
        "holds potential for molecular dynamics",
        "format forcemap.potential 3",
        "species O Si",
        "cutoff 5 Å",
        "term two_body cutoff 5 Å, 60 intervals",
        "O-O, O-Si, Si-Si",
        "term three_body cutoff 4 Å, 14 × 14 × 24 intervals",
        "term zbl O-O whole below",
    ):
        assert shown in words
    data = PotentialData(
        ("Si",),
        {"Si": -0.5},
        (ZblPairs({("Si", "Si"): (0.5, 1.5)}),),
        provenance={"data": {"n_frames": 7, "hash": "abc"}, "settings": {"seed": 3}},
        mapping={"force_max_error_ev_per_a": 3e-5},
    )
    path = tmp_path / "p.forcemap"
    write_potential(data, path)
    words = " ".join(invoke("info", path).stdout.split())
    for shown in (
        "isolated atoms Si -0.5 eV",
        "map: largest force error 3.00e-05 eV/Å",
        "fitted to 7 frames data SHA-256 abc settings seed: 3",
    ):
        assert shown in words


def test_info_tells_of_embedding_terms(tmp_path: Path) -> None:
    path = tmp_path / "p.forcemap"
    write_potential(random_potential(["Si"], 2, embedding=True), path)
    words = " ".join(invoke("info", path).stdout.split())
    assert (
        "term embedding cutoff 4.4 Å, densities Si-Si of 20 intervals, "
        "functions of Si 7 intervals" in words
    )


def test_info_refuses_damaged_files(potential: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.forcemap"
    content = potential.read_bytes()
    damaged.write_bytes(content[:-8])
    for command in (("info", damaged), ("evaluate", damaged, potential)):
        result = invoke(*command)
        assert result.exit_code == 1
        assert result.stderr == (
            f"Error: {damaged}: this is no intact safetensors file: found {len(content) - 8} bytes, "
            f"expected the {len(content)} that its header announces; the file is cut off\n"
        )


def test_info_prints_the_file_for_ipi() -> None:
    path = Path(invoke("info", "--ipi-pes").stdout.strip())
    assert "__DRIVER_CLASS__" in path.read_text(encoding="utf-8")
    assert invoke("info").exit_code == 2
    assert invoke("info", "--ipi-pes", path).exit_code == 2


# ----- fit and map -----


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory, potential: Path) -> tuple[Path, Result]:
    """Folder of a fit of a random potential's own labels, and what the fit printed."""
    folder = tmp_path_factory.mktemp("fit")
    frames = labelled_by(potential, structures(6))
    write(folder / "train.xyz", frames[:4])
    write(folder / "test.xyz", frames[4:])
    settings = {
        "data": {"train": "train.xyz", "test": "test.xyz"},
        "terms": [
            {"kind": "two_body", "cutoff": 4.5, "n_sparse": 12, "lengthscale": 1.0, "delta": 1.0}
        ],
        "map": {"tolerance": 1e-3},
    }
    (folder / "settings.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    out = folder / "new" / "out"
    return out, invoke("fit", folder / "settings.yaml", "-o", out, "--jobs", 1, figures=True)


def test_fit_writes_its_files_and_lists_them(fitted: tuple[Path, Result]) -> None:
    out, result = fitted
    assert result.exit_code == 0, result.output
    names = ["potential.forcemap", "model.forcemap", "settings.yaml", "report.json", "report.html"]
    assert sorted(path.name for path in out.iterdir()) == sorted(names)
    assert result.stdout.split()[-5:] == [str(out / name) for name in names]
    for shown in ("Training frames", "Test frames", "Largest force error of the map"):
        assert shown in result.stdout
    assert "fitting: done in" in result.stderr
    counts = "test.xyz: 2 frames: 2 energies, 2 forces (16 atoms), 2 stresses\n"
    assert counts in result.stderr
    assert counts not in result.stdout


def test_report_of_a_fit_has_every_promised_number(fitted: tuple[Path, Result]) -> None:
    report = json.loads((fitted[0] / "report.json").read_text(encoding="utf-8"))
    for part in ("train", "test"):
        assert all(isinstance(report[part][name], float) for name in METRICS), part
        assert set(report[part]["by_config_type"]) == {"even", "odd"}
    for name in (
        "force_max_error_ev_per_a",
        "force_rmse_error_ev_per_a",
        "energy_max_error_ev_per_atom",
    ):
        assert report["mapping"][name] >= 0.0
    assert report["mapping"]["force_max_error_ev_per_a"] <= 1e-3
    fit = report["fit"]
    assert fit["n_frames"] == 4
    assert fit["seconds"] > 0
    assert fit["peak_memory_mb"] > 1
    assert isinstance(fit["log_marginal_likelihood"], float)


def test_reported_errors_are_those_of_the_written_potential(fitted: tuple[Path, Result]) -> None:
    out, _ = fitted
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    for part in ("train", "test"):
        data = out.parent.parent / f"{part}.xyz"
        result = invoke("evaluate", out / "potential.forcemap", data, "--json", "--quiet")
        block = json.loads(result.stdout)
        for name in METRICS:
            assert block[name] == pytest.approx(report[part][name], rel=1e-9), (part, name)


def test_evaluate_asks_the_process_for_predictions_and_deviations(
    fitted: tuple[Path, Result], tmp_path: Path
) -> None:
    out, _ = fitted
    data, output = out.parent.parent / "test.xyz", tmp_path / "predicted.xyz"
    arguments = ("evaluate", out / "model.forcemap", data, "--json", "--quiet", "--jobs", 2)
    result = invoke(*arguments, "--output", output)
    assert result.exit_code == 0, result.output
    block = json.loads(result.stdout)
    mapped = invoke("evaluate", out / "potential.forcemap", data, "--json", "--quiet")
    for name, value in json.loads(mapped.stdout).items():
        if name in METRICS:  # the map of projected kernels is exact
            assert block[name] == pytest.approx(value, rel=1e-6), name
    model = read_model(out / "model.forcemap")
    energies, forces, stresses = [], [], []
    assert model.uncertainty is not None
    truth = Truth(model)
    for frame, atoms in zip(read_frames([Source(data)]), read(output, ":"), strict=True):
        n = len(frame.numbers)
        found = truth.with_deviations(frame)[1]
        expected = np.concatenate([[found.energy], found.forces.ravel(), found.strain])
        # Of a difference to a label: with the labels' noise, and no less than the calibrated one.
        raw = np.sqrt(model.raw_variances(frame_rows(frame, model.terms)))
        force = model.uncertainty.force
        least = np.sqrt(force.floor**2 + force.noise**2 + (force.factor * raw[1 : 1 + 3 * n]) ** 2)
        assert np.all(expected[1 : 1 + 3 * n] >= least * (1.0 - 1e-12))
        energies.append(1000.0 * expected[0] / n)
        forces.append(expected[1 : 1 + 3 * n])
        stresses.append(GPA * expected[1 + 3 * n :] / atoms.get_volume())
        assert atoms.info["energy_std"] == pytest.approx(expected[0], rel=1e-6)
        np.testing.assert_allclose(atoms.arrays["forces_std"].ravel(), forces[-1], atol=1e-7)
        written = np.reshape(atoms.info["stress_std"], (3, 3))
        six = written[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
        np.testing.assert_allclose(GPA * six, stresses[-1], rtol=1e-5)
        assert atoms.get_potential_energy() == pytest.approx(frame.energy, abs=0.5)
    for name, values in (
        ("energy_std_mev_per_atom", energies),
        ("force_std_ev_per_a", forces),
        ("stress_std_gpa", stresses),
    ):
        assert block[name] == pytest.approx(np.sqrt(np.mean(np.square(values))), rel=1e-9), name
        assert block["by_config_type"]["even"][name] > 0.0
    table = invoke(*arguments[:3], "--quiet").stdout
    rows = [line.split() for line in table.splitlines() if line.split()[:1] == ["all"]]
    assert len(rows[0]) == 8  # the errors, as of a potential
    assert rows[1][3:] == [
        f"{block['energy_std_mev_per_atom']:.2f}",
        f"{block['force_std_ev_per_a']:.4f}",
        f"{block['stress_std_gpa']:.3f}",
    ]


def test_evaluate_of_a_process_needs_no_labels_but_its_elements(
    fitted: tuple[Path, Result], tmp_path: Path
) -> None:
    model = fitted[0] / "model.forcemap"
    data = tmp_path / "data.xyz"
    write(data, structures(1))
    result = invoke("evaluate", model, data, "--json", "--quiet")
    assert result.exit_code == 0, result.output
    block = json.loads(result.stdout)
    assert [block[name] for name in METRICS] == [None] * len(METRICS)
    assert block["energy_std_mev_per_atom"] > 0.0
    write(data, [Atoms("Si"), Atoms("Ar")])
    result = invoke("evaluate", model, data, "--quiet")
    assert result.exit_code == 1
    assert result.stderr == (
        f"Error: {data}: frame 1 (counted from 0): holds Ar, but the model is for Si only\n"
    )


def test_expanded_settings_fit_again(fitted: tuple[Path, Result], tmp_path: Path) -> None:
    out, _ = fitted
    expanded = out / "settings.yaml"
    result = invoke("fit", expanded, "-o", tmp_path, "--quiet", "--jobs", 1)
    assert "test.xyz: 2 frames: 2 energies, 2 forces (16 atoms), 2 stresses\n" in result.stdout
    assert result.exit_code == 0, result.output
    assert "done in" not in result.stderr
    first = load(out / "potential.forcemap")
    second = load(tmp_path / "potential.forcemap")
    assert first.metadata["provenance"]["data"] == second.metadata["provenance"]["data"]


def test_info_tells_what_a_model_holds(fitted: tuple[Path, Result]) -> None:
    result = invoke("info", fitted[0] / "model.forcemap")
    assert result.exit_code == 0, result.output
    words = " ".join(result.stdout.split())
    assert "holds Gaussian process" in words
    assert "fitted to 4 frames, 32 atoms" in words
    assert re.search(
        r"term two_body cutoff 4.5 Å, kernel squared_exponential, lengthscale 1", words
    )


def test_info_tells_what_deviations_and_grades_take(fitted: tuple[Path, Result]) -> None:
    path = fitted[0] / "potential.forcemap"
    result = invoke("info", path)
    assert result.exit_code == 0, result.output
    words = " ".join(result.stdout.split())
    arrays = read_container(path).tensors.items()
    size = sum(array.nbytes for name, array in arrays if name.startswith("draws."))
    assert f"draws 16, {size / 1e6:.2f} MB of the file" in words
    number = r"[\d.e+-]+"
    assert re.search(rf"16 draws: {number} steps, {number} µs per atom", words)
    assert re.search(rf"cost of grades {number} steps, {number} µs per atom", words)
    assert re.search(rf"cost of a step {number} µs per atom", words)
    graded = rf"50 % {number}, 90 % {number}, 99 % 1.0\d, largest {number} \(of 32 atoms\)"
    assert re.search(rf"grades of training atoms {graded}", words)
    report = json.loads((fitted[0] / "report.json").read_text(encoding="utf-8"))
    cost = load(path).metadata["mapping"]["cost"]
    assert {name: report["fit"][name] for name in cost} == cost
    assert "Cost of a step, one thread: " in fitted[1].output
    page = (fitted[0] / "report.html").read_text(encoding="utf-8")
    assert "deviations by all draws" in page


@pytest.mark.parametrize("cost", ["dear", {"run_steps": "many", "grade_steps": None}, [1.0]])
def test_info_shows_of_free_content_what_it_knows(
    fitted: tuple[Path, Result], tmp_path: Path, cost: Any
) -> None:
    data = read_potential(fitted[0] / "potential.forcemap")
    path = tmp_path / "potential.forcemap"
    write_potential(replace(data, mapping={"cost": cost, "grade": cost}), path)
    result = invoke("info", path)
    assert result.exit_code == 0, result.output
    assert "draws " in result.stdout
    assert "cost" not in result.stdout


def test_map_gives_a_potential_again_at_another_tolerance(
    fitted: tuple[Path, Result], tmp_path: Path
) -> None:
    out, _ = fitted
    fine = tmp_path / "fine.forcemap"
    result = invoke("map", out / "model.forcemap", "-o", fine, "--tolerance", "1e-7", "--quiet")
    assert result.exit_code == 0, result.output
    assert result.stdout.split()[-1] == str(fine)
    atoms = structures(1)[0]
    forces = [
        load(path).evaluator().compute(atoms.positions, atoms.numbers, atoms.cell, True).forces
        for path in (out / "potential.forcemap", fine)
    ]
    # The terms are splines already (projected kernels): their map is exact at any tolerance.
    assert np.abs(forces[0] - forces[1]).max() < 1e-9
    assert np.abs(forces[0]).max() > 1e-3
    result = invoke("map", out / "potential.forcemap", "-o", fine)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {out / 'potential.forcemap'}: ")


def test_fit_tells_faults_before_it_works(tmp_path: Path) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text("data: {train: nowhere.xyz}\nterms: [{kind: two_body}]\n", encoding="utf-8")
    result = invoke("fit", settings, "-o", tmp_path / "out", "--quiet")
    assert (result.exit_code, result.stderr) == (
        1,
        f"Error: {tmp_path / 'nowhere.xyz'}: no such file\n",
    )
    (tmp_path / "file").write_text("", encoding="utf-8")
    result = invoke("fit", settings, "-o", tmp_path / "file" / "out", "--quiet")
    assert result.exit_code == 1
    assert "out: cannot be written: Not a directory" in result.stderr
    assert invoke("fit", settings).exit_code == 2


@pytest.mark.parametrize("sizes", [(), ("--sizes", "small,medium")])
def test_fit_that_fails_leaves_no_folders_but_what_was_there(
    tmp_path: Path, sizes: tuple[str, ...]
) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text("data: {train: nowhere.xyz}\nterms: [{kind: two_body}]\n", encoding="utf-8")
    (tmp_path / "there").mkdir()
    for out in ("new/out", "there", "there/new"):
        assert invoke("fit", settings, "-o", tmp_path / out, "--quiet", *sizes).exit_code == 1
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["settings.yaml", "there"]
    (tmp_path / "there" / "mine.txt").write_text("mine", encoding="utf-8")
    invoke("fit", settings, "-o", tmp_path / "there", "--quiet", *sizes)
    assert [p.name for p in (tmp_path / "there").iterdir()] == ["mine.txt"]


def test_output_that_cannot_be_written_is_told_before_the_work(
    fitted: tuple[Path, Result], tmp_path: Path
) -> None:
    model, nowhere = fitted[0] / "model.forcemap", tmp_path / "no" / "file"
    for command in (
        ("map", model, "-o", nowhere),
        ("evaluate", model, fitted[0].parent.parent / "test.xyz", "--output", nowhere),
    ):
        result = invoke(*command)
        assert result.exit_code == 1
        assert result.stderr == (
            f"Error: {nowhere}: cannot be written: No such file or directory\n"
        )


# ----- demo -----


def test_demo_refuses_a_folder_with_files(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    result = invoke("demo", tmp_path)
    assert result.exit_code == 1
    assert result.stderr == (
        f"Error: {tmp_path}: is not empty; name another folder, or give --force\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_demo_on_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfile", full)
    result = invoke("demo", tmp_path / "demo")
    assert (result.exit_code, result.stderr) == (
        1,
        f"Error: {tmp_path / 'demo'}: cannot be written: No space left on device\n",
    )


def test_demo_copies_the_example_for_runs_beside_the_potential(tmp_path: Path) -> None:
    copy_example(tmp_path / "demo", force=False)
    example = {path.name for path in (tmp_path / "demo" / "example").iterdir()}
    assert {"settings.yaml", "train.xyz", "test.xyz", "in.lammps", "input.xml"} <= example
    packaged = files("forcemap") / "examples" / "silicon" / "in.lammps"
    assert "index out/potential.forcemap" in packaged.read_text(encoding="utf-8")
    lammps = (tmp_path / "demo" / "lammps" / "in.lammps").read_text(encoding="utf-8")
    assert "index ../potential.forcemap" in lammps
    assert (tmp_path / "demo" / "ipi" / "init.xyz").is_file()
    with pytest.raises(ForcemapError, match="is not empty"):
        copy_example(tmp_path / "demo", force=False)
    copy_example(tmp_path / "demo", force=True)


@pytest.mark.slow
@pytest.mark.lammps
def test_demo_goes_all_the_way(tmp_path: Path) -> None:
    done = subprocess.run(
        [*MAIN, "demo", "silicon"], capture_output=True, text=True, cwd=tmp_path, timeout=600
    )
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "silicon"
    for name in (
        *("model.forcemap", "potential.forcemap", "report.html", "report.json"),
        *("lammps/log.lammps", "lammps/lammps.png", "ipi/pimd.out", "ipi/pimd.png"),
    ):
        assert (folder / name).stat().st_size > 0, name
        assert f"silicon/{name}" in done.stdout
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert report["test"]["force_rmse_ev_per_a"] < 0.3
    assert re.search(r"mean temperature +\d+ K", done.stdout)
    kinetic = re.search(r"([\d.]+) ± [\d.]+ \(centroid virial\)", done.stdout)
    classical = re.search(r"classical kinetic energy +([\d.]+)", done.stdout)
    assert kinetic is not None
    assert classical is not None
    assert float(kinetic[1]) > float(classical[1])


# ----- files of another kind -----


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("fit train.xyz -o out", "train.xyz: is a file of frames (XYZ), expected settings (YAML)"),
        ("fit train.traj -o out", "train.traj: is a trajectory of ASE, expected settings (YAML)"),
        (
            "fit potential.forcemap -o out",
            "potential.forcemap: is a potential of forcemap, expected settings (YAML)",
        ),
        ("fit empty -o out", "empty: is an empty file, expected settings (YAML)"),
        ("fit bytes -o out", "bytes: is a binary file, expected settings (YAML)"),
        (
            "fit list.yaml -o out",
            "list.yaml: expected keys and values, such as {data: ..., terms: ...}, found ['a', 'b']",
        ),
        (
            "evaluate train.xyz train.xyz",
            "train.xyz: is a file of frames (XYZ), expected a potential or model of forcemap; the "
            "potential comes first, then the frames",
        ),
        (
            "evaluate potential.forcemap potential.forcemap",
            "potential.forcemap: is a potential of forcemap, expected a file of frames (extended XYZ, "
            "or what ASE reads)",
        ),
        (
            "info train.xyz",
            "train.xyz: is a file of frames (XYZ), expected a potential or model of forcemap",
        ),
        ("info long.yaml", "long.yaml: is a text file, expected a potential or model of forcemap"),
        (
            "map train.xyz -o new",
            "train.xyz: is a file of frames (XYZ), expected a potential or model of forcemap",
        ),
        (
            "export train.xyz --format uf3 -o new",
            "train.xyz: is a file of frames (XYZ), expected a potential of forcemap",
        ),
        (
            "driver train.xyz --template train.xyz --unix a",
            "train.xyz: is a file of frames (XYZ), expected a potential of forcemap",
        ),
        (
            "pimd train.traj train.xyz",
            "train.traj: is a trajectory of ASE, expected a potential of forcemap",
        ),
    ],
)
def test_file_in_place_of_another_is_named_in_one_line(
    tmp_path: Path, potential: Path, monkeypatch: pytest.MonkeyPatch, command: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write("train.xyz", structures())
    write("train.traj", structures())
    Path("potential.forcemap").write_bytes(potential.read_bytes())
    Path("empty").touch()
    Path("bytes").write_bytes(b"\x00\xff" * 99)
    Path("list.yaml").write_text("[a, b]\n")
    Path("long.yaml").write_text("words " * 100_000)
    result = invoke(*command.split())
    assert result.exit_code == 1
    assert result.stderr == f"Error: {message}\n"
    assert not Path("out").exists()
    assert not Path("new").exists()


@pytest.mark.parametrize(
    "text",
    [
        "words " * 100_000,
        "data: " + "x" * 100_000,
        "x" * 1000 + ": 1",
        "data: {train: a.xyz}\nterms: [{kind: " + "k" * 100_000 + "}]",
        "data: {train: a.xyz}\nterms: [{kind: two_body, cutoff: [" + "1, " * 50_000 + "]}]",
        "data: {train: a.xyz}\nterms: [{kind: two_body}]\ne0: {" + "X" * 1000 + ": 1}",
        'data: {train: "a\\e[31m.xyz"}\nterms: [{kind: "\\e[2J"}]',
        "data: {train: [" + "a.xyz, " * 1000 + "]}\nterms: 1",
        "a: !" + "tag" * 50_000 + " 1",
        "a: *" + "anchor" * 50_000,
        "a: '" + "b\n" * 1000,
        "[" * 5000,
        "seed: " + "9" * 10_000,
    ],
    ids=range(13),
)
def test_message_of_settings_is_short_whatever_they_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("settings.yaml").write_text(text)
    result = invoke("fit", "settings.yaml", "-o", "out")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: settings.yaml: ")
    assert len(result.stderr) < 450
    assert result.stderr.count("\n") == 1
    assert result.stderr.rstrip("\n").isprintable()


def test_missing_file_is_told_with_a_near_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("settings.yaml").touch()
    for name, hint in (("setings.yaml", '; did you mean "settings.yaml"?'), ("other", "")):
        result = invoke("fit", name, "-o", "out")
        assert result.exit_code == 2
        assert f"File '{name}' does not exist{hint}" in result.stderr
    result = invoke("fit", ".", "-o", "out")
    assert "File '.' is a directory." in result.stderr
