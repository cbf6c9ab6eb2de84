"""(run, attack) -> accuracy and flags: what is computed, what is loaded, what resumes. On tiny trained networks."""

import json
import math
from importlib import metadata

import numpy as np
import pytest
import torch

from advdpnp import attacks, data, geometry
from advdpnp import evaluate as module
from advdpnp.config import GEOMETRY_DEFINITION, load_tier
from advdpnp.data.cifar10c import CORRUPTIONS
from advdpnp.errors import UserError
from advdpnp.evaluate import evaluate, images_of, resolved_attack
from advdpnp.evaluate.crafting import craft, is_right
from advdpnp.models.batchnorm_folding import FoldedConv, FoldedSurrogate
from advdpnp.paper import artefacts
from advdpnp.store import RESULTS, read_json
from advdpnp.train import fit, load_model

LONGER = {"optim": {"epochs": 6}, "data": {"train_images": 300}}  # well above chance


@pytest.fixture(scope="module")
def trained(tiny, tmp_path_factory):
    """{method: folder} of a trained AT, AT_HE and Adv-DPNP network."""
    folders = {}
    for method in ("AT", "AT_HE", "Adv-DPNP"):
        folders[method] = tmp_path_factory.mktemp(method)
        fit(tiny(method, **LONGER), folders[method])
    return folders


@pytest.fixture
def measure(tiny, trained):
    """measure("pgd20", evaluation={...}) -> the run and what `evaluate` returns for it."""

    def call(*names, method="AT", force=False, **changes):
        run = tiny(method, **LONGER | changes)
        return run, evaluate(run, *names, directory=trained[method], device="cpu", force=force)

    return call


@pytest.fixture
def no_attacks(monkeypatch):
    def forbid():
        monkeypatch.setattr(module.crafting, "craft", lambda *args, **kwargs: pytest.fail("computed again"))

    return forbid


def counted(monkeypatch, stop_at=None):
    """Count the batches crafted; raise KeyboardInterrupt in place of batch `stop_at`."""
    sizes = []

    def watched(model, x, *args, **kwargs):
        if len(sizes) == stop_at:
            raise KeyboardInterrupt
        sizes.append(len(x))
        return craft(model, x, *args, **kwargs)

    monkeypatch.setattr(module.crafting, "craft", watched)
    return sizes


# --- What is measured


def test_accuracy_is_the_mean_of_the_flags(measure, trained):
    run, results = measure("clean")
    found, right = results["clean"], RESULTS.read_flags(run, "clean")
    assert right.shape == (60,)
    assert right.dtype == bool
    assert found["accuracy"] == pytest.approx(100 * right.mean(), abs=1e-4)
    assert (found["correct"], found["images"]) == (right.sum(), 60)
    test = data.load("digits", "test").subset(60)
    with torch.no_grad():
        logits = load_model(run, trained["AT"])(data.to_float(test.images))
    assert right.tolist() == (logits.argmax(1) == test.labels).tolist()
    assert found["loss"] == pytest.approx(torch.nn.functional.cross_entropy(logits, test.labels).item(), abs=1e-4)


def test_an_attack_only_lowers_accuracy_and_raises_loss(measure):
    run, results = measure("clean", "fgsm", "pgd20", "cw30", "pgd20_l2")
    clean = results["clean"]
    assert clean["accuracy"] > 40  # chance is 10 %
    for name in ("fgsm", "pgd20", "cw30", "pgd20_l2"):
        assert results[name]["accuracy"] <= clean["accuracy"], name
        assert results[name]["loss"] > clean["loss"], name
    assert results["pgd20"]["loss"] >= results["fgsm"]["loss"] - 1e-3
    assert not (RESULTS.read_flags(run, "pgd20") & ~RESULTS.read_flags(run, "clean")).any()  # no image becomes right


def test_more_budget_is_never_easier(measure):
    names = ("pgd20_eps2", "pgd20_eps4", "pgd20_eps6", "pgd20")
    losses = [result["loss"] for result in measure(*names)[1].values()]
    assert losses == sorted(losses)


