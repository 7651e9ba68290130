"""The derivation's page in a real browser: offline, in both languages, by keyboard, on a phone."""

import re
from importlib import resources

import numpy as np
import pytest

from isograd.reporters.explain import page
from isograd.reporters.explain.page import MATHS, SCRIPTS, said, texts

CHINESE = re.compile(r"[\u3400-\u9fff]")
# What stays Latin in Chinese text: names, commands, symbols.
LATIN = (
    "isograd explain demo check FILE py target CODE English PyTorch sigmoid tanh ReLU leaky ELU "
    "GELU SiLU He Nielsen Neural Networks and Deep Learning Poole Schoenholz Var ln"
).split()


def part(name):
    return (resources.files("isograd.reporters.explain") / name).read_text(encoding="utf-8")


# --- The file


def test_page_asks_for_nothing_outside():
    text = page()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    assert "default-src 'none'" in policy[1]
    assert "unsafe" not in policy[1]
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//|@import|url\((?!#)|fetch\(""", text)
    assert text.count("<script") == text.count("</script>") == 2
    assert "{{" not in text.partition("<script")[0]


def test_language_stands_in_the_page_without_script():
    assert '<html lang="zh-CN">' in page("zh")
    assert "本页需要 JavaScript" in page("zh")
    assert f"<title>isograd · {said('page.title', 'zh')}</title>" in page("zh")
    with pytest.raises(ValueError, match="`lang` must be one of en, zh"):
        page("fr")


def test_maths_knows_nothing_of_the_page():
    for name in MATHS:
        assert not re.search(r"\b(document|window|state|svg|h)\b[.(\[]", part(name)), name


# --- The texts


def test_every_text_exists_and_is_used():
    code = "\n".join(part(name) for name in SCRIPTS) + part("page.py")
    made = {f"loose.{i}" for i in range(1, 8)} | {"page.title", "page.noscript"}
    made |= {name for name in texts() if name.startswith("preset.")}
    made |= {name for name in texts() if name.endswith((".title", ".short"))}
    named = set(re.findall(r'"([a-z]+\.[A-Za-z0-9]+)"', code))
    named = {name for name in named if name.split(".")[0] in {n.split(".")[0] for n in texts()}}
    files = {name for name in named if name.endswith((".js", ".css", ".html", ".json"))}
    assert named - files <= set(texts())
    assert set(texts()) <= named | made


@pytest.mark.parametrize("name", texts())
def test_a_text_says_the_same_in_both_languages(name):
    english, chinese = texts()[name]
    assert not CHINESE.search(english)
    fields = [sorted(re.findall(r"\{[a-z]\w+\}", text)) for text in (english, chinese)]
    assert fields[0] == fields[1]
    for mark in "$`*":
        assert english.count(mark) % 2 == chinese.count(mark) % 2 == 0
    if CHINESE.search(chinese):
        # Chinese text has full-width punctuation.
        assert not re.search(r"[\u3400-\u9fff][,;:?!()]|[,;:?!][\u3400-\u9fff]", chinese)
    else:
        assert chinese == english  # a formula


# --- In the browser


@pytest.fixture
def open_page(chromium, tmp_path):
    """Opens the page offline; at the end no error was logged and nothing was requested."""
    contexts, faults = [], []

    def open_page(lang="en", **options):
        file = tmp_path / f"page-{lang}.html"
        file.write_text(page(lang), encoding="utf-8")
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


RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")


def value_of(text):
    """The number that the page shows, and half a unit of its last digit."""
    digits, _, exponent = text.replace("−", "-").partition("×10")
    scale = 10.0 ** int(exponent.translate(RAISED) or 0)
    return float(digits) * scale, 0.5 * 10.0 ** -len(digits.partition(".")[2]) * scale


SLOPES = {
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)) * (1 - 1 / (1 + np.exp(-z))),
    "tanh": lambda z: 1 - np.tanh(z) ** 2,
    "relu": lambda z: float(z > 0),
}
VALUES = {
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "tanh": np.tanh,
    "relu": lambda z: max(z, 0),
}


