"""`isograd run` in processes of its own: several ranks, signals, workers, a terminal."""

import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from isograd import load
from isograd.runfile import find_runs, shared

RUN = [sys.executable, "-m", "isograd", "run"]
TRAIN = """
import os, sys, time, torch
from torch import nn
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
x = torch.randn(64, 4)
for step in range(int(sys.argv[1])):
    loss = nn.functional.mse_loss(model(x), x[:, :1])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step == 60:
        print("sixty", flush=True)
"""
RANKS = """
import torch, torch.distributed as dist
from torch import nn
dist.init_process_group("gloo")
torch.manual_seed(0)
model = nn.parallel.DistributedDataParallel(nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 1)))
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
torch.manual_seed(dist.get_rank())
for _ in range(10):
    x = torch.randn(16, 4)
    optimizer.zero_grad()
    nn.functional.mse_loss(model(x), x[:, :1]).backward()
    optimizer.step()
print(f"rank {dist.get_rank()} ", end="", flush=True)
dist.destroy_process_group()
"""
WORKERS = """
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
class Numbers(Dataset):
    def __len__(self): return 32
    def __getitem__(self, i): return torch.full((4,), float(i))
if __name__ == "__main__":
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    for x in DataLoader(Numbers(), batch_size=8, num_workers=1, multiprocessing_context="spawn"):
        optimizer.zero_grad(); model(x).mean().backward(); optimizer.step()
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ISOGRAD_LANG", "en")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for name, text in (("train.py", TRAIN), ("ranks.py", RANKS), ("workers.py", WORKERS)):
        Path(name).write_text(text, encoding="utf-8")


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return str(taken.getsockname()[1])


@pytest.mark.usefixtures("here")
def test_under_torchrun_each_rank_leaves_a_file_and_the_first_one_speaks():
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launch, "--master-port", free_port(), "-m", "isograd", "run", "ranks.py"],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert sorted(done.stdout.split()) == ["0", "1", "rank", "rank"]
    assert done.stderr.count("isograd: healthy") == 1
    run = load("isograd-runs/ranks")
    assert run.ranks == (0, 1)
    assert run.parameters == ("0.weight", "0.bias", "1.weight", "1.bias")  # without `module.`
    losses = [load("isograd-runs/ranks", rank).scalars["loss"] for rank in run.ranks]
    assert losses[0].tolist() != losses[1].tolist()
    assert [item.path.name for item in find_runs("isograd-runs")] == ["ranks"]


@pytest.mark.usefixtures("here")
def test_a_worker_that_starts_anew_finds_the_programs_classes():
    done = subprocess.run([*RUN, "workers.py"], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr.count("isograd: ")) == (0, 1), done.stderr
    assert load("isograd-runs/workers").steps.tolist() == [0, 1, 2, 3]


@pytest.mark.usefixtures("here")
def test_an_exit_without_a_word_leaves_a_readable_run():
    Path("hard.py").write_text(TRAIN + "os._exit(5)", encoding="utf-8")
    done = subprocess.run([*RUN, "hard.py", "40"], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (5, "")
    run = load("isograd-runs/hard")
    assert run.verdict is None
    assert run.damage == ()
    assert run.steps[0] == 0
    assert not find_runs("isograd-runs")[0].running


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a pseudo terminal")
@pytest.mark.usefixtures("here")
def test_ctrl_c_in_a_terminal_ends_the_status_line_with_a_verdict():
    import pty

    child, terminal = pty.fork()
    if not child:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # tests in the background ignore it
        os.execv(sys.executable, [*RUN, "train.py", "1000000000"])
    seen, sent, end = b"", False, time.monotonic() + 120
    while time.monotonic() < end:
        if select.select([terminal], [], [], 0.1)[0]:
            try:
                data = os.read(terminal, 4096)
            except OSError:
                break
            if not data:
                break
            seen += data
        if not sent and b"sixty" in seen and re.search(rb"step \d+ .*loss ", seen):
            os.write(terminal, b"\x03")
            sent = True
    else:
        os.kill(child, signal.SIGKILL)
        pytest.fail(f"it did not end: {seen[-500:]!r}")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 130
    text = seen.decode()
    status = re.findall(r"\r\x1b\[K(step \d+[^\r]*)\r", text)
    assert re.fullmatch(r"step \d+ · loss [\d.e-]+.* · isograd [\d.]+ (%|s)", status[-1])
    assert "KeyboardInterrupt" in text
    assert "isograd: judging the run (Ctrl-C skips it)" in text
    assert "the program was stopped by KeyboardInterrupt" in text
    run = load("isograd-runs/train")
    assert run.ending == "stopped by KeyboardInterrupt"
    assert run.verdict


# --- One directory for all ranks


@pytest.fixture
def launched(tmp_path, monkeypatch):
    """Writes the file of a rank as `Journal` does."""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "first")
    monkeypatch.setattr(shared, "PATIENCE", 0.05)

    def launched(rank):
        from isograd.runfile import RunWriter

        directory = shared.shared_directory(tmp_path / "a", rank)
        mark = {"launch": shared.mark()}
        RunWriter(directory, ["w"], ["norm"], meta=mark, rank=rank, world_size=2).close()
        return directory.name

    return launched


def test_ranks_of_one_launch_meet_and_those_of_the_next_meet_elsewhere(launched, monkeypatch):
    assert [launched(0), launched(1)] == ["a", "a"]
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "second")
    assert [launched(0), launched(1)] == ["a-2", "a-2"]


def test_two_watches_of_one_launch_have_a_directory_each(launched):
    assert [launched(0), launched(1), launched(0), launched(1)] == ["a", "a", "a-2", "a-2"]


def test_a_rank_whose_first_one_never_comes_begins_alone(launched):
    assert launched(1) == "a"
