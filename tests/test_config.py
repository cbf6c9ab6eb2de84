"""Settings: the defaults are the paper's, the tiers load; mistakes are the matter of test_bad_input.py."""

import json
import subprocess
import sys
from dataclasses import asdict, fields, replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advdpnp.config import (
    ATTACKS,
    BACKBONES,
    DATASETS,
    METHODS,
    PAPER_BLOCKS,
    ROOT,
    AdvDpnp,
    AttackConfig,
    CraftConfig,
    DataConfig,
    EvaluationConfig,
    ModelConfig,
    OptimConfig,
    digest,
    load_tier,
    parse_number,
    parse_tier,
    resolve,
    slug,
    slugs,
)
from advdpnp.errors import UserError, nearest
from advdpnp.paper import artefacts

SETTINGS = (DataConfig, ModelConfig, OptimConfig, CraftConfig, EvaluationConfig, AttackConfig, *METHODS.values())
TIERS = ("demo", "short", "short100", "medium", "paper")
MINIMAL = {"label": "a protocol", "blocks": {"cifar10/resnet18": None}}


def tier(name="t", **changes):
    return parse_tier(name, MINIMAL | changes, f"{name}.toml")


def defaults(**sections):
    return {"defaults": sections}


# --- The paper's protocol


def test_defaults_are_section_4_1():
    run = load_tier("paper").run("cifar10/resnet18", "Adv-DPNP")
    optim, craft, hyper = run.optim, run.craft, run.hyper
    assert (optim.epochs, optim.batch_size, optim.lr, optim.momentum) == (110, 128, 0.1, 0.9)
    assert (optim.weight_decay, optim.milestones, optim.gamma) == (5e-4, (100, 105), 0.1)
    assert (optim.warmup_epochs, optim.clip_norm) == (0, 0)  # nothing the paper does not have
    assert (craft.epsilon, craft.step_size, craft.steps) == (8 / 255, 2 / 255, 10)
    assert (hyper.radius, hyper.lambda_dpp, hyper.lambda_dnp, hyper.lambda_dfa) == (40, 0.1, 0.1, 2)
    assert (hyper.lock_prototypes, hyper.renormalise) == (True, "epoch")  # Section 3.3; Algorithm 1, line 4
    assert (run.data.train_images, run.data.validation_images, run.model.width) == (0, 0, 0)
    assert (run.evaluation.test_images, run.evaluation.corruption_images, run.evaluation.budget_scale) == (0, 0, 1)


def test_cifar100_has_its_own_weights_and_the_same_radius():
    hyper = load_tier("paper").run("cifar100/resnet18", "Adv-DPNP").hyper
    assert (hyper.lambda_dpp, hyper.lambda_dnp, hyper.lambda_dfa, hyper.radius) == (0.3, 3, 2.4, 40)


@pytest.mark.parametrize("method", METHODS)
def test_svhn_crafts_with_half_the_step(method):
    craft = load_tier("paper").run("svhn/resnet18", method).craft
    assert (craft.epsilon, craft.step_size, craft.steps) == (8 / 255, 1 / 255, 10)


@pytest.mark.parametrize("block", ["svhn/resnet18", "cifar10/wrn34_10"])
def test_svhn_and_wrn_keep_the_weights_of_cifar10(block):
    hyper = load_tier("paper").run(block, "Adv-DPNP").hyper
    assert (hyper.lambda_dpp, hyper.lambda_dnp, hyper.lambda_dfa, hyper.radius) == (0.1, 0.1, 2, 40)


def test_mnist_trains_and_is_attacked_at_three_tenths():
    run = load_tier("paper").run("mnist/lenetspp", "Adv-DPNP")
    assert (run.craft.epsilon, run.craft.step_size, run.craft.steps) == (0.3, 0.01, 40)
    attack = run.attacks["pgd40_mnist"]
    assert (attack.epsilon, attack.step_size, attack.steps) == (0.3, 0.01, 40)


