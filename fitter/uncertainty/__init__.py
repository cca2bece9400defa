"""Errors of a fitted process, by leaving frames out, and the calibration of its deviations."""
