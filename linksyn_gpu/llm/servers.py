"""A running engine for a synthesis, started and stopped in good order."""

from __future__ import annotations

import contextlib
import functools
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from linksyn_gpu.config import SynthesisConfig
from linksyn_gpu.errors import ConfigError, EngineError
from linksyn_gpu.llm import API_KEY_NAMES, Engine, api_key, smol

log = logging.getLogger(__name__)


def running(config: SynthesisConfig) -> AbstractContextManager[Engine]:
    """The engine that `config.engine` names, ready to be asked, as a context manager.

    Raises
    ------
    EngineError
        It cannot be started or reached; the message says how to mend it.
    ConfigError
        `config.engine` names no server (engine 'batch' works through files).
    """
    if config.engine not in _STARTERS:
        raise ConfigError(f"engine {config.engine!r} has no server; {', '.join(_STARTERS)} have")
    return _STARTERS[config.engine](config)


@contextlib.contextmanager
def on_demand(config: SynthesisConfig) -> Iterator[Callable[[], Engine]]:
    """Give a function that starts the engine when it is first called; it runs until the block ends."""
    with contextlib.ExitStack() as stack:
        yield functools.cache(lambda: stack.enter_context(running(config)))


@contextlib.contextmanager
def _embedded(config: SynthesisConfig) -> Iterator[Engine]:
    with smol.serve(smol.model_file(config.model_file)) as engine:
        yield engine


@contextlib.contextmanager
def _remote(config: SynthesisConfig) -> Iterator[Engine]:
    from linksyn_gpu.llm.loop import run_anywhere

    assert config.base_url is not None  # SynthesisConfig sees to it
    engine = Engine(config.base_url.rstrip("/"), config.model or "", api_key())
    names = run_anywhere(_models(engine, min(config.timeout, 20.0)))
    if config.model is None:
        if not names:
            raise EngineError(f"{engine.base_url} does not say which models it serves: name one with --model")
        log.info("model %s, the first that %s serves", names[0], engine.base_url)
        engine = Engine(engine.base_url, names[0], engine.api_key)
    elif names and config.model not in names:
        shown = ", ".join(names[:8])
        raise EngineError(f"{engine.base_url} serves no model {config.model!r}; it has: {shown}")
    yield engine


_STARTERS: dict[str, Callable[[SynthesisConfig], AbstractContextManager[Engine]]] = {
    "smol": _embedded,
    "openai": _remote,
}


async def _models(engine: Engine, timeout: float) -> list[str]:
    """Names of the models that a server serves; empty where it does not tell."""
    import aiohttp

    from linksyn_gpu.llm.protocol import error_message
    from linksyn_gpu.llm.transport import open_session

    url = f"{engine.base_url}/models"
    try:
        async with (
            open_session(engine, timeout) as session,
            session.get(url, allow_redirects=False) as response,
        ):
            status, data = response.status, await response.read()
    except (aiohttp.ClientError, OSError) as error:
        said = engine.scrub(str(error)) or type(error).__name__
        raise EngineError(
            f"no server at {engine.base_url} ({said}): start one, for example `vllm serve MODEL`, or mend --base-url"
        ) from None
    if status in (401, 403):
        raise EngineError(
            f"{engine.base_url} refused the API key (HTTP {status}): "
            f"set the environment variable {' or '.join(API_KEY_NAMES)}"
        )
    if status == 404 and not engine.base_url.endswith("/v1"):
        raise EngineError(f"{url} was not found: the address mostly ends in /v1, as {engine.base_url}/v1")
    if status != 200:
        log.warning("%s answered HTTP %s: %s", url, status, engine.scrub(error_message(data)))
        return []
    try:
        rows = json.loads(data)["data"]
        return [str(row["id"]) for row in rows]
    except (ValueError, KeyError, TypeError):
        raise EngineError(f"{url} does not speak the OpenAI protocol: {engine.base_url} is another service?") from None
