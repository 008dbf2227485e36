"""Vectors of texts from a server that speaks the OpenAI embeddings protocol, as vLLM does. Each text is paid for once.

What the server sends is written to a journal before anything is done with it, under the name of the model and the text.
A run that is started again asks only for what is missing, also on another server of the same model.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from linksyn_gpu.errors import EngineError
from linksyn_gpu.llm import API_KEY_NAMES, Engine
from linksyn_gpu.llm.dispatch import run_anywhere
from linksyn_gpu.llm.journal import Journal
from linksyn_gpu.llm.protocol import clip, error_message, to_json
from linksyn_gpu.llm.transport import Broken, Transport, Unreachable

BATCH = 256
IN_FLIGHT = 8
ATTEMPTS = 5
BACKOFF = 1.0  # seconds before the second attempt; doubles with each
LONGEST_WAIT = 60.0
STORED = np.dtype("<f4")


def embed(
    texts: Sequence[str],
    engine: Engine,
    journal: Journal,
    *,
    timeout: float = 300.0,
    on_progress: Callable[[int], None] | None = None,
) -> NDArray[np.float32]:
    """Vectors of texts, [n_texts, dimensions], from the journal where it holds them, from the server where not.

    Parameters
    ----------
    journal : Journal
        Open for appending; it holds vectors only.
    on_progress : callable, optional
        Called with the number of vectors fetched so far.

    Raises
    ------
    EngineError
        The server cannot be reached, refuses, or sends something else. Vectors received before are kept.
    """
    names = [text_id(engine.model, text) for text in texts]
    index = journal.index()
    missing = {name: text for name, text in zip(names, texts, strict=True) if name not in index}
    if missing:
        run_anywhere(_fetch(missing, engine, journal, timeout, on_progress or (lambda fetched: None)))
    return _read(names, engine, journal)


def text_id(model: str, text: str) -> str:
    """Id of a text's vector under a model."""
    return hashlib.sha256(f"{model}\0{text}".encode(errors="surrogatepass")).hexdigest()[:32]


def _read(names: Sequence[str], engine: Engine, journal: Journal) -> NDArray[np.float32]:
    """Vectors by id; equal texts share one."""
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        rows.setdefault(name, []).append(row)
    vectors: NDArray[np.float32] | None = None
    for record in journal.read():
        if record["id"] in rows:
            vector = np.frombuffer(base64.b64decode(record["vector"]), STORED)
            if vectors is None:
                vectors = np.empty((len(names), vector.size), np.float32)
            if vector.size != vectors.shape[1]:
                raise EngineError(
                    f"{engine.base_url}: vectors of model {engine.model!r} have {vectors.shape[1]} numbers and "
                    f"{vector.size}: the name now stands for another model; delete {journal.folder} and run again"
                )
            vectors[rows[record["id"]]] = vector
    return np.empty((0, 0), np.float32) if vectors is None else vectors


async def _fetch(
    missing: dict[str, str], engine: Engine, journal: Journal, timeout: float, progress: Callable[[int], None]
) -> None:
    gate = asyncio.Semaphore(IN_FLIGHT)
    items = list(missing.items())
    done = 0
    async with Transport(engine, timeout) as transport:

        async def ask(part: Sequence[tuple[str, str]]) -> None:
            nonlocal done
            async with gate:
                vectors = await _batch(transport, engine, [text for _, text in part])
            for (name, _), vector in zip(part, vectors, strict=True):
                stored = base64.b64encode(vector.astype(STORED).tobytes()).decode()
                journal.append({"id": name, "kind": "embedding", "model": engine.model, "vector": stored})
            done += len(part)
            progress(done)

        try:
            async with asyncio.TaskGroup() as group:
                for start in range(0, len(items), BATCH):
                    group.create_task(ask(items[start : start + BATCH]))
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None


async def _batch(transport: Transport, engine: Engine, texts: Sequence[str]) -> NDArray[np.float32]:
    """Vectors of one request, in the order of its texts."""
    url = f"{engine.base_url}/embeddings"
    payload = to_json({"model": engine.model, "input": list(texts), "encoding_format": "float"})
    said, wait = "", 0.0
    for attempt in range(ATTEMPTS):
        await asyncio.sleep(wait)
        wait = BACKOFF * 2**attempt
        try:
            reply = await transport.post("embeddings", payload)
        except (Unreachable, Broken, TimeoutError) as error:
            said = engine.scrub(str(error)) or "no whole answer within the time limit"
            continue
        status = reply.status
        wait = max(wait, min(LONGEST_WAIT, reply.retry_after or 0.0))
        if status == 200:
            return _vectors(url, reply.data, texts)
        said = f"HTTP {status}: {engine.scrub(error_message(reply.data))}"
        if status in (401, 403):
            raise EngineError(f"{url} refused the API key ({said}): set {' or '.join(API_KEY_NAMES)}")
        if status < 500 and status not in (408, 429):
            raise EngineError(f"{url}: {said}; is model {engine.model!r} an embedding model that is served there?")
    raise EngineError(
        f"{url}: {said}, {ATTEMPTS} times; vectors received before are kept. Check the server, then run this again"
    )


def _vectors(url: str, data: bytes, texts: Sequence[str]) -> NDArray[np.float32]:
    """[n_texts, dimensions] of an answer, ordered by its indexes as the texts are."""
    try:
        rows = [(row["index"], _numbers(row["embedding"])) for row in json.loads(data)["data"]]
    except (ValueError, KeyError, TypeError, OverflowError):
        raise EngineError(f"{url} does not speak the OpenAI embeddings protocol: {clip(repr(data[:200]))}") from None
    if sorted(place for place, _ in rows) != list(range(len(texts))):
        raise EngineError(f"{url} sent {len(rows)} vectors for {len(texts)} texts, or numbered them wrongly")
    sizes = {vector.size for _, vector in rows}
    if len(sizes) > 1 or 0 in sizes:
        raise EngineError(f"{url} sent vectors of {', '.join(map(str, sorted(sizes)))} numbers in one answer")
    for place, vector in rows:
        if not np.isfinite(vector).all():
            raise EngineError(f"{url} sent a vector with a number that is not finite, for {texts[place][:80]!r}")
    return np.stack([vector for _, vector in sorted(rows, key=lambda row: int(row[0]))])


def _numbers(embedding: object) -> NDArray[np.float32]:
    """A vector from a list of numbers, or from base64 of float32, which some servers send without being asked."""
    if isinstance(embedding, str):
        try:
            return np.frombuffer(base64.b64decode(embedding, validate=True), STORED)
        except binascii.Error as error:
            raise ValueError(str(error)) from None
    if not isinstance(embedding, list) or not all(type(number) in (int, float) for number in embedding):
        raise TypeError("not a list of numbers")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused for that
        return np.array(embedding, np.float64).astype(np.float32)
