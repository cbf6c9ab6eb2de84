"""Where numbers come from: every JSON says it, the same seed gives the same ones, and protocols are never mixed."""

import json

import pytest

from advdpnp.__main__ import main
from advdpnp.config import digest, load_tier
from advdpnp.config.tiers import _load_tier
from advdpnp.data import load
from advdpnp.evaluate import SPECIAL, evaluate
from advdpnp.report.page import protocol_mismatches
from advdpnp.store import RESULTS, read_json
from advdpnp.train import fit

TIER = {
    "label": "tiny",
    "methods": ["ST", "AT"],
    "defaults": {
        "data": {"train_images": 64},
        "model": {"width": 4},
        "optim": {"epochs": 1, "milestones": [], "precision": "fp32"},
        "craft": {"steps": 1},
        "evaluation": {"test_images": 20, "corruption_images": 5},
    },
    "blocks": {"cifar10/resnet18": {"dataset": "digits"}},
}
RUN = "digits-resnet18-at-s0"


def untimed(value):
    """A JSON without what differs from one moment to the next."""
    drop = ("seconds", "images_per_second", "provenance")
    return {k: untimed(v) if isinstance(v, dict) else v for k, v in value.items() if k not in drop}


def test_every_json_with_a_number_says_where_it_comes_from(tiny):
    run = tiny("AT", evaluation={"test_images": 20, "corruption_images": 5})
    trained = fit(run)
    results = evaluate(run, "clean", "pgd20", *SPECIAL)
    for found, split in ((trained, "train"), *((result, "test") for result in results.values())):
        assert found["seed"] == run.seed
        assert found["settings_digest"] == digest(run.training_settings())
        assert found["seconds"] >= 0
        assert {"python", "torch", "numpy", "scipy", "pillow", "device", "code_revision"} <= found["provenance"].keys()
        whole = load("digits", split)
        assert found["data_sha256"] == (whole.subset(64) if split == "train" else whole).sha256
    assert {"clean", "pgd20", *SPECIAL} == results.keys()


def test_the_same_seed_gives_the_same_numbers(tiny, monkeypatch, tmp_path):
    """Training, attacks with and without randomness, geometry, the guard: twice from nothing, in two places."""
    names, found = ("clean", "pgd20", "pgd40_restarts5", "geometry", "guard"), []
    run = tiny("Adv-DPNP", evaluation={"test_images": 20})
    for place in ("one", "other"):
        monkeypatch.setenv("ADVDPNP_RESULTS", str(tmp_path / place))
        found.append([untimed(fit(run)), *map(untimed, evaluate(run, *names).values())])
    assert found[0] == found[1]
    assert found[0] != [untimed(fit(tiny("Adv-DPNP", seed=1))), *found[0][1:]]


# --- Protocols are not mixed


@pytest.fixture
def reported(tmp_path, monkeypatch):
    """reported(**changes of the tier) -> status of `report` over results made under TIER."""
    monkeypatch.chdir(tmp_path)
    _load_tier.cache_clear()  # every test has its own mine.json
    (tmp_path / "mine.json").write_text(json.dumps(TIER))
    assert main(["train", "--tier", "mine.json", RUN]) == 0
    assert main(["evaluate", "--tier", "mine.json", RUN, "clean", "pgd20"]) == 0

    def call(**changes):
        _load_tier.cache_clear()
        merged = TIER | changes | {"defaults": TIER["defaults"] | changes.get("defaults", {})}
        (tmp_path / "mine.json").write_text(json.dumps(merged))
        return main(["report", "--tier", "mine.json", "--output", "-"])

    return call


def test_results_of_the_protocol_are_reported(reported):
    assert reported() == 0
    assert reported(label="another label is the same protocol") == 0
    assert reported(attacks={"cw30": {"steps": 3}}) == 0  # was not run


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"attacks": {"pgd20": {"steps": 7}}}, f"{RUN}/pgd20.json (settings.steps: 20 -> 7)"),
        ({"attacks": {"pgd20": {"epsilon": "4/255"}}}, f"{RUN}/pgd20.json (settings.epsilon:"),
        ({"defaults": {"evaluation": {"test_images": 30}}}, f"{RUN}/clean.json (images: 20 -> 30)"),
        ({"defaults": {"craft": {"steps": 2}}}, f"{RUN}/config.json (craft.steps: 1 -> 2)"),
        ({"defaults": {"model": {"width": 8}}}, f"{RUN}/config.json (model.width: 4 -> 8)"),
    ],
)
def test_results_of_another_protocol_are_refused_by_name(reported, capsys, changes, said):
    assert reported(**changes) == 2
    message = capsys.readouterr().err
    assert said in message
    assert "not of tier mine as it is configured now" in message
    assert message.count("error: ") == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_sha256": "0" * 64}, "model_sha256"),
        ({"tier": "paper"}, "tier: paper -> mine"),
        ({"seed": 3}, "seed: 3 -> 0"),
        ({"data_sha256": "0" * 64}, "data_sha256"),
    ],
)
def test_a_result_moved_in_from_elsewhere_is_refused(reported, capsys, changes, said):
    path = RESULTS.tier("mine") / "evals" / RUN / "pgd20.json"
    path.write_text(json.dumps(read_json(path) | changes))
    assert reported() == 2
    assert said in capsys.readouterr().err


def test_evaluations_of_weights_that_a_restart_forgot_are_refused(reported, capsys):
    """As a restarted training leaves it before its end: its settings, and no train.json."""
    (RESULTS.tier("mine") / "runs" / RUN / "train.json").unlink()
    assert reported() == 2
    assert "pgd20.json (of former weights: a training begun anew is unfinished)" in capsys.readouterr().err


def test_what_older_code_did_not_write_is_no_difference(reported):
    """A setting that came later is not in older files: its default is what they were made with."""
    path, config = (
        RESULTS.tier("mine") / "evals" / RUN / "pgd20.json",
        RESULTS.tier("mine") / "runs" / RUN / "config.json",
    )
    old = {key: value for key, value in read_json(path).items() if key not in ("seed", "settings_digest")}
    del old["settings"]["l1_step"]
    path.write_text(json.dumps(old))
    settings = read_json(config)
    del settings["craft"]["fold_batch_norm"]
    config.write_text(json.dumps(settings))
    assert reported() == 0
    assert protocol_mismatches(load_tier("mine.json")) == []
