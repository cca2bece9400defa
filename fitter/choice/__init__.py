"""What the evidence says of a process's hyperparameters: its slopes, and where it is largest."""