def expected_factors(chain):
    """From the cost to b_1, written out once more."""
    a, zs = chain["x"], []
    for w, b in zip(chain["w"], chain["b"], strict=True):
        zs.append(w * a + b)
        a = VALUES[chain["activation"]](zs[-1])
    slopes = [SLOPES[chain["activation"]](z) for z in zs]
    found = [a - chain["y"] if chain["cost"] == "square" else 1.0, slopes[3]]
    for j in (3, 2, 1):
        found += [chain["w"][j], slopes[j - 1]]
    return found


@pytest.mark.browser
@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize(
    "preset", ["drawn", "ones", "large", "centred", "tanh", "relu", "he", "dead"]
)
def test_every_shown_factor_is_right_to_its_last_digit(open_page, preset, lang):
    tab = open_page(lang)
    tab.select_option("#preset", preset)
    factors = expected_factors(tab.evaluate("state.chain"))
    shown = tab.locator("#product .factor:not(.head):not(.total) .value").all_inner_texts()
    assert len(shown) == 8 + 4  # factors, then learning speeds
    pairs = [*zip(shown[:8], factors, strict=True)]
    pairs.append((tab.locator("output#gradient").inner_text(), np.prod(factors)))
    for j in range(1, 5):
        speed = abs(np.prod(factors[: 2 * (5 - j)]))
        pairs.append((tab.locator(f"#speed-{j}").inner_text(), speed))
    for text, exact in pairs:
        found, half = value_of(text)
        assert abs(found - exact) <= half * (1 + 1e-6), (text, exact)
    slow = tab.locator("#speeds-note").inner_text()
    ratio = abs(factors[0] * factors[1]) / abs(np.prod(factors)) if np.prod(factors) else None
    if ratio is None:
        assert slow == said("product.stuck", lang)
    elif abs(ratio - 1) > 0.1:
        (number,) = re.findall(r"\d+\.\d+|\d{2,}", slow)
        assert float(number) == pytest.approx(max(ratio, 1 / ratio), rel=1e-3)


@pytest.mark.browser
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_moving_a_slider_moves_the_product(open_page, lang):
    tab = open_page(lang)
    before = tab.locator("output#gradient").inner_text()
    tab.locator("#w3").focus()
    for key in ("ArrowRight", "ArrowRight", "PageUp"):
        tab.keyboard.press(key)
    moved = tab.locator("output#gradient").inner_text()
    assert moved != before
    assert float(tab.locator("#w3-number").input_value()) == tab.evaluate("state.chain.w[2]")
    tab.locator("#b2-number").fill("1.25")
    after = tab.locator("output#gradient").inner_text()
    assert after != moved
    chain = tab.evaluate("state.chain")
    assert chain["b"][1] == 1.25
    found, half = value_of(after)
    assert abs(found - np.prod(expected_factors(chain))) <= half * 1.000001
    assert tab.locator("#product-numbers").inner_text().startswith(after + " = ")
    # The other language shows the same state.
    tab.click("#language")
    assert tab.locator("output#gradient").inner_text() == after
    assert tab.locator("#b2-number").input_value() == "1.25"


@pytest.mark.browser
def test_the_ripple_follows_the_nudge(open_page):
    tab = open_page()
    tab.locator("#eps-number").fill("0.5")
    last = tab.locator("#ripple-table tbody tr").last.locator("td").all_inner_texts()
    row = tab.evaluate("ripple(state.chain, 0.5).pop()")
    for text, name in zip(last, ("exact", "linear", "subtracted"), strict=True):
        found, half = value_of(text)
        assert abs(found - row[name]) <= half * 1.000001
    assert tab.locator("#ripple-table tbody tr").count() == 10