def test_the_result_says_everything(measure, trained):
    run, results = measure("pgd20")
    found = results["pgd20"]
    assert read_json(RESULTS.evaluation(run, "pgd20")) == found
    assert (found["run"], found["tier"], found["attack"]) == ("digits-resnet18-at-s0", "tiny", "pgd20")
    assert found["model_sha256"] == json.loads((trained["AT"] / "train.json").read_text())["model_sha256"]
    assert found["data_sha256"] == data.load("digits", "test").sha256
    assert (found["settings"]["norm"], found["settings"]["steps"]) == ("linf", 20)
    assert found["provenance"]["torch"] == metadata.version("torch")


def test_the_tiers_scale_acts_on_budget_and_step(tiny):
    attack = resolved_attack(tiny(evaluation={"budget_scale": 3}), "pgd20")
    assert (attack.epsilon, attack.step_size, attack.steps) == (pytest.approx(24 / 255), pytest.approx(3 / 255), 20)


def test_the_result_reports_the_scaled_budget(measure):
    found = measure("fgsm", evaluation={"budget_scale": 2})[1]["fgsm"]
    assert found["settings"]["epsilon"] == pytest.approx(16 / 255)


@pytest.mark.parametrize(
    ("tier", "own", "expected"), [(0, 0, 360), (100, 0, 100), (100, 30, 30), (100, 300, 100), (0, 40, 40)]
)
def test_an_attack_uses_no_more_images_than_its_tier(tiny, tier, own, expected):
    run = tiny(evaluation={"test_images": tier}, attacks={"pgd20": {"images": own}})
    assert images_of(run, "pgd20", data.load("digits", "test")) == expected


def test_l1_and_l2_results_say_how_much_of_the_budget_the_survivors_used(measure, monkeypatch):
    options = {"evaluation": {"budget_scale": 4}, "attacks": {"pgd100_l1": {"epsilon": "42/255", "steps": 10}}}
    run, found = measure("clean", "pgd20", "pgd100_l1", **options)
    assert "budget_used" not in found["clean"] | found["pgd20"]
    right, used = RESULTS.read_flags(run, "pgd100_l1"), found["pgd100_l1"]["budget_used"]
    reached, epsilon = [], found["pgd100_l1"]["settings"]["epsilon"]

    def watched(model, x, *arguments, **settings):
        x_adv = craft(model, x, *arguments, **settings)
        reached.extend((x_adv - x).flatten(1).norm(1, dim=1).tolist())
        return x_adv

    monkeypatch.setattr(module.crafting, "craft", watched)
    measure("pgd100_l1", force=True, **options)
    assert used == pytest.approx(float(np.median(np.array(reached)[right])) / epsilon, abs=1e-3)
    assert 0 < used <= 1


def test_no_survivors_used_no_budget(measure):
    found = measure("pgd20_l2", attacks={"pgd20_l2": {"epsilon": 2.0, "step_size": 0.5}})[1]["pgd20_l2"]
    assert (found["correct"], found["budget_used"]) == (0, None)


def test_a_subset_is_the_first_images(measure):
    few = RESULTS.read_flags(measure("pgd20", attacks={"pgd20": {"images": 25}})[0], "pgd20")
    all_of_them = RESULTS.read_flags(measure("pgd20")[0], "pgd20")
    assert few.tolist() == all_of_them[:25].tolist()


def test_batches_do_not_change_an_attack_without_randomness(measure, no_attacks):
    run, _ = measure("pgd20")
    right = RESULTS.read_flags(run, "pgd20")
    no_attacks()
    run, _ = measure("pgd20", evaluation={"batch_size": 7})
    assert RESULTS.read_flags(run, "pgd20").tolist() == right.tolist()


# --- What is loaded and what is computed again


def test_a_result_is_computed_once(measure, no_attacks):
    first = measure("pgd20")[1]
    no_attacks()
    assert measure("pgd20")[1] == first


