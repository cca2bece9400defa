"""Potentials in the form of other programs: one module each, entered in `registry`."""
