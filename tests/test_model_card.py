"""The model card says what the files say, and nothing that could be mistaken for the paper's protocol."""

import re
from pathlib import Path

import pytest
import yaml

from advdpnp.__main__ import main
from advdpnp.config import ATTACKS, resolve
from advdpnp.data import load, to_float
from advdpnp.errors import UserError
from advdpnp.names import attack_name
from advdpnp.report.model_card import EXPORTED, attacked, budget, model_card, write_card
from advdpnp.store import RESULTS, Store, read_json
from advdpnp.train import fit

PUBLISHED = Path(__file__).parent.parent / "published" / "short"
RUN = "cifar10-resnet18-adv_dpnp-s0"


def files():
    folder = PUBLISHED / "runs" / RUN
    evaluations = [read_json(path) for path in sorted((PUBLISHED / "evals" / RUN).glob("*.json"))]
    return read_json(folder / "config.json"), read_json(folder / "train.json"), evaluations


def test_the_card_of_a_published_run_carries_its_numbers_and_their_protocol():
    settings, train, evaluations = files()
    card = model_card(settings, train, evaluations, comparable=False)
    front, _, body = card.removeprefix("---\n").partition("---\n")
    assert yaml.safe_load(front)["datasets"] == ["cifar10"]
    assert yaml.safe_load(front)["license"] == "mit"
    assert body.startswith(f"\n# {RUN}\n")
    assert "smaller protocol than the paper's" in card
    for found in evaluations:
        if "accuracy" in found:
            assert f"| {attack_name(found['attack'])} | " in card
            assert f"| {found['images']:,} | {found['accuracy']:.2f} |" in card
    assert f"| {settings['optim']['epochs']}, {settings['optim']['batch_size']} |" in card
    assert train["model_sha256"] in card
    assert train["data_sha256"] in card
    assert f"{train['train_images']:,} of cifar10's training set" in card
    for heading in ("## Training", "## Measured", "## Use", "## Provenance"):
        assert heading in card


def test_the_card_begins_with_the_usual_attacks_and_folds_the_others_in_their_order():
    settings, train, evaluations = files()
    measured = model_card(settings, train, evaluations, comparable=False).split("## Measured\n\n")[1].split("\n\nOn")[0]
    first, folded = measured.split("<details>")
    named = [line.split(" | ")[0] for line in first.splitlines()[2:] if line]
    assert named == ["| no attack", "| FGSM", "| PGD-20", "| PGD-100", "| C&W-30", "| AutoAttack"]
    budgets = [int(n) for n in re.findall(r"FGSM \((\d+)/255\)", folded)]
    assert budgets == sorted(budgets)
    assert len(budgets) == 9


def test_the_papers_protocol_has_no_warning_and_other_weights_numbers_are_left_out():
    settings, train, evaluations = files()
    paper = model_card(settings, train, evaluations, comparable=True)
    assert "smaller protocol" not in paper
    other = model_card(settings, train | {"model_sha256": "other"}, evaluations, comparable=False)
    assert "Not evaluated yet." in other


@pytest.mark.parametrize("name", [*ATTACKS, "corruptions"])
def test_attacks_have_names_that_people_use(name):
    assert "_" not in attack_name(name)
    assert attack_name(name) != name


def test_the_names_of_some_attacks():
    assert attack_name("pgd100_l1_free") == "PGD-100 (l1, free step)"
    assert attack_name("aa_eps2") == "AutoAttack (2/255)"
    assert attack_name("pgd40_restarts20") == "PGD-40 (best of 20 starts)"
    assert attack_name("pgd20_fig4_eps8") == "PGD-20 (8/255)"


def test_the_snippet_loads_the_network(tiny):
    run = tiny("AT")
    fit(run)
    card = write_card(run, comparable=False).read_text()
    snippet = card.split("```python\n")[1].split("```")[0]
    assert f'resolve("tiny", "{run.id}")' in snippet
    names = {"run": run, "images": to_float(load("digits", "test").images[:2])}
    exec(snippet.replace(f'resolve("tiny", "{run.id}")', "run"), names)
    assert names["logits"].shape == (2, 10)
    exported = write_card(run, comparable=False, folder=RESULTS.run(run) / "export", snippet=EXPORTED).read_text()
    assert "from model import load" in exported


def test_protocols_in_words():
    assert budget(8 / 255) == "8/255"
    assert budget(2.25 / 255) == "2.25/255"
    assert budget(0.3) == "0.3"  # of MNIST
    settings = {"kind": "pgd", "norm": "linf", "epsilon": 8 / 255, "step_size": 1 / 255, "steps": 20, "restarts": 5}
    assert attacked({"settings": settings | {"random_start": False}}) == "20 steps of 1/255, linf budget 8/255"
    assert attacked({"settings": settings | {"random_start": True}}).endswith(", 5 random starts")
    assert attacked({"settings": settings | {"kind": "clean"}}) == "no attack"
    assert attacked({"source": "regenerated"}) == "regenerated images"


def test_card_of_what_is_not_trained(tmp_path, capsys):
    with pytest.raises(UserError, match="is not trained"):
        write_card(resolve("short", RUN), False, Store(tmp_path))
    assert main(["card", "--tier", "short", RUN]) == 2
    assert main(["card", "--tier", "short"]) == 2
    assert main(["card", "--tier", "short", "cifar10-resnet18-adv_dpn-s0"]) == 2
    assert "did you mean 'adv_dpnp'" in capsys.readouterr().err


def test_card_on_the_command_line(tmp_path, monkeypatch, capsys):
    import shutil

    monkeypatch.setenv("ADVDPNP_RESULTS", str(tmp_path))
    shutil.copytree(PUBLISHED, tmp_path / "short")
    assert main(["card", "--tier", "short", RUN]) == 0
    path = Path(capsys.readouterr().out.strip())
    assert path == tmp_path / "short" / "runs" / RUN / "README.md"
    assert path.read_text() == model_card(*files(), comparable=False)
