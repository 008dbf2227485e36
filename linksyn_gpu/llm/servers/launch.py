"""Starts, and stops, the engine that the settings of a synthesis name."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from linksyn_gpu.config import SynthesisConfig
from linksyn_gpu.errors import ConfigError, EngineError
from linksyn_gpu.llm import API_KEY_NAMES, Engine, api_key
from linksyn_gpu.llm.servers import ray_serve, smol, vllm

log = logging.getLogger(__name__)


def running(
    config: SynthesisConfig, *, folder: str | Path = ".", walk_bytes: int = 0
) -> AbstractContextManager[Engine]:
    """Context manager of the engine that `config.engine` names, ready for requests.

    Parameters
    ----------
    folder : path
        Folder for the log of a server that is started here: the run folder.
    walk_bytes : int
        Device memory that graph and walks need, and that a server on the same device must leave free.

    Raises
    ------
    EngineError
        The engine cannot be started or reached; the message says how to fix it.
    ConfigError
        `config.engine` has no server (engine 'batch' works through files).
    """
    if config.engine == "smol":
        return _embedded(config)
    if config.engine == "openai":
        return _remote(config)
    if config.engine == "vllm":
        return _with_context(vllm.serve(config, Path(folder), walk_bytes))
    if config.engine == "ray":
        return _with_context(ray_serve.serve(config, Path(folder)))
    raise ConfigError(f"engine {config.engine!r} has no server; use smol, openai, vllm or ray")


@contextlib.contextmanager
def lazily(
    config: SynthesisConfig, *, folder: str | Path = ".", walk_bytes: Callable[[], int] = int
) -> Iterator[Callable[[], Engine]]:
    """A function that starts the engine on its first call, and returns the same engine on later calls.

    Several stages share one server in this way. A started server stops at the end of the block.

    Parameters
    ----------
    folder : path
        As in `running`.
    walk_bytes : callable
        Returns the argument of `running`; called when the engine is started.
    """
    lock = threading.Lock()
    started: list[Engine] = []
    with contextlib.ExitStack() as stack:

        def engine() -> Engine:
            with lock:
                if not started:
                    made = running(config, folder=folder, walk_bytes=walk_bytes())
                    started.append(stack.enter_context(made))
                return started[0]

        yield engine


@contextlib.contextmanager
def _embedded(config: SynthesisConfig) -> Iterator[Engine]:
    with smol.serve(smol.model_file(config.model_file)) as engine:
        yield engine


class Unavailable(EngineError):
    """A server cannot be reached."""


@contextlib.contextmanager
def _remote(config: SynthesisConfig) -> Iterator[Engine]:
    from linksyn_gpu.llm.dispatch import run_anywhere

    yield run_anywhere(_connect(config))


async def _connect(config: SynthesisConfig) -> Engine:
    """The engine of running servers. Those that cannot be reached now are tried again while requests are sent.

    Raises
    ------
    EngineError
        No server can be reached, or one refuses the key, or does not serve the model.
    """
    key, timeout = api_key(), min(config.timeout, 20.0)
    servers = [Engine(url, config.model or "", key) for url in config.urls]
    found = await asyncio.gather(*(_models(server, timeout) for server in servers), return_exceptions=True)
    absent = [said for said in found if isinstance(said, Unavailable)]
    if len(absent) == len(servers):
        raise absent[0]
    for said in found:
        if isinstance(said, Unavailable):
            log.warning("%s; requests go to the other servers until it answers", said)
        elif isinstance(said, BaseException):
            raise said
    listed = [(s, models) for s, models in zip(servers, found, strict=True) if not isinstance(models, BaseException)]
    model = config.model
    if model is None:
        server, models = listed[0]
        if not models:
            raise EngineError(f"{server.base_url} does not list its models: name one with --model")
        model = next(iter(models))
        log.info("model %s, the first that %s serves", model, server.base_url)
    for server, models in listed:
        if models and model not in models:
            shown = ", ".join(list(models)[:8])
            raise EngineError(f"{server.base_url} does not serve model {model!r}; it has: {shown}")
    contexts = [context for _, models in listed if (context := models.get(model)) is not None]
    first, *more = config.urls
    return Engine(first, model, key, context=min(contexts, default=None), more_urls=tuple(more))


@contextlib.contextmanager
def _with_context(started: AbstractContextManager[Engine]) -> Iterator[Engine]:
    """An engine with what the started server says about its model."""
    from linksyn_gpu.llm.dispatch import run_anywhere

    with started as engine:
        models = run_anywhere(_models(engine, 20.0))
        # --vllm-args may have given the model another name.
        model = engine.model if engine.model in models or not models else next(iter(models))
        yield replace(engine, model=model, context=models.get(model))


async def _models(engine: Engine, timeout: float) -> dict[str, int | None]:
    """The models that a server serves, and their context where it reports that; empty where it lists none."""
    from linksyn_gpu.llm.protocol import count, error_message, read_json
    from linksyn_gpu.llm.transport import Broken, Transport, Unreachable

    url = f"{engine.base_url}/models"
    try:
        async with Transport(engine, timeout) as transport:
            reply = await transport.get("models")
    except (Unreachable, Broken, TimeoutError) as error:
        said = str(error) or f"no answer in {timeout:g} s"
        raise Unavailable(
            f"no server at {engine.base_url} ({said}): start one, for example `vllm serve MODEL`, or correct --base-url"
        ) from None
    if reply.status in (401, 403):
        raise EngineError(
            f"{engine.base_url} refused the API key (HTTP {reply.status}): "
            f"set the environment variable {' or '.join(API_KEY_NAMES)}"
        )
    if reply.status == 404 and not engine.base_url.endswith("/v1"):
        raise EngineError(f"{url} was not found: an address usually ends in /v1, as {engine.base_url}/v1")
    if reply.status != 200:
        log.warning("%s answered HTTP %s: %s", url, reply.status, error_message(reply.data))
        return {}
    # As vLLM and others say it; Ray Serve in the field `metadata`.
    names = ("max_model_len", "context_length", "context_window", "max_context_length", "max_request_context_length")
    try:
        rows = [{**row, **(row.get("metadata") or {})} for row in read_json(reply.data)["data"]]
        return {str(row["id"]): max(count(row.get(name)) for name in names) or None for row in rows}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise EngineError(f"{url} does not speak the OpenAI protocol; check --base-url") from None
