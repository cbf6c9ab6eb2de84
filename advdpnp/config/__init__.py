"""Settings of runs, methods, attacks and tiers. Nothing here loads torch, so `--help` and `status` answer at once."""

from advdpnp.config.attacks import ATTACKS, GEOMETRY_DEFINITION, GUARD_IMAGES, AttackConfig, budget_fault, widest
from advdpnp.config.datasets import BACKBONES, CORRUPTION_TYPES, DATASETS, DatasetFacts
from advdpnp.config.methods import (
    FACTS,
    METHODS,
    AdvDpnp,
    At,
    AtHe,
    Dio,
    Facts,
    Fsr,
    Hat,
    Ikl,
    Mart,
    Oc,
    Pcl,
    St,
    Trades,
    facts,
    slug,
    slugs,
)
from advdpnp.config.run import RUN_ID, RunConfig, RunId, digest, images_of, parse_run_id, resolved_attack
from advdpnp.config.settings import (
    INSTALLED,
    PACKAGE,
    ROOT,
    SHIPPED,
    CraftConfig,
    DataConfig,
    EvaluationConfig,
    ModelConfig,
    OptimConfig,
    Policy,
    need_checkout,
    setting,
)
from advdpnp.config.tiers import (
    CONFIG_DIR,
    PAPER_BLOCKS,
    Block,
    Tier,
    brief,
    build,
    check_attack,
    check_run,
    dependency,
    load_tier,
    paper_sections,
    parse_number,
    parse_switch,
    parse_tier,
    resolve,
    sibling,
    standard_of,
    with_dependencies,
)
