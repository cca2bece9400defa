"""Runs of other programs (LAMMPS, i-PI): `programs` starts and supervises, `progress` shows."""

from __future__ import annotations
