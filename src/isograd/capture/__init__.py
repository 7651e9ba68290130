"""Torch in, records out: one forward and backward, measured and left as it was."""
