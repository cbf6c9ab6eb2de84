"""Bad input, through the real command line or a notebook's own cells: one sentence that names the cause and the cure,
status 2, no traceback, and nothing written."""

import dataclasses
import hashlib
import io
import json
import pickle
import shutil

import nbformat
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from advdpnp import data
from advdpnp.__main__ import main
from advdpnp.config import DATASETS, METHODS, PAPER_BLOCKS, ROOT, OptimConfig, digest, parse_number, parse_tier, resolve
from advdpnp.errors import UserError

MINIMAL = {"label": "a protocol", "blocks": {"cifar10/resnet18": None}}
TINY = {
    "label": "tiny",
    "methods": ["ST", "AT", "HAT"],
    "defaults": {
        "data": {"train_images": 32},
        "model": {"width": 4},
        "optim": {"epochs": 1, "batch_size": 32, "milestones": [], "precision": "fp32"},
        "craft": {"steps": 1},
        "evaluation": {"test_images": 20},
    },
    "blocks": {"cifar10/resnet18": {"dataset": "digits"}},
}


def contents(folder):
    """{path: bytes} of everything below a folder; locks hold nothing."""
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.suffix != ".lock"}


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """refused(["train", ...], "said"): asserts what every mistake gets."""
    monkeypatch.chdir(tmp_path)

    def call(arguments, said):
        before = contents(tmp_path)
        capsys.readouterr()
        assert main(arguments) == 2
        message = capsys.readouterr().err
        assert said in message
        assert message.startswith("error: ")
        assert message.count("\n") == 1
        assert "Traceback" not in message
        assert contents(tmp_path) == before, "something was written"
        return message

    return call


# --- Configuration


def defaults(**sections):
    return {"defaults": sections}


def block(**changes):
    return {"blocks": {"cifar10/resnet18": changes}}


def attack(name="pgd20", **changes):
    return {"attacks": {name: changes}}


