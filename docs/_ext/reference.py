"""Fills the reference pages from the installed package while the site is built.

A line ``% generated: NAME`` of a page is replaced by the Markdown that the function for NAME in
`GENERATED` makes. What a page says of commands, settings, exit codes and files is therefore what the
code does; a name that is not in the table is an error of the build.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any

import click
from benchmark_tables import accuracy_table, other_tables, runs
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

__all__ = ["GENERATED", "setup"]

PLACE = re.compile(r"^% generated: (\S+)$", re.MULTILINE)

# ---- the command line ------------------------------------------------------------------------------


def all_commands() -> Iterator[tuple[str, click.Command, click.Context]]:
    """Every command with its full name, those of groups after the group."""
    from forcemap.fitter.cli import cli

    def below(
        name: str, command: click.Command, parent: click.Context | None
    ) -> Iterator[tuple[str, click.Command, click.Context]]:
        context = click.Context(command, parent, name, **command.context_settings)
        yield context.command_path, command, context
        if isinstance(command, click.Group):
            for child in command.list_commands(context):
                found = command.get_command(context, child)
                assert found is not None
                yield from below(child, found, context)

    yield from below("forcemap", cli, None)


def paragraphs(text: str) -> list[str]:
    """Paragraphs of a command's help; those that keep their lines (``\\b``) as blocks of code."""
    made = []
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(text)):
        lines = paragraph.split("\n")
        if lines[0].strip() == "\b":
            made.append("```text\n" + textwrap.dedent("\n".join(lines[1:])) + "\n```")
        elif all(line.startswith("  ") for line in lines):
            made.append("```text\n" + textwrap.dedent(paragraph) + "\n```")
        else:
            made.append(escaped(" ".join(line.strip() for line in lines)))
    return made


def escaped(text: str) -> str:
    """Plain text as Markdown that shows the same."""
    return re.sub(r"([\\`*_<>\[\]$|{}])", r"\\\1", text)


def option_entry(option: click.Parameter, context: click.Context) -> str:
    """An entry of a definition list: the option, what it does, its default and its limits."""
    record = option.get_help_record(context)
    if record is None:
        return ""
    names, text = record
    return f"`{names}`\n: {escaped(text) or escaped(names)}\n"


def summary_of(name: str, command: click.Command) -> str:
    """What the list of commands says of one."""
    from forcemap.fitter.cli import COMMANDS

    listed = COMMANDS.get(name)
    if listed is not None and command is listed[0]():
        return listed[1]
    return command.get_short_help_str(200)


def command_text() -> str:
    """All commands with their usage, prose, options and example."""
    parts = []
    for name, command, context in all_commands():
        usage = " ".join([name, *command.collect_usage_pieces(context)])
        parts += [f"## {name}", "", f"```text\n{usage}\n```", ""]
        for paragraph in paragraphs(command.help or ""):
            parts += [paragraph, ""]
        if isinstance(command, click.Group):
            for child in command.list_commands(context):
                found = command.get_command(context, child)
                assert found is not None
                target = f"{name} {child}".replace(" ", "-")
                summary = escaped(summary_of(child, found))
                parts.append(f"- [`{name} {child}`](#{target}): {summary}")
            parts.append("")
        parts += [option_entry(option, context) for option in command.get_params(context)]
        for paragraph in paragraphs(command.epilog or ""):
            example = command.epilog.strip().removeprefix("Example: ")
            is_example = command.epilog.strip().startswith("Example: ")
            parts += ["", f"Example:\n\n```text\n{example}\n```" if is_example else paragraph, ""]
    return "\n".join(parts)


def exit_codes() -> str:
    """What the help of the program and of its commands says of exit codes."""
    rows = []
    for name, command, _ in all_commands():
        for paragraph in re.split(r"\n\s*\n", f"{command.help or ''}\n\n{command.epilog or ''}"):
            flat = " ".join(paragraph.split())
            if re.search(r"exit codes?\b", flat, re.IGNORECASE):
                codes = flat.rpartition("Exit codes: ")[2]
                parts = re.split(r"; (?=\d)", codes.rstrip("."))
                parts = parts if len(parts) > 2 else []
                listed = "\n".join(f"  - {escaped(part)}" for part in parts)
                rows.append(f"`{name}`\n: {listed.strip() or escaped(flat)}\n")
    return "\n".join(rows)


# ---- settings --------------------------------------------------------------------------------------

UNIT = re.compile(r"(eV per atom|eV/Å³|eV/Å|1/Å|eV|Å|K|ps|degrees): (.*)")


