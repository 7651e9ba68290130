"""Trainings that learn, or rest by design, and must not raise an alarm."""
