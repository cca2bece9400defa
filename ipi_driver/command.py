"""``forcemap driver``: i-PI's client on the command line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click
from forcemap.potentials.runs.options import say, verbose_option

if TYPE_CHECKING:
    from forcemap.ipi_driver.connection import InetAddress, UnixAddress

__all__ = ["driver"]

EXAMPLE = "forcemap driver out/potential.forcemap --template init.xyz --unix silicon"


@click.command(epilog=f"Example: {EXAMPLE}")
@click.argument(
    "potentials",
    metavar="POTENTIAL...",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False),
)
@click.option(
    "--template",
    required=True,
    type=click.Path(exists=True, dir_okay=False),
    help="Structure that gives the elements in i-PI's order, and which directions are periodic "
    "(all of them if it has no cell); any format that ASE reads.",
)
@click.option(
    "--trust-template",
    is_flag=True,
    help="Do not compare i-PI's first structure with the template: for runs that go on from a "
    "checkpoint in which atoms have exchanged places.",
)
@click.option(
    "--unix",
    metavar="NAME",
    help="The <address> of <ffsocket mode='unix'>, or the whole path of the socket.",
)
@click.option("--host", help="The <address> of <ffsocket mode='inet'>.  [default: localhost]")
@click.option("--port", type=click.IntRange(1, 65535), help="The <port> of <ffsocket mode='inet'>.")
@click.option(
    "--skin",
    type=click.FloatRange(min=0.0),
    default=0.5,
    show_default=True,
    help="Å beyond the cutoff in the neighbour lists.",
)
@click.option(
    "--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Number of threads."
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0.0),
    default=60.0,
    show_default=True,
    help="Seconds to wait for i-PI to listen.",
)
@click.option(
    "--committee",
    type=int,
    metavar="N",
    help="Answer as a committee of N members, made from the potential's draws: 2 to one more than it "
    "has of them. Two or more potentials are a committee without it.",
)
@click.option(
    "--grade",
    is_flag=True,
    help="Send the atoms' extrapolation grades as extras, too: grade (one an atom) and grade_max.",
)
@verbose_option
def driver(
    potentials: tuple[str, ...],
    template: str,
    trust_template: bool,
    unix: str | None,
    host: str | None,
    port: int | None,
    skin: float,
    threads: int,
    timeout: float,
    committee: int | None,
    grade: bool,
    verbose: bool,
) -> None:
    """Evaluate POTENTIAL for i-PI until it ends.

    Start it before or after i-PI. With <batch_size> in i-PI's input it takes many beads at once and
    spreads them over its threads; else start it as many times as there are beads to evaluate at
    once. It ends with exit code 0 when i-PI ends, and 1 at any fault; a structure that cannot be
    evaluated is written to forcemap_driver_fault.xyz.

    A committee sends its members as the extras that i-PI's <ffcommittee> reads (with <parse_json>
    True </parse_json>), their mean as the answer. One potential makes its members from its draws
    (--committee N): their mean is the potential, their spread the calibrated deviation of its energy,
    by N - 1 draws. Two or more potentials are a committee of their own.

    Where the potential grades atoms, a line at the end says how many had a grade above 1. With
    --verbose, every message of the server is reported.
    """
    _check_committee(potentials, committee)
    address = _address(unix, host, port)

    from forcemap.ipi_driver.client import run_driver
    from forcemap.ipi_driver.evaluation import Extras
    from forcemap.ipi_driver.template import read_template
    from forcemap.potentials import load
    from forcemap.potentials.errors import ForcemapError

    try:
        members = [load(potential) for potential in potentials]
        for member in members:
            atoms = read_template(template, member.species, trusted=trust_template)
        with _log_to_stderr(verbose), _leave_on_sigterm():
            farewell = run_driver(
                members if len(members) > 1 else members[0],
                atoms,
                address,
                skin=skin,
                threads=threads,
                timeout=timeout,
                extras=Extras(committee if len(members) == 1 else None, grade),
            )
    except ForcemapError as error:
        raise click.ClickException(str(error)) from None
    say(f"forcemap driver: {farewell}")


def _address(unix: str | None, host: str | None, port: int | None) -> UnixAddress | InetAddress:
    """Where i-PI listens; raises UsageError unless the options say it once."""
    if (unix is None) == (port is None) or (unix is not None and host is not None):
        raise click.UsageError("give either --unix NAME or --port PORT (with --host HOST)")

    from forcemap.ipi_driver.connection import InetAddress, UnixAddress

    if unix is not None:
        return UnixAddress(unix)
    assert port is not None
    return InetAddress(host or "localhost", port)


def _check_committee(potentials: tuple[str, ...], committee: int | None) -> None:
    """Raise UsageError for what cannot be a committee."""
    if committee is not None and committee < 2:
        raise click.UsageError(
            f"a committee needs two members or more, found {committee}: i-PI would take the spread of "
            "one for NaN"
        )
    if committee is not None and len(potentials) not in (1, committee):
        raise click.UsageError(
            f"{len(potentials)} potentials are a committee of {len(potentials)}, not of {committee}: "
            "leave out --committee, or give one potential, whose draws are the members"
        )
    if len(set(potentials)) < len(potentials):
        raise click.UsageError("a potential is given twice; the members of a committee differ")


@contextmanager
def _log_to_stderr(verbose: bool) -> Iterator[None]:
    import logging

    class Echo(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            click.echo(f"forcemap driver: {record.getMessage()}", err=True)

    logger = logging.getLogger("forcemap.ipi_driver")
    before, handler = logger.level, Echo()
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


@contextmanager
def _leave_on_sigterm() -> Iterator[None]:
    """Let a terminated client close its connection in order, as one stopped by Ctrl-C does."""
    import signal
    import threading

    def leave(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
