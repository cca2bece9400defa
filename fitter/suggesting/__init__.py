"""Suggestion of frames to label next (``forcemap suggest``)."""

WAYS = ("variance", "d-optimal", "farthest", "grade")
"""Criteria by which frames may be chosen."""
