"""`isograd live`: the server's manners, and the page while a training writes."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request

import numpy as np
import pytest

import run_samples as samples
from isograd.cli import live, live_token
from live_samples import NAMES, SCALARS, STATISTICS, serving, write, writer


@pytest.fixture(autouse=True)
def own_key(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(live, "POLL_SECONDS", 0.02)


def ask(server, path, method="GET", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.putrequest(method, path, skip_host="Host" in headers)
    for name, text in headers.items():
        connection.putheader(name.replace("_", "-"), text)
    connection.endheaders()
    answer = connection.getresponse()
    body = b"" if "event-stream" in answer.getheader("Content-Type", "") else answer.read()
    connection.close()
    return answer.status, dict(answer.getheaders()), body.decode()


class Stream:
    """A browser's `EventSource`, with the number it would come back with."""

    def __init__(self, server, last=""):
        request = urllib.request.Request(server.url + "events")
        if last:
            request.add_header("Last-Event-ID", last)
        self.answer = urllib.request.urlopen(request, timeout=10)
        self.last = last

    def __next__(self):
        fields = {}
        while True:
            line = self.answer.readline().decode().rstrip("\n")
            if line.startswith(("id: ", "event: ", "data: ")):
                key, _, text = line.partition(": ")
                fields[key] = text
            elif not line and "data" in fields:
                self.last = fields["id"]
                return fields["event"], json.loads(fields["data"])
            elif not line and not self.answer.fp:
                raise StopIteration

    def rows_until(self, step):
        """Steps in messages up to one that holds `step`; a state counts with all its rows."""
        import base64

        seen, state = [], None
        while not (seen and seen[-1] >= step) and not (
            state and state["tables"]["steps"] and state["tables"]["steps"]["lastStep"] >= step
        ):
            name, data = next(self)
            if name == "state":
                seen, state = [], data
            for rows in data.get("rows", ()):
                if rows["table"] == "steps":
                    seen += (
                        np.frombuffer(base64.b64decode(rows["steps"]), "<f8").astype(int).tolist()
                    )
        return seen, state

    def close(self):
        self.answer.close()


# --- Who gets an answer


def test_only_the_loopback_is_listened_on(tmp_path):
    with serving(tmp_path / "a") as server:
        assert server.server_address[0] == "127.0.0.1"


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:80", "0.0.0.0", ""])
def test_a_foreign_host_name_is_refused(tmp_path, host):
    with serving(tmp_path / "a") as server:
        status, _, body = ask(server, "/secret/", Host=host)
        assert (status, "isograd answers on the loopback" in body) == (403, True)
        assert ask(server, "/secret/events", Host=host)[0] == 403


@pytest.mark.parametrize("host", ["localhost:9000", "127.0.0.1:9000", "[::1]:9000", "LOCALHOST"])
def test_a_tunnel_with_another_port_is_answered(tmp_path, host):
    with serving(tmp_path / "a") as server:
        assert ask(server, "/secret/", Host=host)[0] == 200


def test_another_sites_script_is_refused(tmp_path):
    with serving(tmp_path / "a", token="") as server:
        assert ask(server, "/events", Origin="https://evil.example")[0] == 403
        embedded = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "cors"}
        assert ask(server, "/events", **embedded)[0] == 403
        assert ask(server, "/events", Origin=f"http://127.0.0.1:{server.port}")[0] == 200


@pytest.mark.parametrize("path", ["/", "/events", "/wrong/", "/wrong/events", "/secre/", "/%00/"])
def test_without_the_token_there_is_no_answer(tmp_path, path):
    with serving(tmp_path / "a") as server:
        status, _, body = ask(server, path)
        assert status == 403
        assert "<html" not in body


def test_other_addresses_and_methods(tmp_path):
    with serving(tmp_path / "a") as server:
        assert ask(server, "/secret/rank-0.isog")[0] == 404
        assert ask(server, "/secret/../../etc/passwd")[0] == 404
        assert ask(server, "/secret")[0] == 308
        assert ask(server, "/secret/", method="HEAD")[0] == 200
        assert ask(server, "/secret/", method="POST")[0] == 501


