"""The linear algebra of a fit: sums of rows, the posterior and its evidence."""
