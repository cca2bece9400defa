"""Potentials and settings of other programs, brought in."""