def test_force_computes_again(measure, monkeypatch):
    measure("pgd20")
    sizes = counted(monkeypatch)
    measure("pgd20", force=True)
    assert sizes == [20, 20, 20]


SMOKE = {"attacks": {"aa": {"version": "smoke", "square_queries": 10}}}
ON = {"evaluation": {"autoattack": "surrogate"}}
OFF = {"evaluation": {"fast": False}}


def test_the_fast_path_is_told_and_part_of_the_key_only_where_it_can_change_a_number(measure, ten_steps):
    fast, plain = (measure("clean", "pgd20", "aa", **SMOKE, **way)[1] for way in (ON, OFF))
    assert fast["clean"] == plain["clean"]
    for name, path in {"pgd20": "fp32, batch norm folded", "aa": "counted by the fp32 network"}.items():
        assert path in fast[name]["path"]
        assert plain[name]["path"] == "fp32"
        assert fast[name]["key"] != plain[name]["key"]
        assert fast[name]["accuracy"] == pytest.approx(plain[name]["accuracy"], abs=2)  # an image on the border


@pytest.mark.parametrize(("changes", "folded"), [(ON, True), (OFF, False)])
def test_attacks_meet_the_network_that_the_setting_says(measure, monkeypatch, changes, folded):
    met = []

    def watched(model, x, y, **options):
        met.append(
            (any(isinstance(module, FoldedConv) for module in model.modules()), options.get("surrogate") is not None)
        )
        return x

    for name in ("pgd", "autoattack"):
        monkeypatch.setattr(attacks, name, watched)
    measure("pgd20", "aa", force=True, **SMOKE, **changes)
    assert met == [(folded, False)] * 3 + [(False, folded)] * 3


@pytest.mark.parametrize(
    "changes",
    [
        {"attacks": {"pgd20": {"steps": 3}}},
        {"attacks": {"pgd20": {"epsilon": "4/255"}}},
        {"evaluation": {"budget_scale": 2}},
        {"evaluation": {"test_images": 40}},
    ],
    ids=["steps", "epsilon", "scale", "images"],
)
def test_other_settings_of_the_attack_compute_again(measure, monkeypatch, changes):
    before = measure("pgd20")[1]["pgd20"]["key"]
    sizes = counted(monkeypatch)
    assert measure("pgd20", **changes)[1]["pgd20"]["key"] != before
    assert sizes


def test_another_model_computes_again(tiny, tmp_path, monkeypatch):
    run = tiny("ST")
    fit(run, tmp_path)
    evaluate(run, "pgd20", directory=tmp_path)
    other = tiny("ST", optim={"epochs": 1})
    fit(other, tmp_path, restart=True)
    sizes = counted(monkeypatch)
    evaluate(other, "pgd20", directory=tmp_path)
    assert sizes == [20, 20, 20]


def test_flags_that_are_missing_are_computed_again(measure, monkeypatch):
    run, _ = measure("pgd20")
    RESULTS.arrays(run, "pgd20").unlink()
    sizes = counted(monkeypatch)
    measure("pgd20")
    assert sizes


def test_a_random_start_follows_the_seed_of_the_run_and_not_the_global_one(measure):
    torch.manual_seed(1)
    one = measure("pgd20_random")[1]["pgd20_random"]
    torch.manual_seed(2)
    other = measure("pgd20_random", force=True)[1]["pgd20_random"]
    assert (one["loss"], one["correct"]) == (other["loss"], other["correct"])
    assert one["loss"] != measure("pgd20")[1]["pgd20"]["loss"]


# --- An attack that was stopped


