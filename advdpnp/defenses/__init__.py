"""One file per method; `DEFENSES` maps the row names of the paper's tables, in their order, to the classes."""

from advdpnp.defenses.adv_dpnp import AdvDPNP
from advdpnp.defenses.at import AdversarialTraining
from advdpnp.defenses.at_he import HypersphereEmbedding
from advdpnp.defenses.base import Defense
from advdpnp.defenses.dio import DIO
from advdpnp.defenses.fsr import FSR
from advdpnp.defenses.hat import HAT
from advdpnp.defenses.ikl import IKL
from advdpnp.defenses.mart import MART
from advdpnp.defenses.oc import OrthogonalClassifier
from advdpnp.defenses.pcl import PrototypeConformity
from advdpnp.defenses.st import StandardTraining
from advdpnp.defenses.trades import TRADES

__all__ = ["DEFENSES", "Defense"]

DEFENSES: dict[str, type[Defense]] = {
    "ST": StandardTraining,
    "AT": AdversarialTraining,
    "AT_HE": HypersphereEmbedding,
    "TRADES": TRADES,
    "MART": MART,
    "OC": OrthogonalClassifier,
    "PCL": PrototypeConformity,
    "HAT": HAT,
    "FSR": FSR,
    "DIO": DIO,
    "IKL": IKL,
    "Adv-DPNP": AdvDPNP,
}
