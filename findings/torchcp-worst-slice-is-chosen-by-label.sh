#!/usr/bin/env bash
# torchcp 1.2.1: worst-slice coverage (WSC) never looks for the worst slice; it looks for the smallest class numbers.
#
# Versions: torchcp 1.2.1 (the newest on PyPI on 2026-11-28; its repository at 627455f of 2026-07-20 has the same
#   lines), torch 2.13.0, scikit-learn 1.9.1, Python 3.11.7.
# Expected: WSC(features, prediction_sets, labels) is the number by which conformal predictors are compared for
#   conditional coverage: the coverage in the slice {a <= v.x <= b} with at least a tenth of the images where it is
#   worst, found on a quarter of them and measured on the rest. Which class is called 0 and which 9 cannot matter.
# Seen: WSC hands `covered` and `labels` to `calWSC` in the wrong order. The slice that is chosen is the one with the
#   smallest average label below 1, whatever the prediction sets are; where no tenth of the images has such an average,
#   no slice is chosen and the result is nearly the coverage of all images. A worst case that equals the average looks
#   like perfect conditional coverage. With two classes it is the coverage of a slice rich in class 0.
#   Here a fifth of the digits, in calibration and test alike, has a fifth of its contrast, as in CIFAR-10-C. Split
#   conformal sets cover 9 of 10 images and 4 of 10 of those. WSC calls the worst slice fully covered, and another
#   value comes out for the same sets when the classes are numbered otherwise. torchcp's own `calWSC`, called in the
#   order of its signature, finds the low contrast. "Wilful" sets, right but for the low contrast, fare no better.
#   Output of the run of 2026-11-28:
#       conformal sets: cover 0.89 of 997 images, 0.41 of the 177 with low contrast
#         WSC 1.00, in its order 0.38
#         WSC 0.89, in its order 0.38, classes in reverse
#         WSC 0.89, in its order 0.38, 5 is 0
#       wilful sets: cover 0.82 of 997 images, 0.00 of the 177 with low contrast
#         WSC 1.00, in its order 0.00
#         WSC 0.82, in its order 0.00, classes in reverse
#         WSC 0.82, in its order 0.00, 5 is 0
#       as described: the worst slice is chosen by label
# Documentation at odds: the docstring names the metric of Romano et al. (2020) and returns "the value of unbiased WSV".
#   The package's tests ask for a float between 0 and 1. No issue about it was found.
# Way round: calWSC(x_train, y_train, covered_train) on a part, then wsc_vab on the rest, as `in_its_order` below does.
#
# Exit: 0 while that is so, 1 once WSC finds the slice (or a control fails). Needs python3 with venv (3.11), bash, PyPI
# and a C++ compiler (for torchsort, which torchcp imports); takes 5 to 10 minutes, most of them pip's.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --no-compile torch==2.13.0 torchvision==0.28.0 setuptools==80.9.0 wheel
# torchsort is built from source against that torch; it would add a CUDA part wherever it finds nvcc.
PATH=/usr/bin:/bin venv/bin/pip install --quiet --no-compile --no-build-isolation torchsort==0.1.10
venv/bin/pip install --quiet --no-compile torchcp==1.2.1 transformers==5.24.0 torch_geometric==2.8.1 pandas==3.1.1 \
    scikit-learn==1.9.1

OMP_NUM_THREADS=1 venv/bin/python - <<'PY'
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torchcp.classification.predictor import SplitPredictor
from torchcp.classification.score import LAC
from torchcp.classification.utils.metrics import WSC, calWSC, coverage_rate, wsc_vab

torch.manual_seed(0)
digits = load_digits()
order = torch.randperm(len(digits.target))
images, labels = torch.tensor(digits.data / 16, dtype=torch.float32)[order], torch.tensor(digits.target)[order]
net = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
optimiser = torch.optim.Adam(net.parameters(), 0.01)
for _ in range(100):
    optimiser.zero_grad()
    torch.nn.functional.cross_entropy(net(images[:400]), labels[:400]).backward()
    optimiser.step()
net.eval()
images, labels = images[400:], labels[400:]
low = torch.rand(len(labels)) < 0.2
images[low] = 0.2 * images[low] + 0.4

predictor = SplitPredictor(LAC(score_type="softmax"), net, alpha=0.1)
with torch.no_grad():
    predictor.calculate_threshold(net(images[:400]), labels[:400])
    conformal = predictor.predict_with_logits(net(images[400:]))
x, y, low = images[400:], labels[400:], low[400:]
wilful = torch.nn.functional.one_hot(y, 10).bool() & ~low[:, None]  # right about all images but the low contrast
names = {"": torch.arange(10), ", classes in reverse": torch.arange(10).flip(0), ", 5 is 0": torch.arange(5, 15) % 10}


def in_its_order(sets, labels):
    """WSC with torchcp's own parts, called as their signatures say."""
    covered = sets[torch.arange(len(labels)), labels].numpy()
    x_train, x_test, y_train, y_test, c_train, c_test = train_test_split(
        x.numpy(), labels.numpy(), covered, test_size=0.75, random_state=2020)
    _, v, a, b = calWSC(x_train, y_train, c_train, verbose=False)
    return float(wsc_vab(x_test, y_test, c_test, v, a, b))


seen = {}
for kind, sets in (("conformal", conformal), ("wilful", wilful)):
    print(f"{kind} sets: cover {coverage_rate(sets, y):.2f} of {len(y)} images, "
          f"{coverage_rate(sets[low], y[low]):.2f} of the {low.sum()} with low contrast")
    for name, number in names.items():
        renamed = torch.empty_like(sets)
        renamed[:, number] = sets
        values = [ask(renamed, number[y]) for ask in (lambda s, t: WSC(x, s, t), in_its_order, coverage_rate)]
        seen[kind, name] = np.array(values)
        print(f"  WSC {values[0]:.2f}, in its order {values[1]:.2f}{name}")

wrong, right, marginal = zip(*seen.values())
controls = max(right) < 0.5 and all(len(set(values[k:k + 3])) == 1 for values in (right, marginal) for k in (0, 3))
blind = min(wrong) > 0.75 and all(max(wrong[k:k + 3]) - min(wrong[k:k + 3]) > 0.05 for k in (0, 3))
print("as described: the worst slice is chosen by label" if controls and blind else "the behaviour has changed")
raise SystemExit(not (controls and blind))
PY
