"""The command line: help answers at once, and a run's whole life; mistakes are the matter of test_bad_input.py."""

import json
import subprocess
import sys

import pytest

from advdpnp import __main__
from advdpnp.__main__ import COMMANDS, main


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_each_command_has_an_example_that_parses(command, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    shown = capsys.readouterr().out
    assert "example:" in shown
    line = shown[shown.index("example:") :].splitlines()[1].strip()
    words = line.removeprefix("python -m advdpnp ").split()
    assert words[0] == command
    assert __main__._parser().parse_args(words).command == command


@pytest.mark.parametrize(
    ("words", "key", "found"),
    [
        ("evaluate RUN --tier demo clean pgd20", "attack", ["clean", "pgd20"]),
        ("evaluate RUN clean --force pgd20 --device cpu aa", "attack", ["clean", "pgd20", "aa"]),
        ("work RUN --max-minutes 0 RUN2", "run", ["RUN", "RUN2"]),
        ("card --tier demo RUN", "run", ["RUN"]),
    ],
)
def test_words_of_a_list_may_come_after_an_option(words, key, found):
    assert getattr(__main__._parser().parse_args(words.split()), key) == found


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("evaluate RUN --tier demo clean --forc", "has no option --forc; did you mean '--force'?"),
        ("evaluate RUN clean --force short", "does not take 'short'; did you mean '--tier short'?"),
        ("train RUN --restart clean", "does not take 'clean'; see python -m advdpnp train --help"),
    ],
)
def test_words_that_no_list_takes_are_refused(words, says, capsys):
    assert main(words.split()) == 2
    assert says in capsys.readouterr().err


def test_version(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.startswith("advdpnp 0.")


@pytest.mark.parametrize("terminal", [False, True])
def test_an_interruption_is_said_below_the_line_that_shows_progress(capsys, monkeypatch, terminal):
    def interrupted(args):
        raise KeyboardInterrupt

    monkeypatch.setitem(COMMANDS, "status", interrupted)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    assert main(["status"]) == 130
    assert capsys.readouterr().err == "\n" * terminal + "stopped; what is finished is kept, the same command goes on\n"


def test_a_reader_that_has_seen_enough_is_no_error():
    command = [sys.executable, "-m", "advdpnp", "report", "--tier", "paper", "--published", "--output", "-"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141


def test_help_status_and_version_need_no_torch():
    code = (
        "import sys; from advdpnp.__main__ import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "main(['status']); main(['plan'])\n"
        "assert 'torch' not in sys.modules, 'torch was imported'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    for command in COMMANDS:
        assert command in done.stdout


def test_train_evaluate_report_from_the_command_line(tmp_path, monkeypatch, capsys):
    """A whole small life of a run, in a tier file of the user's own."""
    monkeypatch.setenv("ADVDPNP_RESULTS", str(tmp_path / "results"))
    tier = tmp_path / "tiny.json"
    settings = {
        "label": "tiny",
        "methods": ["AT"],
        "defaults": {
            "data": {"train_images": 64},
            "model": {"width": 4},
            "optim": {"epochs": 1, "milestones": [], "precision": "fp32"},
            "craft": {"steps": 1},
            "evaluation": {"test_images": 20},
        },
        "blocks": {"cifar10/resnet18": {"dataset": "digits"}},
    }
    tier.write_text(json.dumps(settings))
    run = "digits-resnet18-at-s0"
    assert main(["train", "--tier", str(tier), run]) == 0
    record = tmp_path / "record.json"
    assert main(["evaluate", "--tier", str(tier), run, "clean", "fgsm", "--record", str(record)]) == 0
    assert set(json.loads(record.read_text())) == {"clean", "fgsm"}
    assert "(20 images)" in capsys.readouterr().out
    assert main(["report", "--tier", str(tier), "--output", "-"]) == 0
    report = capsys.readouterr().out
    assert "smaller protocol" in report
    assert "| AT |" in report
    assert main(["status", "--tier", str(tier)]) == 0
    assert f"{run}" in (shown := capsys.readouterr().out)
    assert "done" in shown


def test_training_and_evaluation_need_only_torch_numpy_pyarrow_and_pillow():
    """A borrowed GPU machine has little else: the modules that run there import without the rest."""
    code = (
        "import sys\n"
        "absent = {'scipy', 'sklearn', 'yaml', 'torchvision', 'pandas', 'matplotlib', 'pyautoattack', 'snakemake'}\n"
        "class Blocker:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in absent: raise ImportError(name)\n"
        "sys.meta_path.insert(0, Blocker())\n"
        "import advdpnp.__main__, advdpnp.train, advdpnp.evaluate, advdpnp.data\n"
        "import advdpnp.report.page, advdpnp.jobs.status\n"
        "assert not absent & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
