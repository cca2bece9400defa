"""Runs of this program and of others (LAMMPS, i-PI), and how they end.

`programs` starts and supervises, `progress` shows; `folder_lock` keeps two runs out of one folder, and
`leaving` ends a process in order.
"""

from __future__ import annotations
