"""A report as a list of blocks, written as one self-contained HTML file or as Markdown with files beside it.

Text and tables come from run folders, so everything is escaped: a photo's name cannot become markup.
"""

import base64
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_BOLD, _CODE = re.compile(r"\*\*(.+?)\*\*"), re.compile(r"`([^`]+)`")
_NUMBER = re.compile(r"^[-+]?[\d.,]+( ?%)?( ±.*| ?\[.*\]| to .*| / .*)?$|^-$|^$")
_INTERVAL = re.compile(r"([-+\d.]+) (\[.*\])")
_STATUS = ("measured", "quoted", "not measured")
_MIME = {".svg": "image/svg+xml", ".png": "image/png", ".jpg": "image/jpeg"}


@dataclass(frozen=True)
class Heading:
    """A section's title; level 2 is a section, 3 a part of one."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Text:
    """A paragraph; `**bold**` and `` `code` `` are understood."""

    text: str


@dataclass(frozen=True)
class Table:
    """A table of texts."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Picture:
    """A figure. `name` is its file name in the Markdown form; its ending says what `data` is."""

    name: str
    data: bytes
    caption: str
    width: int | None = None  # pixels; the page's width at most


Block = Heading | Text | Table | Picture


def parse_markdown(text: str, *, deeper: int = 0) -> list[Block]:
    """Headings, paragraphs and tables of the Markdown that this package writes.

    Args:
        text: Markdown.
        deeper: how much deeper its headings become.
    """
    blocks: list[Block] = []
    for part in re.split(r"\n\s*\n", text.strip()):
        lines = [line.strip() for line in part.splitlines() if line.strip()]
        while lines and lines[0].startswith("#"):
            marks, _, title = lines.pop(0).partition(" ")
            blocks.append(Heading(title, min(len(marks) + deeper, 4)))
        if lines and lines[0].startswith("|"):
            rows = [_cells(line) for line in lines if line.startswith("|") and not set(line) <= set("|-: ")]
            blocks.append(Table(rows[0], tuple(rows[1:])))
            lines = [line for line in lines if not line.startswith("|")]
        if lines:
            blocks.append(Text(" ".join(lines)))
    return blocks


def _cells(line: str) -> tuple[str, ...]:
    return tuple(cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip("|")))


def to_markdown(title: str, blocks: Sequence[Block], folder: str) -> str:
    """Markdown whose pictures lie in `folder`, a path relative to the page."""
    parts = [f"# {title}"]
    for block in blocks:
        if isinstance(block, Heading):
            parts.append(f"{'#' * block.level} {block.text}")
        elif isinstance(block, Text):
            parts.append(block.text)
        elif isinstance(block, Table):
            lines = [block.header, ("---",) * len(block.header), *block.rows]
            cells = (" | ".join(cell.replace("|", "\\|") for cell in line) for line in lines)
            parts.append("\n".join(f"| {line} |" for line in cells))
        else:
            parts.append(f"![{block.caption}]({folder}/{block.name})\n\n*{block.caption}*")
    return "\n\n".join(parts) + "\n"


def to_html(title: str, blocks: Sequence[Block]) -> str:
    """One HTML page that needs nothing else: styles and pictures are inside, there is no script."""
    sections = [block for block in blocks if isinstance(block, Heading) and block.level == 2]
    links = "".join(f'<a href="#{_anchor(s.text)}">{html.escape(s.text)}</a>' for s in sections)
    body = "\n".join(_html(block) for block in blocks)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<header><h1>{html.escape(title)}</h1><nav>{links}</nav></header>\n<main>\n{body}\n</main>\n"
        "</body>\n</html>\n"
    )


def _html(block: Block) -> str:
    if isinstance(block, Heading):
        anchor = f' id="{_anchor(block.text)}"' if block.level == 2 else ""
        return f"<h{block.level}{anchor}>{_inline(block.text)}</h{block.level}>"
    if isinstance(block, Text):
        return f"<p>{_inline(block.text)}</p>"
    if isinstance(block, Table):
        return _html_table(block)
    kind = _MIME[Path(block.name).suffix]
    data = base64.b64encode(block.data).decode()
    width = f' style="width:{block.width}px"' if block.width else ""
    caption = html.escape(block.caption)
    return (
        f'<figure{width}><img src="data:{kind};base64,{data}" alt="{caption}">'
        f"<figcaption>{_inline(block.caption)}</figcaption></figure>"
    )