@pytest.mark.parametrize("name", ["pgd20", "pgd20_random", "pgd20_l2"])
def test_a_stopped_attack_goes_on_where_it_was(measure, monkeypatch, name):
    run, through = measure(name)
    expected = RESULTS.read_flags(run, name)
    path = RESULTS.evaluation(run, name)
    part = path.with_name(f"{name}.part.npz")
    path.unlink()
    monkeypatch.setattr(module, "SAVE_EVERY", -1.0)
    with monkeypatch.context() as patch:
        counted(patch, stop_at=2)
        with pytest.raises(KeyboardInterrupt):
            measure(name)
    assert part.exists()
    assert not path.exists()
    sizes = counted(monkeypatch)
    found = measure(name)[1][name]
    assert sizes == [20]  # the third batch alone
    assert RESULTS.read_flags(run, name).tolist() == expected.tolist()
    assert found["loss"] == through[name]["loss"]
    assert found.get("budget_used") == through[name].get("budget_used")
    assert not part.exists()


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 half a file"])
def test_a_damaged_part_is_computed_again(measure, monkeypatch, content):
    run, _ = measure("clean")
    part = RESULTS.evaluation(run, "pgd20").with_name("pgd20.part.npz")
    part.write_bytes(content)
    sizes = counted(monkeypatch)
    measure("pgd20")
    assert sizes == [20, 20, 20]


def test_a_part_of_other_settings_is_not_used(measure, monkeypatch):
    monkeypatch.setattr(module, "SAVE_EVERY", -1.0)
    with monkeypatch.context() as patch:
        counted(patch, stop_at=2)
        with pytest.raises(KeyboardInterrupt):
            measure("pgd20", attacks={"pgd20": {"steps": 3}})
    sizes = counted(monkeypatch)
    measure("pgd20")
    assert sizes == [20, 20, 20]


# --- What is refused


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("fgsm_eps96", r"fgsm_eps96 times evaluation\.budget_scale 4: epsilon 1\.50588 is out of range; pixels lie in"),
        ("pgd40_mnist", r"epsilon 1\.2 is out of range"),
    ],
)
def test_a_budget_that_the_tier_scales_beyond_the_box_is_refused(measure, no_attacks, name, said):
    no_attacks()
    with pytest.raises(UserError, match=said):
        measure(name)


def test_the_adaptive_attack_is_for_adv_dpnp(measure):
    assert measure("adaptive20", method="Adv-DPNP")[1]["adaptive20"]["images"] == 60
    with pytest.raises(UserError, match=r"only Adv-DPNP"):
        measure("adaptive20")


@pytest.mark.parametrize(
    "change",
    [
        lambda x: (x + 5 / 255).clamp(0, 1),  # out of the ball
        lambda x: x - 1 / 255,  # out of the box: digits hold zeros
        lambda x: torch.full_like(x, math.nan),
    ],
    ids=["ball", "box", "nan"],
)
def test_an_attack_that_cheats_is_caught(tiny, monkeypatch, change):
    run = tiny("AT", evaluation={"budget_scale": 0.5})  # 4/255
    x, y = data.to_float(data.load("digits", "test").images[:4]), torch.zeros(4, dtype=torch.long)
    monkeypatch.setattr(attacks, "pgd", lambda model, x, y, **_: change(x))
    with pytest.raises(RuntimeError, match=r"pgd left its linf ball of 0\.0156863"):
        craft(torch.nn.Identity(), x, y, resolved_attack(run, "pgd20"), run, seed=0)


def test_every_kind_of_attack_is_dispatched_with_its_settings(tiny, monkeypatch):
    seen = {}
    for name in ("fgsm", "pgd", "cw", "adaptive", "autoattack"):
        monkeypatch.setattr(attacks, name, lambda model, x, y, name=name, **kwargs: seen.update({name: kwargs}) or x)
    scale = {"budget_scale": 1, "autoattack": "surrogate"}
    run = tiny(evaluation=scale, attacks={"aa": {"square_queries": 7}})
    x, y = torch.rand(2, 1, 8, 8), torch.zeros(2, dtype=torch.long)
    for name in ("clean", "fgsm", "pgd100_l1", "cw30", "adaptive20", "aa"):
        assert torch.equal(craft(torch.nn.Identity(), x, y, resolved_attack(run, name), run, seed=3), x)
    assert seen["fgsm"] == {"epsilon": 8 / 255}
    linf = {"epsilon": 8 / 255, "step_size": 1 / 255}
    assert seen["cw"] == linf | {"steps": 30, "confidence": 50}
    weights = {"radius": 10, "lambda_dpp": 0.1, "lambda_dnp": 0.1, "lambda_dfa": 2, "pull": "mean"}
    assert seen["adaptive"] == linf | {"steps": 20} | weights
    standard = {"epsilon": 8 / 255, "norm": "linf", "seed": 3, "square_queries": 7, "attacks": None}
    assert isinstance(seen["autoattack"].pop("surrogate"), FoldedSurrogate)
    assert seen["autoattack"] == standard  # all four components
    generator = seen["pgd"].pop("generator")
    assert generator.initial_seed() == 3
    assert seen["pgd"] == {
        "epsilon": 2000 / 255,
        "step_size": 50 / 255,
        "steps": 100,
        "norm": "l1",
        "l1_step": "top1",
        "random_start": False,
        "restarts": 1,
    }


