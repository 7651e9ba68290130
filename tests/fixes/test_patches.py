"""Patches of small programs in many styles: the diff, that git takes it, and that it works."""

import sys

import pytest
import torch
from torch import nn

import fix_samples
from fix_samples import NAMES, Loaded, git, golden, patched, written
from isograd.fixes.kind import carried_out
from isograd.fixes.patches.make import patch
from isograd.records.fix import Fix

# Fixes that draw weights anew: the patched program draws others.
DRAWN = {"activation", "weights", "recurrent-weights", "build-once", "gated-recurrence"}
# Fixes whose trial keeps the meaning of the loss where the patch changes the data.
RESCALED = {"input-scale", "target-scale", "penalty"}
# Fixes whose patch leaves a layer out that the trial passes through, or has a module for weights
# that the trial keeps.
REBUILT = {"output-activation", "build-once"}


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    known = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in set(sys.modules) - known:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def facts(setup):
    """What a change leaves behind that does not depend on random draws."""
    groups = setup.optimizer.param_groups if setup.optimizer is not None else []
    return {
        "modules": [type(m).__name__ for m in setup.model.modules() if not list(m.children())],
        "dtypes": {p.dtype for p in setup.model.parameters()},
        "trainable": {n for n, p in setup.model.named_parameters() if p.requires_grad},
        "zero": [n for n, p in setup.model.named_parameters() if not p.any()],
        "groups": [
            {k: float(f"{v:.6g}") for k, v in g.items() if isinstance(v, int | float)}
            for g in groups
        ],
        "held": sorted(p.numel() for g in groups for p in g["params"]),
    }


@pytest.mark.filterwarnings("ignore:Using a target size")
@pytest.mark.parametrize("name", NAMES)
def test_the_diff_is_as_expected_applies_and_does_what_the_trial_did(name, place):
    with Loaded(written(name, place)) as loaded:
        # The diff.
        assert loaded.patch.diff == golden(name).read_text(encoding="utf-8")
        git(place, "init", "-q")
        git(place, "add", "-A")
        assert git(place, "apply", "-", text=loaded.patch.diff).stderr == b""
        for path, text in loaded.patch.texts.items():
            assert path.read_bytes() == text.encode()
        git(place, "checkout", "-q", ".")
        # The program.
        trial = loaded.setup.copied()
        if loaded.setup.optimizer is None:
            trial.optimizer = None
        trial = carried_out(loaded.fix, trial)
        with patched(loaded) as new:
            if loaded.fix.name not in REBUILT:
                assert facts(new) == facts(trial)
            assert torch.isfinite(new.step(new.model).detach())
            if loaded.fix.name not in DRAWN | RESCALED:
                state = loaded.setup.model.state_dict()
                if state.keys() == new.model.state_dict().keys():
                    new.model.load_state_dict(trial.model.state_dict())
                    torch.manual_seed(1)
                    expected = trial.step(trial.model).detach()
                    torch.manual_seed(1)
                    if "manual_seed" in loaded.file.read_text(encoding="utf-8"):  # data alike
                        got = new.step(new.model).detach()
                        assert float(got) == pytest.approx(float(expected), rel=1e-4)
            if new.optimizer is not None:
                new.iterate()


@pytest.mark.parametrize("name", ["loop_of_layers", "init_in_class", "clip_added", "imported"])
def test_windows_line_ends_stay(name, place):
    with Loaded(written(name, place, "\r\n")) as loaded:
        for text in loaded.patch.texts.values():
            assert "\r\n" in text
            assert "\n" not in text.replace("\r\n", "")
        expected = golden(name).read_text(encoding="utf-8")
        shown = [line for line in expected.splitlines() if line[:3] not in ("---", "+++")]
        made = loaded.patch.diff.replace("\r\n", "\n").splitlines()
        assert [line for line in made if line[:3] not in ("---", "+++")] == shown
        git(place, "init", "-q")
        assert git(place, "apply", "--check", "-", text=loaded.patch.diff).stderr == b""


def test_a_last_line_without_an_end_is_marked(place):
    file = written("rate_positional", place)
    file.write_text(file.read_text().rstrip("\n"))
    with Loaded(file) as loaded:
        assert "\\ No newline at end of file" in loaded.patch.diff
        git(place, "init", "-q")
        assert git(place, "apply", "-", text=loaded.patch.diff).stderr == b""
        assert not file.read_text().endswith("\n")


def test_a_file_outside_of_the_working_directory_is_named_from_the_root(place, monkeypatch):
    git(place, "init", "-q")
    inner = place / "inner"
    inner.mkdir()
    file = written("rate_constant", place)
    monkeypatch.chdir(inner)
    with Loaded(file) as loaded:
        assert loaded.patch.folder == place
        assert "--- a/rate_constant.py" in loaded.patch.diff
        assert git(place, "apply", "--check", "-", text=loaded.patch.diff).stderr == b""


def test_a_name_with_a_space_is_taken_by_git(place):
    file = written("rate_constant", place)
    file = file.rename(place / "my net.py")
    with Loaded(file) as loaded:
        git(place, "init", "-q")
        assert git(place, "apply", "-", text=loaded.patch.diff).stderr == b""
        assert "0.5" in file.read_text()


def test_without_recorded_sites_constructors_are_not_guessed(place):
    with Loaded(written("class_as_value", place)) as loaded:
        made = patch(loaded.fix, loaded.finding, loaded.file, "target", None)
        assert 'for name in ("1", "3", "5"):' in made.diff


def test_recording_leaves_torch_as_it_was(place):
    before = nn.Module.__init__, torch.optim.Optimizer.__init__
    with Loaded(written("rate_positional", place)):
        assert (nn.Module.__init__, torch.optim.Optimizer.__init__) == before


def test_there_are_many_styles():
    assert len(fix_samples.NAMES) >= 45


def test_several_fixes_make_one_patch(place):
    """A swap of activations, a rate and a standardised input touch one file each at its place."""
    text = written("rate_keyword", place).read_text().replace("nn.Linear(8, 1)", NET)
    text = text.replace("\n\n\ndef", "\n\nHEAD = nn.Linear(8, 1)\n\n\ndef")
    file = place / "several.py"
    file.write_text(text.replace("# fix: learning-rate factor=0.1", "# fix: activation to=relu"))
    parts = []
    for words in ("activation to=relu", "learning-rate factor=0.1", "input-scale"):
        lines = file.read_text().splitlines(keepends=True)
        file.write_text("".join([f"# fix: {words}\n", *lines[1:]]))
        with Loaded(file) as loaded:
            parts.append((loaded.fix, loaded.sites))
    whole = Fix("combination", "all", {}, "optimizer", parts=tuple(p for p, _ in parts))
    made = patch(whole, loaded.finding, file, "target", parts[0][1])
    for line in (
        "+    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), HEAD)",
        "+        lr=1,",
        "+    x = (x - x.mean(0)) / x.std(0).clamp_min(1e-12)",
        '+            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")',
    ):
        assert line in made.diff.splitlines()
    git(place, "init", "-q")
    assert git(place, "apply", "--check", "-", text=made.diff).stderr == b""


NET = "nn.Sequential(nn.Linear(8, 8), nn.Sigmoid(), nn.Linear(8, 8), nn.Sigmoid(), HEAD)"