def plain_number(value: float) -> str:
    """A limit: whole numbers in full, others in the shortest form."""
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def accepted(schema: Mapping[str, Any]) -> str:
    """What a setting takes, in words."""
    if "anyOf" in schema:
        kinds = [accepted(one) for one in schema["anyOf"]]
        named = dict.fromkeys(kind for kind in kinds if kind != "null")
        return " or ".join(sorted(named, key=lambda kind: kind.startswith("by ")))
    if "enum" in schema:
        words = schema["enum"]
        if len(words) > 20:
            return "element"
        return ", ".join(f"`{word}`" for word in words)
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next(one for one in kind if one != "null")
    match kind:
        case "integer" | "number":
            least = schema.get("minimum", schema.get("exclusiveMinimum"))
            sign = "≥" if "minimum" in schema else ">"
            least_text = "" if least is None else f"{sign} {plain_number(least)}"
            most = f"≤ {plain_number(schema['maximum'])}" if "maximum" in schema else ""
            limits = ", ".join(text for text in (least_text, most) if text)
            return ("whole number" if kind == "integer" else "number") + (
                f" {limits}" if limits else ""
            )
        case "boolean":
            return "`true`, `false`"
        case "array":
            return "list of " + accepted(schema["items"])
        case "object" if schema.get("properties"):
            return "keys and values"
        case "object":
            values = schema.get("additionalProperties")
            key = "element" if "propertyNames" in schema else "name"
            return f"by {key}: " + (accepted(values) if isinstance(values, Mapping) else "values")
    if "oneOf" in schema:
        return "terms"
    return str(kind or "text")


def shown_default(name: str, schema: Mapping[str, Any], required: list[str]) -> str:
    """The default of a setting, in words."""
    if name in required:
        return "required"
    default = schema.get("default")
    if default is None:
        return "default: none, or chosen by the program"
    if isinstance(default, dict) and schema.get("properties"):
        return "default: see below"
    if default in ({}, []):
        return "default: none"
    return f"default `{str(default).lower() if isinstance(default, bool) else default}`"


def settings_entries(schema: Mapping[str, Any]) -> list[str]:
    """A definition list of the settings of one mapping: unit and default, meaning, what it takes."""
    entries = []
    for name, one in schema["properties"].items():
        if "const" in one:
            continue
        text = one.get("description", "")
        match = UNIT.fullmatch(text)
        unit, meaning = match.groups() if match else ("", text)
        default = shown_default(name, one, schema["required"])
        about = f"{unit}; {default}" if unit else default
        said = f"{escaped(meaning[:1].upper() + meaning[1:])} Takes: {accepted(one)}.".strip()
        entries += [f"`{name}` ({about})", f": {said}", ""]
    return entries


