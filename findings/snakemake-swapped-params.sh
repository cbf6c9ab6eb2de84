#!/usr/bin/env bash
# snakemake 9.27.1 does not notice that two parameters of a rule have swapped their values.
#
# Versions: snakemake 9.27.1 (newest on PyPI on 2026-11-27), Python 3.11.7.
# Expected: `--rerun-triggers` has `params` on by default, so a finished job runs again when its `params` change. Named
#   parameters are the usual way to hand epsilon and step size to a job; exchanging their values changes both.
# Seen: epsilon=8 step=2 followed by epsilon=2 step=8 answers "Nothing to be done" and leaves the old output in place,
#   while epsilon=2 step=9 is noticed. The record of a job is the sorted list of its values, without their names.
#   A dict in one parameter keeps its keys in the record and is a way round.
#   Output of the run of 2026-11-27:
#       first run                    epsilon=8 step=2 -> out.txt: epsilon=8 step=2
#       values swapped               epsilon=2 step=8 -> out.txt: epsilon=8 step=2 (Nothing to be done)
#       another value (control)      epsilon=2 step=9 -> out.txt: epsilon=2 step=9
#       one dict, swapped (control)  epsilon=2 step=8 -> dict.txt: epsilon=2 step=8
#       as described: the swap went unnoticed
# Documentation at odds: `snakemake --help`, --rerun-triggers: "By default, all triggers are used, which guarantees that
#   results are consistent with the workflow code and configuration."
#
# Exit: 0 while that is so, 1 once the swap is noticed (or a control fails). Needs python3 with venv, bash
# and PyPI; takes one minute.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --no-compile snakemake==9.27.1

cat > Snakefile <<'SMK'
rule plain:
    output: "out.txt"
    params: epsilon=config["epsilon"], step=config["step"]
    shell: "echo epsilon={params.epsilon} step={params.step} > {output}"

rule one_dict:
    output: "dict.txt"
    params: attack={"epsilon": config["epsilon"], "step": config["step"]}
    shell: "echo epsilon={params.attack[epsilon]} step={params.attack[step]} > {output}"
SMK

run() { # NAME TARGET EPSILON STEP
    venv/bin/snakemake --cores 1 "$2" --config "epsilon=$3" "step=$4" > log.txt 2>&1 || { cat log.txt; exit 1; }
    note=$(grep -o "Nothing to be done" log.txt | sed 's/.*/ (&)/' || true)
    printf '%-28s epsilon=%s step=%s -> %s: %s%s\n' "$1" "$3" "$4" "$2" "$(cat "$2")" "$note" | tee -a seen.txt
}

run "first run" out.txt 8 2
run "values swapped" out.txt 2 8
run "another value (control)" out.txt 2 9
run "one dict" dict.txt 8 2 > /dev/null
run "one dict, swapped (control)" dict.txt 2 8

grep -q "values swapped .*out.txt: epsilon=8 step=2 (Nothing to be done)" seen.txt &&
    grep -q "another value .*out.txt: epsilon=2 step=9$" seen.txt &&
    grep -q "one dict, swapped .*dict.txt: epsilon=2 step=8$" seen.txt ||
    { echo "the behaviour has changed"; exit 1; }
echo "as described: the swap went unnoticed"
