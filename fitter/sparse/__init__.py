"""Sparse points: their candidates in the data, and how they are chosen among these."""
