"""`untouched` leaves everything bit-identical, also when the body raises."""

from __future__ import annotations

import gc
import random
import weakref
from collections import deque

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from torch.overrides import TorchFunctionMode

from isograd.capture.guard import untouched
from isograd.capture.guard_leaves import SMALL_BUFFER_BYTES
from isograd.capture.writes import WriteWatch, reach
from isograd.errors import ModelError, StepError


class Driver(TorchFunctionMode):
    """Tells the guard of every torch call, as the tagger does."""

    def __init__(self, guard):
        super().__init__()
        self.guard = guard

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.guard.watch.before_call(func, args, kwargs)
        return func(*args, **(kwargs or {}))


class BoomError(Exception):
    pass


class Everything(nn.Module):
    """One of each kind of state a module can have."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.norm = nn.BatchNorm1d(4)
        self.last = parametrizations.weight_norm(nn.Linear(4, 4))
        self.spectral = parametrizations.spectral_norm(nn.Linear(4, 4))
        self.drop = nn.Dropout(0.5)
        self.tied = nn.Linear(4, 4)
        self.register_buffer("ema", torch.zeros(4))
        self.register_buffer("nothing", None)
        self.register_buffer("large", torch.zeros(SMALL_BUFFER_BYTES // 4 + 1))
        self.register_buffer("spread", torch.zeros(1).expand(3))
        self.calls = 0
        self.cache = []
        self.nested = {"inner": [1]}
        self.recent = deque([1, 2], maxlen=2)
        self.generator = torch.Generator().manual_seed(3)
        self.python_random = random.Random(3)
        self.hidden = None

    def forward(self, x):
        self.calls += 1
        h = self.drop(self.spectral(self.norm(self.first(x))))
        self.ema.lerp_(h.detach().mean(0), 0.1)
        self.hidden = h
        self.cache.append(h)
        self.nested["inner"].append(h)
        self.recent.append(h)
        self.noise = torch.rand(1, generator=self.generator)
        self.python_random.random()
        return self.last(self.tied(h)) * self.noise


def bits(tensor):
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).clone()


def frozen(value):
    """A comparable picture of a container; tensors by identity."""
    if isinstance(value, dict):
        return {key: frozen(item) for key, item in value.items()}
    if isinstance(value, list | deque):
        return [frozen(item) for item in value]
    return value if isinstance(value, int | float | str | set | None) else id(value)


def picture(model):
    """Everything that must not change, by an implementation of its own."""
    named = dict(model.named_parameters(remove_duplicate=False))
    buffers = dict(model.named_buffers(remove_duplicate=False))
    return {
        "parameters": {
            name: (
                id(p),
                (p.untyped_storage()._cdata, p.storage_offset()),
                tuple(p.shape),
                p.stride(),
                p.dtype,
                p.requires_grad,
                p._version,
                bits(p).tolist() if p.numel() < 1000 else int(bits(p).sum()),
                id(p.grad),
                frozen(p.__dict__),
                frozen(p._backward_hooks),
                frozen(p._post_accumulate_grad_hooks),
            )
            for name, p in named.items()
        },
        "grads": {
            n: (bits(p.grad).tolist(), p.grad._version)
            for n, p in named.items()
            if p.grad is not None
        },
        "buffers": {
            name: (
                id(b),
                (b.untyped_storage()._cdata, b.storage_offset()),
                b._version,
                b.requires_grad,
                bits(b).tolist() if b.numel() < 1000 else int(bits(b).sum()),
            )
            for name, b in buffers.items()
        },
        "modules": {
            name: (type(m), {key: frozen(value) for key, value in vars(m).items()})
            for name, m in model.named_modules()
        },
        "torch": torch.get_rng_state().tolist(),
        "python": random.getstate(),
        "numpy": [
            part.tolist() if hasattr(part, "tolist") else part for part in np.random.get_state()
        ],
        "own": [
            g.get_state().tolist() for m in model.modules() if (g := getattr(m, "generator", None))
        ],
        "grad mode": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
    }


def run(model, body, *, fail=False):
    """Run a body under the guard; assert that nothing moved; return the guard."""
    before = picture(model)
    guard = untouched(model)
    try:
        with guard, Driver(guard):
            body(model)
            guard.copies = len(guard.watch.saved)
            if fail:
                raise BoomError
    except BoomError:
        assert fail
    after = picture(model)
    for key in before:
        assert after[key] == before[key], key
    return guard


def mlp():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))


def loss_of(model):
    return model(torch.ones(5, 3)).square().sum()


@pytest.mark.parametrize("fail", [False, True])
def test_a_forward_and_backward_of_a_model_with_all_kinds_of_state(fail):
    torch.manual_seed(0)
    model = Everything()
    model.first.weight.grad = torch.ones(4, 3)
    model.first.bias.requires_grad_(False)
    guard = run(model, lambda m: m(torch.randn(6, 3)).sum().backward(), fail=fail)
    assert guard.changed_parameters == ()
    assert guard.unrestored == ()
    guard.raise_if_changed()


def test_gradients_are_none_inside_and_the_same_objects_after():
    model = mlp()
    loss_of(model).backward()
    kept = [p.grad for p in model.parameters()]

    def body(m):
        assert all(p.grad is None for p in m.parameters())
        loss_of(m).backward()
        assert all(p.grad is not None for p in m.parameters())

    run(model, body)
    assert all(p.grad is g for p, g in zip(model.parameters(), kept, strict=True))


def test_gradients_of_leaves_outside_the_model_are_restored_if_protected():
    model, scale = mlp(), nn.Parameter(torch.ones(1))
    scale.grad = kept = torch.full((1,), 7.0)

    def body(m):
        loss = loss_of(m) * scale
        guard.protect([scale, *m.parameters()])
        loss.backward()

    guard = untouched(model)
    with guard:
        body(model)
    assert scale.grad is kept
    assert scale.grad.item() == 7.0
    assert all(p.grad is None for p in model.parameters())


def sgd(model):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loss_of(model).backward()
    optimizer.step()


def sgd_loop(model):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, foreach=False, momentum=0.9)
    loss_of(model).backward()
    optimizer.step()


def adam_foreach(model):
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1, foreach=True)
    loss_of(model).backward()
    optimizer.step()


def adam_fused(model):
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
    loss_of(model).backward()
    optimizer.step()


@pytest.mark.parametrize("fail", [False, True])
@pytest.mark.parametrize("body", [sgd, sgd_loop, adam_foreach, adam_fused])
def test_a_step_that_trains_is_undone_and_named(body, fail):
    model = mlp()
    guard = run(model, body, fail=fail)
    assert guard.changed_parameters == ("0.weight", "0.bias", "2.weight", "2.bias")
    assert guard.unrestored == ()


def with_no_grad(write):
    def body(model):
        with torch.no_grad():
            write(model[0].weight)

    return body


def write_item(p):
    p[0, 0] = 9.0


def write_operator(p):
    p += 1


def assign_data(p):
    p.data = torch.zeros(4, 3)


def assign_transposed(p):
    p.data = p.data.t()


WRITES = {
    "data": lambda p: p.data.mul_(2),
    "detach": lambda p: p.detach().add_(1),
    "view": lambda p: p.view(-1)[2:4].zero_(),
    "transposed view": lambda p: p.t().fill_(3),
    "item": write_item,
    "operator": write_operator,
    "out": lambda p: torch.add(p.detach(), 1, out=p),
    "out tuple": lambda p: torch.max(torch.ones(4, 3, 2), dim=2, out=(p, torch.empty(4, 3).long())),
    "copy_": lambda p: p.copy_(torch.zeros(4, 3)),
    "numpy": lambda p: np.multiply(p.detach().numpy(), 2, out=p.detach().numpy()),
    "asarray": lambda p: np.asarray(p.detach()).fill(2),
    "from_dlpack": lambda p: torch.from_dlpack(p.detach()).mul_(2),
    "storage": lambda p: p.untyped_storage().fill_(1),
    "storage resized": lambda p: p.untyped_storage().resize_(0),
    "init": lambda p: nn.init.normal_(p),
    "init uniform": lambda p: nn.init.kaiming_uniform_(p),
    "init truncated": lambda p: nn.init.trunc_normal_(p),
    "aten": lambda p: torch.ops.aten.mul_.Tensor(p, torch.tensor(2.0)),
    "aten packet": lambda p: torch.ops.aten.mul_(p, 2.0),
    "foreach": lambda p: torch._foreach_mul_([p], 2.0),
    "set_": lambda p: p.set_(torch.zeros(2, 2)),
    "resize_": lambda p: p.requires_grad_(False).resize_(2, 2),
    "data assigned": assign_data,
    "data transposed": assign_transposed,
    "data to double": lambda p: setattr(p, "data", p.data.double()),
    "inplace relu": lambda p: F.relu(p.sub_(1), inplace=True),
    "inplace keyword": lambda p: F.relu(p, inplace=True),
    "swapped": lambda p: torch.utils.swap_tensors(p, nn.Parameter(torch.zeros(4, 3))),
    "vector": lambda p: nn.utils.vector_to_parameters(torch.zeros(12), [p]),
}


@pytest.mark.parametrize("fail", [False, True])
@pytest.mark.parametrize("name", WRITES)
def test_a_write_to_a_parameter_is_undone_and_named(name, fail):
    guard = run(mlp(), with_no_grad(WRITES[name]), fail=fail)
    assert guard.changed_parameters == ("0.weight",)
    assert guard.unrestored == ()


READS = {
    "numpy": lambda p: p.detach().numpy().sum(),
    "data_ptr": lambda p: p.data_ptr(),
    "other side": lambda p: torch.zeros(4, 3).add_(p.detach()),
    "times one": lambda p: p.data.mul_(1),
    "there and back": lambda p: p.data.mul_(2).div_(2),
    "requires_grad_": lambda p: p.requires_grad_(False),
    "fresh data": lambda p: p.data.clone().zero_(),
}


@pytest.mark.parametrize("name", READS)
def test_what_changes_no_bit_is_not_named(name):
    guard = run(mlp(), with_no_grad(READS[name]))
    assert guard.changed_parameters == ()
    assert guard.unrestored == ()


def test_reading_a_parameter_into_another_tensor_copies_nothing():
    assert run(mlp(), with_no_grad(READS["other side"])).copies == 0


def test_load_state_dict_and_conversion_inside_are_undone():
    state = {name: value + 1 for name, value in mlp().state_dict().items()}

    def body(model):
        model.load_state_dict(state)
        model.double()

    assert len(run(mlp(), body).changed_parameters) == 4


def test_parameters_that_share_one_storage_are_told_apart():
    flat = torch.randn(6)
    model = nn.Module()
    model.a, model.b = nn.Parameter(flat[:3]), nn.Parameter(flat[3:])
    guard = run(model, lambda m: m.b.data.mul_(2))
    assert guard.changed_parameters == ("b",)


def test_a_tied_parameter_is_named_once():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    guard = run(model, lambda m: m[1].weight.data.mul_(2))
    assert guard.changed_parameters == ("0.weight",)


def test_a_model_that_contains_itself_is_walked_once():
    model = nn.Sequential(nn.Linear(1, 1))
    model.__dict__["me"] = model
    model[0].owner = [model]  # a list hides it from torch
    run(model, lambda m: m(torch.ones(1, 1)).sum().backward())


def replace_attribute(model):
    model[0].weight = nn.Parameter(torch.zeros(4, 3))


def replace_entry(model):
    model[0]._parameters["weight"] = nn.Parameter(torch.zeros(4, 3))


def replace_module(model):
    model[0] = nn.Linear(3, 4)


def create(model):
    model[0].register_parameter("extra", nn.Parameter(torch.zeros(1)))


def remove(model):
    del model[2].bias


def parametrize(model):
    parametrizations.weight_norm(model[2])


@pytest.mark.parametrize("fail", [False, True])
@pytest.mark.parametrize(
    ("body", "names"),
    [
        (replace_attribute, {"0.weight"}),
        (replace_entry, {"0.weight"}),
        (replace_module, {"0.weight", "0.bias"}),
        (create, {"0.extra"}),
        (remove, {"2.bias"}),
        (
            parametrize,
            {
                "2.weight",
                "2.parametrizations.weight.original0",
                "2.parametrizations.weight.original1",
            },
        ),
    ],
)
def test_parameters_bound_anew_are_put_back_and_named(body, names, fail):
    assert set(run(mlp(), body, fail=fail).changed_parameters) == names


def test_a_write_the_watch_did_not_see_is_reported_as_lost():
    model = mlp()
    with untouched(model) as guard, torch.no_grad():  # no mode drives the watch
        model[0].weight.mul_(2)
    assert guard.changed_parameters == ("0.weight",)
    assert len(guard.unrestored) == 1
    assert guard.unrestored[0].startswith("0.weight: written to outside torch's Python functions")
    with pytest.raises(StepError, match=r"not restored: 0\.weight: written to outside"):
        guard.raise_if_changed()


def test_a_gradient_written_behind_the_watch_is_reported():
    model = mlp()
    loss_of(model).backward()
    kept = model[0].weight.grad
    with untouched(model) as guard:
        kept.zero_()
    assert guard.changed_parameters == ()
    assert guard.unrestored == (
        "0.weight: its gradient was written to outside torch's Python functions",
    )


def test_a_gradient_the_step_writes_to_is_restored():
    model = mlp()
    loss_of(model).backward()
    kept = model[0].weight.grad
    guard = run(model, lambda m: kept.zero_())
    assert guard.changed_parameters == ()
    assert guard.unrestored == ()


def test_max_norm_of_an_embedding_is_undone_and_is_no_fault_of_the_step():
    model = nn.Sequential(nn.Embedding(4, 3, max_norm=0.1), nn.Linear(3, 1))
    guard = run(model, lambda m: m(torch.tensor([0, 1])).sum().backward())
    assert guard.copies == 1
    assert guard.changed_parameters == ()


def test_max_norm_and_a_write_of_its_own_is_a_fault():
    model = nn.Sequential(nn.Embedding(4, 3, max_norm=0.1))

    def body(m):
        m(torch.tensor([0]))
        m[0].weight.data.mul_(2)

    assert run(model, body).changed_parameters == ("0.weight",)


@pytest.mark.parametrize("name", ["ema", "large", "spread"])
def test_buffers_are_restored_in_place(name):
    model = nn.Module()
    model.register_buffer("ema", torch.full((3,), float("nan")))
    model.register_buffer("large", torch.zeros(SMALL_BUFFER_BYTES // 4 + 1))
    model.register_buffer("spread", torch.zeros(1).expand(3))

    def body(m):
        target = getattr(m, name)
        target[:1] = 5.0
        target.data[:1].mul_(2)

    guard = run(model, body)
    assert guard.changed_parameters == ()
    assert guard.unrestored == ()


def test_a_small_buffer_is_restored_without_the_watch():
    """Batch normalisation writes its statistics in C++ and bumps no version."""
    model = nn.Sequential(nn.BatchNorm1d(3))
    before = picture(model)
    with untouched(model):
        model(torch.randn(5, 3))
        model[0].running_mean.data.numpy()[:] = 7
    assert picture(model) == before


def test_a_buffer_that_took_on_a_graph_is_a_leaf_again():
    model = nn.Linear(3, 3)
    model.register_buffer("state", torch.zeros(3))
    run(model, lambda m: m.state.copy_(m(torch.ones(3))))
    assert model.state.grad_fn is None


@pytest.mark.parametrize("how", ["rebound", "deleted", "data", "none"])
def test_buffers_bound_anew_are_put_back(how):
    model = nn.Linear(3, 3)
    model.register_buffer("state", torch.zeros(3))

    def body(m):
        if how == "rebound":
            m.state = torch.ones(5)
        elif how == "deleted":
            del m.state
        elif how == "data":
            m.state.data = torch.ones(5)
        else:
            m.state = None

    assert run(model, body).changed_parameters == ()


def test_a_graph_the_caller_holds_is_still_valid_afterwards():
    """Restored bits get their old version counter, or autograd would refuse."""
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    pending = model(torch.randn(5, 3)).sum()
    run(model, with_no_grad(lambda p: p.mul_(2)))
    run(model, lambda m: m[1].num_batches_tracked.add_(1))
    pending.backward()


def set_attributes(model):
    model.eval()
    model.note = "x"
    model[0].in_features = 99
    model[1].hidden = loss_of(model)


def add_hooks(model):
    model[0].register_forward_hook(lambda *_: None)
    model[2].register_full_backward_hook(lambda *_: None)
    model[2].register_state_dict_pre_hook(lambda *_: None)
    model[0].weight.register_hook(lambda g: g * 100)
    model[0].bias.register_post_accumulate_grad_hook(lambda p: None)
    model[0].bias.note = 1
    loss_of(model).backward()


def freeze(model):
    model.requires_grad_(False)


def switch_grad_off(model):
    torch.set_grad_enabled(False)


@pytest.mark.parametrize("fail", [False, True])
@pytest.mark.parametrize("body", [set_attributes, add_hooks, freeze, switch_grad_off])
def test_attributes_hooks_and_flags_are_put_back(body, fail):
    assert run(mlp(), body, fail=fail).changed_parameters == ()


def test_hooks_that_were_there_are_kept_even_if_removed_inside():
    model = mlp()
    calls = []
    handles = [
        model[0].register_forward_hook(lambda *_: calls.append("module")),
        model[0].weight.register_hook(lambda g: calls.append("tensor")),
        model[0].bias.register_post_accumulate_grad_hook(lambda p: calls.append("after")),
    ]
    run(model, lambda m: [handle.remove() for handle in handles])
    loss_of(model).backward()
    assert sorted(calls) == ["after", "module", "tensor"]


def test_no_tensor_of_the_step_outlives_it():
    model = Everything()
    seen = []

    def body(m):
        out = m(torch.randn(6, 3))
        out.sum().backward()
        seen.extend([weakref.ref(out), weakref.ref(m.hidden), weakref.ref(m.first.weight.grad)])

    run(model, body)
    gc.collect()
    assert [ref() for ref in seen] == [None] * 3


@pytest.mark.parametrize("waiting", [False, True])
@pytest.mark.parametrize("fail", [False, True])
def test_generators_are_rewound(waiting, fail):
    """One Gaussian of a pair may wait in the cache, where the state's bytes do not show it."""
    random.gauss(0, 1)
    np.random.seed(0)
    if waiting:
        np.random.randn()

    def body(_):
        torch.rand(3)
        random.gauss(0, 1)
        np.random.randn()

    for _ in range(3):  # the second time from the cache
        run(mlp(), body, fail=fail)
    run(mlp(), lambda _: np.random.randn(3))
    run(mlp(), lambda _: np.random.seed(5))


