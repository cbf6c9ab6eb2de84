# The whole paper as a graph of jobs: data -> training -> evaluation -> notebook -> report.
#
#   snakemake --cores 1 all                                  the paper's protocol (a GPU; data sets are downloaded)
#   snakemake --cores 2 demo                                 every path of it on scikit-learn's digits, in minutes
#   snakemake --cores 2 short                                real images, a smaller protocol, a CPU
#   snakemake --cores 2 medium                               all of CIFAR-10, a narrow network, days of a CPU
#   snakemake --cores 1 results/demo/tables/table1.csv       one table or figure of any tier
#   snakemake --profile profiles/slurm all                   the same jobs on a Slurm cluster
#   snakemake --cores 4 --resources gpu=4 all                on one machine with four GPUs
#
# Everything lands in results/<tier>/. Edges are small JSON files that carry checksums; weights and the state to resume
# from lie beside them, so a job that is killed goes on where it was. What a run is, is decided in config/ and advdpnp/.

import functools
import os
import re
import shutil
import sys
from pathlib import Path

for place in ("ADVDPNP_DATA", "ADVDPNP_CACHE", "ADVDPNP_RESULTS"):
    if os.environ.get(place):  # as meant where snakemake was started
        os.environ[place] = os.path.abspath(os.environ[place])


workdir: workflow.basedir  # from whichever folder `snakemake -s` was started


sys.path.insert(0, workflow.basedir)
os.environ["PATH"] = os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"]  # works without `activate`
os.environ["PYTHONPATH"] = workflow.basedir + os.pathsep + os.environ.get("PYTHONPATH", "")
os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"  # this environment's kernel, not one of the user's that has its name
os.environ["ADVDPNP_PREFIX"] = sys.prefix  # notebooks refuse to run in another
for tool in ("sacct", "squeue"):  # in words for a job's end that the Slurm plugin knows
    if shutil.which(tool):
        os.environ["PATH"] = f"{workflow.basedir}/profiles/slurm/{tool}{os.pathsep}{os.environ['PATH']}"

from advdpnp.paper import artefacts
from advdpnp.config import RUN_ID, dependency, digest, load_tier, parse_switch, resolve, standard_of
from advdpnp.errors import UserError
from advdpnp.jobs.workflow import check_places
from advdpnp.store import Store, code_hash

TIERS = sorted(path.stem for path in Path(workflow.basedir, "config").glob("*.toml"))
WITH_NOTEBOOK = artefacts.with_notebook()
HERE = Store(Path("results"))  # as the rules spell it


def plain(function):
    """Show a UserError as what it is, one sentence, instead of a traceback."""

    @functools.wraps(function)
    def wrapped(*arguments, **options):
        try:
            return function(*arguments, **options)
        except UserError as error:
            raise WorkflowError(str(error)) from None

    return wrapped


# Whether the paper's trainings may start without a GPU. A permission changes no result, so it is no `params`.
ALLOW_CPU = "--allow-cpu" if plain(parse_switch)(config.get("allow_cpu", False), "--config allow_cpu") else ""
plain(check_places)(Path.cwd(), Path(workflow.basedir))
os.environ["ADVDPNP_RESULTS"] = str(Path("results").resolve())  # for every job: where the rules say


@functools.cache
def trained_in(tier):
    """Ids of all trainings of a tier: once, since every evaluation asks."""
    return frozenset(artefacts.all_runs(load_tier(tier)))


@plain
def run_of(wildcards):
    return resolve(wildcards.tier, wildcards.run)


def training_inputs(wildcards):
    """The data set's checksums and, for HAT, the standard model that helps it."""
    run = run_of(wildcards)
    inputs = [f"results/data/{run.dataset}.json"]
    if (helper := dependency(run)) is not None:
        inputs.append(str(HERE.trained(helper)))
    return inputs


@plain
def evaluation_inputs(wildcards):
    """The trained run and, where the tier has one, the standard model whose attacks the evaluation `guard` transfers."""
    run = run_of(wildcards)
    standard = standard_of(run)
    needed = [run] + ([standard] if standard and standard.id in trained_in(wildcards.tier) else [])
    return [str(HERE.trained(each)) for each in needed]


