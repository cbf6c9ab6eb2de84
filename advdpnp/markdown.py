"""Text that Markdown shows as it is."""

import re
from html import escape


def literal(text: object) -> str:
    """`text` as Markdown that shows it as it is: neither its HTML nor its Markdown acts."""
    return re.sub(r"([\\`*_\[\]|$~#])", r"\\\1", escape(" ".join(str(text).split()), quote=False))
