"""Settings: one frozen dataclass per stage. `settings.py` reads them from TOML, mappings and flags.

A config checks itself when it is made, so a wrong value fails before any work is done and says which values are
allowed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from linksyn_gpu.config_enhance import EnhanceConfig
from linksyn_gpu.config_extract import ExtractConfig
from linksyn_gpu.errors import ConfigError

KP_FORMS = ("folded", "exact")
EDGE_WEIGHTS = ("count", "npmi", "cosine", "jaccard")
BACKENDS = ("auto", "cpu", "gpu")
ENGINES = ("smol", "vllm", "openai", "batch")
WALKERS = ("exact", "cugraph")
DIFFICULTY_SCALES = ("1-5", "0-4", "1-10", "1-3", "grade", "words")
QUESTION_TYPES = ("open", "multiple_choice", "calculation", "proof", "case")
LANGUAGES = ("auto", "en", "zh")
SEED_FIELDS = (
    "id",
    "question",
    "answer",
    "options",
    "disciplines",
    "difficulty",
    "knowledge_points",
    "language",
    "source",
    "license",
)
MAX_WALK_LENGTH = 255
_OF_SERVER = "chosen by the program, which alone speaks to the server"
VLLM_FLAGS = {
    "--host": _OF_SERVER,
    "--port": _OF_SERVER,
    "--uds": _OF_SERVER,
    "--api-key": _OF_SERVER,
    "--model": "the setting model",
    "--data-parallel-size": "the setting data_parallel",
    "-dp": "the setting data_parallel",
    "--tensor-parallel-size": "the setting tensor_parallel",
    "-tp": "the setting tensor_parallel",
    "--gpu-memory-utilization": "the setting vllm_memory_share",
}
"""Flags of `vllm serve` that `vllm_args` must leave alone, and why."""


def require(ok: bool, message: str) -> None:
    """Raise `ConfigError` with `message` unless `ok`."""
    if not ok:
        raise ConfigError(message)


def _one_of(name: str, value: object, allowed: tuple[object, ...]) -> None:
    require(value in allowed, f"{name} = {value!r} is not one of {', '.join(map(str, allowed))}")


@dataclass(frozen=True)
class SeedsConfig:
    """How seed files are read (stage `ingest`)."""

    columns: Mapping[str, str] = field(default_factory=dict)
    """Seed field -> column name; overrides the search by usual names. Keys are `SEED_FIELDS`."""
    route_separator: str | None = None
    """Splits each knowledge point into several, e.g. '->' for taxonomy routes 'Algebra->Roots'."""
    difficulty_scale: str = "1-5"
    """Scale of the difficulty column: one of knowledge/difficulty.toml, or a .toml file with one of your own; a value
    that the scale does not name becomes null and is counted."""
    keep_duplicates: bool = False
    """Keep records whose id or question was seen before (else the first is kept)."""
    max_chars: int = 32_000
    """A record whose question, answer and options together are longer is rejected."""

    def __post_init__(self) -> None:
        for name in self.columns:
            _one_of("a field of columns", name, SEED_FIELDS)
        if not self.difficulty_scale.endswith(".toml"):
            _one_of("difficulty_scale", self.difficulty_scale, DIFFICULTY_SCALES)
        require(self.route_separator != "", "route_separator must not be empty")
        require(self.max_chars > 0, f"max_chars = {self.max_chars} must be positive")


@dataclass(frozen=True)
class GraphConfig:
    """How the KP graph is built from seeds (stage `build`)."""

    kp_form: str = "folded"
    """'folded': KP names are one when equal after NFKC, case folding and trimming; 'exact': byte for byte."""
    weight: str = "count"
    """Edge weight: 'count' (co-occurrences, as MathScale), 'npmi', 'cosine' or 'jaccard'."""
    min_count: int = 1
    """Drop edges that fewer seeds hold."""
    top_k: int | None = None
    """Keep an edge only when it is among the `top_k` heaviest of at least one of its ends."""
    max_kps_per_seed: int | None = None
    """Use at most this many KPs of a seed, the first in the seed's own order."""
    memory_limit: int | None = None
    """Bytes that construction may take; None: what the machine has free."""

    def __post_init__(self) -> None:
        _one_of("kp_form", self.kp_form, KP_FORMS)
        _one_of("weight", self.weight, EDGE_WEIGHTS)
        require(self.min_count >= 1, f"min_count = {self.min_count} must be at least 1")
        for name in ("top_k", "max_kps_per_seed", "memory_limit"):
            value = getattr(self, name)
            require(value is None or value >= 1, f"{name} = {value} must be at least 1, or left out")


