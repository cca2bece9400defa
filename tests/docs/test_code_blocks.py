"""Every block of code of the documentation does what the page says, from top to bottom."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import read, write
from documented import FENCE, ROOT, Block, Reader, blocks_of, check_syntax
from forcemap.fitter.cli import COMMANDS
from forcemap_runs import invoke
from gap_files import PAIR, written

SILICON = ROOT / "examples" / "silicon"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
RUNNABLE = [page for page in PAGES if any(b.language in ("sh", "python") for b in blocks_of(page))]
SHORTER = {"train.xyz": "::3", "test.xyz": ":"}
"""Frames of the example that the tests keep, so that a fit takes a second."""


def reduced_silicon(folder: Path) -> None:
    """The silicon example with fewer frames and a smaller crystal."""
    shutil.copytree(SILICON, folder, dirs_exist_ok=True)
    shutil.rmtree(folder / "dft")
    for name, index in SHORTER.items():
        frames = [atoms for atoms in read(SILICON / name, index) if len(atoms) <= 16]
        write(folder / name, frames)
    write(folder / "init.xyz", bulk("Si", cubic=True, a=5.47).repeat((2, 1, 1)))


@pytest.fixture(scope="session")
def fitted_silicon(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example in reduced size with a fit in out/, made once."""
    folder = tmp_path_factory.mktemp("silicon")
    reduced_silicon(folder)
    result = invoke(
        "fit", str(folder / "settings.yaml"), "-o", str(folder / "out"), "-q", "-j", "1"
    )
    assert result.exit_code == 0, result.output
    return folder


def copied_silicon(folder: Path, fitted: Path) -> None:
    shutil.copytree(fitted, folder, dirs_exist_ok=True)


def labelled(crystals: Sequence[Atoms], count: int) -> list[Atoms]:
    """Shaken and strained crystals with labels of ASE's EMT."""
    rng = np.random.default_rng(5)
    frames = []
    for number in range(count):
        atoms = crystals[number % len(crystals)].copy()
        change = rng.normal(0.0, 0.02, (3, 3))
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + (change + change.T) / 2), scale_atoms=True)
        atoms.rattle(0.08, seed=number)
        atoms.info["config_type"] = "Shaken"
        atoms.calc = EMT()
        atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
        frames.append(atoms)
    return frames


def a_metal(folder: Path, fitted: Path) -> None:
    frames = labelled([bulk("Cu", cubic=True).repeat((2, 1, 1))], 24)
    write(folder / "train.xyz", frames[:18])
    write(folder / "test.xyz", frames[18:])


def an_alloy(folder: Path, fitted: Path) -> None:
    crystals = []
    for which in ((0,), (1, 2), (0, 3, 5)):
        crystal = bulk("Cu", cubic=True, a=3.8).repeat((2, 1, 1))
        crystal.symbols[list(which)] = "Au"
        crystals.append(crystal)
    frames = labelled(crystals, 24)
    write(folder / "train.xyz", frames[:18])
    write(folder / "test.xyz", frames[18:])


def a_gap(folder: Path, fitted: Path) -> None:
    copied_silicon(folder, fitted)
    written(folder, PAIR)


START: dict[str, Callable[[Path, Path], None]] = {
    "docs/howto/metal.md": a_metal,
    "docs/howto/several_elements.md": an_alloy,
    "docs/howto/import_gap.md": a_gap,
}
"""Who fills the folder that a page starts in, where it is not the fitted silicon example."""


@pytest.mark.parametrize("page", RUNNABLE, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_reader_gets_through_a_page(
    page: Path, fitted_silicon: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example = tmp_path / "example"
    reduced_silicon(example)
    folder = tmp_path / "reader"
    folder.mkdir()
    START.get(str(page.relative_to(ROOT)), copied_silicon)(folder, fitted_silicon)
    reader = Reader(folder, {"EXAMPLE": str(example), "OMP_NUM_THREADS": "1", "COLUMNS": "120"})
    for block in blocks_of(page):
        reader.follow(block)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_blocks_can_run(page: Path) -> None:
    for block in blocks_of(page):
        assert block.language, f"{block.place}: no language"
        check_syntax(block)


def test_what_is_left_out_has_a_reason() -> None:
    left_out = [b for page in PAGES for b in blocks_of(page) if b.comment.startswith("skip")]
    assert all(len(block.comment) > len("skip: needs") for block in left_out)


@pytest.mark.parametrize(
    "wrong",
    [
        Block("page:1", "sh", "false\n", "", ""),
        Block("page:1", "sh", "echo 'unfinished\n", "", "skip: needs a cluster"),
        Block("page:1", "text", "never printed\n", "", ""),
        Block("page:1", "yaml", "terms: [{kind: two_boddy}]\n", "", ""),
        Block("page:1", "python", "import forcemap.nothing\n", "", ""),
        Block("page:1", "lammps", "pair_stile forcemap\n", "", ""),
        Block("page:1", "sh", "true\n", "", "replace: --steps 5 -> --steps 1"),
    ],
    ids=lambda block: f"{block.language}-{block.comment[:7]}",
)
def test_blocks_that_are_wrong_are_noticed(wrong: Block, tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"page:1|two_boddy|forcemap"):
        Reader(tmp_path, {}).follow(wrong)


def _links(page: Path) -> list[str]:
    """Targets of links and pictures of a page within the repository, without anchors."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    targets = re.findall(r"\]\(([^)\s#]+)(?:#[^)]*)?\)", text)
    return [
        target for target in targets if "://" not in target and not target.startswith("mailto:")
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_within_the_repository_lead_to_files(page: Path) -> None:
    missing = [target for target in _links(page) if not (page.parent / target).exists()]
    assert missing == []


def test_every_command_is_in_the_documentation() -> None:
    prose = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    missing = [name for name in COMMANDS if f"forcemap {name}" not in prose]
    assert missing == []
