"""Whether fixes that are called proven cure faults, on fresh seeds."""