CONFIGURATION = {
    # keys
    "unknown key": ({"lable": "x"}, "unknown key 'lable'; did you mean 'label'?"),
    "unknown section": (defaults(optimizer={}), "defaults: unknown key 'optimizer'; did you mean 'optim'?"),
    "unknown setting": (defaults(optim={"epoch": 3}), "defaults.optim: unknown key 'epoch'; did you mean 'epochs'?"),
    "a section without settings": (defaults(st={"beta": 1}), "defaults.st: unknown key 'beta'; it takes no settings."),
    "unknown method": ({"methods": ["Adv-DNPN"]}, "unknown method 'Adv-DNPN'; did you mean 'Adv-DPNP'?"),
    "unknown method in more_seeds": ({"more_seeds": {"TRADE": [1]}}, "unknown method 'TRADE'; did you mean 'TRADES'?"),
    "unknown block": ({"blocks": {"cifar10/resnet50": None}}, "unknown block 'cifar10/resnet50'; did you mean"),
    "unknown data set": (block(dataset="cifar"), "dataset: 'cifar' is not known; did you mean 'cifar10'?"),
    "unknown backbone": (block(backbone="resnet"), "backbone: 'resnet' is not known; did you mean 'resnet18'?"),
    "unknown attack": (attack("pgd2"), "attacks: unknown attack 'pgd2'; did you mean 'pgd20'?"),
    "unknown attack of a block": (block(attacks={"autoattack": {}}), "cifar10/resnet18.attacks: unknown attack"),
    "unknown attack setting": (attack(eps=1), "attacks.pgd20: unknown key 'eps'"),
    "unknown choice": (defaults(optim={"precision": "bf61"}), "precision: 'bf61' is not known; did you mean 'bf16'?"),
    "unknown norm": (attack(norm="l3"), "attacks.pgd20.norm: 'l3' is not known; did you mean 'l2'?"),
    "unknown key in a variant": ({"variants": {"v": {"optim": {"lrs": 1}}}}, "variants.v.optim: unknown key 'lrs'"),
    "a variant with capitals": ({"variants": {"No-ReLU": {}}}, "variants: 'No-ReLU' may hold only a-z, 0-9 and _."),
    "a key of two lines": ({"la\nble\x1b[31m": "x"}, "unknown key 'la ble [31m'"),
    # types
    "not a mapping": ([1], "expected a mapping, got [1]."),
    "no label": ({"label": ""}, "label: expected one line"),
    "label is a number": ({"label": 3}, "label: expected one line"),
    "label of two lines": ({"label": "one\ntwo"}, "label: expected one line"),
    "defaults is a list": ({"defaults": [1]}, "defaults: expected a mapping, got [1]."),
    "section is a list": (defaults(optim=[1]), "defaults.optim: expected a mapping of settings, got [1]."),
    "attack is a number": ({"attacks": {"pgd20": 8}}, "attacks.pgd20: expected a mapping of settings, got 8."),
    "words for a number": (defaults(optim={"lr": "high"}), "defaults.optim.lr: expected a number such as 0.1"),
    "switch for a number": (defaults(optim={"lr": True}), "optim.lr: expected a number such as 0.1 or 8/255, got True."),
    "list for a number": (defaults(optim={"lr": [0.1]}), "optim.lr: expected a number such as 0.1 or 8/255, got [0.1]."),
    "half a step": (defaults(craft={"steps": 2.5}), "defaults.craft.steps: expected a whole number, got 2.5."),
    "switch for a count": (defaults(craft={"steps": True}), "craft.steps: expected a whole number, got True."),
    "text for a count": (defaults(optim={"epochs": "110"}), "optim.epochs: expected a whole number, got '110'."),
    "text for a switch": (defaults(model={"last_relu": "yes"}), "last_relu: expected true or false, got 'yes'."),
    "list for a choice": (defaults(data={"augment": ["on"]}), "defaults.data.augment: ['on'] is not known"),
    "milestones are no list": (defaults(optim={"milestones": 100}), "optim.milestones: expected a list of whole numbers"),
    "a milestone is text": (defaults(optim={"milestones": ["7"]}), "optim.milestones: expected a list of whole numbers"),
    "a method inside a list": ({"methods": [["ST"]]}, "unknown method '['ST']'"),
    "methods are a word": ({"methods": "ST"}, "methods: expected a list of methods, got 'ST'."),
    "seeds of no variant": ({"variant_seeds": {"balance": [1]}}, "variant_seeds: no variant 'balance'; "),
    "no variant to print": ({"printed": ["balanced"]}, "printed: no variant ['balanced']; "),
    "more_seeds is a list": ({"more_seeds": [1]}, "more_seeds: expected a mapping, got [1]."),
    "seeds are a number": ({"seeds": 3}, "seeds: expected a list of different whole numbers from 0 up, got 3."),
    "a list of data sets": (block(dataset=["digits"]), "dataset: '['digits']' is not known"),
    "a value of any size": (defaults(optim=[[9] * 50] * 9), "defaults.optim: expected a mapping of settings, got [[9"),
    # ranges
    "negative epsilon": (defaults(craft={"epsilon": "-8/255"}), "craft.epsilon: expected a number from 0 to 1, got -8/255"),
    "epsilon in 0..255": (defaults(craft={"epsilon": 8}), "craft.epsilon: expected a number from 0 to 1, got 8."),
    "an attack's epsilon in 0..255": (attack(epsilon=8), "attacks.pgd20.epsilon: 8 is out of range; pixels lie in"),
    "an l2 budget in 0..255": (attack("pgd20_l2", epsilon=128), "attacks.pgd20_l2.epsilon: 128 is out of range; pixels"),
    "an attack's step in 0..255": (attack(step_size=1), "attacks.pgd20.step_size: 1 is more than twice epsilon (0.03"),
    "a step beyond the box": (attack(step_size=2), "attacks.pgd20.step_size: 2 is out of range; pixels lie in [0, 1]"),
    "a training step in 0..255": (defaults(craft={"step_size": 1}), "craft.step_size: 1 is more than twice epsilon (0.03"),
    "budgets scaled to 0..255": (
        defaults(evaluation={"budget_scale": 255}),
        "evaluation.budget_scale: 255 times attacks.pgd20.epsilon: epsilon 8 is out of range; pixels lie in [0, 1]",
    ),
    "division by zero": (defaults(craft={"epsilon": "8/0"}), "craft.epsilon: expected a number such as 0.1 or 8/255"),
    "NaN": (defaults(trades={"beta": float("nan")}), "trades.beta: expected a number such as 0.1 or 8/255, got nan."),
    "infinity": (defaults(trades={"beta": float("inf")}), "trades.beta: expected a number such as 0.1 or 8/255, got inf"),
    "too large for a float": (defaults(optim={"lr": "1e400"}), "defaults.optim.lr: expected a number such as 0.1"),
    "an endless exponent": (defaults(optim={"lr": "1e999999999"}), "defaults.optim.lr: expected a number such as 0.1"),
    "no steps": (defaults(craft={"steps": 0}), "defaults.craft.steps: expected a number from 1 to 1000, got 0"),
    "no epochs": (defaults(optim={"epochs": 0}), "defaults.optim.epochs: expected a number from 1 to 100000, got 0"),
    "momentum of one": (defaults(optim={"momentum": 1}), "defaults.optim.momentum: expected a number from 0 to 0.999999, got 1"),
    "zero radius": (defaults(adv_dpnp={"radius": 0}), "defaults.adv_dpnp.radius: expected a number from 1e-06 up, got 0"),
    "no seeds": ({"seeds": []}, "seeds: expected a list of different whole numbers from 0 up, got []."),
    "a negative seed": ({"more_seeds": {"AT": [-1]}}, "more_seeds.AT: expected a list of different"),
    "more training images than there are": (
        defaults(data={"train_images": 60000}),
        "data: expected at most 50000 training and validation images, which cifar10 has, got 60000.",
    ),
    "more test images than there are": (
        defaults(evaluation={"test_images": 10001}),
        "evaluation.test_images: cifar10 has only 10000 test images.",
    ),
    "more corrupted images than there are": (
        defaults(evaluation={"corruption_images": 20000}),
        "evaluation.corruption_images: cifar10 has only",
    ),
    "more attacked images than there are": (attack(images=10001), "attacks.pgd20.images: expected at most 10000, the number of test images, got 10001."),
    # contradictions
    "no blocks": ({"blocks": {}}, "blocks: expected at least one of cifar10/resnet18"),
    "a method twice": ({"methods": ["ST", "AT", "ST"]}, "methods: expected each method once"),
    "a seed twice": ({"seeds": [1, 1]}, "seeds: expected a list of different whole numbers"),
    "two blocks with the same runs": (
        {"blocks": {"cifar10/resnet18": None, "svhn/resnet18": {"dataset": "cifar10"}}},
        "blocks: cifar10/resnet18 and svhn/resnet18 would share the runs of cifar10-resnet18.",
    ),
    "milestones fall": (defaults(optim={"milestones": [105, 100]}), "optim.milestones: expected epochs from 1 up, each larger"),
    "milestones beyond the end": (
        defaults(optim={"epochs": 8}),
        "optim: lr falls at epochs [100, 105], but training ends after 8",
    ),
    "a warm-up beyond the end": (defaults(optim={"warmup_epochs": 200}), "optim.warmup_epochs: 200 of 110 epochs"),
    "epsilon never arrives": (defaults(craft={"epsilon_warmup_epochs": 111}), "craft.epsilon_warmup_epochs: 111 of 110"),
    "validation overlaps training": (
        defaults(data={"train_images": 50000, "validation_images": 1}),
        "data: expected at most 50000 training and validation images, which cifar10 has, got 50001.",
    ),
    "the best of no images": (
        defaults(optim={"checkpoint": "best"}),
        'optim.checkpoint: "best" is chosen on images held out of training; set data.validation_images, for example to 1000.',
    ),
    "a last batch of one": (defaults(data={"train_images": 129}), "batch_size: 129 images in batches of 128 leave"),
    "a step that never moves": (defaults(craft={"step_size": 0}), "craft.step_size: 0 would never leave"),
    "an attack's step that never moves": (attack(step_size=0), "attacks.pgd20.step_size: 0 would never leave"),
    "restarts that all are one": (attack(restarts=5), "attacks.pgd20: 5 restarts without random_start: true"),
    "restarts of FGSM": (attack("fgsm", random_start=True), "attacks.fgsm.random_start: fgsm has none"),
    "C&W in l2": (attack("cw30", norm="l2"), "attacks.cw30.norm: cw is an attack in linf, not l2"),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "said"), CONFIGURATION.values(), ids=CONFIGURATION)
