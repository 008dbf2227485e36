"""Vectors of texts from a server that speaks the OpenAI embeddings protocol, as vLLM does. Each text is paid for once.

What the server sends is written to a journal before anything is done with it, under the name of the model and the text.
A run that is started again asks only for what is missing, also on another server of the same model.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import itertools
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from linksyn_gpu.errors import EngineError
from linksyn_gpu.llm import API_KEY_NAMES, Engine
from linksyn_gpu.llm.dispatch import run_anywhere
from linksyn_gpu.llm.journal import Journal
from linksyn_gpu.llm.protocol import clip, to_json
from linksyn_gpu.llm.refusals import Kind, read_refusal
from linksyn_gpu.llm.transport import Broken, Transport, Unreachable

log = logging.getLogger(__name__)

BATCH = 256
IN_FLIGHT = 8
ATTEMPTS = 5
BACKOFF = 1.0  # seconds before the second attempt; doubles with each
LONGEST_WAIT = 60.0
MOST_REFUSED = 8
"""Texts that a server may refuse before it accepts the first one."""
STORED = np.dtype("<f4")


@dataclass(frozen=True)
class Embedded:
    """Vectors of those texts that have one."""

    rows: NDArray[np.int64]
    """[n] rows of the texts, ascending. The server refuses the others, for example because they are too long."""
    vectors: NDArray[np.float32]
    """[n, dimensions]"""


def embed(
    texts: Sequence[str],
    engine: Engine,
    journal: Journal,
    *,
    timeout: float = 300.0,
    on_progress: Callable[[int], None] | None = None,
) -> Embedded:
    """Vectors of texts, from the journal where it holds them, from the server where not.

    A batch that the server refuses is halved until it is accepted, or until one text is left, which then has no vector.

    Parameters
    ----------
    journal : Journal
        Open for appending; it holds vectors only.
    on_progress : callable, optional
        Called with the number of texts done so far.

    Raises
    ------
    EngineError
        The server cannot be reached, refuses everything, or sends something else. Vectors received before are kept.
    """
    names = [text_id(engine.model, text) for text in texts]
    index = journal.index()
    missing = {name: text for name, text in zip(names, texts, strict=True) if name not in index}
    if missing:

        async def fetch() -> None:
            async with Transport(engine, timeout) as transport:
                await _Fetch(transport, engine, journal, on_progress or (lambda done: None)).run(missing)

        run_anywhere(fetch())
    return _read(names, engine, journal)


def text_id(model: str, text: str) -> str:
    """Id of a text's vector under a model."""
    return hashlib.sha256(f"{model}\0{text}".encode(errors="surrogatepass")).hexdigest()[:32]


def _read(names: Sequence[str], engine: Engine, journal: Journal) -> Embedded:
    """Vectors by id; equal texts share one."""
    places: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        places.setdefault(name, []).append(row)
    vectors = np.empty((0, 0), np.float32)
    have = np.zeros(len(names), bool)
    for record in journal.read():
        if record["id"] in places and record["vector"] is not None:
            vector = np.frombuffer(base64.b64decode(record["vector"]), STORED)
            if not vectors.size:
                vectors = np.empty((len(names), vector.size), np.float32)
            if vector.size != vectors.shape[1]:
                raise EngineError(
                    f"{engine.base_url}: vectors of model {engine.model!r} have {vectors.shape[1]} numbers and "
                    f"{vector.size}: the name now stands for another model; delete {journal.folder} and run again"
                )
            vectors[places[record["id"]]] = vector
            have[places[record["id"]]] = True
    return Embedded(np.flatnonzero(have), vectors[have] if vectors.size else vectors)


