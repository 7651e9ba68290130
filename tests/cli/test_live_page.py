"""The live page in a real browser, while a training writes and servers come and go."""

from __future__ import annotations

import time

import pytest

import run_samples as samples
from isograd.cli import live
from isograd.runfile import load
from live_samples import serving, write, writer


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(live, "POLL_SECONDS", 0.02)


@pytest.fixture
def tabs(chromium):
    """Opens pages; at the end no error was logged and only this server was asked."""
    contexts, faults = [], []

    def open_tab(url, expect=(), **options):
        context = chromium.new_context(viewport={"width": 1280, "height": 900}, **options)
        contexts.append(context)
        tab = context.new_page()
        quiet = ("ERR_CONNECTION_REFUSED", "ERR_EMPTY_RESPONSE", "ERR_INCOMPLETE_CHUNKED")
        tab.on(
            "console",
            lambda m: None if any(word in m.text for word in quiet) else faults.append(m.text),
        )
        tab.on("pageerror", lambda error: faults.append(str(error)))
        tab.on("request", lambda r: None if r.url.startswith(url) else faults.append(r.url))
        tab.goto(url)
        return tab

    yield open_tab
    for context in contexts:
        context.close()
    assert faults == []


ROWS = "RUN && RUN.tables.steps ? RUN.tables.steps.rows : 0"


def wait(tab, expression, seconds=15.0):
    """Until a JavaScript expression is true; the page's policy forbids it to evaluate by itself."""
    end = time.monotonic() + seconds
    while not tab.evaluate(expression):
        assert time.monotonic() < end, f"never true: {expression}"
        tab.wait_for_timeout(30)


def wait_rows(tab, count):
    wait(tab, f"({ROWS}) === {count}")


COLUMNS = """(() => {
  const bins = RUN.tables.steps, { used, columns } = bins, out = {};
  const shown = (list) => [...list].map((v) => Number.isNaN(v) ? null : v);
  for (const part of ["count", "first", "end", "flagged"]) out[part] = [...bins[part].subarray(0, used)];
  for (const [name, block] of [["numbers", bins.numbers], ["cells", bins.cells]])
    for (const part of ["low", "high", "last", "bad"])
      out[name + part] = Array.from({ length: block.series }, (_, i) =>
        shown(block[part].subarray(i * columns, i * columns + used)));
  return [bins.width, bins.start, used, bins.whole.rows.map((row) => row.step), out];
})()"""  # noqa: E501


def columns_of(tab):
    """What the page holds, column by column."""
    return tab.evaluate(COLUMNS)


@pytest.mark.browser
def test_rows_arrive_in_the_page_and_all_tabs_show_the_same(tabs, tmp_path):
    out = writer(tmp_path / "a")
    write(out, range(10))
    with serving(tmp_path / "a") as server:
        first, second, third = (tabs(server.url) for _ in range(3))
        for tab in (first, second, third):
            wait_rows(tab, 10)
        write(out, range(10, 3000))
        for tab in (first, second, third):
            wait_rows(tab, 3000)
            assert tab.locator("#link").inner_text() == "live"
        late = tabs(server.url)
        wait_rows(late, 3000)
        # The browser joined columns by itself; Python did so for the late one.
        assert columns_of(first) == columns_of(second) == columns_of(late)
        wait(first, "document.querySelector('#verdict').innerText.includes('2\\u2009999')")
    out.close("done")


@pytest.mark.browser
def test_a_restart_of_the_server_loses_nothing_in_the_page(tabs, tmp_path):
    out = writer(tmp_path / "a")
    write(out, range(100))
    with serving(tmp_path / "a") as server:
        port = server.port
        tab = tabs(server.url)
        wait_rows(tab, 100)
    wait(tab, "document.getElementById('link').innerText.includes('trying again')")
    write(out, range(100, 250))
    with serving(tmp_path / "a", port=port):
        wait_rows(tab, 250)
        write(out, range(250, 300))
        wait_rows(tab, 300)
        counted = tab.evaluate("RUN.tables.steps.count.reduce((a, b) => a + b, 0)")
        assert counted == 300 == len(load(tmp_path / "a").steps)
    out.close("done")


@pytest.mark.browser
def test_a_restart_of_the_training_loses_nothing_in_the_page(tabs, tmp_path):
    out = writer(tmp_path / "a")
    write(out, range(100))
    with serving(tmp_path / "a") as server:
        tab = tabs(server.url)
        wait_rows(tab, 100)
        out.close("stopped")
        again = writer(tmp_path / "a")
        write(again, range(80, 150))
        wait_rows(tab, 150)
        last = tab.evaluate("RUN.tables.steps.lastStep")
        assert last == 149
        again.close("done")
        wait(tab, "document.querySelector('h1').innerText.includes('done')")


@pytest.mark.browser
def test_alarms_findings_and_snapshots_appear_without_a_reload(tabs, tmp_path):
    out = writer(tmp_path / "a")
    write(out, range(40))
    with serving(tmp_path / "a") as server:
        tab = tabs(server.url)
        wait_rows(tab, 40)
        assert tab.locator("#alarm-table").count() == 0
        out.event(30, "<script>", "the <b>loss</b> jumped", parameter="head.weight")
        out.finding(samples.FINDING)
        tab.wait_for_selector("#findings .card")
        tab.wait_for_selector("#alarm-table")
        assert "<script>" in tab.locator("#alarm-table").inner_text()
        assert tab.evaluate("RUN.tables.steps.whole.kept.has(30)")
        # The order, the filter and the language survive what arrives.
        tab.fill("#layer-table-filter", "head")
        write(out, range(40, 60))
        wait_rows(tab, 60)
        tab.wait_for_timeout(600)
        assert tab.locator("#layer-table tbody tr").count() == 1
    out.close("done")


@pytest.mark.browser
def test_a_page_opened_before_the_training_fills_itself(tabs, tmp_path):
    with serving(tmp_path / "a") as server:
        tab = tabs(server.url)
        wait(tab, "document.querySelector('h1').innerText.includes('waiting')")
        out = writer(tmp_path / "a")
        write(out, range(20))
        wait_rows(tab, 20)
        tab.wait_for_selector("#heat")
        out.close("done")
