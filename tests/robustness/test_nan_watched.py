"""Seeded faults in the middle of a watched loop; and a watch that keeps every step hurts nobody."""

import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import isograd
from isograd.monitor import black_box
from isograd.monitor.flags import Flag
from robustness import nan_seeds
from robustness.nan_seeds import SEEDS

_MARK = re.compile(r"# bad: (\S+) (\S+)(?: (\S+))?")
_LINES = Path(nan_seeds.__file__).read_text().splitlines()
MARKS = {n: m.groups() for n, line in enumerate(_LINES, 1) if (m := _MARK.search(line))}
# What the loop does to its weights between two steps is no part of a step.
BETWEEN = {"weights_averaged_with_nothing"}
# One of each way to go wrong; `benchmarks/nan_seeds.py` runs all.
WATCHED = (
    "log_of_a_negative root_of_a_negative_as_method softmax_of_a_row_that_is_all_masked "
    "batch_norm_without_epsilon half_precision_overflow_under_autocast "
    "forward_of_a_custom_function inside_a_checkpoint after_an_lstm "
    "attention_scores_of_a_gpt masked_class_is_the_target divided_by_an_empty_mask "
    "nan_in_the_batch infinity_in_the_batch_of_a_later_step nan_in_the_targets nan_in_a_buffer "
    "nan_in_a_weight root_at_zero where_trap backward_of_a_custom_function "
    "checkpointed_root_at_zero checkpointed_reentrant_root_at_zero "
    "loss_scale_overflows_half_precision second_of_two_accumulated_batches "
    "gradients_divided_by_zero clipped_to_nan clipped_with_an_infinite_gradient infinite_rate "
    "adam_without_epsilon fused_adam_without_epsilon momentum_that_overflows "
    "the_users_own_optimizer closure_of_lbfgs gradient_penalty_at_the_origin "
    "gradients_averaged_over_nobody hook_that_divides_by_zero sequence_loss_without_a_path"
).split()


@pytest.fixture
def warm(monkeypatch):
    monkeypatch.setattr(nan_seeds, "WARM", [3])


def judged(name, bad):
    assert bad is not None, name
    file, _, line = bad.source.rpartition(":")
    assert Path(file).name == "nan_seeds.py", bad
    phase, call, tensor = MARKS[int(line)]
    assert phase in ("-", bad.phase), bad
    assert call in ("-", bad.call, bad.op), bad
    assert tensor is None or bad.tensor == tensor, bad
    assert bad.reproduced, bad


@pytest.mark.parametrize("name", WATCHED)
def test_a_fault_is_located_while_the_loop_runs(name, warm):
    step, model = SEEDS[name]()
    with isograd.watch(model, replay=True) as watch:
        step()
    assert watch.failed == ""
    judged(name, watch.bad_steps[0])
    if type(model) is nan_seeds.Net and not name.startswith("infinity_in"):
        assert watch.bad_steps[0].step in (0, 3)


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.norm = nn.Linear(4, 8), nn.BatchNorm1d(8)
        self.head, self.drop = nn.Linear(8, 3), nn.Dropout(0.3)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return self.head(self.drop(torch.relu(self.norm(self.fc(x)))))


def trained(steps=12, spoil=None, scaler=None, **options):
    torch.manual_seed(0)
    model = Small()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    with isograd.watch(model, optimizer, **options) as watch:
        for step in range(steps):
            x, y = torch.randn(6, 4), torch.randint(0, 3, (6,))
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            if spoil is not None:
                loss = spoil(step, loss)
            if scaler is None:
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
            else:
                scaler.scale(loss).backward()
                scaler.step(optimizer)
                scaler.update()
            losses.append(loss.item())
    return losses, model, watch


def bits(model):
    return [t.clone() for t in model.state_dict().values()]


def test_training_is_bit_identical_and_nothing_stays_behind():
    call, apply = nn.Module.__call__, torch.autograd.Function.__dict__["apply"]
    plain, bare, _ = trained(budget=0.0)
    with torch.device("cpu"):  # a mode of the user's
        kept, model, watch = trained(replay=True)
        assert type(torch.overrides._get_current_function_mode()).__name__ == "DeviceContext"
    assert watch.failed == ""
    assert plain == kept
    assert all(torch.equal(a, b) for a, b in zip(bits(bare), bits(model), strict=True))
    assert model.calls == bare.calls
    assert torch._C._len_torch_function_stack() == 0
    assert nn.Module.__call__ is call
    assert torch.autograd.Function.__dict__["apply"] is apply
    assert watch.bad_steps == []


def spoilt(step, loss):
    return loss + (loss - loss).sqrt() if step == 7 else loss


def test_a_bad_step_is_run_again_without_a_trace():
    plain, bare, _ = trained(spoil=spoilt, budget=0.0)
    kept, model, watch = trained(spoil=spoilt, replay=True)
    bad = watch.bad_steps[0]
    assert (bad.step, bad.phase, bad.call, bad.reproduced) == (7, "backward", "sqrt", True)
    assert len(watch.bad_steps) == 1
    assert torch.tensor(plain).equal(torch.tensor(kept)) or plain[:8] == kept[:8]
    pairs = zip(bits(bare), bits(model), strict=True)
    assert all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in pairs)
    assert model.calls == bare.calls
    assert torch._C._len_torch_function_stack() == 0