@plain
def evaluated(wildcards):
    """The evaluations that a table or figure waits for."""
    tier = load_tier(wildcards.tier)
    sources = [artefacts.SHARED.get(wildcards.name, wildcards.name)]
    sources += [name for name, notebook in artefacts.SECTIONS.items() if notebook == wildcards.name]
    records = []
    for source in sources:
        record = artefacts.EVERYTHING if tier.policy.evaluate_at_once else source
        records += [f"results/{tier.name}/evaluated/{record}/{run.id}.json" for run in artefacts.runs_of(tier, source)]
    return list(dict.fromkeys(records))


@plain
def outputs_of(tier_name):
    """Every table and figure that this tier has rows for, with its executed notebook; and the method's."""
    tier = load_tier(tier_name)
    there = {name: artefacts.output_of(name) for name in WITH_NOTEBOOK
             if name not in artefacts.SECTIONS and any(artefacts.runs_of(tier, name))}
    there["method"] = "figures/method.png"
    return [f"results/{tier.name}/{path}" for name in there for path in (there[name], f"notebooks/{name}.ipynb")]


wildcard_constraints:
    tier="|".join(map(re.escape, TIERS)),
    run=RUN_ID,
    name=r"(table|figure)\d|ledger|readings|contrasts|everything",


localrules: all, demo, short, short100, medium, report, data  # a cluster's nodes often have no network


# gpu=N limits what runs here at a time; a cluster has its own limits.
resource_scopes: gpu="local"


def request(key):
    """What a job asks of a cluster, as its tier's policy says (--set-resources train:gpu=1 says otherwise)."""
    return plain(lambda wildcards: getattr(load_tier(wildcards.tier).policy, key))


REQUESTS = {"gpu": request("gpus"), "mem_mb": request("memory_mb"), "runtime": request("minutes")}


rule all:
    message: "The paper tier is complete: results/paper/report.html"
    input: "results/paper/report.md"


rule demo:
    message: "The demo tier is complete: results/demo/report.html"
    input: "results/demo/report.md"


rule short:
    message: "The short tier is complete: results/short/report.html"
    input: "results/short/report.md"


rule short100:
    message: "The short100 tier is complete: results/short100/report.html"
    input: "results/short100/report.md"


rule medium:
    message: "The medium tier is complete: results/medium/report.html"
    input: "results/medium/report.md"


# Every output is an update(): Snakemake removes it neither before a job nor after one that failed or refused to start, so
# that a finished result is there until the next is.


# ---- data: found below ADVDPNP_DATA (else data/), or downloaded; the record carries the checksums of both splits.
rule data:
    message: "Find or download {wildcards.dataset}, and check it"
    output: update("results/data/{dataset}.json")
    log: "results/data/{dataset}.log"
    shell: "python -m advdpnp fetch {wildcards.dataset} --record {output} > {log} 2>&1"


# ---- training: only train.json is declared; model.pt, and last.pt to resume from, stay when a job is repeated.
rule train:
    message: "Train {wildcards.run} ({wildcards.tier})"
    input: training_inputs
    output: update("results/{tier}/runs/{run}/train.json")
    params: settings=lambda w: digest(run_of(w).training_settings())
    log: "results/{tier}/logs/train/{run}.log"
    benchmark: "results/{tier}/benchmarks/train/{run}.tsv"
    resources: **REQUESTS
    shell: "python -m advdpnp train --tier {wildcards.tier} {wildcards.run} {ALLOW_CPU} > {log} 2>&1"


# ---- evaluation: what one table needs of one run (the demo: what all need); shared results are computed once.
rule evaluate:
    message: "Evaluate {wildcards.run} for {wildcards.name} ({wildcards.tier})"
    input: evaluation_inputs
    output: update("results/{tier}/evaluated/{name}/{run}.json")
    params:
        attacks=lambda w: digest(artefacts.evaluation_settings(load_tier(w.tier), run_of(w), w.name)),
    log: "results/{tier}/logs/evaluate/{name}/{run}.log"
    benchmark: "results/{tier}/benchmarks/evaluate/{name}/{run}.tsv"
    resources: **REQUESTS
    shell:
        "python -m advdpnp evaluate --tier {wildcards.tier} {wildcards.run} --for {wildcards.name}"
        " --wait --record {output} > {log} 2>&1"