def test_a_mistake_in_a_tier(refused, tmp_path, changes, said):
    (tmp_path / "bad.json").write_text(json.dumps(MINIMAL | changes if isinstance(changes, dict) else changes))
    message = refused(["train", "--tier", "bad.json", "cifar10-resnet18-at-s0"], said)
    assert message.startswith("error: bad.json: ")


FILES = {
    "half a TOML": ("bad.toml", b"label = [", "is not valid TOML: "),
    "half a JSON": ("bad.json", b"{", "is not valid JSON"),
    "empty": ("bad.toml", b"", "label: expected one line"),
    "no text": ("bad.toml", b"\xff\xfe\x00", "is not a text file"),
    "YAML inside": ("bad.toml", b"label: mine\n", "is not valid TOML: Expected '=' after a key"),
    "a YAML file": ("bad.yaml", b"label: mine\n", "tiers are TOML now; write it as bad.toml"),
    "a .yml file": ("bad.yml", None, "tiers are TOML now; write it as bad.toml"),
    "a budget without quotes": ("bad.toml", b"[defaults]\ncraft = {epsilon = 8/255}\n", "is not valid TOML: "),
    "a word without quotes": ("bad.toml", b"[defaults]\ndata = {augment = on}\n", "is not valid TOML: Invalid value"),
    "a switch for a word": ("bad.toml", b'label = "x"\n[defaults]\ndata = {augment = true}', "augment: True is not known"),
    "a date": ("bad.toml", b'label = "x"\nseeds = 2025-04-03\n', "seeds: expected a list of different whole numbers"),
    "a key twice": ("bad.toml", b'label = "a"\nlabel = "b"\n', "is not valid TOML: Cannot overwrite a value (at line 2"),
    "a setting twice": ("bad.toml", b"[defaults]\noptim = {lr = 1, lr = 2}\n", "Duplicate inline table key 'lr'"),
    "a section twice": ("bad.toml", b"[defaults]\n[attacks]\n[defaults]\n", "Cannot declare ('defaults',) twice"),
    "a JSON key twice": ("bad.json", b'{"label": "a", "label": "b"}', "the key 'label' comes twice"),
    "nested without end": ("bad.toml", b"label = " + b"[" * 5000, "is not valid TOML"),
    "a label of any size": ("bad.toml", b"label = [" + b"9," * 100_000 + b"]\n", "label: expected one line"),
    "the name of another tier": ("demo.toml", b'label = "mine"', "the name 'demo' is taken by config/demo.toml"),
    "a name that is no folder": ("My Tier.toml", b'label = "mine"', "its name becomes a folder"),
    "a name that climbs": ("..toml", b'label = "mine"', "its name becomes a folder"),
    "absent": ("absent.toml", None, "no such tier"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "content", "said"), FILES.values(), ids=FILES)
