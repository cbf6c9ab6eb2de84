"""Text that Markdown shows as it is, and tables of it."""

import re
from collections.abc import Iterable, Sequence
from html import escape


def escape_markdown(text: object) -> str:
    """`text` as Markdown that shows it as it is: neither its HTML nor its Markdown acts."""
    return re.sub(r"([\\`*_\[\]|$~#])", r"\\\1", escape(" ".join(str(text).split()), quote=False))


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A pipe table. Cells are Markdown: whoever shows text of others passes it through `escape_markdown` first."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
