"""The page of a run, in a real browser, offline and under its own content policy."""

import hashlib
import json
import re
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

import isograd.reporters
from isograd.reporters import run_page
from isograd.reporters.run_page.bins import binned
from isograd.runfile import RunWriter, load
from reporters.samples import SAMPLES
from run_samples import FINDING

NAMES = ("first.weight", "first.bias", "<script>alert(1)</script>", "last.weight")
STATISTICS = ("grad_norm", "weight_norm", "update_norm")
SCALARS = ("loss", "lr", "nonfinite", "cost")
STEPS = 300


def value(step, name):
    """Speed of a layer: different at each step, exactly known as float32."""
    return np.float32(10.0 ** (name - 3) * (1 + 0.5 * np.sin(step / 7 + name)))


@pytest.fixture
def recorded(tmp_path):
    """A run with an alarm, a NaN, a step without numbers of the layers, and two measurements."""
    with RunWriter(tmp_path / "run", NAMES, STATISTICS, SCALARS, meta={"lr": 0.1}) as writer:
        for step in range(STEPS):
            rows = [[value(step, i), 2.0, 0.01] for i in range(len(NAMES))]
            if step == 200:
                rows[0][0] = np.inf
            if step in (100, 101):
                writer.brief(("loss", "nonfinite"), [step], [(0.0, 1 / (step + 1), 0.0)])
                continue
            bad = float(step == 200)
            writer.step(step, rows, (1 / (step + 1), 0.1, bad, 0.01), anomalous=bool(bad))
            if step in (0, 250):
                writer.snapshot(step, SAMPLES["vanishing"]().snapshot)
            if step == 200:
                writer.event(step, "nonfinite", "the gradient of `first.weight` is not finite")
        writer.event(STEPS, "cost", "what watching took", probe_seconds=0.5, probe_times=2)
        writer.finding(FINDING)
        writer.close("G101 gradient vanishes", ok=False, ending="stopped by ValueError")
    return load(tmp_path / "run")


