"""python -m advdpnp: fetch data, train, evaluate, see what is done, report, publish, restore, export, work, grade."""

import argparse
import errno
import os
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from advdpnp import __version__
from advdpnp.errors import UserError, nearest
from advdpnp.progress import TimeUp, time_limit
from advdpnp.store import write_json

if TYPE_CHECKING:
    from advdpnp.config import RunConfig

EXAMPLES = """examples:
  python -m advdpnp status --tier demo                 what is done and what is missing
  python -m advdpnp fetch cifar10                      download and verify a data set
  python -m advdpnp train --tier short cifar10-resnet18-adv_dpnp-s0
  python -m advdpnp evaluate --tier short cifar10-resnet18-adv_dpnp-s0 clean pgd20 aa
  python -m advdpnp evaluate --tier short cifar10-resnet18-adv_dpnp-s0 --for table1
  python -m advdpnp evaluate --model my_model.py --dataset cifar10 clean pgd20 aa guard
  python -m advdpnp report --tier short --published    tables from the committed results

A run is <dataset>-<backbone>-<defense>-s<seed>. The tiers are the files of config/: demo (minutes on a laptop),
short and short100 (real images, hours of a CPU), medium (all of CIFAR-10, days of a CPU), paper (the protocol of
Section 4.1, for a GPU). The whole paper, in order: snakemake --cores 1 all."""


EXAMPLE = {  # shown by `python -m advdpnp <command> --help`
    "fetch": "fetch cifar10 mnist",
    "train": "train --tier short cifar10-resnet18-adv_dpnp-s0 --max-minutes 60",
    "evaluate": "evaluate --tier short cifar10-resnet18-adv_dpnp-s0 clean pgd20 aa",
    "status": "status --tier paper",
    "plan": "plan --tier short --measure",
    "report": "report --tier short --published --output -",
    "publish": "publish --tier short",
    "restore": "restore --tier short",
    "card": "card --tier short cifar10-resnet18-adv_dpnp-s0",
    "work": "work --tier paper --max-minutes 9 --output small",
    "export": "export --tier short cifar10-resnet18-adv_dpnp-s0 --onnx",
    "course": "course",
    "grade": "grade submissions --bundle dist/course-teacher",
}
PLACES = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT)  # a place, and not the code, is at fault
EX_TEMPFAIL = 75  # of sysexits.h: time is up, call again
MOST_SECONDS, MOST_MIB = 10_000_000, 2**24  # beyond these the kernel's limits and timers overflow


