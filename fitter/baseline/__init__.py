"""What a fit subtracts before it learns: isolated atoms and the repulsion."""
