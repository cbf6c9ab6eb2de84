"""What each picture shows, for those who cannot see it and for the captions of the page of figures."""

import csv
import re
from pathlib import Path

from advdpnp.paper import artefacts
from advdpnp.paper.numbers import OURS
from advdpnp.report.tables import LOWER_IS_BETTER

# By how the file's name begins, the longest that fits; {what} is the artefact's title.
FILES = {
    "figure2-training": "Four panels over the epochs of Adv-DPNP on MNIST: loss terms, training accuracies, norms and angles of the "
    "prototypes.",
    "figure2": "Four scatter plots of two-dimensional MNIST features, clean and under PGD-40, coloured by digit: under AT the classes are "
    "rays from the origin, under Adv-DPNP groups on a circle, each at its prototype, drawn as a star.",
    "figure3": "Lines of accuracy on CIFAR-10-C over severities 1 to 5, one per defense, Adv-DPNP strong with its interval, the others "
    "grey, with a line at chance.",
    "figure4": "Two curves of Adv-DPNP's accuracy over the budget in 1/255, under FGSM and under PGD-20: both fall steeply; PGD-20 lies "
    "lower.",
    "fingerprint": "Eight quantities of the feature geometry, one line each, as multiples of the paper's value, on a logarithmic axis: a "
    "dot per seed for each reading of Eq. (3), and a grey band within a factor of 1.25 of the paper.",
    "ledger-effects": "Open choices of the paper, one line each: the effect of the other choice on accuracy in points, with intervals "
    "around a line at zero.",
    "rivals": "Adv-DPNP minus each rival in points, one panel per attack, one line per rival, with intervals around a line at zero.",
    "training": "Four panels over the epochs of one training of Adv-DPNP: loss terms, training accuracies, norms and angles of the "
    "prototypes.",
    "table": "{what}: one panel per column of the table, one line per defense, a dot with its 95 % interval, Adv-DPNP in its own colour.",
}
# In the method notebook, by words of the code that draws them.
CODE = {
    "dual_branch": "Figure 1 as a diagram: clean and adversarial images pass one feature extractor; clean features pull and update the "
    "prototypes, adversarial ones see them locked; DFA ties the two branches.",
    "cartesian_prod": "Two fields of arrows in the plane, for a pull of weight 0 and of 0.1: without the pull features are sent outward, "
    "with it they are led to the prototype of their class, a star on the circle.",
    "def descend": "Ten prototypes on a circle at the start, unevenly spread, and at the end, evenly; their angles to the nearest rival "
    "grow over the steps.",
    "knobs = {": "Nine scatter plots of test features and prototypes: three values each of the radius, of the pull's weight and of the "
    "push's weight, with accuracy and MinSep above each.",
    "strong, measured": "Test features with locked and with unlocked prototypes, and four panels that compare the two over seeds: clean "
    "accuracy, accuracy under PGD-20, MinSep and mean norm.",
    "angles_by_run": "MeanSep over the epochs for seven settings: points of trained networks lie on or near the lines of free features.",
    "theory.compare": "MeanSep, SCR and cross-entropy under attack over the strength of the pull on a logarithmic axis; three readings of "
    "Eq. (3) are marked, and lines show the paper's values.",
    "panels = {": "Test features and prototypes before training, after one epoch and at the end, clean and under PGD-20: ten clusters "
    "form around the prototypes, less tightly under attack.",
}


def alt_of_file(name: str) -> str:
    """What figures/<tier>/<name>.png shows. Raises KeyError for a picture that nobody described."""
    for part in ("training", "rivals"):
        if f"-{part}-" in name and not name.startswith("figure2"):
            return FILES[part]
    fits = [start for start in FILES if name.startswith(start)]
    if not fits:
        raise KeyError(f"{name}.png: say in book/pictures.py what it shows")
    number = re.match(r"table\d+|figure\d+", name)
    title = artefacts.ARTEFACTS[number.group()].title if number else ""
    return FILES[max(fits, key=len)].format(what=title)


def alt_of_cell(page: str, source: str) -> str:
    """What the pictures below a cell of an executed notebook show. Raises KeyError where nobody described them."""
    if page == "method":
        for code, text in CODE.items():
            if code in source:
                return text
    elif page in artefacts.ARTEFACTS:
        if "show_rivals" in source:
            return FILES["rivals"]
        if "training_curves" in source:
            return FILES["training"]
        named = "fingerprint" if "figures.fingerprint" in source else "ledger-effects" if page == "ledger" else page
        return alt_of_file(named)
    raise KeyError(f"{page}: say in book/pictures.py what the cell shows that begins {source[:60]!r}")


def reading(table: Path) -> str:
    """'clean: HAT best with 46.9, Adv-DPNP 43.4; ...': the first columns of a table's CSV, or "" without rivals."""
    with table.open() as file:
        rows = [row for row in csv.DictReader(file) if row["ours"] and row["method"] not in artefacts.VARIANT_ROWS]
    rows = [row for row in rows if (row["dataset"], row["backbone"]) == (rows[0]["dataset"], rows[0]["backbone"])]
    sentences = []
    for column in dict.fromkeys(row["column"] for row in rows):
        values = {row["method"]: float(row["ours"]) for row in rows if row["column"] == column}
        if OURS in values and len(values) > 2:
            lower = column.startswith(LOWER_IS_BETTER)
            top = (min if lower else max)(values, key=values.__getitem__)
            sentences.append(f"{column}: {top} best with {values[top]:g}, Adv-DPNP {values[OURS]:g}")
    return "; ".join(sentences[:2]) + ". " if sentences else ""
