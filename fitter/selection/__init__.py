"""Which terms serve best: candidates fitted, compared and recommended (``forcemap select``)."""