class Parser(argparse.ArgumentParser):
    """Mistakes end as a UserError's do: one sentence, status 2."""

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print and exit with."""
        raise UserError(f"{message}; see {self.prog} --help")

    def parse_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        """The arguments of one command. Raises UserError for a flag that it does not have, naming the nearest."""
        found, unknown = self.parse_known_args(args, namespace)
        command = getattr(found, "parser", self)
        unknown.sort(key=lambda word: not word.startswith("-"))  # a wrong option first: it leaves words behind
        lists = [action.dest for action in command._actions if not action.option_strings and action.nargs == "*"]
        if unknown and lists and not unknown[0].startswith("-") and not {*unknown} & {*_tiers()}:
            setattr(found, lists[0], [*getattr(found, lists[0]), *unknown])  # argparse takes them before options alone
        elif unknown:
            flag = unknown[0].partition("=")[0]
            known = dict.fromkeys(re.findall(r"--[a-z-]+", command.format_usage() + " --help"))
            if not flag.startswith("-"):
                meant = "--tier" in known and flag in _tiers()
                hint = f"did you mean '--tier {flag}'?" if meant else f"see {command.prog} --help"
                raise UserError(f"{command.prog} does not take '{flag}'; {hint}")
            raise UserError(f"{command.prog} has no option {flag}; {nearest(flag, known)}")
        return found


def _tiers() -> list[str]:
    from advdpnp.config import CONFIG_DIR

    return sorted(path.stem for path in CONFIG_DIR.glob("*.toml"))


def _minutes(text: str) -> float:
    with suppress(ValueError):
        if (minutes := float(text)) >= 0:  # NaN is not
            return minutes
    raise argparse.ArgumentTypeError(f"expected minutes, a number from 0, got {text!r}")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= MOST_SECONDS:  # NaN is not
        raise argparse.ArgumentTypeError(f"expected seconds from 1 to {MOST_SECONDS:,}, got '{text}'")
    return seconds


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 on, got '{text}'")
    return int(text)


def _mebibytes(text: str) -> int:
    if (found := _count(text)) > MOST_MIB:
        raise argparse.ArgumentTypeError(f"expected at most {MOST_MIB:,} MiB, got '{text}'")
    return found


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m advdpnp",
        description="Adv-DPNP, a reproducible companion: train, attack and compare with the paper.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"advdpnp {__version__}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(dest="command", metavar="command")

    def command(name: str, summary: str, tier: bool = True) -> argparse.ArgumentParser:
        example = f"example:\n  python -m advdpnp {EXAMPLE[name]}" if name in EXAMPLE else None
        raw = argparse.RawDescriptionHelpFormatter
        about = {"help": summary, "description": summary, "epilog": example, "formatter_class": raw}
        sub = commands.add_parser(name, **about, allow_abbrev=False)
        sub.set_defaults(parser=sub)
        if tier:
            sub.add_argument("--tier", default="demo", help="one of config/, or a .toml file (default: demo)")
        return sub

    sub = command("fetch", "download and verify data sets", tier=False)
    sub.add_argument("name", nargs="+", help="cifar10, cifar100, svhn, mnist, cifar10c, or digits (nothing to do)")
    sub.add_argument("--record", metavar="FILE", help="write the checksums of both splits to FILE (the workflow does)")
    for name, summary in (("train", "train a run, or go on with it"), ("evaluate", "attack a trained run")):
        sub = command(name, summary)
        own = {} if name == "train" else {"nargs": "?"}
        sub.add_argument("run", help="run id, such as digits-resnet18-adv_dpnp-s0", **own)
        sub.add_argument("--device", default="auto", help="auto, cpu, cuda (default: auto)")
        if name == "train":
            sub.add_argument(
                "--max-minutes", type=_minutes, help="stop after the last epoch that fits; call again to go on"
            )
            sub.add_argument("--restart", action="store_true", help="forget what was trained before")
            sub.add_argument("--allow-cpu", action="store_true", help="train the paper tier without a GPU")
        else:
            sub.add_argument(
                "attack",
                nargs="*",
                help="clean, fgsm, pgd20, cw30, aa (AutoAttack), ... (a wrong name lists all); "
                "geometry (Table 4), corruptions (CIFAR-10-C), features, guard (signs of masked gradients)",
            )
            sub.add_argument(
                "--for", dest="artefact", help="what a table or figure needs, such as table1; or everything"
            )
            sub.add_argument("--force", action="store_true", help="compute again what is there")
            sub.add_argument("--record", metavar="FILE", help="write the results' keys to FILE (the workflow does)")
            sub.add_argument("--wait", action="store_true", help="wait for another process that computes the same")
            sub.add_argument("--model", metavar="FILE.py", help="in place of a run: load() there returns the network")
            sub.add_argument("--dataset", help="with --model: on whose test images")
            sub.add_argument("--images", type=int, help="with --model: the first so many (default: all)")
            sub.add_argument("--output", metavar="DIR", help="with --model (default: results/foreign/<name of FILE>)")
            sub.add_argument(
                "--max-minutes", type=_minutes, help="stop after the last batch that fits; call again to go on"
            )
    sub = command("work", "train and attack a list of runs within a time limit; call again to go on")
    sub.add_argument("run", nargs="*", help="run ids (default: all of the tier, Adv-DPNP and its references first)")
    sub.add_argument("--max-minutes", type=_minutes, help="stop by itself before so many minutes, with status 75")
    sub.add_argument("--output", metavar="DIR", help="copy the small results there (json, csv, npz; no weights)")
    sub.add_argument("--device", default="auto", help="auto, cpu, cuda (default: auto)")
    sub.add_argument("--allow-cpu", action="store_true", help="train the paper tier without a GPU")
    sub = command("status", "what is done, running, stale and missing, and the hours left")
    sub.add_argument("--json", action="store_true", help="for programs: states, epochs, seconds, accuracies")
    sub = command("plan", "the trainings and attacks of a tier, and how long they take here")
    sub.add_argument("--measure", action="store_true", help="time one step of each network to estimate the hours")
    sub = command("report", "tables of ours beside the paper's, on one page")
    sub.add_argument("--published", action="store_true", help="from published/<tier>/ instead of results/<tier>/")
    sub.add_argument("--output", help="a .md or .html file (default: results/<tier>/report, as both; '-' prints)")
    sub.add_argument("--open", action="store_true", help="show it in the browser")
    sub = command("card", "a model card for each trained network: results/<tier>/runs/<run>/README.md")
    sub.add_argument("run", nargs="*", help="run ids (default: all that are trained)")
    sub = command("export", "a trained network for others: safetensors, its code, RobustBench's JSON, ONNX")
    sub.add_argument("run", help="run id, such as digits-resnet18-adv_dpnp-s0")
    sub.add_argument("--output", metavar="DIR", help="where to (default: results/<tier>/export/<run>)")
    sub.add_argument("--onnx", action="store_true", help="model.onnx too")
    sub = command("publish", "copy measured results to published/<tier>/ and figures/<tier>/")
    sub.add_argument(
        "--weights", nargs="+", metavar="RUN", help="instead: these networks, to published/weights/<tier>/"
    )
    command("restore", "copy published results back to results/<tier>/, to go on from them")
    sub = command("course", "the exercises as two bundles, the students' and the teacher's (make course)", tier=False)
    sub.add_argument("--output", metavar="DIR", default="dist", help="where to (default: dist)")
    sub.add_argument("--seed", type=int, help="of the hidden tests' inputs (default: the one before, or new)")
    sub = command("grade", "grade a folder of submitted notebooks; call again to go on", tier=False)
    sub.add_argument("folder", help="a folder for each student, or files that start with the student's name")
    sub.add_argument("--bundle", metavar="DIR", default="dist/course-teacher", help="default: dist/course-teacher")
    sub.add_argument("--output", metavar="DIR", help="where to (default: FOLDER/graded)")
    sub.add_argument("--workers", type=_count, default=2, help="notebooks at a time (default: 2)")
    sub.add_argument("--seconds", type=_seconds, default=300.0, help="for one notebook (default: 300)")
    sub.add_argument(
        "--cell-seconds",
        type=_seconds,
        default=30.0,
        help="of processor time, for one cell or hidden test (default: 30)",
    )
    sub.add_argument("--memory", type=_mebibytes, default=4096, metavar="MIB", help="for one notebook (default: 4096)")
    return parser


def _resolve(tier: str, run_id: str) -> "RunConfig":
    """A run of the tier. Raises UserError, which names the tiers that have it where this one does not."""
    from advdpnp.config import resolve

    try:
        return resolve(tier, run_id)
    except UserError as error:
        others = []
        for name in _tiers():
            with suppress(UserError):
                others.append(resolve(name, run_id).tier)
        if not others or tier not in _tiers():
            raise
        raise UserError(f"{str(error).partition(';')[0]}; use --tier {' or '.join(others)}") from None


def _train(args: argparse.Namespace) -> int:
    from advdpnp.config import load_tier

    run = _resolve(args.tier, args.run)
    from advdpnp.hardware import require_hardware
    from advdpnp.train import fit

    require_hardware(load_tier(args.tier), run, args.device, args.allow_cpu)
    done = fit(run, device=args.device, max_minutes=args.max_minutes, restart=args.restart)
    return 0 if done else EX_TEMPFAIL


def _evaluate(args: argparse.Namespace) -> int:
    from advdpnp.config import load_tier
    from advdpnp.paper import artefacts

    if args.model is not None:
        return _evaluate_file(args)
    if given := [f"--{key}" for key in ("dataset", "images", "output") if getattr(args, key) is not None]:
        raise UserError(f"{given[0]} goes with --model; a run has its own data set and folder")
    if args.run is None or args.run.endswith((".py", ".pt", ".pth", ".safetensors")):
        example = "python -m advdpnp evaluate --model my_model.py --dataset cifar10 clean pgd20 aa"
        raise UserError(f"name a run, or a network of your own: {example}, where load() in my_model.py returns it")
    run = _resolve(args.tier, args.run)
    wanted = artefacts.evaluations_of(load_tier(args.tier), run, args.artefact) if args.artefact else ()
    names = [*args.attack, *wanted]
    if not names:
        raise UserError("name at least one attack, or --for a table or figure; see python -m advdpnp evaluate --help")
    from advdpnp.evaluate import evaluate

    with time_limit(args.max_minutes):
        results = evaluate(run, *dict.fromkeys(names), device=args.device, force=args.force, wait=args.wait)
    _show(run.id, results)
    if args.record:
        write_json(Path(args.record), {name: result["key"] for name, result in results.items()})
    return 0


def _evaluate_file(args: argparse.Namespace) -> int:
    keys = {"artefact": "for", "record": "record", "force": "force", "wait": "wait", "max_minutes": "max-minutes"}
    if given := [f"--{word}" for key, word in keys.items() if getattr(args, key)]:
        raise UserError(f"{given[0]} goes with a run, not with --model")
    if args.dataset is None:
        raise UserError("--model needs --dataset, on whose test images it is attacked, such as cifar10")
    from advdpnp.evaluate.foreign import evaluate_file

    names = [name for name in (args.run, *args.attack) if name is not None]
    place = {"device": args.device, "output": Path(args.output) if args.output else None}
    _show(args.model, evaluate_file(Path(args.model), args.dataset, names, images=args.images, **place))
    return 0


def _show(label: str, results: dict[str, dict]) -> None:
    """A line for each result."""
    for name, result in results.items():
        shown = f"{result['accuracy']:.2f} %" if "accuracy" in result else ", ".join(
            f"{k} {v:.4g}" for k, v in result.items() if isinstance(v, float) and k != "seconds")  # fmt: skip
        shown = _warnings(result["checks"]) if "checks" in result else shown
        print(f"{label}  {name}  {shown}  ({result['images']} images)")


def _work(args: argparse.Namespace) -> int:
    from advdpnp.jobs.queue import work

    for run in args.run:
        _resolve(args.tier, run)
    output = Path(args.output) if args.output else None
    options = {"max_minutes": args.max_minutes, "device": args.device, "output": output, "allow_cpu": args.allow_cpu}
    work(args.tier, args.run, **options)
    return 0


def _warnings(checks: list[dict]) -> str:
    return "; ".join(f"warning: {c['name']}, {c['detail']}" for c in checks if c["ok"] is False) or "no warning"


def _fetch(args: argparse.Namespace) -> int:
    from advdpnp.data.download import fetch

    if args.record and len(args.name) > 1:
        raise UserError("--record takes one data set at a time")
    for name in args.name:
        if args.record:
            from advdpnp.data import load, present

            if not present(name):
                fetch(name)
            sums = {split: load(name, split).sha256 for split in ("train", "test")}
            write_json(Path(args.record), {"dataset": name, "sha256": sums})
        else:
            fetch(name)
    return 0


def _report(args: argparse.Namespace) -> int:
    from advdpnp.report.page import write_report

    if args.open and args.output is not None and not args.output.endswith(".html"):
        raise UserError("--open shows a page: name an .html file as --output, or none")
    print(done := write_report(args.tier, published=args.published, output=args.output))
    if args.open:
        import webbrowser

        if not webbrowser.open(Path(done).resolve().as_uri()):
            print("no browser was found here; open the file above", file=sys.stderr)
    return 0


def _call(path: str, *arguments: Any, **options: Any) -> int:
    """Call a function of the package, imported only now so that --help answers at once, and print its result."""
    module, _, function = path.rpartition(".")
    print(getattr(import_module(f"advdpnp.{module}"), function)(*arguments, **options))
    return 0


def _card(args: argparse.Namespace) -> int:
    from advdpnp.config import load_tier
    from advdpnp.report.model_card import write_cards

    print(*write_cards(load_tier(args.tier), [_resolve(args.tier, run) for run in args.run]), sep="\n")
    return 0


def _publish(args: argparse.Namespace) -> int:
    if args.weights:
        return _call("share.weights.publish_weights", args.tier, args.weights)
    return _call("share.publish.publish", args.tier)


def _export(args: argparse.Namespace) -> int:
    from advdpnp.config import load_tier

    run, tier = _resolve(args.tier, args.run), load_tier(args.tier)
    from advdpnp.share.export import export

    output = Path(args.output) if args.output else None
    print(export(run, tier.label, output, comparable=tier.policy.comparable, onnx=args.onnx))
    return 0


def _course(args: argparse.Namespace) -> int:
    from advdpnp.course.bundle import build

    student, teacher = build(Path(args.output), args.seed)
    print(student, teacher, sep="\n")
    if not (teacher / "slides.html").exists():
        print(f"{teacher} has no slides: `make slides` writes them for the next bundle", file=sys.stderr)
    return 0


def _grade(args: argparse.Namespace) -> int:
    from advdpnp.course.grade import grade
    from advdpnp.course.sandbox import Limits

    limits = Limits(seconds=args.seconds, cell_seconds=args.cell_seconds, memory_mib=args.memory)
    output = Path(args.output) if args.output else None
    for line in grade(Path(args.folder), Path(args.bundle), output, workers=args.workers, limits=limits):
        print(line, flush=True)
    return 0


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "fetch": _fetch,
    "train": _train,
    "evaluate": _evaluate,
    "status": lambda args: _call(f"jobs.status.status{'_json' if args.json else ''}", args.tier),
    "plan": lambda args: _call("jobs.estimate.plan", args.tier, measure=args.measure),
    "report": _report,
    "publish": _publish,
    "restore": lambda args: _call("share.publish.restore", args.tier),
    "card": _card,
    "export": _export,
    "work": _work,
    "course": _course,
    "grade": _grade,
}


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns its exit status: 0 done, 2 a mistake, 75 time is up, 130 interrupted, 141 unread."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        words = [word for word in arguments if not word.startswith("-")]
        if words and words[0] not in COMMANDS:
            raise UserError(f"there is no command '{words[0]}'; {nearest(words[0], [*COMMANDS, '--version'])}")
        parser = _parser()
        args = parser.parse_args(arguments)
        if args.command is None:
            parser.print_help()
            return 0
        status = COMMANDS[args.command](args)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # `... | head` has seen enough; what Python still holds goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except UserError as error:
        if "--debug" in arguments:
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if "--debug" in arguments or error.errno not in PLACES or not error.filename:
            raise
        print(f"error: {UserError(f'{error.filename}: {error.strerror}; mend that and start again.')}", file=sys.stderr)
        return 2
    except TimeUp:
        print("time is up; what is finished is kept, the same command goes on", file=sys.stderr)
        return EX_TEMPFAIL
    except KeyboardInterrupt:
        below = "\n" if sys.stderr.isatty() else ""  # the line that shows progress, and ^C behind it, stay
        print(f"{below}stopped; what is finished is kept, the same command goes on", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