def test_a_file_that_is_no_tier(refused, tmp_path, name, content, said):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert name in refused(["train", "--tier", name, "cifar10-resnet18-at-s0"], said)


# --- The command line

RUN = "digits-resnet18-at-s0"
COMMAND_LINE = {
    "unknown command": (["trian"], "did you mean 'train'"),
    "version as a command": (["version"], "did you mean '--version'?"),
    "a tier without --tier": (["status", "short"], "status does not take 'short'; did you mean '--tier short'?"),
    "no run": (["train"], "the following arguments are required: run"),
    "unknown option": (["status", "--teir", "demo"], "status has no option --teir; did you mean '--tier'?"),
    "half an option": (["status", "--tie", "demo"], "status has no option --tie; did you mean '--tier'?"),
    "two runs": (["train", RUN, RUN], f"train does not take '{RUN}'; see python -m advdpnp train --help"),
    "unknown tier": (["train", "--tier", "demmo", RUN], "did you mean 'demo'"),
    "empty tier": (["status", "--tier", ""], "no such tier"),
    "a folder as tier": (["status", "--tier", "/"], "no such tier"),
    "unknown device": (["train", "--device", "gpu", RUN], "--device gpu"),
    "a device without numbers": (["train", "--device", "meta", RUN], "--device meta: is not known; use auto, cpu or cuda"),
    "empty device": (["train", "--device", "", RUN], "use auto, cpu or cuda"),
    "minutes in words": (["train", "--max-minutes", "soon", RUN], "--max-minutes: expected minutes, a number from 0, got 's"),
    "negative minutes": (["train", "--max-minutes", "-5", RUN], "--max-minutes"),
    "NaN minutes": (["train", "--max-minutes", "nan", RUN], "--max-minutes"),
    "a paper run on a CPU": (["train", "--tier", "paper", "--device", "cpu", "cifar10-resnet18-at-s0"], "--allow-cpu"),
    "no attack": (["evaluate", RUN], "at least one attack"),
    "unknown attack": (["evaluate", RUN, "pdg20"], "did you mean 'pgd20'"),
    "unknown table": (["evaluate", RUN, "--for", "tabel1"], "did you mean 'table1'"),
    "not trained": (["evaluate", RUN, "pgd20"], f"is not trained in tier demo; python -m advdpnp train --tier demo {RUN}"),
    "HAT without its ST": (["train", "digits-resnet18-hat-s0"], "needs the trained digits-resnet18-st-s0; train that first"),
    "no data set": (["fetch"], "the following arguments are required: name"),
    "unknown data set": (["fetch", "cifar"], "did you mean 'cifar10'"),
    "one record for two data sets": (["fetch", "digits", "digits", "--record", "r.json"], "one data set at a time"),
    "nothing to report": (["report"], "holds no evaluations; run snakemake --cores 1 demo"),
    "nothing to publish": (["publish", "--tier", "demo"], "holds no evaluations"),
    "an argument of two lines": (["train", "digits\nresnet18\x1b[2J"], "is not a run id"),
    "a run id without a seed": (["train", "digits-resnet18-adv_dpnp"], "is not a run id; write <dataset>-<backbone>-"),
    "a run id with a wrong defense": (["train", "digits-resnet18-adv_dnp-s0"], "unknown defense 'adv_dnp'; did you mean"),
    "a run id of another tier": (["train", "cifar10-resnet18-at-s0"], "'cifar10-resnet18'; use --tier medium or paper or"),
    "a card of another tier's run": (["card", "cifar100-resnet18-at-s0"], "'cifar100-resnet18'; use --tier paper or short100"),
    "a run of no tier": (["train", "svhn-lenetspp-at-s0"], "tier demo has no 'svhn-lenetspp'; "),
    "a run id with no such variant": (["train", "digits-resnet18-at.odd-s0"], "no variant 'odd'"),
    "a run id with a negative seed": (["train", "digits-resnet18-at-s-1"], "is not a run id"),
    "a run id with leading zeros": (["train", "digits-resnet18-at-s00"], "is not a run id"),
    "a run id with foreign digits": (["train", "digits-resnet18-at-s٣"], "is not a run id"),
    "a run id with endless digits": (["train", "digits-resnet18-at-s" + "9" * 5000], "is not a run id"),
    "a run id that climbs": (["train", f"{RUN}/../../x"], "is not a run id"),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "said"), COMMAND_LINE.values(), ids=COMMAND_LINE)
