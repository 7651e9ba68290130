"""Every seeded NaN and infinity is located: phase, call and line."""

import math
import re
from pathlib import Path

import pytest
import torch

from isograd.capture.first_bad import first_bad
from robustness import nan_seeds
from robustness.nan_seeds import SEEDS

_MARK = re.compile(r"# bad: (\S+) (\S+)(?: (\S+))?")
LINES = Path(nan_seeds.__file__).read_text().splitlines()


def marks():
    """Line number to what is expected there."""
    return {n: m.groups() for n, line in enumerate(LINES, 1) if (m := _MARK.search(line))}


@pytest.mark.parametrize("name", SEEDS)
def test_a_seeded_fault_is_located(name):
    step, model = SEEDS[name]()
    bad = first_bad(step, model)
    assert bad is not None, "nothing was found"
    file, _, line = bad.source.rpartition(":")
    assert Path(file).name == "nan_seeds.py", bad
    expected = marks().get(int(line))
    assert expected is not None, (bad.source, bad.text, bad.phase, bad.call, bad.op)
    phase, call, tensor = expected
    assert phase in ("-", bad.phase), bad
    assert call in ("-", bad.call, bad.op), bad
    assert tensor is None or bad.tensor == tensor, bad


@pytest.mark.parametrize("mask", ["fill", "buffer", "where"])
def test_a_mask_of_minus_infinity_is_no_fault(mask):
    """Nothing is found in a healthy step, whatever infinities it hides on its way."""
    model = nan_seeds.Gpt(bad=None)
    model.register_buffer("mask", torch.full((5, 5), -math.inf).triu(1))
    tokens = torch.randint(0, 11, (2, 5))
    optimizer = torch.optim.AdamW(model.parameters())

    def step():
        out = model(tokens)
        scores = out @ out.transpose(1, 2)
        if mask == "fill":
            hidden = torch.zeros(11, 11, dtype=torch.bool)
            hidden[:, 2] = True
            scores = scores.masked_fill(hidden, -math.inf)
        elif mask == "where":
            scores = torch.where(scores > 0, 1 / (scores - scores), scores)
            scores = torch.where(torch.isfinite(scores), scores, out[:, :, :1])
        else:
            scores = torch.nn.functional.scaled_dot_product_attention(
                out.mT, out.mT, out.mT, model.mask
            )
        scores.softmax(-1).pow(2).mean().backward()
        optimizer.step()

    assert (first_bad(step, model) is None) == (mask != "where")


def test_the_step_itself_is_not_changed_by_the_hunt():
    results = []
    for hunted in (False, True):
        step, model = nan_seeds.trained(nan_seeds.Gpt(bad=None), data=_tokens())
        torch.manual_seed(1)
        with torch.no_grad():
            for p in model.parameters():
                p.copy_(torch.randn_like(p) * 0.1)
        if hunted:
            assert first_bad(step, model) is None
        else:
            step()
        results.append([p.clone() for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_a_step_that_raises_is_located_by_what_came_before():
    bad = first_bad(lambda: _refuses(torch.zeros(3, requires_grad=True)))
    assert (bad.phase, bad.call) == ("forward", "log")
    assert "ValueError" in bad.reached


def test_compiled_code_is_seen():
    model = torch.nn.Linear(3, 3)
    compiled = torch.compile(model, backend="eager")
    bad = first_bad(lambda: (compiled(torch.ones(2, 3)) * 0).log().sum().backward(), model)
    assert (bad.phase, bad.call) == ("forward", "log")


def _refuses(x):
    if not torch.isfinite(x.log()).all():
        raise ValueError("not finite")


def _tokens():
    tokens = torch.arange(10).view(2, 5)
    return tokens, tokens
