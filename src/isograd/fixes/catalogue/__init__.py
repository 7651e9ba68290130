"""One fix a file; each registers itself."""
