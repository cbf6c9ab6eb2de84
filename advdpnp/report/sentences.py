"""Two or three sentences under a table, made from its cells: who is best, where Adv-DPNP stands, what is decided."""

from collections.abc import Mapping, Sequence

from advdpnp.names import LOWER_IS_BETTER, block_name, column_name
from advdpnp.paper.numbers import OURS, Cell
from advdpnp.paper.verdict import column_kind
from advdpnp.report.differences import Comparison
from advdpnp.report.tables import format_value, paper_shaped

ORDINALS = ("first", "second", "third")


def sentences(cells: Sequence[Cell], against: Sequence[Comparison] = ()) -> str:
    """One line per data set and network of which something was measured; '' where nothing was."""
    lines = []
    for (dataset, backbone), methods in paper_shaped(cells).items():
        measured = {
            name: {c: cell for c, cell in row.items() if cell.ours is not None} for name, row in methods.items()
        }
        measured = {name: row for name, row in measured.items() if row and name != "ST"}  # ST defends against nothing
        said = _ranks(measured) if len(measured) > 1 else _change(measured)
        here = [one for one in against if (one.dataset, one.backbone) == (dataset, backbone)]
        if said:
            lines.append(f"{block_name(dataset, backbone)}: {said}{_told(here)}")
    return "\n\n".join(lines)


def _ranks(methods: Mapping[str, Mapping[str, Cell]]) -> str:
    """The best of the first two columns that all methods have, and Adv-DPNP's places."""
    columns = [c for c in next(iter(methods.values())) if all(c in row for row in methods.values())]
    if OURS not in methods or not columns:
        return ""
    order = {c: _in_order({name: row[c] for name, row in methods.items()}, c) for c in columns}
    best = [f"{order[c][0]} in {column_name(c)} ({format_value(methods[order[c][0]][c])})" for c in columns[:2]]
    places = [f"{ordinal(order[c].index(OURS) + 1)} ({format_value(methods[OURS][c])})" for c in columns[:2]]
    firsts = sum(order[c][0] == OURS for c in columns)
    return (
        f"best of {len(methods)} rows without ST: {', '.join(best)}. {OURS} is {' and '.join(places)}, and first in "
        f"{firsts} of {len(columns)} column{'s' if len(columns) > 1 else ''}."
    )


def _in_order(cells: Mapping[str, Cell], column: str) -> list[str]:
    """The methods, the best in this column first; equal ones as they stand in the table."""
    values = {name: cell.ours for name, cell in cells.items() if cell.ours is not None}
    return sorted(values, key=values.__getitem__, reverse=not column.startswith(LOWER_IS_BETTER))


def _change(methods: Mapping[str, Mapping[str, Cell]]) -> str:
    """From the first to the last accuracy of the only row: what more of an attack did."""
    for name, row in methods.items():
        known = [(column, cell.ours) for column, cell in row.items() if cell.ours is not None]
        accuracies = [(column, value) for column, value in known if column_kind(column) == "accuracy"]
        if len(accuracies) > 1:
            (first, before), (last, after) = accuracies[0], accuracies[-1]
            return (
                f"{name} goes from {before:.2f} % ({column_name(first)}) to {after:.2f} % ({column_name(last)}), "
                f"{after - before:+.2f} points."
            )
    return ""


def _told(against: Sequence[Comparison]) -> str:
    """How many differences to other defenses exclude zero."""
    if not against:
        return ""
    ahead, behind = sum(one.low > 0 for one in against), sum(one.high < 0 for one in against)
    open_ = len(against) - ahead - behind
    return (
        f" Of its {len(against)} differences to other rows, {ahead} in its favour and {behind} against it exclude "
        f"zero; {open_} {'does' if open_ == 1 else 'do'} not."
    )


def ordinal(place: int) -> str:
    """1 -> 'first', 5 -> '5th'."""
    return ORDINALS[place - 1] if place <= len(ORDINALS) else f"{place}th"
