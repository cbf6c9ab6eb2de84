"""Settings: the defaults are the paper's, the tiers load, and every mistake ends in one sentence with its cure."""

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
    ROOT,
    SLUGS,
    AttackConfig,
    CraftConfig,
    DataConfig,
    EvaluationConfig,
    ModelConfig,
    OptimConfig,
    digest,
    slug,
)
from advdpnp.errors import UserError, nearest
from advdpnp.tiers import PAPER_BLOCKS, load_tier, parse_number, parse_tier, resolve

SETTINGS = (DataConfig, ModelConfig, OptimConfig, CraftConfig, EvaluationConfig, AttackConfig, *METHODS.values())
MINIMAL = {"label": "a protocol", "blocks": {"cifar10/resnet18": None}}


def tier(name="t", **changes):
    return parse_tier(name, MINIMAL | changes, f"{name}.yaml")


def defaults(**sections):
    return {"defaults": sections}


def block(**changes):
    return {"blocks": {"cifar10/resnet18": changes}}


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
    assert list(METHODS) == names
    assert slug("Adv-DPNP") == "adv_dpnp"
    assert list(SLUGS.values()) == names


def test_loading_a_tier_costs_no_torch():
    code = "import sys; from advdpnp.tiers import load_tier; load_tier('paper'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "config").glob("*.yaml")))
def test_every_tier_of_the_checkout_loads(name):
    found = load_tier(name)
    assert found.name == name
    assert str(found.path) == f"config/{name}.yaml"
    for block in found.blocks:
        for method in found.methods:
            assert found.run(block, method, 7).seed == 7


# --- Numbers


def test_budgets_are_read_exactly():
    assert tier(**defaults(craft={"epsilon": "8/255"})).run("cifar10/resnet18", "AT").craft.epsilon == 8 / 255
    assert parse_number(" 8 / 255 ") == 8 / 255
    assert parse_number("5e-4") == 0.0005  # YAML 1.1 reads 5e-4 as a text
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


# --- Mistakes, and the sentence each one gets

