"""Behind `isograd.watch` and the short training of `isograd.check`."""