def test_dropout_masks_repeat():
    model = nn.Dropout(0.5)
    masks = []
    for _ in range(2):
        with untouched(model):
            masks.append(model(torch.ones(100)))
    assert torch.equal(*masks)


def test_grad_mode_is_on_inside_whatever_the_caller_had():
    model = mlp()
    for outside in (torch.no_grad(), torch.inference_mode(), torch.enable_grad()):
        with outside:
            run(model, lambda m: loss_of(m).backward())


def test_default_dtype_and_autocast_are_left_alone():
    with torch.autocast("cpu", dtype=torch.bfloat16), untouched(mlp()):
        assert torch.is_autocast_enabled("cpu")
        assert torch.get_default_dtype() is torch.float32


def test_a_lazy_module_is_refused_before_anything_changes():
    model = nn.Sequential(nn.LazyLinear(3), nn.Linear(3, 1))
    model[1].weight.grad = kept = torch.ones(1, 3)
    with pytest.raises(ModelError) as caught, untouched(model):
        pass
    assert model[1].weight.grad is kept
    assert str(caught.value).splitlines() == [
        "the model has 2 parameters without a shape yet.",
        "    0.weight   not initialised",
        "    0.bias   not initialised",
        "Most likely:",
        "(a) it has lazy modules (`nn.Lazy...`): run the model once on a batch, `model(batch)`, "
        "then measure it.",
    ]


