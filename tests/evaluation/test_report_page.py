"""Pages of blocks: what HTML and Markdown hold, and that no text becomes markup."""

from html.parser import HTMLParser
from pathlib import Path

from occface_core.evaluation.report_page import (
    Heading,
    Picture,
    Table,
    Text,
    parse_markdown,
    to_html,
    write_page,
)

BLOCKS = [
    Heading("Results"),
    Text("Of **three** photos, see `docs/metrics.md`."),
    Table(("model", "mm", "status"), (("a", "0.68 [0.62, 0.73]", "measured"), ("b", "1.50", "not measured"))),
    Heading("Curve", 3),
    Picture("curve.svg", b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>", "A curve & more"),
]


class Parsed(HTMLParser):
    """Tags that are open, tags seen, and everything that would be fetched."""

    VOID = ("meta", "img", "br")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.sources: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.seen.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_needs_nothing_else() -> None:
    page = to_html("Report", BLOCKS)
    parsed = Parsed(page)
    assert parsed.open == []
    assert {"table", "img", "nav", "h1", "h2", "h3"} <= set(parsed.seen)
    assert not {"script", "link", "iframe"} & set(parsed.seen)
    assert all(source.startswith(("data:image/", "#")) for source in parsed.sources)
    assert 'href="#results"' in page
    assert 'id="results"' in page
    assert "0.68<small>[0.62, 0.73]</small>" in page
    assert 'class="not-measured"' in page
    assert "<strong>three</strong>" in page


def test_texts_of_run_folders_cannot_become_markup() -> None:
    evil = '<script>alert("x")</script>'
    blocks = [Heading(evil), Text(evil), Table(("photo", evil), ((evil, "1"),)), Picture("a.png", b"", evil)]
    page = to_html(evil, blocks)
    assert "<script" not in page
    assert Parsed(page).open == []


def test_markdown_has_its_pictures_beside_it(tmp_path: Path) -> None:
    page, picture = write_page("Report", BLOCKS, tmp_path / "deep" / "report.md")
    assert picture == tmp_path / "deep" / "report_files" / "curve.svg"
    assert picture.read_bytes() == BLOCKS[-1].data
    text = page.read_text()
    assert "| model | mm | status |\n| --- | --- | --- |\n| a | 0.68 [0.62, 0.73] | measured |" in text
    assert "![A curve & more](report_files/curve.svg)" in text
    assert write_page("Report", BLOCKS, tmp_path / "one.html") == [tmp_path / "one.html"]


def test_our_own_markdown_is_read_back() -> None:
    text = "### By group\n\nA note\nover two lines.\n\n"
    text += "| a | b |\n|---|---:|\n| 1 | x \\| y |\n| 2 |  |\nAfter it.\n"
    assert parse_markdown(text) == [
        Heading("By group", 3),
        Text("A note over two lines."),
        Table(("a", "b"), (("1", "x | y"), ("2", ""))),
        Text("After it."),
    ]
    assert parse_markdown("") == []
