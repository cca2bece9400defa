"""Plain tables for terminals and logs."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["shown", "text_table"]


def text_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lines with columns of equal width, the first to the left, the others to the right."""
    lines = [list(head), *(list(row) for row in rows)]
    widths = [max(len(line[n]) for line in lines) for n in range(len(head))]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "  ".join(
            cell.ljust(width) if n == 0 else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def shown(value: float | None, digits: int) -> str:
    """A number for a table; a line where there is none."""
    return "-" if value is None else f"{value:.{digits}f}"