@pytest.mark.browser
def test_the_condition_says_where_it_holds(open_page):
    tab = open_page()
    tab.locator("#condition-w-number").fill("6.894151")
    assert "0.447743" in tab.locator("#condition-note b").inner_text()
    tab.locator("#condition-w-number").fill("-3.9")
    assert "never reaches 1" in tab.locator("#condition-note").inner_text()


@pytest.mark.browser
def test_draws_and_width_follow_their_sliders(open_page):
    tab = open_page()
    tab.locator("#draws-depth-number").fill("7")
    row = tab.locator("#draws-table tbody tr").first.locator("td").all_inner_texts()
    assert value_of(row[1])[0] == pytest.approx(value_of(row[0])[0] ** 7, rel=0.04)
    tab.select_option("#draws-activation", "relu")
    assert "exactly 0" in tab.locator("#draws-note").inner_text()
    tab.select_option("#wide-scale", "plain")
    tab.locator("#wide-width-number").fill("200")
    assert "gain 1.171 per layer" in tab.locator("#wide-note").inner_text()  # sqrt(1.3705)


# All text but formulas, whose letters are no words.
WORDS = """(() => {
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const found = [];
    while (walker.nextNode()) {
        if (!walker.currentNode.parentElement.closest(".math, script")) found.push(walker.currentNode.data);
    }
    return found.join("\\n");
})()"""  # noqa: E501


@pytest.mark.browser
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_no_word_of_the_other_language_is_left(open_page, lang):
    tab = open_page("zh" if lang == "en" else "en")
    tab.click("#language")
    assert tab.locator("html").get_attribute("lang") == {"en": "en", "zh": "zh-CN"}[lang]
    states = [*tab.evaluate("Object.keys(PRESETS)")]
    seen = []
    for preset in states:
        tab.select_option("#preset", preset)
        seen.append(tab.evaluate(WORDS))
    tab.locator("#condition-w-number").fill("2")
    tab.select_option("#draws-activation", "relu")
    tab.locator("#wide-width-number").fill("3")
    tab.locator("#training-rate-number").fill("0.3")
    labels = """[...document.querySelectorAll("[aria-label], [title], [aria-valuetext]")]
        .flatMap((node) => ["aria-label", "title", "aria-valuetext"].map((a) => node.getAttribute(a)))
        .filter(Boolean).join("\\n") + [...document.querySelectorAll("svg text")].map((n) => n.textContent).join("\\n")"""  # noqa: E501
    seen += [tab.evaluate(WORDS), tab.evaluate(labels), tab.title()]
    text = "\n".join(seen).replace("中文" if lang == "en" else "English", "")
    if lang == "en":
        assert CHINESE.findall(text) == []
    else:
        words = set(re.findall(r"[A-Za-z]{2,}", text))
        assert words - set(LATIN) == set()


@pytest.mark.browser
@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("width", [390, 700, 1280])
def test_fits_its_window_and_cuts_no_label(open_page, lang, width):
    tab = open_page(lang, viewport={"width": width, "height": 844})
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    cut = tab.evaluate("""[...document.querySelectorAll("svg")].flatMap((picture) => {
        const frame = picture.getBoundingClientRect();
        return [...picture.querySelectorAll("text")].filter((text) => {
            const box = text.getBoundingClientRect();
            return box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 1 || box.bottom > frame.bottom + 1;
        }).map((text) => (picture.id || "chain") + ": " + text.textContent);
    })""")  # noqa: E501
    assert cut == []
    narrow = tab.evaluate("""[...document.querySelectorAll(".factor .label, .gain, td, th")]
        .filter((cell) => cell.scrollWidth > cell.clientWidth + 1)
        .map((cell) => cell.textContent)""")
    assert narrow == []


