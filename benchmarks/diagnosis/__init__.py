"""A labelled set of trainings on which the rules are judged."""