def test_the_error_for_a_step_that_trains_line_by_line():
    guard = run(mlp(), sgd)
    with pytest.raises(StepError) as caught:
        guard.raise_if_changed()
    assert str(caught.value).splitlines() == [
        "the step changes the model: 4 of 4 parameters are not what they were before "
        "`step(model)`.",
        "    0.weight   written to, restored",
        "    0.bias   written to, restored",
        "    2.weight   written to, restored",
        "    2.bias   written to, restored",
        "Most likely:",
        "(a) the step calls `optimizer.step()`: leave it out, a step only computes the loss and "
        "returns it.",
        "(b) the forward writes to a parameter (`.data`, an in-place op, `nn.init`, "
        "`load_state_dict`): do that outside of the step.",
    ]


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        (create, "(a) the model builds layers in its first forward"),
        (replace_attribute, "(a) the step assigns a new `nn.Parameter`"),
    ],
)
def test_the_likeliest_cause_follows_from_what_happened(body, cause):
    guard = run(mlp(), body)
    with pytest.raises(StepError) as caught:
        guard.raise_if_changed()
    assert str(caught.value).splitlines()[3].startswith(cause)


def test_sparse_complex_and_inference_tensors_do_not_crash():
    model = nn.Module()
    model.complex = nn.Parameter(torch.ones(2, dtype=torch.complex64))
    model.sparse = nn.Parameter(torch.eye(3).to_sparse())
    model.register_buffer("sparse_buffer", torch.eye(3).to_sparse())
    model.register_buffer("empty", torch.zeros(0))
    model.register_buffer("meta", torch.zeros(3, device="meta"))
    with torch.inference_mode():
        model.register_buffer("inference", torch.zeros(3))
    with untouched(model) as guard, Driver(guard):
        (model.complex.abs().sum() + torch.sparse.sum(model.sparse)).backward()
    assert guard.changed_parameters == ()
    assert guard.unrestored == ()
    assert model.sparse.grad is None


