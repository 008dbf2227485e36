"""Vectors of texts from a server that speaks the OpenAI embeddings protocol (vLLM does)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

import aiohttp
import numpy as np
from numpy.typing import NDArray

from linksyn_gpu.errors import EngineError
from linksyn_gpu.llm import Engine
from linksyn_gpu.llm.loop import run_anywhere
from linksyn_gpu.llm.protocol import error_message
from linksyn_gpu.llm.transport import open_session

BATCH = 256
IN_FLIGHT = 8
ATTEMPTS = 4


def embed(texts: Sequence[str], engine: Engine, *, timeout: float = 300.0) -> NDArray[np.float32]:
    """Vectors of unit length, [n_texts, dimensions].

    Raises
    ------
    EngineError
        The server cannot be reached, refuses, or answers with something else.
    """
    return run_anywhere(_embed(texts, engine, timeout))


async def _embed(texts: Sequence[str], engine: Engine, timeout: float) -> NDArray[np.float32]:
    gate = asyncio.Semaphore(IN_FLIGHT)
    async with open_session(engine, timeout) as session:

        async def ask(start: int) -> NDArray[np.float32]:
            async with gate:
                return await _batch(session, engine, texts[start : start + BATCH])

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(ask(start)) for start in range(0, len(texts), BATCH)]
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None
    parts = [task.result() for task in tasks]
    if not parts:
        return np.empty((0, 0), np.float32)
    vectors = np.concatenate(parts)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(norms, 1e-12), np.float32)


async def _batch(session: aiohttp.ClientSession, engine: Engine, texts: Sequence[str]) -> NDArray[np.float32]:
    url = f"{engine.base_url}/embeddings"
    said = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            await asyncio.sleep(0.5 * 2**attempt)
        try:
            payload = json.dumps({"model": engine.model, "input": list(texts)})
            async with session.post(url, data=payload, allow_redirects=False) as response:
                status, data = response.status, await response.read()
        except (aiohttp.ClientError, OSError) as error:
            said = engine.scrub(str(error)) or type(error).__name__
            continue
        if status == 200:
            return _vectors(url, data, len(texts))
        said = f"HTTP {status}: {engine.scrub(error_message(data))}"
        if status < 500 and status not in (408, 429):
            break
    raise EngineError(f"{url}: {said}; is an embedding model served there?")


def _vectors(url: str, data: bytes, n: int) -> NDArray[np.float32]:
    try:
        rows = sorted(json.loads(data)["data"], key=lambda row: int(row["index"]))
        vectors = np.array([row["embedding"] for row in rows], np.float32)
    except (ValueError, KeyError, TypeError):
        raise EngineError(f"{url} does not speak the OpenAI embeddings protocol") from None
    if vectors.ndim != 2 or len(vectors) != n:
        raise EngineError(f"{url} sent {len(vectors)} vectors for {n} texts")
    return vectors