def test_a_mistake_on_the_command_line(refused, arguments, said):
    refused(arguments, said)


def test_results_that_cannot_be_written(refused, tmp_path, monkeypatch):
    (tmp_path / "a file").write_text("")
    monkeypatch.setenv("ADVDPNP_RESULTS", str(tmp_path / "a file" / "results"))
    (tmp_path / "tiny.json").write_text(json.dumps(TINY))
    refused(["train", "--tier", "tiny.json", RUN], "could not be locked (Not a directory); mend that.")


def test_debug_shows_the_traceback():
    with pytest.raises(UserError):
        main(["--debug", "train", "nonsense"])


# --- Data: CIFAR-10 of 20 training and 10 test images, as the official archive and as the hub lay it out

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 3, 32, 32), dtype=np.uint8)
LABELS = [i % 10 for i in range(20)]


def batch(images=PIXELS[:4], labels=LABELS[:4], key="labels"):
    return pickle.dumps({"data": images.reshape(len(images), np.prod(images.shape[1:])), key: labels}, protocol=2)


def png(image, kind="PNG", **options):
    buffer = io.BytesIO()
    Image.fromarray(image.transpose(1, 2, 0)).save(buffer, kind, **options)
    return buffer.getvalue()


def shard(encoded=None, labels=LABELS, columns=("img", "label")):
    encoded = [png(image) for image in PIXELS] if encoded is None else encoded
    images = pa.array([{"bytes": b} for b in encoded], pa.struct([("bytes", pa.binary())]))
    sink = io.BytesIO()
    pq.write_table(pa.table({columns[0]: images, columns[1]: pa.array(labels, pa.int64())}), sink)
    return sink.getvalue()


def swapped(image, at=7):
    return [png(p) if i != at else image for i, p in enumerate(PIXELS)]


OFFICIAL, HUB = "cifar-10-batches-py/data_batch_2", "cifar10/train-00000-of-00001.parquet"
DATA = {  # the damaged file, its bytes (None: absent), whether its md5 is that of the bytes, what is said
    "missing": (OFFICIAL, None, True, "missing: cifar-10-batches-py/data_batch_2 of the official"),
    "wrong checksum": (OFFICIAL, batch()[:-1] + b"!", False, "was not opened because its md5 is"),
    "truncated": (OFFICIAL, batch()[:500], True, "data_batch_2 is not a CIFAR batch"),
    "empty": (OFFICIAL, b"", True, "data_batch_2 is not a CIFAR batch"),
    "a batch of no images": (OFFICIAL, batch(PIXELS[:0], []), True, "data_batch_2 is not a CIFAR batch"),
    "labels that are no whole numbers": (OFFICIAL, batch(labels=[0, 1, 2.5, 3]), True, "does not hold CIFAR batches"),
    "too few images": (OFFICIAL, batch(PIXELS[:3], LABELS[:3]), True, "train holds 19 images, not 20"),
    "fewer labels than images": (OFFICIAL, batch(labels=[1, 2]), True, "train images are uint8 (20, 3, 32, 32), not"),
    "another shape": (OFFICIAL, batch(PIXELS[:4, :, :31]), True, "does not hold CIFAR batches"),
    "another type": (OFFICIAL, pickle.dumps({"data": [["x"]], "labels": [1]}), True, "does not hold CIFAR batches"),
    "pixels beyond a byte": (
        OFFICIAL, pickle.dumps({"data": np.full((4, 3072), 300), "labels": LABELS[:4]}, 2), True,
        "does not hold CIFAR batches"),
    "pixels in [0, 1]": (
        OFFICIAL, pickle.dumps({"data": np.full((4, 3072), 0.5), "labels": LABELS[:4]}, 2), True,
        "does not hold CIFAR batches"),
    "CIFAR-100's keys": (OFFICIAL, batch(key="fine_labels"), True, "does not hold CIFAR batches"),
    "label out of range": (OFFICIAL, batch(labels=[0, 1, 10, 3]), True, "row 6 has label 10, outside 0..9"),
    "negative label": (OFFICIAL, batch(labels=[0, 1, 2, -1]), True, "row 7 has label -1, outside 0..9"),
    "no shard": (HUB, None, True, "run `python -m advdpnp fetch cifar10`, or set ADVDPNP_DATA to"),
    "one of two shards": ("cifar10/train-00000-of-00002.parquet", shard(), True, "are not complete"),
    "truncated shard": (HUB, shard()[:3000], True, "shard in"),
    "empty shard": (HUB, b"", True, "is damaged"),
    "other columns": (HUB, shard(columns=("picture", "label")), True, "has columns picture, label: img or image"),
    "a shard of 19 images": (HUB, shard([png(p) for p in PIXELS[:19]], LABELS[:19]), True, "hold 19 images, not 20"),
    "a lossy image": (HUB, shard(swapped(png(PIXELS[7], "JPEG"))), True, "row 7 is not a PNG or lossless WebP"),
    "an image too wide": (HUB, shard(swapped(png(np.zeros((3, 32, 33), np.uint8)))), True, "row 7 is not a PNG"),
    "no bytes": (HUB, shard(swapped(None)), True, "row 7 is not a PNG"),
    "parquet label out of range": (HUB, shard(labels=[*LABELS[:19], 10]), True, "row 19 has label 10, outside 0..9"),
    "parquet label absent": (HUB, shard(labels=[*LABELS[:19], None]), True, "row 19 has no label"),
}  # fmt: skip


