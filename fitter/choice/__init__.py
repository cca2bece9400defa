"""The choice of a process's hyperparameters: the evidence, its slopes and its maximum."""
