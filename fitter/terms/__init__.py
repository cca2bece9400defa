"""The kinds of terms: their settings, kernels, rows, maps and entries in files."""
