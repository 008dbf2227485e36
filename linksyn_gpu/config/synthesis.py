"""Settings of stage `synthesize`: the table `[synthesis]`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from linksyn_gpu.config.checks import one_of, require, server_address

ENGINES = ("smol", "vllm", "openai", "batch")
QUESTION_TYPES = ("open", "multiple_choice", "calculation", "proof", "case")
LANGUAGES = ("auto", "en", "zh")
PARAMETERS = ("temperature", "top_p", "seed", "max_tokens", "response_format")
"""Parameters of a request that `without` and `rename` may name."""
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
    without: tuple[str, ...] = ()
    """Parameters that are not sent, because the server refuses them: temperature, top_p, seed, max_tokens or
    response_format. An engine learns this by itself from the server's refusal; a batch file does not."""
    rename: Mapping[str, str] = field(default_factory=dict)
    """Names under which parameters are sent, e.g. {max_tokens = 'max_completion_tokens'}."""
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
        one_of("engine", self.engine, ENGINES)
        one_of("language", self.language, LANGUAGES)
        require(bool(self.question_types), "question_types must name at least one type")
        for kind in self.question_types:
            one_of("a question type", kind, QUESTION_TYPES)
        require(
            self.engine != "openai" or self.base_url is not None,
            "engine 'openai' needs base_url, e.g. --base-url http://127.0.0.1:8000/v1",
        )
        if self.base_url is not None:
            server_address("base_url", self.base_url)
        self._check_parameters()
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

    def _check_parameters(self) -> None:
        require(self.max_tokens < 2**31, f"max_tokens = {self.max_tokens} must be below 2^31")
        for name in (*self.without, *self.rename):
            one_of("a parameter in without or rename", name, PARAMETERS)
        for name, new in self.rename.items():
            require(isinstance(new, str) and new.isidentifier(), f"rename: {new!r} is not a name for {name}")
        both = sorted(set(self.without) & set(self.rename))
        require(not both, f"without and rename both name {', '.join(both)}")

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
