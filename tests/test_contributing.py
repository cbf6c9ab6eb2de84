"""The worked examples of CONTRIBUTING.md run as they stand, and what they say must be edited is complete."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from advdpnp.config import FACTS, METHODS, AttackConfig
from advdpnp.defenses import DEFENSES
from advdpnp.evaluate.crafting import KINDS

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
EXAMPLES = dict(re.findall(r"^## A(?:n)? (.+?)\n.*?```python\n(.*?)```", TEXT, re.DOTALL | re.MULTILINE))


def test_there_is_an_example_of_each():
    assert [*EXAMPLES] == ["defense", "attack", "data set"]


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_short_and_runs(name, tmp_path):
    code = EXAMPLES[name]
    assert len(code.splitlines()) < 40
    places = {"ADVDPNP_RESULTS": str(tmp_path / "results"), "ADVDPNP_DATA": str(tmp_path / "data")}
    environment = os.environ | places | {"ADVDPNP_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert 0 <= float(done.stdout) <= 100
    assert len([*tmp_path.glob("results/mine/runs/*/train.json")]) == 1


def test_a_method_is_entered_everywhere():
    assert list(METHODS) == list(DEFENSES)
    assert FACTS.keys() == METHODS.keys()


def test_an_attack_kind_is_entered_everywhere():
    choices = AttackConfig.__dataclass_fields__["kind"].metadata["choices"]
    assert set(choices) == set(KINDS)
