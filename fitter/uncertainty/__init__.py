"""How far a fitted process is off: errors by leaving frames out, and what calibrates its deviations."""
