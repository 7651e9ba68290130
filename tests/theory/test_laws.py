import ast
from pathlib import Path

from isograd.theory import laws


def test_every_public_name_of_the_laws_is_listed():
    """All that the files imported by `laws` declare public is in its `__all__`."""
    folder = Path(laws.__file__).parent
    tree = ast.parse((folder / "laws.py").read_text(encoding="utf-8"))
    modules = [
        n.module.rsplit(".", 1)[1]
        for n in tree.body
        if isinstance(n, ast.ImportFrom) and n.level == 0 and n.module != "__future__"
    ]
    declared = set()
    for module in modules:
        for node in ast.parse((folder / f"{module}.py").read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                declared |= set(ast.literal_eval(node.value))
    assert declared == set(laws.__all__)
    assert len(laws.__all__) == len(set(laws.__all__))
    for name in laws.__all__:
        value = getattr(laws, name)
        if callable(value):
            assert value.__doc__, name


def test_quantities_in_gain_squared_say_so():
    """A function that returns gain^2 is named so; one that returns a gain is not."""
    squared = {name for name in laws.__all__ if "gain_squared" in name}
    assert {"dropout_gain_squared", "layer_norm_gain_squared"} <= squared
    assert laws.lstm_cell_gain(0.0, 1) ** 2 == 0.25