@pytest.mark.parametrize(
    ("name", "kind", "norm", "epsilon", "step", "steps"),
    [  # Sections 4.2 and 4.5, in units of 1/255
        ("fgsm", "fgsm", "linf", 8, None, None),
        ("pgd20", "pgd", "linf", 8, 1, 20),
        ("pgd100", "pgd", "linf", 8, 1, 100),
        ("pgd20_l2", "pgd", "l2", 128, 16, 20),
        ("pgd100_l1", "pgd", "l1", 2000, 50, 100),
        ("cw30", "cw", "linf", 8, 1, 30),
        ("aa", "autoattack", "linf", 8, None, None),
        ("pgd20_eps2", "pgd", "linf", 2, 1, 20),
        ("aa_eps6", "autoattack", "linf", 6, None, None),
        ("pgd500_random", "pgd", "linf", 8, 1, 500),
        ("pgd40_restarts20", "pgd", "linf", 8, 0.5, 40),
        ("pgd20_fig4_eps64", "pgd", "linf", 64, 8, 20),
        ("adaptive20", "adaptive", "linf", 8, 1, 20),
    ],
)
def test_attacks_are_those_of_the_paper(name, kind, norm, epsilon, step, steps):
    attack = ATTACKS[name]
    assert (attack.kind, attack.norm) == (kind, norm)
    assert attack.epsilon * 255 == pytest.approx(epsilon)
    if step is not None:
        assert attack.step_size * 255 == pytest.approx(step)
        assert attack.steps == steps


def test_random_starts_are_for_tables_6_and_7_alone():
    starting = {name for name, attack in ATTACKS.items() if attack.random_start}
    assert starting == {name for name in ATTACKS if name.endswith("_random") or "_restarts" in name}
    assert [ATTACKS[f"pgd40_restarts{n}"].restarts for n in (1, 5, 10, 20)] == [1, 5, 10, 20]
    assert all(attack.restarts == 1 for attack in ATTACKS.values() if not attack.random_start)


def test_autoattack_is_the_standard_ensemble():
    found = [attack for attack in ATTACKS.values() if attack.kind == "autoattack"]
    assert {(attack.version, attack.square_queries) for attack in found} == {("standard", 0)}


def test_confidence_of_cw_is_fifty():
    assert ATTACKS["cw30"].confidence == 50


# --- Settings explain themselves


@pytest.mark.parametrize("cls", SETTINGS)
def test_every_setting_has_a_meaning_and_a_default_it_would_accept(cls):
    for spec in fields(cls):
        assert len(spec.metadata["meaning"]) > 5, spec.name
        if spec.metadata["choices"]:
            assert spec.default in spec.metadata["choices"], spec.name
        elif isinstance(spec.default, int | float) and not isinstance(spec.default, bool):
            low, high = spec.metadata["low"], spec.metadata["high"]
            assert low is not None, spec.name
            assert low <= spec.default, spec.name
            assert high is None or spec.default <= high, spec.name


def test_settings_cannot_be_changed_by_accident():
    run = load_tier("demo").run("cifar10/resnet18", "ST")
    with pytest.raises(AttributeError):
        run.optim.lr = 1


def test_methods_are_the_rows_of_the_tables_in_their_order():
    names = ["ST", "AT", "AT_HE", "TRADES", "MART", "OC", "PCL", "HAT", "FSR", "DIO", "IKL", "Adv-DPNP"]
    assert list(METHODS)[:12] == names, "a method of one's own comes after the paper's"
    assert slug("Adv-DPNP") == "adv_dpnp"
    assert slugs() == {slug(name): name for name in METHODS}


def test_loading_a_tier_costs_no_torch():
    code = "import sys; from advdpnp.config import load_tier; load_tier('paper'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "config").glob("*.toml")))
def test_every_tier_of_the_checkout_loads(name):
    found = load_tier(name)
    assert found.name == name
    assert str(found.path) == f"config/{name}.toml"
    for block in found.blocks:
        for method in found.methods:
            assert found.run(block, method, 7).seed == 7


# --- Numbers


def test_budgets_are_read_exactly():
    assert tier(**defaults(craft={"epsilon": "8/255"})).run("cifar10/resnet18", "AT").craft.epsilon == 8 / 255
    assert parse_number(" 8 / 255 ") == 8 / 255
    assert parse_number("5e-4") == 0.0005
    assert parse_number(3) == 3.0
    assert parse_number("2.25/255") == 2.25 / 255


@given(st.integers(-(10**6), 10**6), st.integers(1, 10**6))
def test_a_fraction_is_read_as_the_nearest_double(above, below):
    assert parse_number(f"{above}/{below}") == float(Fraction(above, below))


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_survives_being_written(number):
    assert parse_number(number) == number
    assert parse_number(repr(number)) == number


@pytest.mark.parametrize("value", ["8/0", "eight", "", "1/2/3", None, True, [8], {}])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(ValueError):
        parse_number(value)


def test_nearest_names_what_was_meant_or_all_there_is():
    assert nearest("pgd2", ["pgd20", "aa"]) == "did you mean 'pgd20'?"
    assert nearest("zebra", ["pgd20", "aa"]) == "choose one of: pgd20, aa"


