"""The report of a fit: errors, calibration, doubts, figures, the page and the terminal's tables."""
