"""--patch and --apply: what is written, and when nothing is."""

import subprocess
import sys

import pytest

from fix_samples import Loaded, git, written
from isograd.cli import patching, served, targets
from isograd.errors import IsogradError
from isograd.records.fix import Fix, Measured, Trial

LOSS = Measured(1.0)


@pytest.fixture
def place(tmp_path, monkeypatch):
    known = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    git(tmp_path, "init", "-q")
    yield tmp_path
    for name in set(sys.modules) - known:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def trial_of(loaded, verdict="proven"):
    return Trial(loaded.fix, loaded.finding, LOSS, LOSS, verdict=verdict)


def commit(place):
    git(place, "add", "-A")
    git(place, "commit", "-qm", "all")


def test_apply_writes_what_the_patch_says(place):
    with Loaded(written("imported", place)) as loaded:
        commit(place)
        trial = patching.patched(trial_of(loaded, "worse"), loaded.spec, loaded.sites)
        changed = patching.apply(trial, loaded.spec, loaded.sites)
        assert sorted(p.name for p in changed) == ["nets.py", "train.py"]
        shown = git(place, "diff", "--no-prefix").stdout.decode()
        for line in trial.patch.splitlines():
            if line[:1] in "+-" and line[:3] not in ("+++", "---"):
                assert line in shown
        assert git(place, "checkout", "-q", ".").returncode == 0
        assert git(place, "status", "--porcelain").stdout == b""


def test_a_dirty_tree_is_refused_unless_forced(place):
    file = written("rate_keyword", place)
    (place / "notes.txt").write_text("a")
    commit(place)
    (place / "notes.txt").write_text("b")
    with Loaded(file) as loaded:
        before = file.read_bytes()
        with pytest.raises(
            IsogradError, match=r"without --force: the git tree has changes"
        ) as caught:
            patching.apply(trial_of(loaded), loaded.spec, loaded.sites)
        assert "notes.txt" in caught.value.facts[0]
        assert file.read_bytes() == before
        with pytest.raises(IsogradError, match="without --force"):
            patching.require_clean(loaded.spec, force=False)
        assert patching.apply(trial_of(loaded), loaded.spec, loaded.sites, force=True)
        assert file.read_bytes() != before


def test_a_file_that_git_does_not_track_is_refused(place):
    (place / "other.py").write_text("")
    commit(place)
    with Loaded(written("rate_keyword", place)) as loaded:
        with pytest.raises(IsogradError, match="git does not track it"):
            patching.apply(trial_of(loaded), loaded.spec, loaded.sites)


def test_a_file_of_no_repository_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with Loaded(written("rate_keyword", tmp_path)) as loaded:
        with pytest.raises(IsogradError, match="not in a git repository"):
            patching.apply(trial_of(loaded), loaded.spec, loaded.sites)


def test_no_git_at_all_is_said(place, monkeypatch):
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: (_ for _ in ()).throw(OSError()))
    with pytest.raises(IsogradError, match="--apply needs git"):
        patching.require_clean(str(written("rate_keyword", place)), force=False)


def test_a_target_without_a_file_cannot_be_changed():
    with pytest.raises(IsogradError, match="has no file"):
        patching.require_clean("math:target", force=True)


def test_if_one_file_cannot_be_written_none_is(place, monkeypatch):
    with Loaded(written("imported", place)) as loaded:
        before = {p: p.read_bytes() for p in place.rglob("*.py")}
        write = type(place).write_bytes

        def failing(path, data):
            if path.name == "nets.py" and data != before[path]:
                raise OSError(28, "No space left on device")
            return write(path, data)

        monkeypatch.setattr(type(place), "write_bytes", failing)
        with pytest.raises(IsogradError, match="No space left"):
            patching.apply(trial_of(loaded), loaded.spec, loaded.sites, force=True)
        assert {p: p.read_bytes() for p in before} == before


def test_a_fix_without_a_place_gets_no_patch(place):
    with Loaded(written("rate_keyword", place)) as loaded:
        fix = Fix("detach", "none", {"lines": ["rate_keyword.py:3"]}, "step")
        trial = Trial(fix, loaded.finding, LOSS, LOSS, verdict="proven")
        assert patching.patched(trial, loaded.spec, loaded.sites) is trial
        assert patching.preferred([trial]) is None
        assert patching.apply(trial, loaded.spec, loaded.sites, force=True) == []


def test_a_verified_patch_is_preferred(place):
    with Loaded(written("rate_keyword", place)) as loaded:
        import dataclasses

        plain = dataclasses.replace(trial_of(loaded), patch="a")
        good = dataclasses.replace(plain, verified=True)
        assert patching.preferred([plain, good]) is good
        assert patching.preferred([plain]) is plain
        assert patching.preferred([trial_of(loaded, "worse")]) is None


def test_patches_are_verified_up_to_the_first_good_one(place, monkeypatch):
    with Loaded(written("rate_keyword", place)) as loaded:
        good, worse = trial_of(loaded), trial_of(loaded, "worse")
        for said, wanted in ((True, [False, True, False]), (False, [False, False, False])):
            monkeypatch.setattr(patching, "_verified", lambda *_, said=said: said)
            made = patching.all_patched([worse, good, good], loaded.spec, loaded.sites)
            assert [t.verified for t in made] == wanted
            assert all(t.patch for t in made)


def test_patched_imports_are_served_and_then_gone(place):
    file = written("imported", place)
    with Loaded(file) as loaded:
        import nets

        with served.files(loaded.patch.texts, loaded.spec) as text:
            with targets.loaded(loaded.spec, text=text) as made:
                kinds = [type(m).__name__ for m in made.model.modules()]
                assert "ReLU" in kinds
                assert "Sigmoid" not in kinds
        assert sys.modules["nets"] is nets
        assert not any(type(f).__module__ == served.__name__ for f in sys.meta_path)
        assert "Sigmoid" in [type(m).__name__ for m in nets.build(8).modules()]
