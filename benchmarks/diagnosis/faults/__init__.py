"""Trainings with one known fault each."""
