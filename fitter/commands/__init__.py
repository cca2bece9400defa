"""The commands of ``forcemap``, one to a file; each imports what it needs when it runs."""
