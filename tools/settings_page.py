"""Write docs/settings.md: every setting with its default, the values it takes and its meaning, from `setting(...)`.

python tools/settings_page.py            # a test fails while it is to be run
"""

from dataclasses import Field, fields
from pathlib import Path
from typing import Any

from advdpnp.config import ATTACKS, METHODS, AttackConfig, Policy, paper_sections, slug

PAGE = Path(__file__).resolve().parent.parent / "docs" / "settings.md"
INTRODUCTION = """# Settings

Every key that a tier (`config/<tier>.toml`) may set. The defaults are the paper's protocol (Section 4.1); a tier says
where it differs: for all runs in `[defaults]`, for one data set and network in `[blocks."<dataset>/<backbone>"]`, for
an additional run in `[variants.<name>]`. `[defaults.craft]` and `steps = 5` train with five steps. Budgets and steps
may be written as `"8/255"`. "Ledger" means [the open choices](ledger.md).

This page is written from the code by `python tools/settings_page.py`.
"""
BUDGETS = ("epsilon", "step_size")  # written in steps of 1/255 where they are such


def cell(text: str) -> str:
    """Text for a cell of a Markdown table."""
    return text.replace("|", "\\|").replace("*", "\\*")


def shown(key: str, value: Any) -> str:
    """A value as a tier's file has it: 8/255, 0.1, true, [100, 105]."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return str([*value])
    if isinstance(value, float):
        levels = round(255 * value, 9)
        return f"{levels:g}/255" if key in BUDGETS and levels in (0.5, *range(1, 2001)) else f"{value:g}"
    return str(value)


def taken(spec: Field) -> str:
    """The values that a setting takes, in words."""
    low, high, choices = (spec.metadata[key] for key in ("low", "high", "choices"))
    if choices:
        return ", ".join(f"`{choice}`" for choice in choices)
    kinds = {bool: "true, false", int: "whole number", float: "number", tuple: "whole numbers, rising,"}
    limits = [f"from {low:g}" if low is not None else "", f"to {high:g}" if high is not None else ""]
    return " ".join(part for part in (kinds[type(spec.default)], *limits) if part)


def table(section: Any, name: str) -> str:
    """The settings of one section (a dataclass), one row each; a sentence where there are none."""
    if not fields(section):
        return "No settings of its own."
    rows = ["| key | default | takes | meaning |", "|---|---|---|---|"]
    for spec in fields(section):
        default = f"`{shown(spec.name, spec.default)}`"
        rows.append(f"| `{name}.{spec.name}` | {default} | {taken(spec)} | {cell(spec.metadata['meaning'])} |")
    return "\n".join(rows)


def attack_table() -> str:
    """The attacks by name, each with the settings in which it differs from PGD-20."""
    rows = ["| attack | differs from `pgd20` in |", "|---|---|"]
    for name, attack in ATTACKS.items():
        keys = [
            spec.name for spec in fields(attack) if getattr(attack, spec.name) != getattr(ATTACKS["pgd20"], spec.name)
        ]
        changes = ", ".join(f"{key} `{shown(key, getattr(attack, key))}`" for key in keys)
        rows.append(f"| `{name}` | {changes or '–'} |")
    return "\n".join(rows)


def summary(section: Any) -> str:
    """The first line of a section's docstring."""
    return type(section).__doc__.splitlines()[0]


def page() -> str:
    """The whole page."""
    sections, methods = paper_sections(), {slug(name): name for name in METHODS}
    parts = [INTRODUCTION]
    parts += [f"## {name}\n\n{summary(s)}\n\n{table(s, name)}\n" for name, s in sections.items() if name not in methods]
    parts.append("## The methods\n")
    parts += [f"### {row}\n\n{summary(sections[key])}\n\n{table(sections[key], key)}\n" for key, row in methods.items()]
    parts.append(f"## Attacks\n\n{summary(AttackConfig())}\n\n{table(AttackConfig(), 'attacks.<name>')}\n")
    parts.append(f"{attack_table()}\n")
    parts.append(f"## policy\n\n{summary(Policy())}\n\n{table(Policy(), 'policy')}\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
