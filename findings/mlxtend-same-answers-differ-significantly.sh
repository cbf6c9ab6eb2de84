#!/usr/bin/env bash
# mlxtend 0.25.0: McNemar's test of two classifiers that are right on the same images says p = 0, "they differ".
#
# Versions: mlxtend 0.25.0 (the newest on PyPI on 2026-11-28), scipy 1.17.1, scikit-learn 1.9.1, numpy 2.4.6,
#   Python 3.11.7.
# Expected: as many images won as lost is no evidence of a difference, so p = 1; without a single image on which the two
#   differ all the more. The exact test of the same function says so.
# Seen: `mcnemar(table)`, without options, divides by the number of images on which the two differ. Where
#   there is none, chi2 is infinite and p is 0, the strongest evidence there can be, with numpy's warning about a
#   division and no word more. Where some are, the continuity correction is taken from a difference of 0 too, so that a
#   tie counts against the null hypothesis: one image won and one lost gives p = 0.48, three and four give p = 1.
#   In robustness evaluations that is ordinary: two strong attacks leave the same images. Here they are FGSM and ten
#   steps of PGD on a linear classifier of the digits 3 and 8, where both find the worst case.
#   Output of the run of 2026-11-28:
#       right on 157 images: clean 93%, FGSM 64%, PGD-10 64%; they differ on 0
#       FGSM against PGD-10             p = 0.00, warns: divide by zero encountered in scalar divide
#       the same, exact (control)       p = 1.00
#       1 image won, 1 lost             p = 0.48
#       3 images won, 4 lost            p = 1.00
#       2 images won, 30 lost (control) p = 0.00
#       as described: no difference is called the most significant one
# Documentation at odds: the docstring gives p as "the p-value"; it recommends the exact test "for sample sizes < 25",
#   and the sample here is all test images of two digits. No issue about it was found.
# Way round: mcnemar(table, exact=True), always; the exact test costs nothing.
#
# Exit: 0 while that is so, 1 once p is 1 (or a control fails). Needs python3 with venv, bash and PyPI; takes a minute.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip -q --disable-pip-version-check install mlxtend==0.25.0 scipy==1.17.1 scikit-learn==1.9.1 numpy==2.4.6

cat > ask.py <<'PY'
import sys
import warnings

import numpy as np
from mlxtend.evaluate import mcnemar, mcnemar_table
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

digits = load_digits()
chosen = np.isin(digits.target, (3, 8))
x, y = digits.data[chosen] / 16, digits.target[chosen]
model = LogisticRegression(max_iter=1000).fit(x[:200], y[:200])
x, y = x[200:], y[200:]
away = np.where(y == 8, -1, 1)[:, None] * np.sign(model.coef_)  # raises the loss; the same at every point
epsilon = 0.15


def pgd(steps):
    adversarial = x.copy()
    for _ in range(steps):
        adversarial = np.clip(adversarial + 2.5 * epsilon / steps * away, x - epsilon, x + epsilon)
        adversarial = np.clip(adversarial, 0, 1)
    return adversarial


def asked(table, **options):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        chi2, p = mcnemar(np.asarray(table), **options)
    told = f", warns: {caught[0].message}" if caught else ""
    return p, f"p = {p:.2f}{told}"


one, ten = (model.predict(pgd(steps)) for steps in (1, 10))
table = mcnemar_table(y, one, ten)
print(f"right on {len(y)} images: clean {np.mean(model.predict(x) == y):.0%}, FGSM {np.mean(one == y):.0%}, "
      f"PGD-10 {np.mean(ten == y):.0%}; they differ on {int(table[0, 1] + table[1, 0])}")
same, line = asked(table)
print("FGSM against PGD-10            ", line)
exact, line = asked(table, exact=True)
print("the same, exact (control)      ", line)
tie, line = asked([[60, 1], [1, 60]])
print("1 image won, 1 lost            ", line)
near, line = asked([[60, 3], [4, 60]])
print("3 images won, 4 lost           ", line)
far, line = asked([[60, 2], [30, 60]])
print("2 images won, 30 lost (control)", line)
sane = exact == 1 and near == 1 and far < 0.001 and 0.2 < np.mean(one == y) < 0.9
sys.exit(0 if sane and same == 0 and tie < 0.5 else 1)
PY
venv/bin/python ask.py || { echo "the behaviour has changed"; exit 1; }
echo "as described: no difference is called the most significant one"
