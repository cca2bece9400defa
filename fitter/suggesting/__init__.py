"""suggesting"""

WAYS = ("variance", "d-optimal", "farthest", "grade")
"""By what frames may be chosen."""