@pytest.fixture
def small_cifar10(tmp_path, monkeypatch):
    """small_cifar10(path, raw, published): the official layout, or the hub's, with one file replaced."""
    root = tmp_path / "data"
    monkeypatch.setenv("ADVDPNP_DATA", str(root))
    monkeypatch.setenv("ADVDPNP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(DATASETS, "cifar10", dataclasses.replace(DATASETS["cifar10"], train_images=20, test_images=4))

    def write(path, raw, published=True):
        files = {f"cifar-10-batches-py/data_batch_{i}": batch(PIXELS[4 * i - 4 : 4 * i]) for i in range(1, 6)}
        files = files if path in files else {}
        for name, content in (files | {path: raw}).items():
            if content is not None:
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_bytes(content)
                if published:
                    monkeypatch.setitem(data.formats.MD5, name, hashlib.md5(content).hexdigest())

    return write


def small_tier(tmp_path):
    small = TINY | {"defaults": TINY["defaults"] | {"data": {}, "evaluation": {}}, "blocks": {"cifar10/resnet18": None}}
    (tmp_path / "small.json").write_text(json.dumps(small))
    return ["train", "--tier", "small.json", "cifar10-resnet18-at-s0"]


@pytest.mark.parametrize(("path", "raw", "published", "said"), DATA.values(), ids=DATA)
def test_bad_data(refused, tmp_path, small_cifar10, path, raw, published, said):
    if not published:
        small_cifar10(OFFICIAL, batch())
    small_cifar10(path, raw, published)
    refused(small_tier(tmp_path), said)


def test_too_few_classes(refused, tmp_path, small_cifar10, monkeypatch):
    """Coarse labels, say, in place of fine ones."""
    many = dataclasses.replace(DATASETS["cifar10"], train_images=500)
    monkeypatch.setitem(DATASETS, "cifar10", many)
    small_cifar10(HUB, shard([png(PIXELS[0])] * 500, [i % 5 for i in range(500)]))
    refused(small_tier(tmp_path), "train has labels of 5 classes, not 10: copy the full set")


# --- What a trained run left behind


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A trained run of tier tiny and its clean evaluation, made by the command line."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "tiny.json").write_text(json.dumps(TINY))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADVDPNP_RESULTS", str(folder / "results"))
        assert main(["train", "--tier", str(folder / "tiny.json"), RUN]) == 0
        assert main(["evaluate", "--tier", str(folder / "tiny.json"), RUN, "clean"]) == 0
    return folder