@dataclass(frozen=True)
class WalkConfig:
    """How walks are sampled (docs/method.md has the formulas)."""

    length: int = 4
    """Steps of a walk; a path has at most length + 1 KPs."""
    tau: float = 0.5
    """Target visits go as seed_count ** tau: 1 is popularity, 0 is uniform coverage."""
    beta: float = 1.0
    """Strength of live feedback: 0, 0.5, 1 or 2."""
    rounds: int = 20
    """Rounds that a campaign is cut into; the value function is renewed for each."""
    calibration_rounds: int = 20
    """Rounds of throw-away walks that set the potential before a campaign; 0 for none."""
    no_revisit: bool = True
    """A walk never visits a KP twice."""
    p: float = 1.0
    """node2vec return parameter."""
    q: float = 1.0
    """node2vec in-out parameter."""
    calibration_paths: int | None = None
    """Walks in a calibration round; None: 4 per KP, within 1,024 .. 4,194,304."""
    min_length: int = 2
    """A path of fewer KPs is redrawn."""
    distinct: bool = False
    """Redraw a path whose set of KPs was sampled before in the campaign."""
    max_redraws: int = 8
    """Bound on redraws of one path; then the path is dropped with its reason."""
    walker: str = "exact"
    """'exact': this project's walks, the same bits on every backend; 'cugraph': cuGraph's biased_random_walks over the
    same transition table, on a GPU, with other random numbers, without no_revisit, p and q."""

    def __post_init__(self) -> None:
        require(1 <= self.length <= MAX_WALK_LENGTH, f"length = {self.length} must lie in 1..{MAX_WALK_LENGTH}")
        _one_of("walker", self.walker, WALKERS)
        require(
            self.walker == "exact" or (not self.no_revisit and self.p == self.q == 1.0),
            "walker 'cugraph' knows neither no_revisit nor p and q: pass --revisit, and leave p and q at 1",
        )
        require(0.0 <= self.tau <= 4.0, f"tau = {self.tau} must lie in 0..4")
        _one_of("beta", float(self.beta), (0.0, 0.5, 1.0, 2.0))
        require(self.rounds >= 1, f"rounds = {self.rounds} must be at least 1")
        for name in ("calibration_rounds", "max_redraws"):
            require(getattr(self, name) >= 0, f"{name} = {getattr(self, name)} must not be negative")
        for name in ("p", "q"):
            # 2^-16 .. 2^16 keeps every acceptance weight at or above 2^-32, the sampler's resolution.
            value = getattr(self, name)
            require(2.0**-16 <= value <= 2.0**16, f"{name} = {value} must lie in 2^-16 .. 2^16")
        require(
            self.calibration_paths is None or self.calibration_paths >= 1,
            f"calibration_paths = {self.calibration_paths} must be at least 1, or left out",
        )
        require(
            2 <= self.min_length <= self.length + 1,
            f"min_length = {self.min_length} must lie in 2 .. length + 1 = {self.length + 1}",
        )


@dataclass(frozen=True)
class QuotaConfig:
    """What a campaign is asked to deliver, as shares (table `[quota]`); both empty: one cell over everything."""

    discipline: Mapping[str, float] = field(default_factory=dict)
    """Discipline -> share of the paths; shares are relative and need not sum to 1."""
    difficulty: Mapping[str, float] = field(default_factory=dict)
    """Level 1..5 (a string, as TOML keys are) -> share of the paths."""
    cross_discipline: float = 0.1
    """How much a KP of another discipline is still worth in a cell: 0 shuts it out, 1 treats all alike."""
    difficulty_width: float = 1.0
    """Width, in levels, of the Gaussian kernel that steers a cell to KPs of its difficulty."""

    def __post_init__(self) -> None:
        for name in ("discipline", "difficulty"):
            shares = getattr(self, name)
            for key, share in shares.items():
                require(
                    isinstance(share, (int, float)) and 0.0 <= share < float("inf"),
                    f"{name}.{key} = {share!r} must be a share >= 0",
                )
            require(not shares or sum(shares.values()) > 0.0, f"{name}: all shares are 0")
        for level in self.difficulty:
            _one_of("a level of difficulty", level, ("1", "2", "3", "4", "5"))
        require(
            0.0 <= self.cross_discipline <= 1.0,
            f"cross_discipline = {self.cross_discipline} must lie in 0..1",
        )
        require(
            self.difficulty_width > 0.0,
            f"difficulty_width = {self.difficulty_width} must be positive",
        )


