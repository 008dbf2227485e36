"""Vectors of texts from a server that speaks the OpenAI embeddings protocol (vLLM does), each text paid for once.

What came back is in a journal before anything is done with it, under the name of the model and the text: a run that is
started again asks for the rest alone, and another server of the same model is not asked again either.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Sequence

import aiohttp
import numpy as np
from numpy.typing import NDArray

from linksyn_gpu.errors import EngineError
from linksyn_gpu.llm import API_KEY_NAMES, Engine
from linksyn_gpu.llm.journal import Journal
from linksyn_gpu.llm.loop import run_anywhere
from linksyn_gpu.llm.protocol import clip, error_message
from linksyn_gpu.llm.transport import open_session

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
    """Vectors of texts, [n_texts, dimensions], as the server gives them; the journal's where it has them.

    Parameters
    ----------
    journal : Journal
        Open for appending; holds nothing but vectors.
    on_progress : callable, optional
        Told how many vectors have been fetched.

    Raises
    ------
    EngineError
        The server cannot be reached, refuses, or answers with something else; vectors that came before are kept.
    """
    names = [text_id(engine.model, text) for text in texts]
    index = journal.index()
    missing = {name: text for name, text in zip(names, texts, strict=True) if name not in index}
    if missing:
        run_anywhere(_fetch(missing, engine, journal, timeout, on_progress or (lambda fetched: None)))
    return _read(names, engine, journal)


def text_id(model: str, text: str) -> str:
    """Name of a text's vector under a model."""
    return hashlib.sha256(f"{model}\0{text}".encode(errors="surrogatepass")).hexdigest()[:32]


def _read(names: Sequence[str], engine: Engine, journal: Journal) -> NDArray[np.float32]:
    """Vectors by name; equal texts have one."""
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
                    f"{vector.size}: another model goes by its name now; delete {journal.folder} and run again"
                )
            vectors[rows[record["id"]]] = vector
    return np.empty((0, 0), np.float32) if vectors is None else vectors


async def _fetch(
    missing: dict[str, str], engine: Engine, journal: Journal, timeout: float, progress: Callable[[int], None]
) -> None:
    gate = asyncio.Semaphore(IN_FLIGHT)
    items = list(missing.items())
    done = 0
    async with open_session(engine, timeout) as session:

        async def ask(part: Sequence[tuple[str, str]]) -> None:
            nonlocal done
            async with gate:
                vectors = await _batch(session, engine, [text for _, text in part])
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


async def _batch(session: aiohttp.ClientSession, engine: Engine, texts: Sequence[str]) -> NDArray[np.float32]:
    """Vectors of one request, in the order of its texts."""
    url = f"{engine.base_url}/embeddings"
    payload = json.dumps({"model": engine.model, "input": list(texts), "encoding_format": "float"})
    said, wait = "", 0.0
    for attempt in range(ATTEMPTS):
        await asyncio.sleep(wait)
        wait = BACKOFF * 2**attempt
        try:
            async with session.post(url, data=payload, allow_redirects=False) as response:
                status, data = response.status, await response.read()
                wait = max(wait, _seconds(response.headers.get("Retry-After")))
        except TimeoutError:
            said = f"no whole answer in {session.timeout.total:.0f} seconds"
            continue
        except (aiohttp.ClientError, OSError) as error:
            said = engine.scrub(str(error)) or type(error).__name__
            continue
        if status == 200:
            return _vectors(url, data, texts)
        said = f"HTTP {status}: {engine.scrub(error_message(data))}"
        if status in (401, 403):
            raise EngineError(f"{url} refused the API key ({said}): set {' or '.join(API_KEY_NAMES)}")
        if status < 500 and status not in (408, 429):
            raise EngineError(f"{url}: {said}; is model {engine.model!r} an embedding model that is served there?")
    raise EngineError(
        f"{url}: {said}, {ATTEMPTS} times; vectors that came before are kept: see to the server, then run this again"
    )


def _vectors(url: str, data: bytes, texts: Sequence[str]) -> NDArray[np.float32]:
    """[n_texts, dimensions] of an answer, brought into the order of the texts by its indexes."""
    try:
        rows = [(row["index"], _numbers(row["embedding"])) for row in json.loads(data)["data"]]
    except (ValueError, KeyError, TypeError, OverflowError):
        raise EngineError(f"{url} does not speak the OpenAI embeddings protocol: {clip(repr(data[:200]))}") from None
    if sorted(place for place, _ in rows) != list(range(len(texts))):
        raise EngineError(f"{url} sent {len(rows)} vectors for {len(texts)} texts, or numbered them otherwise")
    sizes = {vector.size for _, vector in rows}
    if len(sizes) > 1 or 0 in sizes:
        raise EngineError(f"{url} sent vectors of {', '.join(map(str, sorted(sizes)))} numbers in one answer")
    for place, vector in rows:
        if not np.isfinite(vector).all():
            raise EngineError(f"{url} sent a vector with a number that is not finite, for {texts[place][:80]!r}")
    return np.stack([vector for _, vector in sorted(rows, key=lambda row: int(row[0]))])


def _numbers(embedding: object) -> NDArray[np.float32]:
    """A vector as a list of numbers, or as base64 of little-endian singles, which some servers send unasked."""
    if isinstance(embedding, str):
        try:
            return np.frombuffer(base64.b64decode(embedding, validate=True), STORED)
        except binascii.Error as error:
            raise ValueError(str(error)) from None
    if not isinstance(embedding, list) or not all(type(number) in (int, float) for number in embedding):
        raise TypeError("no list of numbers")
    with np.errstate(over="ignore"):  # what single precision cannot hold becomes infinite, and is refused for that
        return np.array(embedding, np.float64).astype(np.float32)


def _seconds(retry_after: str | None) -> float:
    """Seconds of a Retry-After header; 0 for a date or what is no number, where one's own patience must do."""
    try:
        return min(LONGEST_WAIT, max(0.0, float(retry_after or 0)))
    except ValueError:
        return 0.0