def edited(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def another(path, **changes):
    """A state of ours with some tensors replaced, saved where ours was; train.json vouches for it."""
    state = torch.load(path, weights_only=True)
    inner = state.get("defense", state)
    inner.update({key: value for key, value in changes.items() if value is not None})
    for key in [key for key, value in changes.items() if value is None]:
        del inner[key]
    torch.save(state, path)
    edited(path.parent / "train.json", model_sha256=hashlib.sha256((path.parent / "model.pt").read_bytes()).hexdigest())


def without(path, key):
    value = json.loads(path.read_text())
    del value[key]
    path.write_text(json.dumps(value))


EVALUATE, TRAIN, REPORT = ["evaluate", "clean", "fgsm"], ["train"], ["report"]
LEFT_BEHIND = {  # what is done to the folder of the run (r) or of its evaluations (e), the command, what is said
    "no model": (lambda r, e: (r / "model.pt").unlink(), EVALUATE, "model.pt: is missing or not the file that train.json"),
    "half a model": (lambda r, e: (r / "model.pt").write_bytes(b"PK\3\4"), EVALUATE, "model.pt: is missing or not the file"),
    "an edited model": (
        lambda r, e: (r / "model.pt").write_bytes((r / "model.pt").read_bytes() + b" "), EVALUATE, "train again with --restart"),
    "another architecture": (
        lambda r, e: another(r / "model.pt", **{"backbone.conv1.weight": None}), EVALUATE, "model.pt: is of another network"),
    "another number of classes": (
        lambda r, e: another(r / "model.pt", **{"head.weight": torch.zeros(7, 32)}), EVALUATE, "model.pt: is of another network"),
    "another width": (
        lambda r, e: another(r / "last.pt", **{"model.head.weight": torch.zeros(10, 64)}), TRAIN, "last.pt: is of another network"),
    "another tier's training": (
        lambda r, e: edited(r / "train.json", settings_digest=digest(OptimConfig())), EVALUATE, "train.json is not of " + RUN),
    "other settings": (
        lambda r, e: edited(r / "config.json", seed=5), TRAIN, "was trained under other settings (seed: 5 -> 0); restore them"),
    "half a config.json": (lambda r, e: (r / "config.json").write_text("{"), TRAIN, "config.json: is not valid JSON"),
    "a list in config.json": (lambda r, e: (r / "config.json").write_text("[]"), TRAIN, "config.json: does not hold method"),
    "half a train.json": (lambda r, e: (r / "train.json").write_text("{"), EVALUATE, "train.json: is not valid JSON"),
    "an empty train.json": (lambda r, e: (r / "train.json").write_text("{}"), EVALUATE, "train.json: does not hold"),
    "a list in train.json": (lambda r, e: (r / "train.json").write_text("[]"), ["status"], "train.json: does not hold"),
    "costs are missing": (lambda r, e: without(r / "train.json", "seconds"), REPORT, "train.json: does not hold"),
    "costs are null": (lambda r, e: edited(r / "train.json", seconds=None), REPORT, "train.json: seconds is no number"),
    "no time for status": (lambda r, e: without(e / "clean.json", "seconds"), ["status"], "clean.json: does not hold seconds"),
    "no device": (
        lambda r, e: edited(r / "train.json", provenance=None), ["status"], "does not hold seconds, provenance.device"),
    "a word as evaluation": (lambda r, e: (e / "aa.json").write_text('"x"'), ["status"], "aa.json: does not hold model_sha256"),
    "a card without settings": (
        lambda r, e: edited(r / "config.json", optim=None), ["card"], "config.json: does not hold dataset, backbone"),
    "a card without parameters": (
        lambda r, e: edited(r / "train.json", parameters=None), ["card"], "train.json: parameters is no number"),
    "a card without accuracy": (
        lambda r, e: edited(e / "clean.json", accuracy=None), ["card"], "clean.json: accuracy is no number"),
    "an evaluation of no attack": (lambda r, e: without(e / "clean.json", "attack"), ["card"], "clean.json: does not hold attack"),
    "an evaluation of no images": (
        lambda r, e: without(e / "clean.json", "images"), EVALUATE, "clean.json: does not hold key, images"),
    "an empty last.pt": (lambda r, e: (r / "last.pt").write_bytes(b""), TRAIN, "last.pt: is not a checkpoint of this project"),
    "text in last.pt": (lambda r, e: (r / "last.pt").write_bytes(b"text"), TRAIN, "last.pt: is not a checkpoint"),
    "half a last.pt": (
        lambda r, e: (r / "last.pt").write_bytes((r / "last.pt").read_bytes()[:2000]), TRAIN, "last.pt: is not a checkpoint"),
    "a list in last.pt": (lambda r, e: torch.save([1], r / "last.pt"), TRAIN, "last.pt: is not a checkpoint"),
    "another last.pt": (lambda r, e: torch.save({"epoch": 3}, r / "last.pt"), TRAIN, "last.pt: is not a checkpoint"),
    "model.pt as last.pt": (lambda r, e: shutil.copy(r / "model.pt", r / "last.pt"), TRAIN, "last.pt: is not a checkpoint"),
    "half an evaluation": (lambda r, e: (e / "clean.json").write_text('{"key": '), EVALUATE, "clean.json: is not valid JSON"),
    "a list as evaluation": (lambda r, e: (e / "clean.json").write_text("[]"), EVALUATE, "clean.json: does not hold key"),
    "an evaluation without accuracy": (
        lambda r, e: without(e / "clean.json", "accuracy"), REPORT, "clean.json: does not hold images, accuracy"),
    "half of the flags": (
        lambda r, e: (e / "clean.npz").write_bytes(b"PK\3\4 half"), REPORT, "clean.npz: does not hold the arrays correct"),
    "other flags": (lambda r, e: np.savez(e / "clean.npz", wrong=[1]), REPORT, "clean.npz: does not hold the arrays correct"),
    "the adaptive attack on AT": (lambda r, e: None, ["evaluate", "adaptive20"], "which only Adv-DPNP trains with"),
    "HAT beside an AT": (lambda r, e: None, ["train", "digits-resnet18-hat-s0"], "needs the trained digits-resnet18-st-s0"),
}  # fmt: skip


@pytest.mark.parametrize(("damage", "command", "said"), LEFT_BEHIND.values(), ids=LEFT_BEHIND)
def test_a_damaged_run(refused, finished, tmp_path, monkeypatch, damage, command, said):
    shutil.copytree(finished, tmp_path / "copy")
    monkeypatch.setenv("ADVDPNP_RESULTS", str(tmp_path / "copy/results"))
    damage(tmp_path / "copy/results/tiny/runs" / RUN, tmp_path / "copy/results/tiny/evals" / RUN)
    name, *rest = command
    run = [RUN] if name in ("train", "evaluate") and not (rest and "-" in rest[0]) else []
    output = ["--output", "-"] if name == "report" else []
    refused([name, "--tier", str(tmp_path / "copy/tiny.json"), *run, *rest, *output], said)


# --- Notebooks: their parameters


@pytest.mark.parametrize("name", ["table1", "figure4", "method"])
@pytest.mark.parametrize(
    ("tier", "said"),
    [
        ("'dmeo'", "no such tier; did you mean 'demo'?"),
        ("''", "no such tier"),
        ("'absent.toml'", "absent.toml: no such tier"),
        ("3", "a tier is asked for by its name or file, such as 'demo', not by 3."),
        ("None", "not by None."),
        ("['demo']", "not by ['demo']."),
    ],
)
def test_a_wrong_parameter_of_a_notebook(capsys, monkeypatch, tmp_path, name, tier, said):
    from IPython.core.interactiveshell import InteractiveShell

    monkeypatch.chdir(tmp_path)
    cells = [c for c in nbformat.read(ROOT / f"notebooks/{name}.ipynb", as_version=4).cells if c.cell_type == "code"]
    shell = InteractiveShell.instance()
    assert shell.run_cell(f"tier = {tier}").success
    assert not shell.run_cell(cells[1].source).success
    shown = capsys.readouterr().out
    assert shown.startswith("error: ")
    assert said in shown
    assert shown.count("\n") == 1
    assert not contents(tmp_path)


# --- Whatever is thrown at them (hypothesis)

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(["8/255", "1/0"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)
places = st.sampled_from(
    [("label",), ("methods",), ("seeds",), ("more_seeds",), ("more_seeds", "AT"), ("defaults",), ("attacks",), ("blocks",)]
    + [("defaults", section, key) for section in ("data", "model", "optim", "craft", "evaluation", "adv_dpnp")
       for key in ("epochs", "lr", "milestones", "epsilon", "width", "radius", "augment", "train_images", "batch_size")]
    + [("attacks", "pgd20"), ("attacks", "pgd20", "epsilon"), ("attacks", "aa", "images"), ("variants", "v", "model")]
    + [("blocks", "cifar10/resnet18"), ("blocks", "cifar10/resnet18", "dataset"), ("variants",), ("odd",)]
)  # fmt: skip


@settings(deadline=None, max_examples=300)
@given(places, values)
def test_a_tier_with_anything_anywhere_loads_or_is_refused_in_a_sentence(place, value):
    raw = json.loads(json.dumps(MINIMAL))
    inner = raw
    for key in place[:-1]:
        inner[key] = inner.get(key) or {}
        inner = inner[key]
    inner[place[-1]] = value
    try:
        tier, sentence = parse_tier("t", raw, "t.toml"), "t.toml: "
    except UserError as error:
        tier, sentence = None, str(error)
    assert sentence.startswith("t.toml: ")
    assert sentence.isprintable()
    for name in tier.blocks if tier else ():
        assert digest(tier.run(name, "AT").training_settings())


@given(st.text() | st.from_regex(r"[-+0-9eE./_ ]{1,12}", fullmatch=True))
def test_a_text_is_a_finite_number_or_refused(text):
    try:
        number = parse_number(text)
    except ValueError:
        return
    assert np.isfinite(number)
    if "/" not in text:
        assert number == float(text)


@given(st.text() | st.from_regex(r"(digits|cifar10)-(resnet18|lenetspp)-[a-z_.-]{1,10}s?[0-9]{0,4}"))
def test_a_text_is_the_id_of_one_run_or_refused(text):
    try:
        run = resolve("demo", text)
    except UserError:
        return
    assert run.id == text


ALL_BLOCKS = parse_tier("all", MINIMAL | {"blocks": dict.fromkeys(PAPER_BLOCKS), "variants": {"v_2": None}}, "all.toml")


@given(
    st.sampled_from(PAPER_BLOCKS), st.sampled_from(list(METHODS)), st.integers(0, 10**17), st.sampled_from(["", "v_2"])
)
def test_a_run_id_leads_back_to_its_run(block, method, seed, variant):
    run = ALL_BLOCKS.run(block, method, seed, variant)
    assert resolve(ALL_BLOCKS, run.id) == run