@pytest.mark.browser
def test_no_text_of_the_chain_covers_another(open_page):
    for width in (390, 1280):
        tab = open_page("en", viewport={"width": width, "height": 844})
        boxes = tab.evaluate("""[...document.querySelectorAll(".drawing text")].map((text) => {
            const box = text.getBoundingClientRect();
            return [box.left, box.right, box.top + 3, box.bottom - 3, text.textContent];
        })""")
        overlaps = [
            (a[4], b[4])
            for i, a in enumerate(boxes)
            for b in boxes[:i]
            if a[0] < b[1] and b[0] < a[1] and a[2] < b[3] and b[2] < a[3]
        ]
        assert overlaps == []


@pytest.mark.browser
def test_no_name_is_given_twice(open_page):
    tab = open_page()
    names = tab.evaluate("[...document.querySelectorAll('[id]')].map((node) => node.id)")
    assert sorted(names) == sorted(set(names))
    links = tab.evaluate("[...document.querySelectorAll('nav a')].map((a) => a.hash.slice(1))")
    assert len(links) == 10
    assert set(links) <= set(names)


@pytest.mark.browser
def test_keyboard_reaches_every_control(open_page):
    tab = open_page()
    reached = set()
    for _ in range(120):
        tab.keyboard.press("Tab")
        reached.add(tab.evaluate("document.activeElement.id"))
    controls = set(
        tab.evaluate("""[...document.querySelectorAll("input, select, button, svg[tabindex]")]
        .map((node) => node.id)""")
    )
    assert controls <= reached
    assert tab.evaluate("""[...document.querySelectorAll("input, select")].every((node) =>
        node.getAttribute("aria-label") || node.closest("label") || document.querySelector(`label[for="${node.id}"]`))""")  # noqa: E501


@pytest.mark.browser
def test_arrow_keys_read_a_plot_off(open_page):
    tab = open_page()
    tab.locator("#ripple-plot").focus()
    tab.keyboard.press("ArrowRight")
    shown = tab.locator("#tip").inner_text()
    assert "subtracted, both sides" in shown
    tab.keyboard.press("PageUp")
    assert tab.locator("#tip").inner_text() != shown
    tab.keyboard.press("Escape")
    assert not tab.locator("#tip").is_visible()


@pytest.mark.browser
def test_wild_numbers_break_nothing(open_page):
    tab = open_page()
    for place, value in (("w1", "1e9"), ("b3", "-1e300"), ("chain-x", "1e200"), ("eps", "1e250")):
        tab.locator(f"#{place}-number").fill(value)
    tab.locator("#w2-number").fill("")
    for activation in ("linear", "gelu", "relu"):
        tab.select_option("#activation", activation)
    for place in ("condition-w", "draws-sigma", "training-start", "training-rate", "wide-width"):
        tab.locator(f"#{place}-number").fill("1e12")
    tab.locator("#condition-w-number").fill("0")
    text = tab.locator("#app").inner_text()
    assert not re.search(r"NaN|undefined|Infinity|\[object", text)


@pytest.mark.browser
def test_play_moves_the_step_and_reduced_motion_jumps(open_page):
    tab = open_page()
    assert tab.evaluate("state.training.step") == 200
    tab.click("#play")
    tab.wait_for_function("state.training.step > 0 && state.training.step < 200")
    tab.click("#play")
    paused = tab.evaluate("state.training.step")
    tab.wait_for_timeout(100)
    assert tab.evaluate("state.training.step") == paused < 200
    tab = open_page(reduced_motion="reduce")
    tab.locator("#training-step-number").fill("5")
    tab.click("#play")
    assert tab.evaluate("state.training.step") == 200
    assert tab.evaluate("playing") == 0


@pytest.mark.browser
def test_light_and_dark_follow_the_system_and_the_button(open_page):
    background = "getComputedStyle(document.body).backgroundColor"
    light = open_page(color_scheme="light")
    dark = open_page(color_scheme="dark")
    assert light.evaluate(background) != dark.evaluate(background)
    light.click("#theme")
    assert light.evaluate(background) == dark.evaluate(background)
    light.click("#language")
    assert light.evaluate(background) == dark.evaluate(background)
