#!/usr/bin/env bash
# secml-torch 1.5 and adv-lib 0.2.8: FGSM with the backend "advlib" returns the clean images, hence clean accuracy.
#
# Versions: secml-torch 1.5, adv-lib 0.2.8, foolbox 3.3.4 (each the newest on PyPI on 2026-11-28), torch 2.14.1,
#   torchvision 0.29.1, Python 3.11.7.
# Expected: one step of length epsilon along the sign of the gradient, as secml-torch's own backend "foolbox" takes it.
# Seen: no pixel moves and no warning is given. secml-torch asks adv-lib's `pgd_linf` for one step without a random
#   start. That loop looks at the images before it moves them, so the result of its last step is looked at by nobody:
#   `steps=n` is n - 1 steps, and one step is none. PGD of the same backend loses a step in the same way.
#   Output of the run of 2026-11-28:
#       clean images                          accuracy 91.2 %, largest change 0.000
#       FGSM, backend foolbox                 accuracy 33.8 %, largest change 0.100
#       FGSM, backend advlib                  accuracy 91.2 %, largest change 0.000
#       PGD of 2 steps, backend advlib        accuracy 33.8 %, largest change 0.100
#       as described: FGSM through adv-lib is no attack
# Documentation at odds: secml-torch's README lists FGSM as "Available via backend wrappers (Foolbox, Adversarial
#   Library)". Its test of this wrapper looks at the type of what is returned. No issue about it was found.
# Way round: the backend "foolbox", or PGD with num_steps=2 and step_size=epsilon, of which one step counts.
#
# Exit: 0 while that is so, 1 once FGSM moves a pixel (or a control fails). Needs python3 with venv (3.11: adv-lib
# imports distutils), bash and PyPI; takes about 10 minutes and 6 GB, most of them torch's.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --no-compile torch==2.14.1 torchvision==0.29.1 setuptools==80.9.0 wheel
# visdom, which adv-lib imports, is built from source and needs the pkg_resources of that setuptools.
venv/bin/pip install --quiet --no-compile --no-build-isolation visdom==0.2.4
venv/bin/pip install --quiet --no-compile secml-torch==1.5 adv-lib==0.2.8 foolbox==3.3.4 scikit-learn==1.9.1

OMP_NUM_THREADS=1 venv/bin/python - <<'PY'
import torch
from secmlt.adv.backends import Backends
from secmlt.adv.evasion.fgsm import FGSM
from secmlt.adv.evasion.perturbation_models import LpPerturbationModels
from secmlt.adv.evasion.pgd import PGD
from secmlt.metrics.classification import Accuracy
from secmlt.models.pytorch.base_pytorch_nn import BasePyTorchClassifier
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
digits = load_digits()
images, labels = torch.tensor(digits.images / 16, dtype=torch.float32)[:, None], torch.tensor(digits.target)
net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
optimiser = torch.optim.Adam(net.parameters(), 0.01)
for _ in range(200):
    optimiser.zero_grad()
    torch.nn.functional.cross_entropy(net(images[:1400]), labels[:1400]).backward()
    optimiser.step()
model = BasePyTorchClassifier(net.eval())
test = DataLoader(TensorDataset(images[1400:], labels[1400:]), batch_size=100)

seen = {}


def show(name, attacked):
    change = (torch.cat([x for x, _ in attacked]) - images[1400:]).abs().max().item()
    seen[name] = 100 * Accuracy()(model, attacked).item(), change
    print(f"{name:37s} accuracy {seen[name][0]:.1f} %, largest change {change:.3f}", flush=True)


linf, epsilon = LpPerturbationModels.LINF, 0.1
pgd = {"num_steps": 2, "step_size": epsilon, "random_start": False, "backend": Backends.ADVLIB}
show("clean images", test)
show("FGSM, backend foolbox", FGSM(linf, epsilon, backend=Backends.FOOLBOX)(model, test))
show("FGSM, backend advlib", FGSM(linf, epsilon, backend=Backends.ADVLIB)(model, test))
show("PGD of 2 steps, backend advlib", PGD(linf, epsilon, **pgd)(model, test))

clean, foolbox, advlib, two = seen.values()
as_described = advlib == clean and advlib[1] == 0 and foolbox[0] < clean[0] - 20 and two[0] < clean[0] - 20
print("as described: FGSM through adv-lib is no attack" if as_described else "the behaviour has changed")
raise SystemExit(not as_described)
PY