@dataclass(frozen=True)
class BundleConfig:
    """How seeds are linked along a path (stage `walk`)."""

    min_seeds: int = 2
    """A path with fewer distinct seeds is dropped as 'few_seeds'."""

    def __post_init__(self) -> None:
        require(self.min_seeds >= 2, f"min_seeds = {self.min_seeds}: a link needs at least 2 seeds")


@dataclass(frozen=True)
class SynthesisConfig:
    """How new QA are asked of a language model (stage `synthesize`)."""

    engine: str = "smol"
    """'smol': the embedded SmolLM2-135M; 'vllm': a vLLM that is started on this machine; 'openai': any OpenAI-protocol
    server; 'batch': write files only."""
    base_url: str | None = None
    """Address of the server, e.g. http://127.0.0.1:8000/v1 (engine 'openai')."""
    model: str | None = None
    """Model name sent with each request; None: the server's first model. Engine 'vllm' serves this model."""
    per_path: int = 1
    """New QA asked for in one request (the fan-out of a bundle)."""
    question_types: tuple[str, ...] = ("open", "multiple_choice", "calculation")
    """Question types, taken in turn over the requests."""
    language: str = "auto"
    """Language of the new QA: 'auto' follows the bundle's seeds, else 'en' or 'zh'."""
    temperature: float = 0.7
    top_p: float = 0.95
    max_tokens: int = 1024
    """Room for one answer; a cut-off answer is asked again with twice the room, up to `max_tokens_retry`."""
    max_tokens_retry: int = 4096
    max_prompt_chars: int = 48_000
    """A longer prompt is dropped as 'prompt_too_long', never cut."""
    max_field_chars: int | None = None
    """Longest question that the answer's JSON schema allows, in characters, with other texts in proportion; None:
    no bound, but 240 for engine 'smol', which ends a text only where it must."""
    max_attempts: int = 3
    """Tries for one request, first included, when an answer is cut off, invalid or the server fails."""
    concurrency: int = 64
    """Requests in flight."""
    timeout: float = 300.0
    """Seconds that one request may take."""
    max_requests: int | None = None
    """Most requests that are asked in the whole run; the rest stay pending. None: all."""
    budget_tokens: int | None = None
    """Tokens, read and written, after which no further request is sent in the whole run. None: no bound."""
    templates: str | None = None
    """Folder with your own prompt templates; None: those of the package."""
    model_file: str | None = None
    """GGUF file for engine 'smol'; None: fetched once into the user's cache."""
    vllm_python: str | None = None
    """Python interpreter of the environment that has vLLM (engine 'vllm')."""
    vllm_command: str | None = None
    """Command line that stands for `vllm`, e.g. 'conda run -n NAME vllm'; both None: the `vllm` on PATH."""
    data_parallel: int = 1
    """Replicas of the model inside the server."""
    tensor_parallel: int = 1
    """Devices that one replica is spread over."""
    vllm_args: tuple[str, ...] = ()
    """Further words for `vllm serve`, e.g. '--max-model-len', '16384'."""
    vllm_restarts: int = 3
    """Times that the server is started again after it died, in one call of the program."""
    vllm_start_timeout: float = 1800.0
    """Seconds until the server must answer: loading a large model takes its time."""
    vllm_memory_share: float | None = None
    """vLLM's gpu_memory_utilization; None: what graph and walks leave free, less a reserve."""

    def __post_init__(self) -> None:
        _one_of("engine", self.engine, ENGINES)
        _one_of("language", self.language, LANGUAGES)
        require(bool(self.question_types), "question_types must name at least one type")
        for kind in self.question_types:
            _one_of("a question type", kind, QUESTION_TYPES)
        require(
            self.engine != "openai" or self.base_url is not None,
            "engine 'openai' needs base_url, e.g. --base-url http://127.0.0.1:8000/v1",
        )
        self._check_vllm()
        for name in ("per_path", "max_tokens", "max_prompt_chars", "max_attempts", "concurrency", "timeout"):
            require(getattr(self, name) > 0, f"{name} = {getattr(self, name)} must be positive")
        require(
            self.max_field_chars is None or self.max_field_chars >= 80,
            f"max_field_chars = {self.max_field_chars} must be at least 80, or left out",
        )
        for name in ("max_requests", "budget_tokens"):
            value = getattr(self, name)
            require(value is None or value >= 1, f"{name} = {value} must be at least 1, or left out")
        require(self.temperature >= 0.0, f"temperature = {self.temperature} must not be negative")
        require(0.0 < self.top_p <= 1.0, f"top_p = {self.top_p} must lie in (0, 1]")

    def _check_vllm(self) -> None:
        require(
            self.engine != "vllm" or bool(self.model),
            "engine 'vllm' needs model, the name or folder of the model to serve, e.g. --model Qwen/Qwen3-32B",
        )
        require(
            self.vllm_python is None or self.vllm_command is None,
            "vllm_python and vllm_command both say how vLLM is started: give one of them",
        )
        for name in ("data_parallel", "tensor_parallel", "vllm_start_timeout"):
            require(getattr(self, name) > 0, f"{name} = {getattr(self, name)} must be positive")
        require(self.vllm_restarts >= 0, f"vllm_restarts = {self.vllm_restarts} must not be negative")
        share = self.vllm_memory_share
        require(share is None or 0.0 < share <= 1.0, f"vllm_memory_share = {share} must lie in (0, 1]")
        for word in self.vllm_args:
            flag = word.split("=")[0].replace("_", "-")
            require(flag not in VLLM_FLAGS, f"vllm_args: {flag} is {VLLM_FLAGS.get(flag)}")

    @property
    def field_limit(self) -> int | None:
        """`max_field_chars` as it holds for the engine."""
        if self.max_field_chars is None and self.engine == "smol":
            return 240
        return self.max_field_chars


