"""The map against the theory, the probe, and itself on other processes and after a stop."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from isograd import theory
from isograd.capture.probe import probe
from isograd.errors import IsogradError
from isograd.monitor import map_cell, map_family, trainability
from isograd.monitor.map_cell import Cell, Recipe
from isograd.monitor.map_store import Store
from isograd.records.trainability import Side, Theory, TheoryPoint, Trainability

SMALL = Recipe(sigma_b=0.05**0.5, width=16, steps=5, batch=16)
DEPTHS, SCALES = (2, 5), (0.7, 1.3, 3.0)


def net(depth=6, width=24, sigma_w=1.4, sigma_b=0.3, name="tanh", inputs=64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    phi = map_family.function(theory.get(name))
    return map_family.Net(inputs, depth, width, sigma_w, sigma_b, phi, generator)


def same(a, b):
    """Equal maps; NaN equals NaN, and who made them does not matter."""
    return json.dumps(a.to_dict()) == json.dumps(b.to_dict())


# --- The family


@pytest.mark.parametrize("name", theory.known())
def test_torch_and_theory_mean_the_same_activation(name):
    z = np.linspace(-4, 4, 41)
    known = theory.get(name)
    found = map_family.function(known)(torch.as_tensor(z)).numpy()
    # Both are float64; torch's SELU constants and GELU are exact to rounding too.
    np.testing.assert_allclose(found, known(z), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", theory.known())
def test_every_activation_has_a_gain_and_a_sharpness(name):
    x, labels, _ = map_family.data()
    made = net(depth=2, width=8, sigma_w=1.0, name=name)
    assert math.isfinite(made.gain_decades(x[:16], labels[:16]))
    assert made.sharpness(x[:16]) > 0


def test_gain_is_that_of_the_probes_chain():
    x, labels, _ = map_family.data()
    x, labels, made = x[:32], labels[:32], net()
    layers = []
    for weight, bias in zip(made.weights, made.biases, strict=True):
        layer = nn.Linear(*weight.shape).double()
        layer.weight.data, layer.bias.data = weight.T.double(), bias.double()
        layers += [layer, nn.Tanh()]
    model = nn.Sequential(*layers[:-1])
    chain = probe(model, lambda m: F.cross_entropy(m(x.double()), labels)).chain("0.bias")
    arriving = [link.norm for link in chain.links if link.op == "linear"]
    assert len(arriving) == 7
    expected = math.log10(arriving[-1] / arriving[1])  # the first is the layer that reads out
    # Both in float64, from float32 weights.
    assert made.gain_decades(x, labels) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("sigma_w", [0.8, 1.0, 2.5])
def test_gain_is_the_theorys_in_wide_nets(sigma_w):
    x, labels, _ = map_family.data()
    depth, sigma_b = 30, 0.05**0.5
    scales = theory.depth_scales("tanh", sigma_w, sigma_b)
    expected = (depth - 1) * math.log10(scales.chi_1) / 2
    found = [
        net(depth, 300, sigma_w, sigma_b, seed=seed).gain_decades(x[:32], labels[:32])
        for seed in range(3)
    ]
    # ln gain^2 varies by about 5 depth / width = 0.5, so a decade of one net by 0.15; the first
    # layers, where q is not yet q*, add a few hundredths each.
    assert np.median(found) == pytest.approx(expected, abs=0.6)


def test_gain_does_not_underflow():
    x, labels, _ = map_family.data()
    decades = net(depth=60, width=8, sigma_w=1e-6).gain_decades(x[:8], labels[:8])
    assert -400 < decades < -150 or decades == -math.inf
    found = net(depth=30, width=8, sigma_w=1e-6).gain_decades(x[:8], labels[:8])
    assert found == pytest.approx(-6 * 29, abs=15)


def test_sharpness_is_the_largest_eigenvalue_of_the_gauss_newton_matrix():
    x, _, _ = map_family.data()
    x, made = x[:12, :10], net(depth=3, width=6, inputs=10)
    flat = [p.double() for p in made.parameters]
    jacobian = torch.autograd.functional.jacobian(
        lambda *p: made.logits(x.double(), p), tuple(flat)
    )
    j = torch.cat([part.flatten(2) for part in jacobian], 2)  # [batch, classes, parameters]
    p = torch.softmax(made.logits(x.double(), tuple(flat)), 1)
    h = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    matrix = torch.einsum("bcp,bcd,bdq->pq", j, h, j) / len(x)
    largest = float(torch.linalg.eigvalsh(matrix)[-1])
    # Eight power iterations come near from below; it sets a rate, no more.
    assert 0.8 * largest < made.sharpness(x) <= largest * (1 + 1e-5)


def test_without_scikit_learn_there_are_clusters(monkeypatch):
    map_family.data.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "sklearn.datasets", None)
    x, labels, name = map_family.data()
    map_family.data.cache_clear()
    assert name == "clusters"
    assert x.shape == (1800, 64)
    assert float(x.mean()) == pytest.approx(0, abs=1e-5)
    assert float(x.std()) == pytest.approx(1, abs=1e-5)
    assert labels.bincount().tolist() == [180] * 10


# --- A map


def test_a_map_is_the_same_whatever_runs_it():
    alone = trainability.measure(SMALL, DEPTHS, SCALES, seeds=2)
    shared = trainability.measure(SMALL, DEPTHS[::-1], SCALES[::-1], seeds=2, jobs=2)
    assert same(alone, shared)
    assert alone.success.shape == (2, 3)
    assert alone.seeds.tolist() == [[2] * 3] * 2
    assert np.isfinite(alone.success).all()
    other = trainability.measure(replace(SMALL, seed=1), DEPTHS, SCALES, seeds=2)
    assert not np.array_equal(other.gain_decades, alone.gain_decades)


@pytest.mark.ray
def test_ray_gives_the_same_map():
    pytest.importorskip("ray")
    alone = trainability.measure(SMALL, DEPTHS, SCALES)
    assert same(alone, trainability.measure(SMALL, DEPTHS, SCALES, jobs=2, backend="ray"))


@pytest.mark.dask
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_dask_gives_the_same_map():
    pytest.importorskip("distributed")
    alone = trainability.measure(SMALL, DEPTHS, SCALES)
    assert same(alone, trainability.measure(SMALL, DEPTHS, SCALES, jobs=2, backend="dask"))


def test_the_process_is_left_as_it_was():
    torch.manual_seed(3)
    expected, threads = torch.rand(2).tolist(), torch.get_num_threads()
    torch.manual_seed(3)
    trainability.measure(SMALL, (2,), (1.0,))
    assert torch.rand(2).tolist() == expected
    assert torch.get_num_threads() == threads


def test_trains_near_the_edge_and_not_far_from_it():
    recipe = Recipe(sigma_b=0.05**0.5, width=64, steps=60)
    found = trainability.measure(recipe, (4, 24), (0.5, 1.3))
    (shallow_small, shallow_edge), (deep_small, deep_edge) = found.success
    assert min(shallow_edge, deep_edge) > 0.5
    assert shallow_small > deep_small
    assert deep_small < 0.2
    limits = found.limits()
    assert limits[0] < 24 < limits[1]
    assert found.theory.critical == pytest.approx(1.3270, abs=1e-3)  # sigma_w^2 = 1.761


def test_a_training_that_diverges_is_recorded_and_is_not_the_end():
    found = trainability.measure(
        replace(SMALL, activation="relu", sigma_b=0.0, rate=1e12), (2,), (0.5, 1.4)
    )
    assert found.success.tolist() == [[0.0, 0.0]]
    assert np.isnan(found.loss_end).all()
    assert {failure.stage for failure in found.failures} == {"training"}
    assert "the loss is" in found.failures[0].reason


def test_a_net_that_overflows_before_training_is_recorded():
    found = trainability.measure(replace(SMALL, activation="relu", sigma_b=0.0), (60,), (40.0,))
    assert found.success[0, 0] == 0.0
    assert found.failures[-1].reason.endswith("before the first step")
    assert found.gain_decades[0, 0] > 50


def test_learning_rates_can_be_the_other_axis():
    recipe = replace(SMALL, axis="learning_rate", sigma_w=1.3)
    found = trainability.measure(recipe, DEPTHS, (1e-3, 1e-1))
    assert found.rate.tolist() == [[1e-3, 1e-1]] * 2
    assert len(found.theory.points) == 1
    assert found.limits()[0] == found.limits()[1] == found.theory.points[0].limit


# --- The theory's line


@pytest.mark.parametrize("sigma_w", [0.5, 1.0, 2.0, 4.0])
def test_line_is_six_depth_scales_of_the_correlation(sigma_w):
    point = trainability.theory_point("tanh", sigma_w, 0.05**0.5)
    slope = theory.depth_scales("tanh", sigma_w, 0.05**0.5).xi_c
    assert point.limit == 6 * slope
    assert point.phase == theory.phase("tanh", sigma_w, 0.05**0.5)


def test_without_a_fixed_point_the_gradients_scale_stands_in():
    # ReLU without biases: chi_1 = sigma_w^2 / 2 whatever the variance does.
    for sigma_w in (0.5, 1.0, 2.0, 4.0):
        point = trainability.theory_point("relu", sigma_w, 0.0)
        assert point.xi_c is None
        assert point.limit == pytest.approx(6 / abs(math.log(sigma_w**2 / 2)))


def test_where_the_theory_has_no_number_there_is_none():
    point = trainability.theory_point("gelu", 4.0, 0.2)
    assert point.kind == "none: diverges"
    assert point.limit is None


def made_map(success, limits, depths=(2, 4, 8)):
    scales = [float(1 + j) for j in range(len(limits))]
    shape = (len(depths), len(scales))
    points = tuple(
        TheoryPoint(s, "ordered", None if v is None else v / 6, None, "stable")
        for s, v in zip(scales, limits, strict=True)
    )
    blank = np.full(shape, math.nan)
    return Trainability(
        "sigma_w", np.array(depths), np.array(scales), blank, np.array(success, dtype=float),
        blank, blank, blank, np.ones(shape, dtype=int), 1, theory=Theory(points, None, ""),
    )  # fmt: skip


def test_the_depth_that_trains_lies_where_success_falls_through_a_half():
    table = [[1, 1, 0.2, 1, 1], [0.75, 1, 0, math.nan, 0], [0.25, 1, 0, 0, 1]]
    found = made_map(table, [6.0] * 5).trainable_depths()
    assert found.tolist()[:3] == [6.0, math.inf, 0.0]
    assert math.isnan(found[3])
    assert found[4] == 3.0  # what trains again below is not reached


def test_agreement_with_a_line_that_fits_and_one_that_does_not():
    table = [[1, 1, 1, 1, 1], [0, 0, 1, 1, 1], [0, 0, 0, 1, 1]]
    fits = made_map(table, [3.0, 3.0, 6.0, 9.0, 99.0]).agreement()
    assert (fits.right, fits.cells) == (1.0, 15)
    assert fits.sides == (Side("ordered", pytest.approx(1.0), 1.0, 5),)
    against = made_map(table, [9.0, 9.0, 6.0, 3.0, 3.0]).agreement()
    assert against.right == pytest.approx(7 / 15)
    assert against.sides[0].correlation < -0.9
    assert against.sides[0].ratio == pytest.approx(1 / 3)  # of 3 / 9, 3 / 9, 6 / 6
    assert made_map(table, [None] * 5).agreement() is None
    part = made_map(table, [3.0, None, 6.0, None, 99.0]).agreement()
    assert (part.right, part.cells) == (1.0, 9)
    assert part.sides[0].scales == 3
    assert math.isnan(part.sides[0].correlation)


def test_agreement_tells_the_phases_apart():
    table = [[1, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 0]]
    found = made_map(table, [3.0, 3.0, 12.0, 12.0])
    points = found.theory.points
    chaotic = tuple(replace(point, phase="chaotic") for point in points[2:])
    found = replace(found, theory=Theory(points[:2] + chaotic, None, ""))
    sides = found.agreement().sides
    assert [(side.phase, side.ratio) for side in sides] == [("ordered", 1.0), ("chaotic", 0.5)]


def test_a_map_survives_json():
    found = trainability.measure(
        replace(SMALL, activation="relu", sigma_b=0.0, rate=1e12), DEPTHS, (0.5, 2**0.5, 3.0)
    )
    text = json.dumps(found.to_dict(), allow_nan=False)
    assert same(Trainability.from_dict(json.loads(text)), found)
    with pytest.raises(ValueError, match="schema version 99"):
        Trainability.from_dict({**found.to_dict(), "schema": 99})


# --- Stop and go on


@pytest.fixture
def measured(monkeypatch):
    """Keys of the cells measured in this process."""
    keys, real = [], map_cell.measure

    def counted(recipe, depth, scale, replica):
        keys.append((depth, scale, replica))
        return real(recipe, depth, scale, replica)

    monkeypatch.setattr(map_cell, "measure", counted)
    return keys


def test_goes_on_where_it_was_interrupted(tmp_path, measured):
    whole = trainability.measure(SMALL, DEPTHS, SCALES)
    measured.clear()

    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    part = trainability.measure(SMALL, DEPTHS, SCALES, store=tmp_path, progress=stop)
    assert part.stopped == "interrupted"
    assert (part.measured, len(measured)) == (2, 2)
    assert np.isnan(part.success).sum() == 4
    rest = trainability.measure(SMALL, DEPTHS, SCALES, store=tmp_path)
    assert len(measured) == len(set(measured)) == 6
    assert same(rest, whole)


def test_time_limit_gives_what_is_known(tmp_path, measured):
    part = trainability.measure(SMALL, DEPTHS, SCALES, store=tmp_path, time_limit=0.0)
    assert (part.stopped, part.measured) == ("time limit", 1)
    assert len(part.theory.points) >= 3


def test_a_finer_grid_takes_over_the_cells_it_shares(tmp_path, measured):
    trainability.measure(SMALL, DEPTHS, SCALES, store=tmp_path)
    measured.clear()
    trainability.measure(SMALL, (2, 3, 5), SCALES, store=tmp_path)
    assert sorted(key[0] for key in measured) == [3, 3, 3]
    measured.clear()
    trainability.measure(replace(SMALL, steps=6), (2,), SCALES, store=tmp_path)
    assert len(measured) == 3  # other settings, other numbers
    measured.clear()
    trainability.measure(SMALL, (2,), SCALES, store=tmp_path, fresh=True)
    assert len(measured) == 3


def test_a_torn_line_costs_its_own_cell_alone(tmp_path):
    store = Store(tmp_path, {"a": 1})
    store.add(Cell(1, 1.0, 0, success=0.5))
    store.add(Cell(2, 1.0, 0, failures=(("gain", "why"),)))
    store.file.write_bytes(store.file.read_bytes()[:-20])
    store.add(Cell(3, 1.0, 0, gain_decades=-math.inf))
    found = Store(tmp_path, {"a": 1}).read()
    assert sorted(found) == [(1, 1.0, 0), (3, 1.0, 0)]
    assert found[3, 1.0, 0].gain_decades == -math.inf
    assert math.isnan(found[3, 1.0, 0].success)
    assert Store(tmp_path, {"a": 2}).read() == {}


# --- A user's build


class Made:
    """What `build` gives: a chain of scaled identities, whose gain is known."""

    def __init__(self, depth, scale):
        linears = [nn.Linear(4, 4, bias=False, dtype=torch.float64) for _ in range(depth)]
        for linear in linears:
            linear.weight.data = scale * torch.eye(4, dtype=torch.float64)
        self.model = nn.Sequential(*linears)
        self.optimizer = self.train_step = None
        self.x = torch.ones(3, 4, dtype=torch.float64)

    def step(self, model):
        return F.mse_loss(model(self.x), 2 * self.x)


BUILT = Recipe(activation="", steps=3, build=Made)


def test_gain_of_a_build_is_that_of_its_chain():
    found = trainability.measure(BUILT, (2, 5), (0.5, 2.0))
    # From the output to the first layer the gradient passes depth - 1 layers.
    expected = [[n * math.log10(s) for s in (0.5, 2.0)] for n in (1, 4)]
    np.testing.assert_allclose(found.gain_decades, expected, atol=1e-9)
    assert found.theory is None
    assert found.limits().tolist() == pytest.approx([math.nan] * 2, nan_ok=True)
    assert found.rate.tolist() == [[map_cell.DEFAULT_RATE] * 2] * 2


def test_success_of_a_build_is_the_share_of_the_loss_that_is_gone():
    made = Made(2, 1.0)
    optimizer = torch.optim.SGD(made.model.parameters(), lr=0.01)
    losses = [made.step(made.model).item()]
    for _ in range(3):
        optimizer.zero_grad()
        made.step(made.model).backward()
        optimizer.step()
    losses.append(made.step(made.model).item())
    found = trainability.measure(BUILT, (2,), (1.0,))
    assert found.success[0, 0] == pytest.approx(1 - losses[1] / losses[0])
    assert found.loss_start[0, 0] == losses[0]


def test_a_first_cell_that_cannot_be_built_is_named():
    def build(depth, scale):
        raise ValueError(f"no net of depth {depth}\nsecond line")

    with pytest.raises(IsogradError) as caught:
        trainability.measure(replace(BUILT, build=build), (2, 5), (0.5,))
    assert caught.value.what == (
        "the grid cannot be built: its cell depth 2, scale 0.5: ValueError: no net of depth 2"
    )


def test_a_grid_of_which_no_cell_can_be_built_names_the_first():
    calls = []

    def build(depth, scale):
        calls.append(depth)
        if len(calls) > 1:
            raise ValueError("once only")
        return Made(depth, scale)

    with pytest.raises(IsogradError, match=r"its cell depth 2, scale 0\.5: ValueError: once only"):
        trainability.measure(replace(BUILT, build=build), (2, 5), (0.5,))


def test_other_cells_that_cannot_be_built_are_recorded():
    def build(depth, scale):
        if depth == 5:
            raise ValueError("too deep")
        return Made(depth, scale)

    found = trainability.measure(replace(BUILT, build=build), (2, 5), (0.5,))
    assert [(f.depth, f.stage, f.reason) for f in found.failures] == [
        (5, "build", "ValueError: too deep")
    ]
    assert math.isnan(found.success[1, 0])
    assert found.seeds.tolist() == [[1], [1]]


def test_a_step_that_raises_is_recorded():
    class Broken(Made):
        def step(self, model):
            raise RuntimeError("no data")

    found = trainability.measure(replace(BUILT, build=Broken), (2,), (0.5,))
    assert [failure.stage for failure in found.failures] == ["gain", "training"]
    assert "no data" in found.failures[0].reason


@pytest.mark.parametrize("axes", [((), (1.0,)), ((2,), ()), ((0,), (1.0,)), ((2,), (0.0,))])
def test_an_empty_or_impossible_axis_is_refused(axes):
    with pytest.raises(ValueError, match=r"axis of the map|at least 1"):
        trainability.measure(SMALL, *axes)
