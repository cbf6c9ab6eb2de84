"""Write config/tiers.json: the tiers as JSON, for machines without pyyaml. A test says when it is to be run again."""

import hashlib
import json
from pathlib import Path

import yaml

CONFIG = Path(__file__).resolve().parent.parent / "config"


def content() -> str:
    """{tier: {"sha256": of its YAML file, "settings": what that holds}}, as text."""
    tiers = {}
    for path in sorted(CONFIG.glob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        tiers[path.stem] = {"sha256": hashlib.sha256(text.encode()).hexdigest(), "settings": yaml.safe_load(text)}
    return json.dumps(tiers, indent=1) + "\n"


if __name__ == "__main__":
    (CONFIG / "tiers.json").write_text(content(), encoding="utf-8")
