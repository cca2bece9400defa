"""Where a command of gap_fit stands: text, a script, a config_file, or the XML of a GAP."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from xml.parsers import expat

from forcemap.fitter.importers.gap_fit_options import COMMAND
from forcemap.fitter.importers.quip_arguments import Arguments, parse_arguments
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.file.file_kind import near_name
from forcemap.potentials.quoting import quoted

__all__ = ["Command", "command_of"]

MOST_BYTES = 1_000_000
"""Of a file with a command; GAPs in XML are read as a stream, whatever their size."""

_PROGRAM = re.compile(r"(?:^|(?<=[\s/\"'`]))(?:gap_fit|teach_sparse)(?:\.\w+)?(?=\s)")
_ESCAPED = re.compile(r"\\([{}\"'$: ])")
_SHELL = re.compile(r"\d?[<>]|\||&|;")


@dataclass(frozen=True)
class Command:
    """A command of gap_fit.

    Attributes:
        arguments: its options (checked names).
        text: the options as they are written, on one line.
        folder: what relative paths in it are relative to.
        origin: the file that it stands in, or "gap_fit command".
    """

    arguments: Arguments
    text: str
    folder: Path
    origin: str


def command_of(source: str) -> Command:
    """The command in `source`: the text itself, or the name of a file that holds it.

    Relative paths of a file's command are relative to the file's folder.

    Raises ForcemapError if there is no command, or several, or one that is no command of gap_fit.
    """
    if os.path.lexists(source):
        path = Path(source)
        return _checked(_text_of(path), path.parent, str(path))
    if "=" not in source:
        raise ForcemapError(
            f"{quoted(source)} is neither a file{near_name(source)} nor a command of gap_fit, such as "
            "'gap_fit at_file=train.xyz default_sigma={0.002 0.1 0.5 0} gap={soap ...}'"
        )
    return _checked(_options(source, "gap_fit command"), Path(), "gap_fit command")


def _checked(text: str, folder: Path, origin: str) -> Command:
    found = parse_arguments(text, origin)
    cut = next((a for a in found.given if a.text is None and _SHELL.match(a.name)), None)
    if cut is not None:  # the shell's redirections, and what comes after them
        text = text[: cut.at - 1]
        found = parse_arguments(text, origin)
    if not found.given:
        raise ForcemapError(f"{origin}: holds no options of gap_fit, such as at_file=train.xyz")
    arguments = COMMAND.checked(found)
    places = [str(a.at) for a in found.given if a.name.lower() == "gap"]
    if len(places) > 1:
        raise ForcemapError(
            f"{origin}: holds {len(places)} commands (gap= at the characters {', '.join(places)}); "
            "keep one"
        )
    if "config_file" not in arguments or not arguments["config_file"]:
        return Command(arguments, " ".join(text.split()), folder, origin)
    path = folder / arguments["config_file"]
    if len(arguments) > 1:
        others = ", ".join(a.name for a in found.given if a.name.lower() != "config_file")
        raise ForcemapError(
            f"{origin}: config_file={arguments['config_file']} stands beside {others}, which gap_fit "
            "ignores then; keep one or the other"
        )
    if not os.path.lexists(path):
        raise ForcemapError(f"{origin}: config_file: {path}: no such file{near_name(path)}")
    inner = _text_of(path)
    if "config_file" in parse_arguments(inner, str(path)):
        raise ForcemapError(
            f"{path}: names a config_file in its turn; name the file with the options"
        )
    return _checked(inner, folder, str(path))


def _text_of(path: Path) -> str:
    """The options in a file."""
    try:
        with open(path, "rb") as file:
            head = file.read(MOST_BYTES + 1)
            if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
                return _from_xml(path)
        if len(head) > MOST_BYTES:
            raise ForcemapError(
                f"{path}: is larger than {MOST_BYTES} bytes, too much for a command"
            )
        return _options(head.decode("utf-8-sig"), str(path))
    except OSError as error:
        raise ForcemapError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ForcemapError(f"{path}: is not a text file (UTF-8) with a command") from None


def _options(text: str, origin: str) -> str:
    """The options of the one command in a text, without the program's name and the shell's escapes.

    A text without the program's name is all options, as a config_file of gap_fit.
    """
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\[ \t]*\n", " ", "\n".join(lines))
    programs = [match for match in _PROGRAM.finditer(joined)]
    commands = [joined[m.end() : n] for m, n in zip(programs, _ends(joined, programs), strict=True)]
    commands = [command for command in commands if "=" in command]
    if len(commands) > 1:
        raise ForcemapError(f"{origin}: holds {len(commands)} commands of gap_fit; keep one")
    options = _first_lines(commands[0]) if commands else joined
    return _ESCAPED.sub(r"\1", options).strip()


def _ends(text: str, programs: list[re.Match[str]]) -> list[int]:
    return [*(match.start() for match in programs[1:]), len(text)][: len(programs)]


def _first_lines(text: str) -> str:
    """The lines of a command: the first, those inside braces, those that begin with an option."""
    found, depth = "", 0
    for line in text.split("\n"):
        first = re.match(r"\s*[\"']?(\w*)\s*=", line)
        if (
            found.strip()
            and depth <= 0
            and line.strip()
            and not (first and COMMAND.knows(first[1]))
        ):
            break
        found += line + "\n"
        depth += line.count("{") - line.count("}")
    return found


def _from_xml(path: Path) -> str:
    """The command line that a GAP's XML holds. No entities are expanded."""
    texts: list[str] = []
    inside: list[str] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        if name == "command_line":
            inside.append(name)
            texts.append("")

    def end(name: str) -> None:
        if name == "command_line":
            inside.clear()

    def data(content: str) -> None:
        if inside:
            texts[-1] += content
            if len(texts[-1]) > MOST_BYTES:
                raise ForcemapError(f"{path}: its command_line is too long")

    def entity(name: str, *rest: object) -> None:
        raise ForcemapError(f"{path}: defines the entity {quoted(name)}, which no GAP needs")

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler, parser.EntityDeclHandler = data, entity
    try:
        with open(path, "rb") as file:
            parser.ParseFile(file)
    except expat.ExpatError as error:
        raise ForcemapError(f"{path}: is not valid XML: {error}") from None
    texts = [" ".join(text.split()) for text in texts if text.strip()]
    if not texts:
        raise ForcemapError(
            f"{path}: has no command_line; name the command itself, or bring the potential in with "
            "forcemap import gap"
        )
    if len(set(texts)) > 1:
        raise ForcemapError(f"{path}: has {len(texts)} different command lines; give one of them")
    return _options(texts[0], str(path))
