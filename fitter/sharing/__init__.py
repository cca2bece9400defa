"""A fit over threads and ranks, its checkpoint, and the files it leaves."""
