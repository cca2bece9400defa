"""Code blocks of the documentation, and a runner that does what a reader would.

A page is run from top to bottom in one folder. Blocks of ``sh`` are run by bash, each in the folder
that the one before it ended in; ``python`` is run as a script; a block with a caption is written to
the file of that name; ``text`` after commands is compared with what they printed, numbers aside.
Other blocks are checked for syntax alone. A comment before a block changes that::

    <!-- docs-test: skip: REASON -->                  syntax alone, since it needs what is not there
    <!-- docs-test: instead: COMMAND: REASON -->      another command in its place
    <!-- docs-test: replace: OLD -> NEW ; ... -->     other numbers, for less time
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from forcemap.fitter.checked import load_yaml
from forcemap.fitter.config import Settings
from forcemap.fitter.selection.candidates import Selection

ROOT = Path(__file__).resolve().parents[1]

FENCE = re.compile(
    r"^(?P<indent> *)(?P<fence>`{3,}|:{3,})(?P<info>.*?)\n(?P<body>.*?)^(?P=indent)(?P=fence)[ ]*$",
    re.M | re.S,
)
COMMENT = re.compile(r"<!-- docs-test: ([^\n]+) -->\s*\Z")
CAPTION = re.compile(r":caption: (\S+)\n")
NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")

_LAMMPS = """
    atom_style boundary change_box clear comm_modify compute create_atoms create_box delete_atoms
    displace_atoms dump dump_modify echo fix fix_modify group if include info jump label lattice log
    mass min_style minimize neigh_modify neighbor newton next package pair_coeff pair_modify pair_style
    plugin print processors read_data read_dump read_restart region replicate rerun reset_timestep run
    set shell special_bonds suffix thermo thermo_modify thermo_style timestep undump unfix units
    variable velocity write_data write_dump write_restart
"""
LAMMPS_COMMANDS = frozenset(_LAMMPS.split())
"""Of inputs of LAMMPS; the documentation needs no others so far."""


@dataclass(frozen=True)
class Block:
    """A block of code.

    Attributes:
        place: file and line.
        language: ``sh``, ``python``, ``yaml``, ...
        text: the code.
        caption: name of the file that it is; empty for none.
        comment: what the comment before it asks for; empty for none.
    """

    place: str
    language: str
    text: str
    caption: str
    comment: str


def blocks_of(page: Path) -> list[Block]:
    """The blocks of code of a page; directives that are no code are left out."""
    source = page.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(source):
        info, body = match["info"].strip(), textwrap.dedent(match["body"])
        directive = re.fullmatch(r"\{code-block\}\s*(\S+)", info)
        if info.startswith("{") and not directive:
            continue
        language = directive[1] if directive else info
        caption = CAPTION.match(body) if directive else None
        if directive:
            body = re.sub(r"\A(:\S+:.*\n)+\n?", "", body)
        comment = COMMENT.search(source, 0, match.start())
        line = source.count("\n", 0, match.start()) + 1
        place = f"{page.relative_to(ROOT)}:{line}"
        found.append(
            Block(
                place, language, body, caption[1] if caption else "", comment[1] if comment else ""
            )
        )
    return found


def pattern_of(text: str) -> list[str]:
    """Lines without their numbers and widths of columns."""
    lines = (" ".join(NUMBER.sub("#", line).split()) for line in text.splitlines())
    return [line for line in lines if line]


class Reader:
    """Does what a page says, in a folder.

    Args:
        folder: where the reader starts.
        environment: variables beside those of this process.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self.environment = {**os.environ, **environment}
        self.printed = ""

    def follow(self, block: Block) -> None:
        """Run, write, compare or check a block; AssertionError names its place."""
        text = block.text
        kind, _, rest = block.comment.partition(": ")
        if kind == "skip":
            assert rest, f"{block.place}: no reason is given"
            check_syntax(block)
            return
        if kind == "instead":
            text, _, reason = rest.rpartition(": ")
            assert reason, f"{block.place}: no reason is given"
            check_syntax(block)
        elif kind == "replace":
            for change in rest.split(" ; "):
                old, _, new = change.partition(" -> ")
                assert old in text, f"{block.place}: {old!r} is not in the block"
                text = text.replace(old, new)
        elif kind:
            raise AssertionError(f"{block.place}: unknown: {block.comment}")
        if block.caption:
            (self.folder / block.caption).write_text(text, encoding="utf-8")
        match block.language:
            case "sh":
                self.printed = self._run(block, ["bash", "-euo", "pipefail", "-c", text])
            case "python" if not block.caption:
                self.printed = self._run(block, [sys.executable, "-c", text])
            case "text" if not block.caption:
                self._compare(block)
            case _:
                check_syntax(block)

    def _run(self, block: Block, command: list[str]) -> str:
        with tempfile.NamedTemporaryFile("r", suffix=".folder") as place:
            if command[0] == "bash":
                command[-1] += f"\npwd > {place.name}\n"
            done = subprocess.run(
                command,
                cwd=self.folder,
                env=self.environment,
                capture_output=True,
                text=True,
                timeout=240,
            )
            assert done.returncode == 0, (
                f"{block.place}:\n{done.stdout[-1500:]}\n{done.stderr[-3000:]}"
            )
            where = place.read().strip()
        self.folder = Path(where) if where else self.folder
        return done.stdout + done.stderr

    def _compare(self, block: Block) -> None:
        printed = "\n".join(pattern_of(self.printed))
        for line in pattern_of(block.text):
            assert line in printed, f"{block.place}: not printed: {line}\n{self.printed}"


def check_syntax(block: Block) -> None:
    """Raise AssertionError, or the parser's own error, for code that could not run."""
    match block.language:
        case "sh":
            done = subprocess.run(["bash", "-n", "-c", block.text], capture_output=True, text=True)
            assert done.returncode == 0, f"{block.place}: {done.stderr}"
        case "python":
            compile(block.text, block.place, "exec")
        case "yaml":
            check_settings(block)
        case "xml":
            ElementTree.fromstring(f"<all>{block.text}</all>")
        case "lammps":
            for line in re.sub(r"&\n", " ", block.text).splitlines():
                words = line.partition("#")[0].split()
                assert not words or words[0] in LAMMPS_COMMANDS, f"{block.place}: {line}"
        case "text" | "bibtex" | "bash":
            pass
        case other:
            raise AssertionError(f"{block.place}: blocks of {other!r} are not tested")


def check_settings(block: Block) -> None:
    """A block of YAML, or each of its parts where it shows alternatives, makes valid settings."""
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "settings.yaml"
        file.write_text(block.text, encoding="utf-8")
        given = load_yaml(file)
        if block.caption:  # a command on the page reads it
            return
        if "candidates" in given or "target" in given:
            Selection.read(file)
            return
        whole = {"data": {"train": "train.xyz"}, "terms": [{"kind": "two_body"}], **given}
        whole["data"] = {"train": "train.xyz", **whole["data"]}
        Settings.from_dict(whole, origin=block.place)
