"""A model mapped again, with its training frames where they are at hand."""