def mapping_of(schema: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The schema of a mapping of fixed keys that a setting takes; None if it takes none."""
    if schema.get("properties"):
        return schema
    for one in [*schema.get("anyOf", []), schema.get("additionalProperties"), schema.get("items")]:
        found = mapping_of(one) if isinstance(one, Mapping) else None
        if found is not None:
            return found
    return None


def settings_sections(name: str, schema: Mapping[str, Any], level: int) -> Iterator[str]:
    """Sections of a mapping and of those within it; settings with the same content share one."""
    yield f"{'#' * level} {name}"
    yield ""
    yield escaped(prose(schema))
    yield ""
    yield from settings_entries(schema)
    yield ""
    seen = []
    for key, one in schema["properties"].items():
        inner = mapping_of(one)
        if inner is None or "oneOf" in one.get("items", {}) or inner in seen:
            continue
        seen.append(inner)
        path = key if level == 2 else f"{name}.{key}"
        yield from settings_sections(path, inner, 3)


def prose(schema: Mapping[str, Any]) -> str:
    """The description of a mapping."""
    return str(schema.get("description", ""))


def settings_text() -> str:
    """The settings of a fit, of each kind of term, and of a selection."""
    from forcemap.fitter.config import Settings
    from forcemap.fitter.selection.candidates import schema as selection

    schema = Settings.schema()
    lines = list(settings_sections("The whole file", schema, 2))
    lines += [
        "## Terms",
        "",
        "Each entry of `terms` has a `kind` and the settings of that kind.",
        "",
    ]
    for term in schema["properties"]["terms"]["items"]["oneOf"]:
        lines += settings_sections(f"kind: {term['properties']['kind']['const']}", term, 3)
    ours = set(schema["properties"])
    others = {key: one for key, one in selection()["properties"].items() if key not in ours}
    lines += [
        "## Selection",
        "",
        "`forcemap select` takes these, too, in place of `terms`.",
        "",
        *settings_entries({"properties": others, "required": []}),
        "",
    ]
    return "\n".join(lines)


def validation_text() -> str:
    """The checks of ``forcemap validate``, each with what it computes and its settings."""
    from forcemap.fitter.checked import schema_of
    from forcemap.fitter.validation.registry import CHECKS
    from forcemap.fitter.validation.settings import General

    common = {**schema_of(General), "description": "Beside the blocks of the checks:"}
    lines = list(settings_sections("Common to all", common, 2))
    for check in CHECKS:
        schema = schema_of(check.settings)
        about = inspect.cleandoc(type(check).__doc__ or "").split("\n\n")[0]
        lines += [
            f"## {check.name}: {check.title.lower()}",
            "",
            escaped(" ".join(about.split())),
            "",
        ]
        lines += [escaped(prose(schema)), "", *settings_entries(schema)]
    return "\n".join(lines)


# ---- files -----------------------------------------------------------------------------------------


def metric_rows() -> str:
    """Names, units and meanings of the errors in report.json, and of the deviations beside them."""
    from forcemap.fitter.report.metrics import DEVIATIONS, METRICS

    rows = ["| name | meaning | unit |", "| --- | --- | --- |"]
    rows += [f"| `{name}` | {one.label} | {one.unit} |" for name, one in METRICS.items()]
    rows += [
        f"| `{name}` | root mean square of the expected errors: {one.label} | {one.unit} |"
        for name, one in DEVIATIONS.items()
    ]
    return "\n".join(rows)


def potential_kinds() -> str:
    """The kinds of terms that a potential file holds."""
    from forcemap.potentials.terms.kinds import KINDS

    def first(text: str | None) -> str:
        return escaped(" ".join((text or "").strip().split("\n\n")[0].split()))

    rows = ["| kind | site energies |", "| --- | --- |"]
    rows += [f"| `{name}` | {first(kind.__doc__)} |" for name, kind in KINDS.items()]
    return "\n".join(rows)


def fit_files() -> str:
    """Names of the files of a fit."""
    from forcemap.fitter.sharing.fit_folder import FILES

    return ", ".join(f"`{name}`" for name in FILES)


def extras() -> str:
    """The extras of the installed package, with what each of them brings."""
    from importlib.metadata import metadata, requires

    rows = ["| extra | brings |", "| --- | --- |"]
    for extra in metadata("forcemap").get_all("Provides-Extra") or []:
        marker = re.compile(rf"extra == ['\"]{re.escape(extra)}['\"]")
        needed = [
            text.split(";")[0].strip() for text in requires("forcemap") or [] if marker.search(text)
        ]
        rows.append(f"| `{extra}` | {', '.join(f'`{one}`' for one in needed)} |")
    return "\n".join(rows)


def docstring(module: str) -> str:
    """The docstring of a module as Markdown: indented lines as blocks of code, the rest as prose."""
    text = inspect.getdoc(import_module(module)) or ""
    text = re.sub(r":\w+:`([^`]+)`", r"`\1`", text.replace("``", "`"))
    parts = []
    for paragraph in re.split(r"\n\s*\n", text):
        prose, code = [], []
        for line in paragraph.split("\n"):
            (code if line.startswith("    ") or code else prose).append(line)
        spans = re.split(r"(`[^`]+`)", " ".join(prose).replace("::", ":"))
        parts.append("".join(s if s.startswith("`") else escaped(s) for s in spans))
        if code:
            parts.append("```text\n" + textwrap.dedent("\n".join(code)) + "\n```")
    joined = "\n\n".join(part for part in parts if part)
    return joined.replace("\n```\n\n```text\n", "\n\n")


GENERATED: dict[str, Callable[[], str]] = {
    "commands": command_text,
    "exit-codes": exit_codes,
    "settings": settings_text,
    "validation": validation_text,
    "metrics": metric_rows,
    "potential-kinds": potential_kinds,
    "fit-files": fit_files,
    "extras": extras,
    "accuracy-cost": accuracy_table,
    "benchmark-runs": runs,
    "benchmark-tables": other_tables,
}
"""What makes the Markdown for each name."""

DOCSTRING = "docstring:"
"""Before the name of a module whose docstring stands there."""


def fill(app: Sphinx, page: str, source: list[str]) -> None:
    """Replace the places of generated text in a page."""

    def made(match: re.Match[str]) -> str:
        if match[1].startswith(DOCSTRING):
            return docstring(match[1].removeprefix(DOCSTRING))
        if match[1] not in GENERATED:
            raise ExtensionError(f"{page}: nothing generates {match[1]!r}")
        return GENERATED[match[1]]()

    source[0] = PLACE.sub(made, source[0])


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the generator, and name the input language of LAMMPS, which has no highlighting."""
    from pygments.lexers.special import TextLexer

    app.connect("source-read", fill)
    app.add_lexer("lammps", TextLexer)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