def test_heads_forbid_what_the_page_does_not_need(tmp_path):
    with serving(tmp_path / "a") as server:
        _, heads, body = ask(server, "/secret/")
        policy = heads["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "connect-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert heads["Cache-Control"] == "no-store"
        assert heads["Referrer-Policy"] == "no-referrer"
        assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", body)


def test_the_token_is_stable_for_a_run_and_not_to_be_guessed(tmp_path):
    one, other = live_token.of(tmp_path / "a"), live_token.of(tmp_path / "b")
    assert one == live_token.of(tmp_path / "a") != other
    assert re.fullmatch("[0-9a-f]{32}", one)
    assert live_token.key_file().stat().st_mode & 0o777 == 0o600
    live_token.key_file().chmod(0o644)  # others may have read it
    assert live_token.of(tmp_path / "a") != one


# --- What the stream tells


def test_rows_arrive_while_they_are_written(tmp_path):
    out = writer(tmp_path / "a")
    write(out, range(5))
    with serving(tmp_path / "a") as server:
        stream = Stream(server)
        _, state = stream.rows_until(4)
        assert state["tables"]["steps"]["rows"] == 5
        write(out, range(5, 9))
        assert stream.rows_until(8)[0] == [5, 6, 7, 8]
        stream.close()
    out.close("done")


def test_a_browser_that_comes_back_gets_exactly_what_it_lacks(tmp_path):
    out = writer(tmp_path / "a")
    write(out, range(5))
    with serving(tmp_path / "a") as server:
        first = Stream(server)
        first.rows_until(4)
        write(out, range(5, 8))
        assert first.rows_until(7)[0] == [5, 6, 7]
        first.close()
        write(out, range(8, 12))
        time.sleep(0.3)
        write(out, range(12, 14))
        seen, state = Stream(server, first.last).rows_until(13)
        assert (seen, state) == (list(range(8, 14)), None)
    out.close("done")


def test_a_restarted_server_loses_no_row(tmp_path):
    out = writer(tmp_path / "a")
    write(out, range(5))
    with serving(tmp_path / "a") as server:
        first = Stream(server)
        first.rows_until(4)
        first.close()
    write(out, range(5, 30))
    with serving(tmp_path / "a") as server:
        _, state = Stream(server, first.last).rows_until(29)
        assert state["tables"]["steps"]["rows"] == 30
    out.close("done")


def test_a_run_that_has_not_begun_is_waited_for(tmp_path):
    with serving(tmp_path / "a") as server:
        stream = Stream(server)
        name, state = next(stream)
        assert (name, state["status"], state["tables"]["steps"]) == ("state", "waiting", None)
        out = writer(tmp_path / "a")
        write(out, range(3))
        _, state = stream.rows_until(2)
        assert state is not None
        out.close("done")
        while True:
            name, data = next(stream)
            if data.get("verdict") == "done":
                break


def test_parameters_added_on_the_way_and_a_resumed_training_bring_a_new_state(tmp_path):
    out = writer(tmp_path / "a")
    write(out, range(5))
    with serving(tmp_path / "a") as server:
        stream = Stream(server)
        stream.rows_until(4)
        out.declare((*NAMES, "late.weight"), STATISTICS, SCALARS)
        write(out, range(5, 8), (*NAMES, "late.weight"))
        _, state = stream.rows_until(7)
        assert state["tables"]["steps"]["names"] == [*NAMES, "late.weight"]
        assert state["tables"]["steps"]["rows"] == 8
        out.close("ended")
        again = writer(tmp_path / "a", (*NAMES, "late.weight"))
        write(again, range(6, 20), (*NAMES, "late.weight"))  # from a checkpoint
        while True:
            _, state = stream.rows_until(19)
            if state and state["tables"]["steps"]["lastStep"] == 19:
                break
            stream = Stream(server)
        assert state["tables"]["steps"]["rows"] == 20  # of those that came twice the later count
        again.close("done")


def test_another_run_in_the_same_place_replaces_the_first(tmp_path):
    out = writer(tmp_path / "a")
    write(out, range(50))
    out.close("done")
    with serving(tmp_path / "a") as server:
        stream = Stream(server)
        stream.rows_until(49)
        shutil.rmtree(tmp_path / "a")
        out = writer(tmp_path / "a")
        write(out, range(3))
        while True:
            name, state = next(stream)
            table = state["tables"]["steps"] if name == "state" else None
            if table and table["rows"] == 3:
                break
        out.close("done")


def test_every_kind_of_record_reaches_the_page(tmp_path):
    out = writer(tmp_path / "a")
    write(out, range(3))
    with serving(tmp_path / "a") as server:
        stream = Stream(server)
        stream.rows_until(2)
        out.event(2, "spike", "the loss jumped", parameter="head.weight", severity="error")
        out.finding(samples.FINDING)
        out.snapshot(2, samples.snapshot())
        out.text("a remark", 2)
        news = {}
        while not {"events", "findings", "shots"} <= set(news) or len(news["events"]) < 2:
            name, data = next(stream)
            assert name == "news"
            for key, items in data.items():
                if isinstance(items, list):
                    news.setdefault(key, []).extend(items)
        assert news["events"][0]["severity"] == "error"
        assert news["events"][0]["parameter"] == "head.weight"
        assert news["findings"][0]["code"] == "G101"
        assert news["shots"][0]["step"] == 2
    out.close("done")


# --- The command


def start(*arguments, cwd):
    import pathlib

    import isograd

    source = str(pathlib.Path(isograd.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": source, "PYTHONUNBUFFERED": "1"}
    program = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from isograd.cli import main; code = main(sys.argv[1:]);"
        "assert 'torch' not in sys.modules; sys.exit(code)"
    )
    return subprocess.Popen(
        [sys.executable, "-c", program, "live", *arguments],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_ctrl_c_ends_cleanly_without_torch(tmp_path):
    samples.written(tmp_path / "isograd-runs" / "a")
    process = start("--port", "0", cwd=tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == "following isograd-runs/a\n"
    url = process.stdout.readline().strip()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[0-9a-f]{32}/", url)
    assert "ssh -L" in process.stdout.readline()
    answer = urllib.request.urlopen(url + "events", timeout=10)
    answer.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (0, "")
    assert "The page has ended; a training goes on." in out


def test_without_a_run_it_waits_for_the_first(tmp_path):
    process = start("--port", "0", "--no-token", cwd=tmp_path)
    assert process.stdout is not None
    assert "waiting for a run in `isograd-runs`" in process.stdout.readline()
    samples.written(tmp_path / "isograd-runs" / "later")
    assert process.stdout.readline() == "following isograd-runs/later\n"
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\n", process.stdout.readline())
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)


def test_a_port_that_is_taken_is_told(tmp_path):
    samples.written(tmp_path / "isograd-runs" / "a")
    with serving(tmp_path / "isograd-runs" / "a") as server:
        process = start("a", "--port", str(server.port), cwd=tmp_path)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 2
    assert f"cannot listen on port {server.port}" in err