MISTAKES = {
    "unknown key": ({"lable": "x"}, "bad.yaml: unknown key 'lable'; did you mean 'label'?"),
    "no label": ({"label": ""}, "bad.yaml: label: one line"),
    "label is a number": ({"label": 3}, "bad.yaml: label: one line"),
    "unknown section": (defaults(optimizer={}), "defaults: unknown key 'optimizer'; did you mean 'optim'?"),
    "unknown setting": (defaults(optim={"epoch": 3}), "defaults.optim: unknown key 'epoch'; did you mean 'epochs'?"),
    "a section that has no settings": (
        defaults(st={"beta": 1}),
        "defaults.st: unknown key 'beta'; it takes no settings.",
    ),
    "section is a list": (defaults(optim=[1]), "defaults.optim: a mapping of settings is wanted, not [1]."),
    "defaults is a list": ({"defaults": [1]}, "defaults: a mapping is wanted, not [1]."),
    "negative epsilon": (
        defaults(craft={"epsilon": "-8/255"}),
        "defaults.craft.epsilon: -8/255 is out of range; a number from 0 to 1",
    ),
    "epsilon in 0..255": (
        defaults(craft={"epsilon": 8}),
        "defaults.craft.epsilon: 8 is out of range; a number from 0 to 1",
    ),
    "division by zero": (
        defaults(craft={"epsilon": "8/0"}),
        "defaults.craft.epsilon: a number such as 0.1 or 8/255 is wanted, not '8/0'.",
    ),
    "words for a number": (defaults(optim={"lr": "high"}), "defaults.optim.lr: a number such as 0.1"),
    "bool for a number": (
        defaults(optim={"lr": True}),
        "defaults.optim.lr: a number such as 0.1 or 8/255 is wanted, not True.",
    ),
    "NaN": (defaults(trades={"beta": float("nan")}), "defaults.trades.beta: nan is out of range"),
    "infinity": (defaults(trades={"beta": float("inf")}), "defaults.trades.beta: inf is out of range"),
    "too large for a float": (defaults(optim={"lr": "1e400"}), "defaults.optim.lr: a number such as 0.1"),
    "no steps": (defaults(craft={"steps": 0}), "defaults.craft.steps: 0 is out of range; a number from 1"),
    "half a step": (defaults(craft={"steps": 2.5}), "defaults.craft.steps: a whole number is wanted, not 2.5."),
    "bool for a count": (defaults(craft={"steps": True}), "defaults.craft.steps: a whole number is wanted, not True."),
    "a step that never moves": (
        defaults(craft={"step_size": 0}),
        "blocks.cifar10/resnet18.craft.step_size: 0 would never leave",
    ),
    "text for a switch": (
        defaults(model={"last_relu": "yes"}),
        "defaults.model.last_relu: true or false is wanted, not 'yes'.",
    ),
    "unknown choice": (
        defaults(optim={"precision": "bf61"}),
        "defaults.optim.precision: 'bf61' is not known; did you mean 'bf16'?",
    ),
    "a list for a choice": (defaults(data={"augment": ["on"]}), "defaults.data.augment: ['on'] is not known"),
    "milestones are no list": (
        defaults(optim={"milestones": 100}),
        "defaults.optim.milestones: a list of whole numbers",
    ),
    "milestones fall": (
        defaults(optim={"milestones": [105, 100]}),
        "defaults.optim.milestones: epochs from 1 up, each larger",
    ),
    "milestones beyond the end": (
        defaults(optim={"epochs": 8}),
        "optim: lr falls at epochs [100, 105], but training ends after 8",
    ),
    "zero radius": (defaults(adv_dpnp={"radius": 0}), "defaults.adv_dpnp.radius: 0 is out of range"),
    "unknown method": ({"methods": ["Adv-DNPN"]}, "bad.yaml: unknown method 'Adv-DNPN'; did you mean 'Adv-DPNP'?"),
    "a method inside a list": ({"methods": [["ST"]]}, "bad.yaml: unknown method '['ST']'"),
    "methods are a word": ({"methods": "ST"}, "bad.yaml: methods: a list of methods is wanted, not 'ST'."),
    "a method twice": ({"methods": ["ST", "AT", "ST"]}, "bad.yaml: methods: each method once"),
    "unknown method in more_seeds": ({"more_seeds": {"TRADE": [1]}}, "unknown method 'TRADE'; did you mean 'TRADES'?"),
    "no seeds": ({"seeds": []}, "bad.yaml: seeds: a list of different whole numbers from 0 up is wanted, not []."),
    "a seed twice": ({"seeds": [1, 1]}, "bad.yaml: seeds: a list of different whole numbers"),
    "a negative seed": ({"more_seeds": {"AT": [-1]}}, "bad.yaml: more_seeds.AT: a list of different"),
    "no blocks": ({"blocks": {}}, "bad.yaml: blocks: at least one of cifar10/resnet18"),
    "unknown block": (
        {"blocks": {"cifar10/resnet50": None}},
        "blocks: unknown block 'cifar10/resnet50'; did you mean 'cifar10/resnet18'?",
    ),
    "unknown data set": (
        block(dataset="cifar"),
        "blocks.cifar10/resnet18.dataset: 'cifar' is not known; did you mean 'cifar10'?",
    ),
    "a list of data sets": (block(dataset=["digits"]), "blocks.cifar10/resnet18.dataset: '['digits']' is not known"),
    "unknown backbone": (block(backbone="resnet"), "backbone: 'resnet' is not known; did you mean 'resnet18'?"),
    "two blocks with the same runs": (
        {"blocks": {"cifar10/resnet18": None, "svhn/resnet18": {"dataset": "cifar10"}}},
        "blocks: cifar10/resnet18 and svhn/resnet18 would share the runs of cifar10-resnet18.",
    ),
    "more training images than there are": (
        defaults(data={"train_images": 60000}),
        "data: 60000 training and validation images are wanted; cifar10 has 50000.",
    ),
    "validation overlaps training": (
        defaults(data={"train_images": 50000, "validation_images": 1}),
        "data: 50001 training and validation images",
    ),
    "more test images than there are": (
        defaults(evaluation={"test_images": 10001}),
        "evaluation.test_images: cifar10 has only 10000 test images.",
    ),
    "more corrupted images than there are": (
        defaults(evaluation={"corruption_images": 20000}),
        "evaluation.corruption_images: cifar10 has only",
    ),
    "unknown attack": ({"attacks": {"pgd2": {}}}, "bad.yaml: attacks: unknown attack 'pgd2'; did you mean 'pgd20'?"),
    "unknown attack of a block": (block(attacks={"autoattack": {}}), "blocks.cifar10/resnet18.attacks: unknown attack"),
    "unknown attack setting": ({"attacks": {"pgd20": {"eps": 1}}}, "attacks.pgd20: unknown key 'eps'"),
    "unknown norm": (
        {"attacks": {"pgd20": {"norm": "l3"}}},
        "attacks.pgd20.norm: 'l3' is not known; did you mean 'l2'?",
    ),
    "a variant with capitals": ({"variants": {"No-ReLU": {}}}, "variants: 'No-ReLU' may hold only a-z, 0-9 and _."),
    "unknown key in a variant": (
        {"variants": {"v": {"optim": {"lrs": 1}}}},
        "variants.v.optim: unknown key 'lrs'; did you mean 'lr'?",
    ),
}


