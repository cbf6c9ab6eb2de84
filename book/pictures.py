"""What each picture shows, for those who cannot see it and for the captions of the page of figures."""

import csv
import re
import tomllib
from pathlib import Path

from advdpnp.names import column_name
from advdpnp.paper import artefacts
from advdpnp.paper.numbers import OURS
from advdpnp.report.tables import LOWER_IS_BETTER

TEXTS = {
    part: {key: " ".join(text.split()) for key, text in texts.items()}
    for part, texts in tomllib.loads(Path(__file__).with_suffix(".toml").read_text()).items()
}


def alt_of_file(name: str) -> str:
    """What figures/<tier>/<name>.png shows. Raises KeyError for a picture that nobody described."""
    for part in ("training", "rivals"):
        if f"-{part}-" in name and not name.startswith("figure2"):
            return TEXTS["files"][part]
    fits = [start for start in TEXTS["files"] if name.startswith(start)]
    if not fits:
        raise KeyError(f"{name}.png: say in book/pictures.toml what it shows")
    number = re.match(r"table\d+|figure\d+", name)
    title = artefacts.ARTEFACTS[number.group()].title if number else ""
    return TEXTS["files"][max(fits, key=len)].format(what=title)


def alt_of_cell(page: str, source: str) -> str:
    """What the pictures below a cell of an executed notebook show. Raises KeyError where nobody described them."""
    if page == "method":
        for code, text in TEXTS["code"].items():
            if code in source:
                return text
    elif page in artefacts.ARTEFACTS:
        if "show_rivals" in source:
            return TEXTS["files"]["rivals"]
        if "training_curves" in source:
            return TEXTS["files"]["training"]
        named = "fingerprint" if "figures.fingerprint" in source else "ledger-effects" if page == "ledger" else page
        return alt_of_file(named)
    raise KeyError(f"{page}: say in book/pictures.toml what the cell shows that begins {source[:60]!r}")


def reading(table: Path) -> str:
    """'clean: HAT best with 46.9, Adv-DPNP 43.4; ...': the first two columns of a table's CSV, or "" without rivals.

    ST is left out: it defends against nothing.
    """
    with table.open() as file:
        rows = [
            row for row in csv.DictReader(file) if row["ours"] and row["method"] not in ("ST", *artefacts.VARIANT_ROWS)
        ]
    rows = [row for row in rows if (row["dataset"], row["backbone"]) == (rows[0]["dataset"], rows[0]["backbone"])]
    sentences = []
    for column in dict.fromkeys(row["column"] for row in rows):
        values = {row["method"]: float(row["ours"]) for row in rows if row["column"] == column}
        if OURS in values and len(values) > 2:
            lower = column.startswith(LOWER_IS_BETTER)
            top = (min if lower else max)(values, key=values.__getitem__)
            beside = "" if top == OURS else f", {OURS} {values[OURS]:g}"
            sentences.append(f"{column_name(column)}: {top} best with {values[top]:g}{beside}")
    return "; ".join(sentences[:2]) + ". " if sentences else ""
