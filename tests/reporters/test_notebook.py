from html.parser import HTMLParser

from isograd.reporters import notebook
from reporters.samples import SAMPLES, SCRIPT


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.names, self.depth = set(), set(), 0
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.depth += 1
        self.tags.add(tag)
        self.names.update(name for name, _ in attrs)

    def handle_endtag(self, tag):
        self.depth -= 1


def test_fragment_is_static_balanced_and_has_no_ids(diagnosis):
    for lang in ("en", "zh"):
        parsed = Tags(notebook.fragment(diagnosis, lang))
        assert parsed.depth == 0
        assert parsed.tags <= {
            "div",
            "span",
            "details",
            "summary",
            "table",
            "tr",
            "td",
            "th",
            "ul",
            "li",
            "p",
            "code",
        }
        assert parsed.names <= {"style"}


def test_names_are_escaped():
    assert SCRIPT not in notebook.fragment(SAMPLES["hostile"]())
    assert "&lt;script&gt;" in notebook.fragment(SAMPLES["hostile"]())


def test_verdict_comes_first():
    text = notebook.fragment(SAMPLES["vanishing"]())
    assert text.index("5.1 decades lost") < text.index("<details")
    assert "<code>layers.0</code>" in text
