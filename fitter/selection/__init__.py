"""Selection of terms: candidates are fitted, compared and recommended (``forcemap select``)."""
