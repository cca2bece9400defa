"""Frames added to a fit without starting over."""