@pytest.fixture
def one_rank():
    from torch import distributed

    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distributed")
def test_a_distributed_tensor_is_restored_too(one_rank):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import DTensor, Shard, distribute_tensor

    mesh = init_device_mesh("cpu", (1,))
    model = nn.Module()
    model.weight = nn.Parameter(distribute_tensor(torch.ones(4, 3), mesh, [Shard(0)]))
    model.register_buffer("scale", distribute_tensor(torch.ones(3), mesh, [Shard(0)]))
    assert isinstance(model.weight, DTensor)
    with untouched(model) as guard, Driver(guard):
        model.weight.sum().backward()
        with torch.no_grad():
            model.weight.mul_(3)
            model.scale.mul_(3)
    assert guard.changed_parameters == ("weight",)
    assert guard.unrestored == ()
    assert model.weight.grad is None
    assert model.weight.full_tensor().sum() == 12
    assert model.scale.full_tensor().sum() == 3


def test_parameters_are_not_copied_unless_written_to():
    assert run(mlp(), lambda m: loss_of(m).backward()).copies == 0


def test_an_error_in_one_restore_does_not_stop_the_others(monkeypatch):
    model = mlp()
    guard = untouched(model)
    with guard:
        model.eval()
        torch.rand(1)
        state = guard._random._torch
        monkeypatch.setattr(guard, "_restore_model", lambda: 1 / 0)
    assert guard.unrestored == ("ZeroDivisionError: division by zero",)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("func", "expected"),
    [
        (torch.Tensor.add, "none"),
        (torch.Tensor.add_, "first"),
        (torch.Tensor.__iadd__, "first"),
        (torch.Tensor.__index__, "none"),
        (torch.Tensor.__invert__, "none"),
        (torch.Tensor.__setitem__, "first"),
        (torch.Tensor.data.__set__, "first"),
        (torch.Tensor.data.__get__, "none"),
        (torch.Tensor.grad.__set__, "none"),
        (torch.Tensor.__cuda_array_interface__.__get__, "first"),
        (torch.Tensor.numpy, "first"),
        (torch.Tensor.requires_grad_, "none"),
        (torch.ops.aten.add, "any"),
        (torch.ops.aten.add.Tensor, "none"),
        (torch.ops.aten.add_.Tensor, "any"),
        (F.relu, "none"),
        (nn.init.normal_, "first"),
    ],
)
def test_reach_tells_writes_from_reads(func, expected):
    assert reach(func) == expected


def test_a_watch_without_tensors_ignores_everything():
    watch = WriteWatch([])
    watch.before_call(torch.Tensor.add_, (torch.ones(1), 1), None)
    watch.before_call(torch.add, (torch.ones(1), 1), {"out": torch.ones(1)})
    assert watch.saved == {}
