"""How work is run: its threads and ranks, where it shows progress, where it keeps sums."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from forcemap.fitter.sharing.checkpoint import Checkpoint
from forcemap.fitter.sharing.launch import processors
from forcemap.fitter.sharing.ranks import ALONE, Ranks
from forcemap.fitter.sharing.threads import in_order
from forcemap.potentials.runs.progress import Progress, Total

__all__ = ["Run"]

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


@dataclass(frozen=True)
class Run:
    """What travels with a fit through all of its stages.

    Attributes:
        jobs: threads.
        progress: where progress is shown; nowhere by default.
        ranks: the MPI ranks that share the work; this process alone by default.
        checkpoint: of the sums of the rows; none by default.
        scratch: folder for files that end with the run; one for temporary files by default.
    """

    jobs: int = 1
    progress: Progress = field(default_factory=Progress.silent)
    ranks: Ranks = ALONE
    checkpoint: Checkpoint | None = None
    scratch: Path | None = None

    def stage(self, name: str, total: Total = None) -> AbstractContextManager[Any]:
        """Show a stage of the work, as `Progress.stage` does."""
        return self.progress.stage(name, total)

    @property
    def jobs_while_others_wait(self) -> int:
        """Threads for what the first rank does alone: those of all, where it may use their cores."""
        if self.ranks.size == 1:
            return self.jobs
        return max(self.jobs, min(self.jobs * self.ranks.size, processors()))

    def note(self, line: str) -> None:
        """Show a line; on the first rank only."""
        if self.ranks.is_first:
            self.progress.note(line)

    def in_order(
        self, function: Callable[[Item], Outcome], items: Iterable[Item]
    ) -> Iterator[Outcome]:
        """Results of `function` over `items` in their order, by all threads."""
        return in_order(function, items, self.jobs)

    def handed_out(
        self,
        function: Callable[[Item], Outcome],
        items: Sequence[Item],
        costs: Sequence[float] | None = None,
    ) -> Iterable[Outcome]:
        """The same on the first rank, by the threads of all ranks where it leads (`Ranks.lead`).

        `costs`: what each item takes; by default all the same.
        """
        costs = [1.0] * len(items) if costs is None else costs
        return self.ranks.hand_out(function, items, costs, self.jobs)
