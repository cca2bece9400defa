"""Holes of a fitted process: structures unlike the data that it binds more than the ground state."""