def test_steps_that_a_scaler_skips_are_no_fault():
    def overflows(step, loss):
        return loss * float("inf") if step in (2, 3) else loss

    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    _, _, watch = trained(spoil=overflows, scaler=scaler, replay=True)
    assert watch.failed == ""
    assert watch.bad_steps == []

    def breaks(step, loss):
        return spoilt(step, overflows(step, loss))

    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    _, _, watch = trained(spoil=breaks, scaler=scaler, replay=True)
    assert watch.bad_steps == []  # its gradients are skipped too


def test_a_loss_that_is_nan_is_located_though_a_scaler_skips_the_step():
    def breaks(step, loss):
        return loss + (loss - 99).log() if step == 7 else loss

    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    _, _, watch = trained(spoil=breaks, scaler=scaler, replay=True)
    assert watch.failed == ""
    found = [(bad.step, bad.phase, bad.call) for bad in watch.bad_steps]
    assert found == [(7, "forward", "log")]


def test_a_loss_that_is_nan_is_located_though_the_program_leaves_the_step_out():
    torch.manual_seed(0)
    model = Small()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with isograd.watch(model, optimizer, replay=True) as watch:
        for step in range(6):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(torch.randn(6, 4)), torch.randint(0, 3, (6,)))
            if step == 3:
                loss = loss * (loss - 99).sqrt()
            loss.backward()
            if torch.isfinite(loss):
                optimizer.step()
    assert [(b.step, b.phase, b.call) for b in watch.bad_steps] == [(3, "forward", "sqrt")]


def test_a_flag_that_comes_later_still_finds_its_step(monkeypatch):
    """As on a device: the answer for a step is there only when the next has ended."""
    honest = black_box.bad_among

    class Late(Flag):
        def __init__(self, bad):
            super().__init__(False)
            self.known, self._answer, self._asked = False, bad, 0

        def also(self, other):
            self._answer = self._answer or other._answer

        def arrived(self, wait):
            self._asked += 1
            if self._asked > 1:
                self.known, self.bad = True, self._answer
            return self.known

    monkeypatch.setattr(black_box, "bad_among", lambda *a: Late(honest(*a).wait()))
    for spoil, phase in ((spoilt, "backward"), (None, "optimizer")):
        torch.manual_seed(0)
        model = Small()
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        with isograd.watch(model, optimizer, replay=True) as watch:
            for step in range(12):
                optimizer.zero_grad()
                loss = F.cross_entropy(model(torch.randn(6, 4)), torch.randint(0, 3, (6,)))
                (loss if spoil is None else spoil(step, loss)).backward()
                if spoil is None and step == 7:
                    optimizer.param_groups[0]["lr"] = float("inf")
                optimizer.step()
        assert watch.failed == ""
        assert watch.bad_steps, watch._box.why_not
        assert watch.bad_steps[0].phase == phase


def test_data_of_a_step_is_not_kept_beyond_it():
    import gc
    import weakref

    torch.manual_seed(0)
    model = Small()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with isograd.watch(model, optimizer, replay=True):
        for _ in range(20):  # past the first batches, which a rerun keeps
            x = torch.randn(6, 4)
            out = model(x)
            F.cross_entropy(out, torch.randint(0, 3, (6,))).backward()
            optimizer.step()
        held = [weakref.ref(x), weakref.ref(out)]
        del x, out
        gc.collect()
        assert [ref() for ref in held] == [None, None]


@pytest.mark.parametrize("replay", [False, True])
def test_an_optimizer_inside_of_the_backward_pass_leaves_no_mode_behind(replay):
    torch.manual_seed(0)
    model = Small()
    for p in model.parameters():
        optimizer = torch.optim.SGD([p], lr=0.1)

        def update(parameter, optimizer=optimizer):
            optimizer.step()
            optimizer.zero_grad()

        p.register_post_accumulate_grad_hook(update)
    with isograd.watch(model, replay=replay) as watch:
        for _ in range(6):
            F.cross_entropy(model(torch.randn(6, 4)), torch.randint(0, 3, (6,))).backward()
    assert watch.failed == ""
    assert watch.bad_steps == []
    assert torch._C._len_torch_function_stack() == 0


def test_running_a_step_again_lets_no_hook_of_the_users_train(monkeypatch):
    """Optimizers that step inside of the backward pass, and a hook that writes to a weight."""
    losses = {}
    for replay in (False, True):
        torch.manual_seed(0)
        model = Small()
        for p in model.parameters():
            optimizer = torch.optim.SGD([p], lr=0.1)

            def update(parameter, optimizer=optimizer):
                optimizer.step()
                optimizer.zero_grad()

            p.register_post_accumulate_grad_hook(update)

        def shrink(module, args, model=model):
            with torch.no_grad():
                model.head.bias.mul_(0.9)

        model.register_forward_pre_hook(shrink)
        seen = losses[replay] = []
        with isograd.watch(model, replay=replay, budget=None if replay else 0.0) as watch:
            for step in range(6):
                loss = F.cross_entropy(model(torch.randn(6, 4)), torch.randint(0, 3, (6,)))
                loss = loss + (loss - loss).sqrt() * (step == 4)
                loss.backward()
                seen.append(loss.item())
                seen += [p.sum().item() for p in model.parameters()]
        assert watch.failed == ""
    assert torch.tensor(losses[True]).nan_to_num().equal(torch.tensor(losses[False]).nan_to_num())