@dataclass(frozen=True)
class RunConfig:
    """Everything that a run is made with: one table of the TOML file per stage."""

    paths: int = 24
    """Paths asked for in the whole campaign."""
    seed: int = 0
    """Campaign seed, 0 .. 2^64 - 1: the only source of randomness."""
    backend: str = "auto"
    gpu_memory: int | None = None
    """Bytes of device memory that graph and walks may take; None: what is free."""
    seeds: SeedsConfig = field(default_factory=SeedsConfig)
    extract: ExtractConfig = field(default_factory=ExtractConfig)
    graph: GraphConfig = field(default_factory=GraphConfig)
    # A campaign wants paths that differ; a bare Walker samples whatever comes.
    walk: WalkConfig = field(default_factory=lambda: WalkConfig(distinct=True))
    quota: QuotaConfig = field(default_factory=QuotaConfig)
    bundle: BundleConfig = field(default_factory=BundleConfig)
    synthesis: SynthesisConfig = field(default_factory=SynthesisConfig)
    enhance: EnhanceConfig = field(default_factory=EnhanceConfig)

    def __post_init__(self) -> None:
        require(self.paths >= 1, f"paths = {self.paths} must be at least 1")
        require(self.gpu_memory is None or self.gpu_memory > 0, f"gpu_memory = {self.gpu_memory} must be positive")
        require(
            self.bundle.min_seeds <= self.walk.length,
            f"bundle.min_seeds = {self.bundle.min_seeds}, but a path of walk.length = {self.walk.length} steps "
            f"brings at most {self.walk.length} seeds",
        )
        require(0 <= self.seed < 2**64, f"seed = {self.seed} must lie in 0 .. 2^64 - 1")
        _one_of("backend", self.backend, BACKENDS)