# --- Beyond accuracy: Table 4, Figure 2, Table 5


def test_geometry_measures_clean_and_adversarial_features_and_the_centers(measure, trained):
    run, results = measure("geometry", method="Adv-DPNP", evaluation={"test_images": 360, "batch_size": 120})
    found = results["geometry"]
    names = ("fdr", "fdr_as_printed", "afs", "scr", "scr_means", "distance")
    metrics = {f"{metric}_{kind}" for metric in names for kind in ("clean", "adv")}
    assert metrics | {"mean_sep", "min_sep"} <= found.keys()
    assert (found["feature_attack"], found["unit_features"], found["images"]) == ("pgd20", False, 360)
    assert found["fdr_as_printed_clean"] == pytest.approx(100 * found["fdr_clean"])  # M^2 with ten classes
    assert 0 < found["min_sep"] <= found["mean_sep"] <= 180
    assert found["fdr_adv"] > found["fdr_clean"]  # attacked features overlap more
    assert found["scr_adv"] < found["scr_clean"]
    with np.load(RESULTS.arrays(run, "geometry")) as arrays:
        assert np.array_equal(arrays["centers"], load_model(run, trained["Adv-DPNP"]).centers.detach().numpy())


def test_at_he_is_measured_on_what_its_head_compares(measure, trained):
    """Unit features against unit centers (ledger 21): two of them are at most 2 apart, and scale is no compactness."""
    run, results = measure("geometry", method="AT_HE")
    model = load_model(run, trained["AT_HE"])
    test = data.load("digits", "test")
    with torch.no_grad():
        features = model.features(data.to_float(test.images[:60]))
    assert features.norm(dim=1).max() > 1.5
    unit = torch.nn.functional.normalize(features, dim=1)
    expected = geometry.separation_to_compactness(unit, test.labels[:60], model.centers)
    assert results["geometry"]["scr_clean"] == pytest.approx(expected, rel=1e-4)
    assert results["geometry"]["unit_features"] is True
    assert 0 < results["geometry"]["distance_clean"] <= 2


def test_geometry_asks_for_test_images_of_every_class(measure, tiny):
    with pytest.raises(UserError, match="needs test images of all 10 classes, and the first 5 are of 5; raise eval"):
        measure("geometry", evaluation={"test_images": 5})
    assert not RESULTS.evaluation(tiny("AT", **LONGER), "geometry").exists()


def test_geometry_by_an_earlier_definition_is_measured_again(measure):
    run, results = measure("geometry", method="Adv-DPNP")
    path = RESULTS.evaluation(run, "geometry")
    path.write_text(json.dumps(results["geometry"] | {"key": "of the earlier definition", "fdr_clean": -1}))
    _, again = measure("geometry", method="Adv-DPNP")
    assert again["geometry"]["fdr_clean"] == results["geometry"]["fdr_clean"]
    assert again["geometry"]["definition"] == GEOMETRY_DEFINITION


