"""The closed forms of `isograd.theory` against measured nets."""
