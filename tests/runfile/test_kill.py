"""`kill -9` at any moment costs at most the record that was being written."""

import json
import os
import subprocess
import sys

import pytest

# One process that has imported everything forks the victims, so that fifty take seconds.
DRIVER = """
import json, mmap, os, random, signal, struct, sys, time
import numpy as np
from isograd.runfile import RunWriter, load

def train(directory, limit, acknowledged):
    writer = RunWriter(directory, ["a", "b"], ["norm", "rms"], ("loss",), limit=limit)
    for step in range(10**9):
        writer.step(step, np.full((2, 2), step), [step])
        acknowledged[:8] = struct.pack("<q", step)
        if step % 7 == 0:
            writer.event(step, "tick", "x" * (step % 50))

random.seed(1)
reports = []
for trial in range(50):
    directory = os.path.join(sys.argv[1], str(trial))
    limit = (1 << 29, 1 << 17)[trial % 2]  # every second one is thinned as it goes
    acknowledged = mmap.mmap(-1, 8)
    acknowledged[:8] = struct.pack("<q", -1)
    child = os.fork()
    if not child:
        train(directory, limit, acknowledged)
    while struct.unpack("<q", acknowledged[:8])[0] < 0:
        time.sleep(0.0005)
    time.sleep(random.uniform(0, (0.02, 0.2)[trial % 2]))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    last = struct.unpack("<q", acknowledged[:8])[0]
    run = load(directory)
    right = bool((run.series("b", "rms") == run.steps.astype(np.float32)).all())
    whole = run.steps.tolist() == list(range(len(run.steps)))
    with RunWriter(directory, ["a", "b"], ["norm", "rms"], ("loss",), limit=limit) as writer:
        writer.step(int(run.steps[-1]) + 1, np.zeros((2, 2)), [0.0])
    again = load(directory)
    reports.append({
        "thinned": not whole, "limit": limit, "acknowledged": last, "last": int(run.steps[-1]),
        "right": right, "damage": [d.reason for d in run.damage],
        "after": [d.reason for d in again.damage], "resumed": len(again.steps) - len(run.steps),
    })
print(json.dumps(reports))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_fifty_kills_lose_at_most_the_last_record(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, str(tmp_path)], capture_output=True, text=True, check=True
    )
    reports = json.loads(done.stdout)
    assert len(reports) == 50
    for report in reports:
        assert report["acknowledged"] <= report["last"] <= report["acknowledged"] + 1
        assert report["right"]
        assert set(report["damage"]) <= {"incomplete last record"}
        assert report["after"] == []
        assert report["resumed"] == 1
        assert not report["thinned"] or report["limit"] == 1 << 17
    assert sum(report["thinned"] for report in reports) > 5
    assert max(report["last"] for report in reports) > 100