def test_the_definition_of_geometry_is_part_of_its_key_and_of_what_a_job_depends_on(measure, monkeypatch):
    run, results = measure("geometry", "pgd20", method="Adv-DPNP")
    short = load_tier("short")
    wanted = short.run("cifar10/resnet18", "AT")
    jobs = [artefacts.evaluation_settings(short, wanted, name) for name in ("table4", "table1")]
    monkeypatch.setattr(module, "GEOMETRY_DEFINITION", GEOMETRY_DEFINITION + 1)
    monkeypatch.setattr(artefacts, "GEOMETRY_DEFINITION", GEOMETRY_DEFINITION + 1)
    test, sha256 = data.load("digits", "test"), results["pgd20"]["model_sha256"]
    assert module._key(run, "geometry", test, sha256) != results["geometry"]["key"]
    assert module._key(run, "pgd20", test, sha256) == results["pgd20"]["key"]
    assert artefacts.evaluation_settings(short, wanted, "table4") != jobs[0]
    assert artefacts.evaluation_settings(short, wanted, "table1") == jobs[1]


def test_features_are_those_that_the_head_classifies(measure):
    run, results = measure("clean", "features", "pgd20")
    found = results["features"]
    assert found["accuracy_clean"] == pytest.approx(results["clean"]["accuracy"], abs=1e-4)
    assert found["accuracy_adv"] == pytest.approx(results["pgd20"]["accuracy"], abs=1e-4)
    with np.load(RESULTS.arrays(run, "features")) as arrays:
        assert arrays["clean"].shape == arrays["adv"].shape == (60, 32)
        assert arrays["labels"].tolist() == data.load("digits", "test").labels[:60].tolist()
        assert arrays["centers"].shape == (10, 32)


def test_figure_2_attacks_mnist_blocks_with_pgd_40(tiny):
    assert module.feature_attack(tiny("AT", block="mnist/lenetspp")) == "pgd40_mnist"
    assert module.feature_attack(tiny("AT")) == "pgd20"


def test_corruptions_are_averaged_over_kinds_and_severities(measure):
    _, results = measure("corruptions", evaluation={"corruption_images": 12})
    found = results["corruptions"]
    assert list(found["accuracies"]) == list(CORRUPTIONS)
    assert all(len(row) == 5 for row in found["accuracies"].values())
    assert found["accuracy"] == pytest.approx(np.mean(list(found["accuracies"].values())), abs=1e-3)
    assert found["images"] == 12
    assert "regenerated" in found["source"]
    assert all(0 <= value <= 100 for row in found["accuracies"].values() for value in row)


def test_renormalised_prototypes_change_the_logits_and_not_the_network(measure):
    _, found = measure("pgd20", "pgd20_renormalised", method="Adv-DPNP")
    assert found["pgd20"]["loss"] != found["pgd20_renormalised"]["loss"]
    _, again = measure("pgd20_renormalised", "pgd20", method="Adv-DPNP", force=True)
    assert {name: one["loss"] for name, one in again.items()} == {name: one["loss"] for name, one in found.items()}


def test_only_adv_dpnp_has_prototypes_to_renormalise(measure):
    with pytest.raises(UserError, match="only Adv-DPNP has prototypes"):
        measure("clean_renormalised", method="AT")


def test_logits_that_are_not_finite_are_no_accuracy():
    """argmax of NaN is class 0: a diverged network would be reported right about a tenth of the images."""
    y = torch.tensor([0, 1])
    assert is_right(torch.tensor([[2.0, 1.0], [0.0, -1.0]]), y, "run clean").tolist() == [True, False]
    with pytest.raises(UserError, match=r"^run clean: the network's logits are not finite"):
        is_right(torch.tensor([[2.0, 1.0], [math.nan, math.nan]]), y, "run clean")


def test_a_diverged_network_is_not_evaluated(tiny, monkeypatch):
    run = tiny("AT")
    fit(run)
    network = load_model(run)
    with torch.no_grad():
        for weight in network.parameters():
            weight.mul_(math.nan)
    monkeypatch.setattr(module, "load_model", lambda *_, **__: network)
    with pytest.raises(UserError, match=f"^{run.id} clean: the network's logits are not finite"):
        evaluate(run, "clean")
    assert not RESULTS.evaluation(run, "clean").exists()
