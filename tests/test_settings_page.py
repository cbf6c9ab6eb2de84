"""docs/settings.md says what the code says."""

import importlib.util
from dataclasses import fields

from advdpnp.config import ATTACKS, ROOT, Policy, paper_sections

spec = importlib.util.spec_from_file_location("settings_page", ROOT / "tools" / "settings_page.py")
settings_page = importlib.util.module_from_spec(spec)
spec.loader.exec_module(settings_page)


def test_the_page_is_up_to_date():
    assert settings_page.PAGE.read_text(encoding="utf-8") == settings_page.page(), "run python tools/settings_page.py"


def test_every_setting_and_every_attack_is_on_the_page():
    text = settings_page.page()
    for name, section in (paper_sections() | {"policy": Policy()}).items():
        for spec in fields(section):
            assert text.count(f"| `{name}.{spec.name}` |") == 1
    assert all(f"| `{name}` |" in text for name in ATTACKS)


def test_values_are_shown_as_a_tier_has_them():
    cases = {("epsilon", 8 / 255): "8/255", ("epsilon", 0.3): "0.3", ("step_size", 0.5 / 255): "0.5/255"}
    cases |= {("beta", 0.2): "0.2", ("milestones", (100, 105)): "[100, 105]", ("last_relu", True): "true"}
    assert {case: settings_page.shown(*case) for case in cases} == cases
