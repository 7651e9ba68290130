"""Whether tensors are finite: exact in every type, whatever overflows on the way."""

import math

import pytest
import torch

from isograd.monitor.flags import bad_among


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_one_entry_among_many_is_seen(dtype, value):
    tensors = [torch.ones(3, 4, dtype=dtype), torch.zeros(1000, dtype=dtype)]
    assert not bad_among(tensors, (1.0,)).wait()
    tensors[1][777] = value
    assert bad_among(tensors, (1.0,)).wait()


def test_large_entries_are_finite():
    assert not bad_among([torch.full((4,), 3e38), torch.ones(2)], ()).wait()
    assert not bad_among([torch.full((4,), 6e4).half()], ()).wait()


def test_scalars_sparse_complex_and_nothing():
    assert bad_among([], (math.nan,)).wait()
    assert not bad_among([], ()).wait()
    assert not bad_among([torch.arange(3)], ()).wait()
    index = torch.tensor([[0, 2]])
    for bad in (False, True):
        values = torch.tensor([1.0, math.nan if bad else 2.0])
        assert (
            bad_among(
                [torch.sparse_coo_tensor(index, values, (4,), check_invariants=True)], ()
            ).wait()
            == bad
        )
        assert bad_among([torch.complex(values, values)], ()).wait() == bad
