"""Starts, and stops, the engine that the settings of a synthesis name."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from linksyn_gpu.config import SynthesisConfig
from linksyn_gpu.errors import ConfigError, EngineError
from linksyn_gpu.llm import API_KEY_NAMES, Engine, api_key
from linksyn_gpu.llm.servers import smol, vllm

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
        return _own_vllm(config, Path(folder), walk_bytes)
    raise ConfigError(f"engine {config.engine!r} has no server; use smol, openai or vllm")


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


@contextlib.contextmanager
def _remote(config: SynthesisConfig) -> Iterator[Engine]:
    from linksyn_gpu.llm.dispatch import run_anywhere

    assert config.base_url is not None  # checked by SynthesisConfig
    engine = Engine(config.base_url.rstrip("/"), config.model or "", api_key())
    names = run_anywhere(_models(engine, min(config.timeout, 20.0)))
    if config.model is None:
        if not names:
            raise EngineError(f"{engine.base_url} does not list its models: name one with --model")
        log.info("model %s, the first that %s serves", names[0], engine.base_url)
        engine = Engine(engine.base_url, names[0], engine.api_key)
    elif names and config.model not in names:
        shown = ", ".join(names[:8])
        raise EngineError(f"{engine.base_url} does not serve model {config.model!r}; it has: {shown}")
    yield engine


@contextlib.contextmanager
def _own_vllm(config: SynthesisConfig, folder: Path, walk_bytes: int) -> Iterator[Engine]:
    from linksyn_gpu.llm.dispatch import run_anywhere

    with vllm.serve(config, folder, walk_bytes) as engine:
        names = run_anywhere(_models(engine, 20.0))
        # --vllm-args may have given the model another name.
        yield engine if not names or engine.model in names else replace(engine, model=names[0])


async def _models(engine: Engine, timeout: float) -> list[str]:
    """Names of the models that a server serves; empty where it does not list them."""
    from linksyn_gpu.llm.protocol import error_message
    from linksyn_gpu.llm.transport import Broken, Transport, Unreachable

    url = f"{engine.base_url}/models"
    try:
        async with Transport(engine, timeout) as transport:
            reply = await transport.get("models")
    except (Unreachable, Broken, TimeoutError) as error:
        said = engine.scrub(str(error)) or f"no answer in {timeout:g} s"
        raise EngineError(
            f"no server at {engine.base_url} ({said}): start one, for example `vllm serve MODEL`, or correct --base-url"
        ) from None
    status, data = reply.status, reply.data
    if status in (401, 403):
        raise EngineError(
            f"{engine.base_url} refused the API key (HTTP {status}): "
            f"set the environment variable {' or '.join(API_KEY_NAMES)}"
        )
    if status == 404 and not engine.base_url.endswith("/v1"):
        raise EngineError(f"{url} was not found: an address usually ends in /v1, as {engine.base_url}/v1")
    if status != 200:
        log.warning("%s answered HTTP %s: %s", url, status, engine.scrub(error_message(data)))
        return []
    try:
        rows = json.loads(data)["data"]
        return [str(row["id"]) for row in rows]
    except (ValueError, KeyError, TypeError):
        raise EngineError(f"{url} does not speak the OpenAI protocol; check --base-url") from None
