"""Physical checks of a potential: one file for each, listed in `registry`."""
