"""Examination of data: faults of frames and labels, each with its figure and its cure."""
