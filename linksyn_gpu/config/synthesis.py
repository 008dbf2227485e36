"""Settings of stage `synthesize`: the table `[synthesis]`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from linksyn_gpu.config.checks import check_shares, each_of, one_of, require, server_address

ENGINES = ("smol", "vllm", "ray", "openai", "batch")
QUESTION_TYPES = ("open", "multiple_choice", "calculation", "proof", "case")
DEFAULT = "default"
"""Name in `[question_types]` for all disciplines that it does not name."""
DEFAULT_TYPES = ("open", "multiple_choice", "calculation")
LANGUAGES = ("auto", "en", "zh")
PARAMETERS = ("temperature", "top_p", "seed", "max_tokens", "response_format")
"""Parameters of a request that `without` and `rename` may name."""
DEFAULT_MAX_TOKENS = 1024
_OF_SERVER = "set by this program, the only client of the server"
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
"""Flags of `vllm serve` that `vllm_args` must not contain, and why."""

SMOL_PROMPT_CHARS = 18_000
"""Longest prompt with which an answer still fits into the embedded model's context of 8,192 tokens."""


@dataclass(frozen=True)
class SynthesisConfig:
    """How a language model is asked for new QA (stage `synthesize`)."""

    engine: str = "smol"
    """'smol': the embedded SmolLM2-135M; 'vllm': a vLLM server started on this machine; 'ray': replicas on a Ray
    cluster; 'openai': any server with the OpenAI protocol; 'batch': only write files."""
    base_url: str | tuple[str, ...] | None = None
    """Address of the server, e.g. http://127.0.0.1:8000/v1, or a list of servers of one model (engine 'openai')."""
    model: str | None = None
    """Model name sent with each request; None: the first model of the server. Engines 'vllm' and 'ray' serve it."""
    per_path: int = 1
    """New QA per request."""
    question_types: tuple[str, ...] = DEFAULT_TYPES
    """Question types with equal shares, where `[question_types]` gives none. The default stands for those that the
    taxonomy gives the discipline."""
    language: str = "auto"
    """Language of the new QA: 'en', 'zh', or 'auto': the language of the bundle's seeds."""
    temperature: float = 0.7
    top_p: float = 0.95
    max_tokens: int = DEFAULT_MAX_TOKENS
    """Longest answer in tokens. A cut-off answer is asked for again with twice as many, up to `max_tokens_retry`."""
    max_tokens_retry: int = 4096
    max_prompt_chars: int = 48_000
    """Longest prompt in characters; a longer one is dropped as 'prompt_too_long', never cut."""
    max_field_chars: int | None = None
    """Longest question that the answer's JSON schema allows, in characters; other fields have limits in proportion.
    None: no limit, except for engine 'smol': 240, since it ends a text only at the limit."""
    max_attempts: int = 3
    """Attempts for one request, the first one included, if an answer is cut off or invalid or the server fails."""
    concurrency: int = 64
    """Requests in flight at the same time, at each server."""
    timeout: float = 300.0
    """Longest time for one request, in seconds."""
    max_requests: int | None = None
    """Most requests sent in the whole run; the rest stay pending. None: all."""
    budget_tokens: int | None = None
    """Tokens of prompts and answers in the whole run after which no request is sent. None: no limit."""
    without: tuple[str, ...] = ()
    """Parameters that are not sent, because the server refuses them: temperature, top_p, seed, max_tokens or
    response_format. An engine learns this by itself from the server's refusal; a batch file does not."""
    rename: Mapping[str, str] = field(default_factory=dict)
    """Names under which parameters are sent, e.g. {max_tokens = 'max_completion_tokens'}."""
    batch_requests: int = 50_000
    """Most requests in one file of `requests/`; the default is the limit of batch services."""
    batch_bytes: int = 200 * 10**6
    """Largest file of `requests/` in bytes, before compression; the default is the limit of batch services."""
    templates: str | None = None
    """Folder with your own prompt templates; None: the templates of the package."""
    model_file: str | None = None
    """GGUF file for engine 'smol'; None: downloaded once into the user's cache."""
    vllm_python: str | None = None
    """Python interpreter of an environment with vLLM (engine 'vllm'), or with vLLM and Ray (engine 'ray')."""
    vllm_command: str | None = None
    """Command line that replaces `vllm`, e.g. 'conda run -n NAME vllm'; if both are None: the `vllm` on PATH."""
    data_parallel: int = 1
    """Replicas of the model inside the server."""
    tensor_parallel: int = 1
    """Devices per replica."""
    vllm_args: tuple[str, ...] = ()
    """Further arguments of `vllm serve`, e.g. '--max-model-len', '16384'."""
    vllm_restarts: int = 3
    """How often the server is restarted after a crash, in one call of the program."""
    vllm_start_timeout: float = 1800.0
    """Longest time until the server answers, in seconds: loading a large model takes minutes."""
    vllm_memory_share: float | None = None
    """vLLM's gpu_memory_utilization; None: the memory that graph and walks do not use, minus a reserve (engine 'vllm'),
    or vLLM's own default (engine 'ray')."""
    ray_address: str | None = None
    """Address of the Ray cluster of engine 'ray', or 'auto': the one that this machine belongs to; None: Ray is started
    on this machine."""
    replicas: int = 1
    """Replicas of the model that engine 'ray' places; each has `tensor_parallel` devices."""
    accelerator: str | None = None
    """Ray's name of the GPUs of engine 'ray', such as 'H100'; None: the replicas use no GPU."""

    def __post_init__(self) -> None:
        one_of("engine", self.engine, ENGINES)
        one_of("language", self.language, LANGUAGES)
        require(bool(self.question_types), "question_types must name at least one type")
        each_of("question_types", self.question_types, "a question type", QUESTION_TYPES)
        require(
            self.engine != "openai" or bool(self.base_url),
            "engine 'openai' needs base_url, e.g. --base-url http://127.0.0.1:8000/v1",
        )
        require(
            self.engine != "batch" or bool(self.model),
            "engine 'batch' needs model, the name that the batch service or 'vllm run-batch' knows, e.g. "
            "--model Qwen/Qwen3-32B: each request in the files names it",
        )
        self._check_urls()
        self._check_parameters()
        self._check_vllm()
        positive = ("per_path", "max_tokens", "max_prompt_chars", "max_attempts", "concurrency", "timeout")
        for name in (*positive, "batch_requests", "batch_bytes"):
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

    @property
    def urls(self) -> tuple[str, ...]:
        """The addresses in `base_url`."""
        if self.base_url is None:
            return ()
        return (self.base_url,) if isinstance(self.base_url, str) else self.base_url

    def _check_urls(self) -> None:
        urls = tuple(url.rstrip("/") for url in self.urls)
        for url in urls:
            server_address("base_url", url)
        twice = next((url for url in urls if urls.count(url) > 1), None)
        require(twice is None, f"base_url names {twice} twice; name each server once")
        if len(urls) == 1:  # one server has one form, in the records of a run, too
            object.__setattr__(self, "base_url", urls[0])
        elif urls:
            object.__setattr__(self, "base_url", urls)

    def _check_parameters(self) -> None:
        require(self.max_tokens < 2**31, f"max_tokens = {self.max_tokens} must be below 2^31")
        each_of("without", self.without, "a parameter of a request", PARAMETERS)
        each_of("rename", self.rename, "a parameter of a request", PARAMETERS)
        for name, new in self.rename.items():
            require(isinstance(new, str) and new.isidentifier(), f"rename: {new!r} is not a name for {name}")
        both = sorted(set(self.without) & set(self.rename))
        require(not both, f"without and rename both name {', '.join(both)}")

    def _check_vllm(self) -> None:
        require(
            self.engine not in ("vllm", "ray") or bool(self.model),
            f"engine '{self.engine}' needs model, the name or folder of the model, e.g. --model Qwen/Qwen3-32B",
        )
        require(
            self.vllm_python is None or self.vllm_command is None,
            "vllm_python and vllm_command both set how vLLM is started: set one of them",
        )
        if self.engine == "ray":
            require(
                self.vllm_command is None, "engine 'ray' is started with vllm_python; vllm_command is of engine 'vllm'"
            )
            require(
                self.data_parallel == 1, "engine 'ray' places replicas of the model: set replicas, not data_parallel"
            )
        require(self.ray_address != "", "ray_address must be an address, or 'auto'")
        require(self.accelerator != "", "accelerator must be Ray's name of a GPU, such as H100")
        for name in ("data_parallel", "tensor_parallel", "vllm_start_timeout", "replicas"):
            require(getattr(self, name) > 0, f"{name} = {getattr(self, name)} must be positive")
        require(self.vllm_restarts >= 0, f"vllm_restarts = {self.vllm_restarts} must not be negative")
        share = self.vllm_memory_share
        require(share is None or 0.0 < share <= 1.0, f"vllm_memory_share = {share} must lie in (0, 1]")
        for word in self.vllm_args:
            flag = word.split("=")[0].replace("_", "-")
            require(flag not in VLLM_FLAGS, f"vllm_args: {flag} is {VLLM_FLAGS.get(flag)}")

    @property
    def prompt_limit(self) -> int:
        """`max_prompt_chars` for the engine."""
        return min(self.max_prompt_chars, SMOL_PROMPT_CHARS) if self.engine == "smol" else self.max_prompt_chars

    @property
    def field_limit(self) -> int | None:
        """`max_field_chars` for the engine."""
        if self.max_field_chars is None and self.engine == "smol":
            return 240
        return self.max_field_chars


def check_question_types(table: Mapping[str, Mapping[str, float]]) -> None:
    """Raise `ConfigError` unless a table `[question_types]` holds shares of question types by discipline."""
    for name, shares in table.items():
        require(
            isinstance(shares, Mapping) and bool(shares),
            f"question_types.{name} must be a table of shares, such as {{ open = 0.5, multiple_choice = 0.5 }}",
        )
        each_of(f"question_types.{name}", shares, "a question type", QUESTION_TYPES)
        check_shares(f"question_types.{name}", shares)
