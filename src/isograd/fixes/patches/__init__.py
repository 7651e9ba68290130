"""Changes of the user's source, as text edits that leave the rest of a file alone."""