def _html_table(table: Table) -> str:
    columns = list(zip(*table.rows, strict=False)) if table.rows else [()] * len(table.header)
    numeric = [
        i > 0 and any(column) and all(_NUMBER.match(c) for c in column) for i, column in enumerate(columns)
    ]
    numeric += [False] * (len(table.header) - len(numeric))
    marks = [' class="number"' if right else "" for right in numeric]
    head = "".join(f"<th{mark}>{_inline(cell)}</th>" for mark, cell in zip(marks, table.header, strict=True))
    lines = ["".join(_cell(c, mark) for c, mark in zip(row, marks, strict=False)) for row in table.rows]
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    return (
        f'<div class="table"><table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'
    )


def _cell(text: str, mark: str) -> str:
    if text in _STATUS:
        mark = f' class="{text.replace(" ", "-")}"'
    interval = _INTERVAL.fullmatch(text) if mark else None
    if interval:  # below the value: a table of many intervals stays as wide as the page
        return f"<td{mark}>{html.escape(interval[1])}<small>{html.escape(interval[2])}</small></td>"
    return f"<td{mark}>{_inline(text)}</td>"


def _inline(text: str) -> str:
    safe = html.escape(text, quote=True)
    return _CODE.sub(r"<code>\1</code>", _BOLD.sub(r"<strong>\1</strong>", safe))


def _anchor(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def write_page(title: str, blocks: Sequence[Block], path: Path) -> list[Path]:
    """Write `path` (.html: everything inside; .md: pictures in `<stem>_files/` beside it).

    Returns:
        The files written, the page first.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() in (".html", ".htm"):
        path.write_text(to_html(title, blocks), encoding="utf-8")
        return [path]
    folder = path.with_name(f"{path.stem}_files")
    written = [path]
    for block in blocks:
        if isinstance(block, Picture):
            folder.mkdir(exist_ok=True)
            (folder / block.name).write_bytes(block.data)
            written.append(folder / block.name)
    path.write_text(to_markdown(title, blocks, folder.name), encoding="utf-8")
    return written


_STYLE = """
:root{color-scheme:light;--line:#d9dee5;--soft:#f5f7fa;--ink:#1d2733;--quiet:#5c6b7c;--link:#0b5cad}
*{box-sizing:border-box}
body{margin:0;font:15px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;color:var(--ink);
background:#fff}
header{padding:28px max(24px,calc((100vw - 1120px)/2)) 16px;border-bottom:1px solid var(--line);
background:var(--soft)}
h1{margin:0 0 10px;font-size:26px;line-height:1.2}
nav a{display:inline-block;margin:0 16px 4px 0;color:var(--link);text-decoration:none}
nav a:hover{text-decoration:underline}
main{max-width:1168px;margin:0 auto;padding:8px 24px 64px}
h2{margin:40px 0 12px;padding-top:8px;font-size:20px}
h3{margin:26px 0 8px;font-size:16px}h4{margin:20px 0 6px;font-size:15px}
p{max-width:78ch;margin:8px 0}
code{font:13px ui-monospace,Menlo,Consolas,monospace;background:var(--soft);padding:1px 4px;border-radius:3px;
overflow-wrap:anywhere}
.table{overflow-x:auto;margin:12px 0}
table{border-collapse:collapse;font-size:13.5px}
th,td{padding:5px 10px;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}
th{background:var(--soft);font-weight:600}
td:first-child{overflow-wrap:break-word;max-width:30em}
.number{text-align:right;font-variant-numeric:tabular-nums}td.number{white-space:nowrap}
td small{display:block;color:var(--quiet);font-size:11.5px}
td.measured{color:#17703a;font-weight:600}td.quoted{color:#7a5b00}td.not-measured{color:#6b7785}
.measured,.quoted,.not-measured{white-space:nowrap}
tbody tr:hover{background:#fafbfc}
figure{margin:16px 12px 16px 0;display:inline-block;max-width:100%;vertical-align:top}
figure img{width:100%;height:auto;display:block}
figcaption{color:var(--quiet);font-size:13px;max-width:78ch;margin-top:4px}
@media print{nav{display:none}h2{break-after:avoid}figure{break-inside:avoid}}
"""
