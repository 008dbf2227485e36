"""Settings: one frozen dataclass per stage; `loader.py` reads them from TOML, mappings and flags.

A config validates itself when it is made: a wrong value fails before any work starts, with the allowed values.
"""

from linksyn_gpu.config.checks import require as require
from linksyn_gpu.config.curate import CurateConfig as CurateConfig
from linksyn_gpu.config.curate import JudgeConfig as JudgeConfig
from linksyn_gpu.config.decontaminate import DecontaminateConfig as DecontaminateConfig
from linksyn_gpu.config.enhance import ALL as ALL
from linksyn_gpu.config.enhance import EnhanceConfig as EnhanceConfig
from linksyn_gpu.config.export import ExportConfig as ExportConfig
from linksyn_gpu.config.extract import EXTRACTORS as EXTRACTORS
from linksyn_gpu.config.extract import MERGES as MERGES
from linksyn_gpu.config.extract import ExtractConfig as ExtractConfig
from linksyn_gpu.config.graph import EDGE_WEIGHTS as EDGE_WEIGHTS
from linksyn_gpu.config.graph import KP_FORMS as KP_FORMS
from linksyn_gpu.config.graph import GraphConfig as GraphConfig
from linksyn_gpu.config.plan import PlanConfig as PlanConfig
from linksyn_gpu.config.quality import ChecksConfig as ChecksConfig
from linksyn_gpu.config.run import BACKENDS as BACKENDS
from linksyn_gpu.config.run import DEFAULT_PATHS as DEFAULT_PATHS
from linksyn_gpu.config.run import MAX_PATHS as MAX_PATHS
from linksyn_gpu.config.run import RunConfig as RunConfig
from linksyn_gpu.config.seeds import DIFFICULTY_SCALES as DIFFICULTY_SCALES
from linksyn_gpu.config.seeds import LAYOUTS as LAYOUTS
from linksyn_gpu.config.seeds import SEED_FIELDS as SEED_FIELDS
from linksyn_gpu.config.seeds import TURNS as TURNS
from linksyn_gpu.config.seeds import SeedsConfig as SeedsConfig
from linksyn_gpu.config.synthesis import DEFAULT as DEFAULT
from linksyn_gpu.config.synthesis import DEFAULT_MAX_TOKENS as DEFAULT_MAX_TOKENS
from linksyn_gpu.config.synthesis import DEFAULT_TYPES as DEFAULT_TYPES
from linksyn_gpu.config.synthesis import ENGINES as ENGINES
from linksyn_gpu.config.synthesis import LANGUAGES as LANGUAGES
from linksyn_gpu.config.synthesis import PARAMETERS as PARAMETERS
from linksyn_gpu.config.synthesis import QUESTION_TYPES as QUESTION_TYPES
from linksyn_gpu.config.synthesis import VLLM_FLAGS as VLLM_FLAGS
from linksyn_gpu.config.synthesis import SynthesisConfig as SynthesisConfig
from linksyn_gpu.config.walk import MAX_WALK_LENGTH as MAX_WALK_LENGTH
from linksyn_gpu.config.walk import PRESETS as PRESETS
from linksyn_gpu.config.walk import WALKERS as WALKERS
from linksyn_gpu.config.walk import BundleConfig as BundleConfig
from linksyn_gpu.config.walk import QuotaConfig as QuotaConfig
from linksyn_gpu.config.walk import WalkConfig as WalkConfig
