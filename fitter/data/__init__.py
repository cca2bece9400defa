"""Frames: their files, labels, sigmas and structures."""