class _Fetch:
    """Asks for vectors, `IN_FLIGHT` batches at a time."""

    def __init__(
        self, transport: Transport, engine: Engine, journal: Journal, on_progress: Callable[[int], None]
    ) -> None:
        self._transport, self._engine, self._journal, self._on_progress = transport, engine, journal, on_progress
        self._size = BATCH
        self._done = self._accepted = 0
        self._refused: list[str] = []
        self._last_refusal = ""

    async def run(self, missing: dict[str, str]) -> None:
        items = iter(missing.items())

        async def work() -> None:
            while part := list(itertools.islice(items, self._size)):
                await self._fetch(part)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(IN_FLIGHT):
                    group.create_task(work())
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        if not self._accepted:
            raise EngineError(self._all_refused())
        for name in self._refused:
            self._store(name, None)

    async def _fetch(self, part: Sequence[tuple[str, str]]) -> bool:
        """Fetch a batch, in parts where the server refuses it whole; whether every text has a vector."""
        texts = [text for _, text in part]
        vectors = await self._ask(texts)
        if isinstance(vectors, str) and len(part) > 1:
            half = (len(part) + 1) // 2
            first, second = await self._fetch(part[:half]), await self._fetch(part[half:])
            if first and second:  # no text was refused, hence there were too many
                self._size = min(self._size, half)
            return first and second
        if isinstance(vectors, str):
            self._refused.append(part[0][0])
            self._last_refusal = vectors
            if not self._accepted and len(self._refused) >= MOST_REFUSED:
                raise EngineError(self._all_refused())
            log.warning("%s: no vector for %r (%s)", self._engine.base_url, texts[0][:60], vectors)
        else:
            self._accepted += len(part)
            for (name, _), vector in zip(part, vectors, strict=True):
                self._store(name, base64.b64encode(vector.astype(STORED).tobytes()).decode())
        self._done += len(part)
        self._on_progress(self._done)
        return not isinstance(vectors, str)

    def _store(self, name: str, vector: str | None) -> None:
        self._journal.append({"id": name, "kind": "embedding", "model": self._engine.model, "vector": vector})

    def _all_refused(self) -> str:
        return (
            f"{self._engine.base_url}/embeddings: {self._last_refusal}; is model {self._engine.model!r} an embedding "
            "model that is served there?"
        )

    async def _ask(self, texts: Sequence[str]) -> NDArray[np.float32] | str:
        """Vectors of one request, in the order of its texts; or the server's words when it refuses the texts."""
        url = f"{self._engine.base_url}/embeddings"
        body = {"model": self._engine.model, "input": list(texts), "encoding_format": "float"}
        payload = to_json(body)
        said, wait = "", 0.0
        for attempt in range(ATTEMPTS):
            await asyncio.sleep(wait)
            wait = BACKOFF * 2**attempt
            try:
                reply = await self._transport.post("embeddings", payload)
            except (Unreachable, Broken, TimeoutError) as error:
                said = str(error) or "no whole answer within the time limit"
                continue
            if reply.status == 200:
                return _vectors(url, reply.data, texts)
            wait = max(wait, min(LONGEST_WAIT, reply.retry_after or 0.0))
            refusal = read_refusal(reply.status, reply.data, body, reply.retry_after)
            said = refusal.message
            if refusal.kind in (Kind.WAIT, Kind.RETRY):
                continue
            if reply.status in (401, 403):
                raise EngineError(f"{url} refused the API key ({said}): set {' or '.join(API_KEY_NAMES)}")
            if reply.status in (400, 413, 422) and refusal.kind is not Kind.SETUP:
                return said
            raise EngineError(
                f"{url}: {said}; is model {self._engine.model!r} an embedding model that is served there?"
            )
        raise EngineError(
            f"{url}: {said}, {ATTEMPTS} times; vectors received before are kept. Check the server, then run this again"
        )


def _vectors(url: str, data: bytes, texts: Sequence[str]) -> NDArray[np.float32]:
    """[n_texts, dimensions] of an answer, ordered by its indexes as the texts are."""
    try:
        rows = [(row["index"], _numbers(row["embedding"])) for row in json.loads(data)["data"]]
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
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