# --- Files (mistakes in them: test_bad_input.py)


def test_a_tier_may_be_json(tmp_path):
    (tmp_path / "mine.json").write_text(json.dumps(MINIMAL))
    assert load_tier(str(tmp_path / "mine.json")).name == "mine"


# --- Layers, variants, seeds, run ids


def test_blocks_override_defaults_which_override_the_paper():
    found = tier(
        defaults={"optim": {"lr": 0.05, "batch_size": 64}},
        blocks={"cifar10/resnet18": {"optim": {"lr": 0.01}}, "svhn/resnet18": None},
    )
    optim = found.run("cifar10/resnet18", "AT").optim
    assert (optim.lr, optim.batch_size, optim.momentum) == (0.01, 64, 0.9)
    assert found.run("svhn/resnet18", "AT").optim.lr == 0.05


def test_attacks_of_a_block_override_the_tiers():
    found = tier(
        attacks={"pgd20": {"steps": 7, "images": 100}},
        blocks={"cifar10/resnet18": {"attacks": {"pgd20": {"steps": 5}}}, "svhn/resnet18": None},
    )
    attack = found.run("cifar10/resnet18", "AT").attacks["pgd20"]
    assert (attack.steps, attack.images, attack.epsilon) == (5, 100, 8 / 255)
    assert found.run("svhn/resnet18", "AT").attacks["pgd20"].steps == 7


def test_a_block_may_stand_on_other_data():
    run = tier(blocks={"cifar10/resnet18": {"dataset": "digits"}}).run("cifar10/resnet18", "AT")
    assert (run.id, run.block, run.facts.classes) == ("digits-resnet18-at-s0", "cifar10/resnet18", 10)


def test_a_variant_changes_what_it_names_and_the_run_id():
    found = tier(variants={"unlocked": {"adv_dpnp": {"lock_prototypes": False}}})
    run = found.run("cifar10/resnet18", "Adv-DPNP", 0, "unlocked")
    assert run.id == "cifar10-resnet18-adv_dpnp.unlocked-s0"
    assert run.hyper == replace(found.run("cifar10/resnet18", "Adv-DPNP").hyper, lock_prototypes=False)
    with pytest.raises(UserError, match=r"no variant 'unlokced'; did you mean 'unlocked'\?"):
        found.run("cifar10/resnet18", "Adv-DPNP", 0, "unlokced")


def test_a_variant_keeps_what_its_block_says():
    found = tier(
        blocks={"svhn/resnet18": {"craft": {"step_size": "1/255"}}}, variants={"longer": {"craft": {"steps": 20}}}
    )
    craft = found.run("svhn/resnet18", "AT", 0, "longer").craft
    assert (craft.step_size, craft.steps) == (1 / 255, 20)


def test_a_variant_may_not_contradict_its_block():
    found = tier(variants={"quick": {"optim": {"epochs": 5}}})
    with pytest.raises(UserError, match=r"lr falls at epochs \[100, 105\], but training ends after 5"):
        found.run("cifar10/resnet18", "AT", 0, "quick")


def test_more_seeds_are_added_for_their_method():
    found = tier(seeds=[0, 1], more_seeds={"AT": [5]})
    assert found.seeds_of("AT") == (0, 1, 5)
    assert found.seeds_of("ST") == (0, 1)


def test_a_seed_counts_once():
    assert tier(seeds=[0, 1], more_seeds={"AT": [1, 2]}).seeds_of("AT") == (0, 1, 2)


def test_a_variant_may_have_seeds_of_its_own():
    found = tier(seeds=[0, 1], variants={"printed": {}, "few": {}}, variant_seeds={"few": [1]})
    assert found.seeds_of("Adv-DPNP", "printed") == (0, 1)
    assert found.seeds_of("Adv-DPNP", "few") == (1,)
    assert found.seeds_of("Adv-DPNP") == (0, 1)


def test_run_ids_read_as_documented():
    assert resolve("paper", "cifar10-resnet18-adv_dpnp-s0").method == "Adv-DPNP"
    assert resolve("demo", "digits-resnet18-at-s3").seed == 3


def test_a_tiers_policy_changes_no_number():
    """Results that were made before a policy stay valid: it is in no run and in no digest."""
    policy = {"comparable": True, "needs_gpu": True, "gpus": 2, "memory_mb": 1, "minutes": 1}
    plain, changed = (made.run("cifar10/resnet18", "Adv-DPNP") for made in (tier(), tier(policy=policy)))
    assert changed == plain
    assert digest(changed.training_settings()) == digest(plain.training_settings())
    assert artefacts.evaluation_settings(tier(policy=policy), changed, "table1") == artefacts.evaluation_settings(
        tier(), plain, "table1"
    )


