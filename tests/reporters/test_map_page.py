"""The map's page in a real browser: offline, by pointer and keyboard, in both languages."""

import re

import pytest

from isograd.reporters.map_page import page
from reporters.map_samples import made


def test_page_asks_for_nothing_outside():
    text = page(made())
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    assert "default-src 'none'" in policy[1]
    assert "unsafe" not in policy[1]
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//|@import|fetch\(""", text)
    assert text.count("<script") == text.count("</script>") == 2


def test_language_stands_in_the_page_without_script():
    assert '<html lang="zh-CN">' in page(made(), "zh")
    assert "<title>isograd · tanh 网络的可训练性</title>" in page(made(), "zh")
    with pytest.raises(ValueError, match="`lang` must be one of en, zh"):
        page(made(), "fr")


def test_a_hostile_name_stays_text():
    text = page(made(target="</script><img src=x>.py:build"))
    assert "<img" not in text
    assert text.count("</script>") == 2


@pytest.fixture
def open_page(chromium, tmp_path):
    """Opens a map offline; at the end no error was logged and nothing was requested."""
    contexts, faults = [], []

    def open_page(found, lang="en", **options):
        file = tmp_path / "map.html"
        file.write_text(page(found, lang), encoding="utf-8")
        size = {"width": 1280, "height": 900}
        context = chromium.new_context(**{"offline": True, "viewport": size, **options})
        contexts.append(context)
        tab = context.new_page()
        tab.on("console", lambda message: faults.append(message.text))
        tab.on("pageerror", lambda error: faults.append(str(error)))
        tab.on("request", lambda r: None if r.url == file.as_uri() else faults.append(r.url))
        tab.goto(file.as_uri())
        return tab

    yield open_page
    for context in contexts:
        context.close()
    assert faults == []


MAPS = {
    "whole": made,
    "no line": lambda: made(limits=None),
    "no number": lambda: made(limits=[None] * 3, kind="none: diverges"),
    "gap": lambda: made(limits=[7.5, None, 30.0], kind="none: vanishes"),
    "one column": lambda: made(columns=1),
    "many": lambda: made(columns=60),
    "build": lambda: made(limits=None, target="nets.py:build"),
}


@pytest.mark.browser
@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("width", [390, 1280])
def test_opens_without_error_and_fits_its_window(open_page, name, width):
    tab = open_page(MAPS[name](), viewport={"width": width, "height": 800})
    assert tab.locator("h1").inner_text().strip()
    assert tab.locator("canvas").count() == 2
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    tab.locator("#language").click()
    assert tab.locator("#language").inner_text() == "English"
    tab.locator("#theme").click()


# Colours of a quarter into each cell, row 0 at the bottom; the canvas is read once.
PIXELS = """(id) => {
  const heat = heats.find((h) => h.canvas.id === id), box = heat.box(), r = devicePixelRatio;
  const { width, height } = heat.canvas;
  const { data } = heat.canvas.getContext("2d").getImageData(0, 0, width, height);
  return MAP.depths.map((_, i) => MAP.scales.map((_, j) => {
    const x = Math.round((heat.x(j, box) - box.dx / 4) * r);
    const y = Math.round((heat.y(i, box) - box.dy / 4) * r);
    return [...data.slice(4 * (y * width + x), 4 * (y * width + x) + 3)];
  }));
}"""


@pytest.mark.browser
def test_cells_have_the_colour_of_their_value(open_page):
    tab = open_page(made(limits=None), color_scheme="light")
    success, gain = tab.evaluate(PIXELS, "success"), tab.evaluate(PIXELS, "gain")
    assert sum(success[0][1][:2]) > 400 > 300 > sum(success[2][0])
    red, _, blue = gain[2][0]  # vanishes: blue
    assert blue > red + 80
    red, _, blue = gain[2][2]  # explodes: orange
    assert red > blue + 50
    assert max(gain[0][1]) - min(gain[0][1]) < 10


@pytest.mark.browser
def test_exact_values_by_pointer_and_by_keyboard(open_page):
    tab = open_page(made())
    box = tab.locator("#gain").bounding_box()
    place = tab.evaluate(
        "(() => { const h = heats[1], b = h.box(); return [h.x(0, b), h.y(1, b)]; })()"
    )
    tab.mouse.move(box["x"] + place[0], box["y"] + place[1])
    seen = tab.locator("#tip").inner_text()
    assert "-6.00" in seen.replace("−", "-")
    assert "7.5" in seen  # the theory's depth
    tab.locator("#success").focus()
    for key in ("ArrowUp", "ArrowUp", "ArrowRight", "ArrowRight"):
        tab.keyboard.press(key)
    told = tab.locator("#now").inner_text()
    assert told.startswith("depth 20 · sigma_w 2 · success 0.3")
    assert "training: the loss is nan after 13 steps" in told
    tab.keyboard.press("ArrowRight")  # the edge holds
    assert tab.locator("#now").inner_text() == told
    tab.keyboard.press("ArrowDown")
    tab.keyboard.press("ArrowDown")
    assert "not measured" in tab.locator("#now").inner_text()


@pytest.mark.browser
def test_table_says_the_same_as_the_record(open_page):
    found = made()
    tab = open_page(found)
    tab.locator("#numbers summary").click()
    rows = tab.locator("#numbers tbody tr")
    assert rows.count() == found.success.size
    cells = rows.nth(3).locator("td").all_inner_texts()
    assert [float(cell.replace("−", "-")) for cell in cells[:4]] == [10, 0.5, 0.5, -6.0]


@pytest.mark.browser
def test_line_passes_where_the_theory_says(open_page):
    tab = open_page(made(limits=[10.0, 10.0, 10.0]))
    at = "(() => { const h = heats[0], b = h.box(); return h.y(placeAmong(MAP.depths, %s), b); })()"
    middle = "(() => { const h = heats[0]; return h.y(1, h.box()); })()"
    assert tab.evaluate(at % "10") == pytest.approx(tab.evaluate(middle))
    half = "(() => { const h = heats[0]; return h.y(1.5, h.box()); })()"
    assert tab.evaluate(at % "15") == pytest.approx(tab.evaluate(half))
    white = tab.evaluate("""() => {
      const h = heats[0], b = h.box(), r = devicePixelRatio;
      const x = h.x(1, b) * r, y = h.y(1, b) * r;
      return [...h.canvas.getContext("2d").getImageData(x, y, 1, 1).data];
    }""")
    assert min(white[:3]) > 230
