"""Small models of every kind, each with a step; what isograd must be able to measure.

`CASES[name]()` builds `(model, step)` anew, seeded; `build(name, dtype)` does so in a dtype.
"""

from zoo import conv, graph, huggingface, mlp, odd, recurrent, transformer
from zoo.registry import CASES, FLOAT32_ONLY, WARNINGS, Step, build

__all__ = ["CASES", "FLOAT32_ONLY", "WARNINGS", "Step", "build"]
_FAMILIES = (mlp, conv, transformer, huggingface, recurrent, graph, odd)  # they fill CASES