@pytest.fixture
def open_page(chromium, tmp_path, recorded):
    """Opens it; at the end no error was logged and nothing was requested."""
    contexts, faults = [], []

    def open_page(run=recorded, lang="en", **options):
        file = tmp_path / "page.html"
        file.write_text(run_page.page(run_page.of(run, "run"), lang), encoding="utf-8")
        options = {"offline": True, "viewport": {"width": 1280, "height": 900}, **options}
        context = chromium.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: faults.append(message.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda r: None if r.url == file.as_uri() else faults.append(r.url))
        page.goto(file.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert faults == []


def told(page):
    """What the cursor shows, as pairs."""
    terms = page.locator("#tip dt").all_inner_texts()
    return dict(zip(terms, page.locator("#tip dd").all_inner_texts(), strict=True))


# --- Without a browser


def test_the_page_asks_for_nothing_and_names_cannot_end_its_data(recorded):
    page = run_page.page(run_page.of(recorded, "<b>run</b>"))
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "connect-src" not in policy
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", page)
    assert page.count("<script") == page.count("</script>") == 2
    assert "<title>isograd · &lt;b&gt;run&lt;/b&gt;</title>" in page


def test_what_watching_took_is_no_alarm(recorded):
    state = run_page.of(recorded, "run")
    assert {event["name"]: event["severity"] for event in state.events} == {
        "nonfinite": "warning",
        "cost": "info",
    }
    assert state.alarm_steps() == [200]


def test_every_word_of_the_page_is_there_in_chinese():
    folder = Path(isograd.reporters.__file__).parent / "run_page" / "assets"
    known = {**run_page.build.words(), **isograd.reporters.language.catalogue("zh")}
    compare = folder.parents[1] / "compare" / "zh.json"
    known |= json.loads(compare.read_text(encoding="utf-8"))
    word = r'("(?:[^"\\]|\\.)*")'
    used = {
        json.loads(each)
        for file in folder.glob("*.js")
        for match in re.finditer(
            rf"\bt\((?:[^()?]+\? {word} : )?{word}", file.read_text(encoding="utf-8")
        )
        for each in match.groups()
        if each
    }
    assert len(used) > 60
    assert used - set(known) == set()


@pytest.mark.parametrize("width", [1, 2, 8])
def test_columns_hold_recorded_values_only(recorded, width, monkeypatch):
    """Least, greatest and last value of each column against a loop over the rows."""
    monkeypatch.setattr(run_page.bins, "COLUMNS", 300 // width if width > 1 else 1024)
    monkeypatch.setattr(run_page.bins, "LEAST_COLUMNS", 16)
    bins = binned(recorded.rows)
    assert bins.width >= width
    series = recorded.series("last.weight", "grad_norm")
    for column in range(bins.used):
        steps = [s for s in range(STEPS) if s // bins.width - bins.start == column]
        values = [series[s] for s in steps if np.isfinite(series[s])]
        at = bins.names.index("last.weight") * len(bins.statistics)
        if values:
            assert bins.cells.low[column, at] == min(values)
            assert bins.cells.high[column, at] == max(values)
            assert bins.cells.last[column, at] == values[-1]
        else:
            assert np.isnan(bins.cells.last[column, at])


# --- In a browser


def test_verdict_findings_and_facts(open_page):
    page = open_page()
    assert "G101 gradient vanishes" in page.locator("#verdict h1").inner_text()
    assert "stopped by ValueError" in page.locator("#verdict").inner_text()
    assert page.locator("#findings .card").count() == 1
    meta = page.locator("#meta").inner_text()
    assert "measurements of all factors 0.5 s (2×)" in meta
    assert re.search(r"lr\s+0\.1", meta)


def test_hovering_the_map_shows_the_value_that_was_recorded(open_page):
    page = open_page()
    page.locator("#heat").scroll_into_view_if_needed()
    place = page.evaluate(
        "(() => { const heat = pictures.find((p) => p.over.id === 'heat');"
        "const frame = heat.over.getBoundingClientRect();"
        "return [frame.left + heat.x(57), frame.top + heat.plot.top + 3.5 * heat.size]; })()"
    )
    page.mouse.move(*place)
    seen = told(page)
    assert seen["layer"] == "last.weight"
    step = int(seen["step"])
    assert abs(step - 57) <= 1
    assert np.float32(seen["learning speed: gradient norm"]) == value(step, 3)


def test_the_map_is_read_by_keys_alone(open_page):
    page = open_page()
    page.locator("#heat").focus()
    page.keyboard.press("Home")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    for _ in range(2):
        page.keyboard.press("ArrowDown")
    seen = told(page)
    assert seen["layer"] == "<script>alert(1)</script>"
    assert seen["step"] == "3"
    assert np.float32(seen["learning speed: gradient norm"]) == value(3, 2)
    assert "step 3" in page.locator("#now").inner_text()
    page.keyboard.press("Enter")
    assert page.locator("#layer-table button[aria-pressed=true]").all_inner_texts() == [
        "● <script>alert(1)</script>"
    ]


def test_not_finite_and_not_recorded_are_told_apart(open_page):
    page = open_page()
    page.locator("#heat").focus()
    colours = page.evaluate(
        "(() => { const heat = pictures.find((p) => p.over.id === 'heat');"
        "const y = Math.round(heat.plot.top + heat.size / 2);"
        "const line = heat.canvas.getContext('2d').getImageData(0, y, heat.width, 1).data;"
        "return [200, 100, 60].map((step) => { const at = 4 * Math.round(heat.x(step) + 0.5);"
        "return [...line.slice(at, at + 4)]; }); })()"
    )
    broken, gap, value = (tuple(colour[:3]) for colour in colours)
    assert broken == (230, 0, 126)
    assert broken not in (gap, value)
    page.evaluate("zoomTo(95, 106)")
    page.evaluate("pictures.find((p) => p.over.id === 'heat').look(100)")
    assert told(page)["step"] in ("99", "100")


def test_an_alarm_is_gone_to_and_shown_with_its_layer(open_page):
    page = open_page()
    page.locator("#alarm-table button", has_text="200").click()
    low, high = page.evaluate("[axis.low, axis.high]")
    assert low <= 200 <= high < 230
    assert page.evaluate("axis.cursor") == 200
    page.locator("#strip").focus()
    page.keyboard.press("0")
    assert page.evaluate("[axis.low, axis.high]") == [0, STEPS - 1]


def test_the_table_is_sorted_by_any_column(open_page):
    page = open_page()
    order = lambda: page.locator("#layer-table tbody tr button").all_inner_texts()  # noqa: E731
    assert order() == list(NAMES)
    page.locator("#layer-table th button", has_text="median").click()
    down = order()
    page.locator("#layer-table th button", has_text="median").click()
    assert order() == down[::-1]
    assert {down[0], down[-1]} == {"first.weight", "last.weight"}


def test_the_chain_of_a_chosen_step(open_page):
    page = open_page()
    assert page.locator("#shot-step option").all_inner_texts() == ["0", "250"]
    assert page.locator("#shot .waterfall li.row").count() > 3
    page.locator("#shot-before").click()
    assert page.locator("#shot-step").input_value() == "0"
    assert page.locator("#causes").get_attribute("aria-label")


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_runs_off_the_page(open_page, lang, scheme, width):
    options = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme}
    page = open_page(lang=lang, **options)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("document.documentElement.lang") == {"zh": "zh-CN", "en": "en"}[lang]
    assert page.evaluate("state.theme") == scheme


def test_language_and_theme_switch_in_place(open_page):
    page = open_page()
    page.locator("#language").click()
    assert "所有层" in page.locator("nav").inner_text()
    assert "因 ValueError 而中止" in page.locator("#verdict").inner_text()
    page.locator("#theme").click()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert page.evaluate("document.activeElement.id") == "theme"


def test_a_name_is_never_markup(open_page):
    page = open_page()
    assert page.locator("script").count() == 2
    assert page.locator("#layer-table tbody", has_text="<script>alert(1)</script>").count() == 1


def test_a_run_without_a_step_says_so(open_page, tmp_path):
    RunWriter(tmp_path / "empty", NAMES, STATISTICS, SCALARS).close()
    page = open_page(load(tmp_path / "empty"))
    assert page.locator("#verdict").is_visible()
    assert page.locator("#layers").count() == 0


def test_lines_are_drawn_where_the_axis_says_and_from_recorded_values(open_page):
    page = open_page()
    found = page.evaluate(
        "(() => { const lines = pictures.find((p) => p.over.id === 'speed-lines');"
        "const { chart } = lines; const at = (name) => 1 + chart.series.slice(1).findIndex("
        "(s, i) => i % 3 === 2 && lines.lines[Math.floor(i / 3)].name === name);"
        "const { left, top, width, height } = chart.bbox;"
        "return { names: lines.lines.map((l) => l.name), steps: Array.from(chart.data[0]),"
        "values: chart.data.slice(1), broken: lines.broken, log: lines.log,"
        "box: [left, top, width, height].map((v) => v / uPlot.pxRatio), plot: lines.plot,"
        "ranged: lines.lines.map((l) => lines.ranged(l)) }; })()"
    )
    plot = found["plot"]
    assert found["box"] == [plot["left"], plot["top"], plot["width"], plot["height"]]
    assert found["log"]
    assert all(found["ranged"])  # few layers: each has its least and greatest, then its last value
    last = found["values"][2::3]
    checked = 0
    for name, drawn in zip(found["names"], last, strict=True):
        row = NAMES.index(name)
        for step, got in zip(found["steps"], drawn, strict=True):
            if got is None or step != int(step):
                continue
            assert got == pytest.approx(np.log10(float(value(int(step), row))), abs=1e-6)
            checked += 1
    assert checked > STEPS
    assert set(found["broken"]) == {200}


def test_the_vendored_files_are_those_that_were_taken():
    folder = resources.files("isograd.reporters.run_page") / "assets" / "vendor"
    told = re.findall(r"\| (uPlot\S+) \| (\w{64}) \|", (folder / "README.md").read_text("utf-8"))
    assert len(told) == 3
    for name, digest in told:
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
