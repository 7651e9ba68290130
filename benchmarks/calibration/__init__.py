"""Limits of the rules against nets that are generated, not chosen."""