def test_a_tier_of_ones_own_is_compared_with_nothing_and_trained_when_asked():
    own = tier().policy
    assert not any((own.comparable, own.train_in_notebooks, own.needs_gpu, own.gpus))
    assert [name for name in TIERS if load_tier(name).policy.comparable] == ["paper"]
    assert [name for name in TIERS if load_tier(name).policy.train_in_notebooks] == ["demo"]
    assert [name for name in TIERS if not load_tier(name).has_paper_data] == ["demo"]


# --- What decides the weights


def test_training_settings_survive_json():
    for method in METHODS:
        saved = load_tier("demo").run("cifar10/resnet18", method).training_settings()
        assert json.loads(json.dumps(saved)) == saved


def test_training_settings_do_not_depend_on_how_a_run_is_evaluated():
    one = tier().run("cifar10/resnet18", "AT")
    other = tier("other", attacks={"pgd20": {"steps": 3}}, **defaults(evaluation={"test_images": 100}))
    assert other.run("cifar10/resnet18", "AT").training_settings() == one.training_settings()


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("data", "train_images", 100),
        ("model", "width", 8),
        ("optim", "lr", 0.2),
        ("craft", "steps", 9),
        ("at", "clean_bn_passes", True),
    ],
)
def test_training_settings_hold_all_that_decides_the_weights(section, key, value):
    changed = tier(**defaults(**{section: {key: value}})).run("cifar10/resnet18", "AT").training_settings()
    original = tier().run("cifar10/resnet18", "AT").training_settings()
    assert changed != original
    assert digest(changed) != digest(original)


def test_seeds_and_methods_have_their_own_settings():
    found = [tier().run("cifar10/resnet18", method, seed) for method in METHODS for seed in (0, 1)]
    assert len({digest(run.training_settings()) for run in found}) == 2 * len(METHODS)


def test_a_digest_depends_on_content_and_not_on_order():
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) != digest({"a": 1, "b": 3})
    assert digest(AttackConfig()) == digest(asdict(AttackConfig()))
    assert len(digest({})) == 16


def test_facts_agree_with_the_published_data_sets():
    sizes = {name: (f.train_images, f.test_images, f.classes) for name, f in DATASETS.items()}
    assert sizes["cifar10"] == (50_000, 10_000, 10)
    assert sizes["cifar100"] == (50_000, 10_000, 100)
    assert sizes["svhn"] == (73_257, 26_032, 10)
    assert sizes["mnist"] == (60_000, 10_000, 10)
    assert [name for name, facts in DATASETS.items() if facts.augment] == ["cifar10", "cifar100"]
    assert {block.split("/")[1] for block in PAPER_BLOCKS} == set(BACKBONES)


def test_a_tier_of_ones_own_is_a_toml_or_a_json_file(tmp_path):
    plain = {"label": "mine", "defaults": {"craft": {"epsilon": "4/255"}}, "blocks": {"cifar10/resnet18": {}}}
    (tmp_path / "mine.json").write_text(json.dumps(plain))
    text = 'label = "mine"\n[defaults]\ncraft.epsilon = "4/255"  # half\n[blocks."cifar10/resnet18"]\n'
    (tmp_path / "mine.toml").write_text(text)
    from_toml, from_json = (load_tier(str(tmp_path / f"mine.{kind}")) for kind in ("toml", "json"))
    assert replace(from_toml, path=from_json.path) == from_json == parse_tier("mine", plain, tmp_path / "mine.json")
    assert from_toml.run("cifar10/resnet18", "AT").craft.epsilon == 4 / 255


def test_a_setting_that_came_later_leaves_earlier_runs_their_identity():
    """Runs trained before `pull` existed did what is now `sum`: that value is left out of a run's record."""
    sum_ = load_tier("short").run("cifar10/resnet18", "Adv-DPNP", 0, "printed")
    assert "pull" not in sum_.training_settings()["hyper"]
    mean = load_tier("short").run("cifar10/resnet18", "Adv-DPNP")
    assert mean.training_settings()["hyper"]["pull"] == "mean"
    later = {f.name: f.metadata["legacy"] for f in fields(AdvDpnp) if f.metadata["legacy"] is not None}
    assert later == {"pull": "sum", "pull_prototypes": True, "rival_gradient": "both", "prototype_lr": 1.0}
    # the record of a published run, made before these settings existed
    assert digest(replace(sum_, variant="").training_settings()) == "7bb0553eb80fd0bc"