@pytest.mark.parametrize(("changes", "sentence"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_named_with_file_key_and_cure(changes, sentence):
    with pytest.raises(UserError) as error:
        tier("bad", **changes)
    message = str(error.value)
    assert message.startswith("bad.yaml: ")
    assert sentence in message
    assert "\n" not in message


@pytest.mark.parametrize("raw", [[], "text", 3])
def test_a_tier_is_a_mapping(raw):
    with pytest.raises(UserError, match=r"bad\.yaml: a mapping is wanted"):
        parse_tier("bad", raw, "bad.yaml")


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("bad.yaml", b"label: [", "is not valid YAML"),
        ("bad.json", b"{", "is not valid JSON"),
        ("bad.yaml", b"\xff\xfe\x00", "is not a text file"),
        ("bad.yaml", b"!!python/object/apply:os.system ['true']", "is not valid YAML"),  # nothing in a tier runs
        ("absent.yaml", None, "no such tier"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, name, content, sentence):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=sentence) as error:
        load_tier(str(tmp_path / name))
    assert str(tmp_path / name) in str(error.value)
    assert "\n" not in str(error.value)


def test_an_unknown_tier_gets_the_nearest():
    with pytest.raises(UserError, match="did you mean 'demo'"):
        load_tier("dmeo")


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


ALL_BLOCKS = parse_tier(
    "all", MINIMAL | {"blocks": dict.fromkeys(PAPER_BLOCKS), "variants": {"no_relu_2": None}}, "all.yaml"
)


@given(
    st.sampled_from(PAPER_BLOCKS),
    st.sampled_from(list(METHODS)),
    st.integers(0, 10**6),
    st.sampled_from(["", "no_relu_2"]),
)
def test_a_run_id_leads_back_to_its_run(block, method, seed, variant):
    run = ALL_BLOCKS.run(block, method, seed, variant)
    assert resolve(ALL_BLOCKS, run.id) == run


def test_run_ids_read_as_documented():
    assert resolve("paper", "cifar10-resnet18-adv_dpnp-s0").method == "Adv-DPNP"
    assert resolve("demo", "digits-resnet18-at-s3").seed == 3


@pytest.mark.parametrize(
    ("run_id", "sentence"),
    [
        ("cifar10", "is not a run id; write <dataset>-<backbone>-<defense>-s<seed>, for example cifar10-resnet18"),
        ("cifar10-resnet18-at-s-1", "is not a run id"),
        ("cifar10-resnet18-at-s0/../x", "is not a run id"),
        ("cifar10-resnet18-adv_dnp-s0", "unknown defense 'adv_dnp'; did you mean 'adv_dpnp'?"),
        ("cifar1-resnet18-at-s0", "tier paper has no 'cifar1-resnet18'; did you mean 'cifar10-resnet18'?"),
        ("cifar10-resnet18-at.odd-s0", "no variant 'odd'"),
    ],
)
def test_a_wrong_run_id_gets_the_nearest(run_id, sentence):
    with pytest.raises(UserError) as error:
        resolve("paper", run_id)
    assert sentence in str(error.value)


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


def test_the_tiers_without_pyyaml_are_the_same():
    import importlib.util

    spec = importlib.util.spec_from_file_location("tiers_json", ROOT / "tools" / "tiers_json.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    assert (ROOT / "config" / "tiers.json").read_text() == tool.content(), "run python tools/tiers_json.py"


def test_without_pyyaml_a_tier_of_config_is_read_and_another_is_refused(monkeypatch, tmp_path):
    expected = load_tier("short")
    monkeypatch.setitem(sys.modules, "yaml", None)
    load_tier.cache_clear()
    assert load_tier("short") == expected
    own = tmp_path / "mine.yaml"
    own.write_text("label: mine\n")
    with pytest.raises(UserError, match="pip install pyyaml"):
        load_tier(str(own))