# ---- notebooks: executed by papermill. The executed copy is part of the result, since tables and figures alone are also
# what a notebook leaves that was opened by hand; when a cell fails, logs/notebooks/ shows how far it came.
EXECUTE = (
    "python -m papermill {input.notebook} {log.notebook} -k python3 --no-progress-bar --log-output"
    " -r tier {wildcards.tier}"  # raw: as -p, a name such as 2026 would arrive as a number
    " > {log.text} 2>&1 && cp {log.notebook} {output.notebook}"
)


rule table:
    message: "Make {wildcards.name} from its notebook ({wildcards.tier})"
    input:
        evaluated,
        notebook="notebooks/{name}.ipynb",
    output:
        report(update("results/{tier}/tables/{name}.csv"), "docs/captions/table.rst", category="Tables"),
        notebook=update("results/{tier}/notebooks/{name}.ipynb"),
    params: code=code_hash()
    log:
        notebook="results/{tier}/logs/notebooks/{name}.ipynb",
        text="results/{tier}/logs/notebooks/{name}.log",
    benchmark: "results/{tier}/benchmarks/notebooks/{name}.tsv"
    wildcard_constraints: name=r"table\d|ledger"
    shell: EXECUTE


rule figure:
    message: "Draw {wildcards.name} from its notebook ({wildcards.tier})"
    input:
        evaluated,
        notebook="notebooks/{name}.ipynb",
    output:
        report(update("results/{tier}/figures/{name}.png"), "docs/captions/figure.rst", category="Figures"),
        notebook=update("results/{tier}/notebooks/{name}.ipynb"),
    params: code=code_hash()
    log:
        notebook="results/{tier}/logs/notebooks/{name}.ipynb",
        text="results/{tier}/logs/notebooks/{name}.log",
    benchmark: "results/{tier}/benchmarks/notebooks/{name}.tsv"
    wildcard_constraints: name=r"figure\d"
    shell: EXECUTE


rule method:
    message: "Run the notebook on the method ({wildcards.tier})"
    input: notebook="notebooks/method.ipynb"
    output:
        report(update("results/{tier}/figures/method.png"), "docs/captions/method.rst", category="Figures"),
        notebook=update("results/{tier}/notebooks/method.ipynb"),
    params: code=code_hash()
    log:
        notebook="results/{tier}/logs/notebooks/method.ipynb",
        text="results/{tier}/logs/notebooks/method.log",
    benchmark: "results/{tier}/benchmarks/notebooks/method.tsv"
    shell: EXECUTE


rule report:
    message: "Write the report ({wildcards.tier})"
    input: lambda w: outputs_of(w.tier)
    output:
        update("results/{tier}/report.md"),
        report(update("results/{tier}/report.html"), "docs/captions/report.rst", category="Report"),
    params: code=code_hash()
    shell: "python -m advdpnp report --tier {wildcards.tier}"


onstart:
    # A dry run (-n) plans anything; starting a large tier's trainings on a CPU is something to be asked for.
    large = [job for job in dag_trainings() if load_tier(job.wildcards.tier).policy.needs_gpu]
    if large and workflow.local_exec and not ALLOW_CPU:  # a cluster's GPUs are on other machines
        import torch

        from advdpnp.jobs.estimate import seconds_here
        from advdpnp.progress import duration

        if not torch.cuda.is_available():
            took = seconds_here([run_of(job.wildcards) for job in large])
            raise WorkflowError(
                f"no GPU here: {len(took)} trainings of the {large[0].wildcards.tier} tier would take about "
                f"{duration(sum(took.values()))} on this CPU. Add --config allow_cpu=true to start all the same, "
                "or build a smaller tier: snakemake --cores 2 demo (minutes), snakemake --cores 2 short (hours)."
            )


def dag_trainings():
    return [job for job in workflow.dag.needrun_jobs() if job.rule.name == "train"]
