"""Exact numbers of prompt tokens, without asking for an answer: by a running server, or by a tokenizer.json."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from linksyn_gpu.errors import ConfigError, EngineError
from linksyn_gpu.llm import Engine
from linksyn_gpu.llm.dispatch import run_anywhere
from linksyn_gpu.llm.protocol import read_json, to_json
from linksyn_gpu.llm.transport import Broken, Transport, Unreachable

IN_FLIGHT = 8
TIMEOUT = 60.0
NOT_OFFERED = (404, 405, 501)
"""Statuses of a server that has no such address."""

Messages = Sequence[dict[str, Any]]


def count_on_server(prompts: Sequence[Messages], engine: Engine) -> list[int] | None:
    """Tokens of each prompt with the model's chat template, as the server counts them; None: it does not offer that.

    vLLM: POST /tokenize with the messages gives 'count'. llama.cpp: POST /apply-template gives the text, and POST
    /tokenize its tokens. Both addresses are outside /v1.

    Raises
    ------
    EngineError
        The server cannot be reached, or refuses.
    """

    async def count() -> list[int] | None:
        root = replace(engine, base_url=re.sub(r"/v\d+/?$", "", engine.base_url))
        async with Transport(root, TIMEOUT) as transport:
            if not prompts or await _count(transport, engine, prompts[0]) is None:
                return None
            places = asyncio.Semaphore(IN_FLIGHT)

            async def one(messages: Messages) -> int:
                async with places:
                    found = await _count(transport, engine, messages)
                if found is None:
                    raise EngineError(f"{engine.base_url}: the server counted the tokens of some prompts only")
                return found

            return list(await asyncio.gather(*map(one, prompts)))

    return run_anywhere(count())


async def _count(transport: Transport, engine: Engine, messages: Messages) -> int | None:
    """Tokens of one prompt; None: the server does not offer to count them."""
    model = {"model": engine.model} if engine.model else {}
    by_messages = await _post(transport, engine, "tokenize", {**model, "messages": messages})
    if isinstance(n := by_messages.get("count"), int):
        return n
    text = (await _post(transport, engine, "apply-template", {"messages": messages})).get("prompt")
    if not isinstance(text, str):
        return None
    body = {"content": text, "add_special": True, "parse_special": True}
    tokens = (await _post(transport, engine, "tokenize", body)).get("tokens")
    return len(tokens) if isinstance(tokens, list) else None


async def _post(transport: Transport, engine: Engine, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """The reply as an object; empty if the server has no such address or does not know the fields."""
    try:
        reply = await transport.post(path, to_json(body))
    except (Unreachable, Broken, TimeoutError) as error:
        raise EngineError(f"{engine.base_url}: the server does not count tokens: {error or 'no reply'}") from error
    if reply.status in NOT_OFFERED or reply.status in (400, 422):
        return {}
    try:
        value = read_json(reply.data)
    except ValueError:
        return {}  # a page of another server
    if reply.status != 200:
        raise EngineError(f"{engine.base_url}: POST /{path} gave HTTP {reply.status}")
    return value if isinstance(value, dict) else {}


def count_with_file(prompts: Sequence[Messages], tokenizer: str | Path) -> list[int]:
    """Tokens of the texts of each prompt by a tokenizer.json; the few tokens of the chat template are not included.

    Raises
    ------
    ConfigError
        The file or the package tokenizers is missing.
    """
    try:
        from tokenizers import Tokenizer
    except ModuleNotFoundError as error:
        raise ConfigError("tokenizer needs the package tokenizers: pip install 'linksyn-gpu[plan]'") from error
    path = Path(tokenizer)
    if not path.is_file():
        raise ConfigError(f"tokenizer = '{path}' is not a file; pass the tokenizer.json of the model")
    try:
        loaded = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except Exception as error:  # the package raises bare Exception for a damaged file
        raise ConfigError(f"tokenizer = '{path}' is not a tokenizer.json: {error}") from error
    texts = ["\n".join(str(message["content"]) for message in prompt) for prompt in prompts]
    return [len(found.ids) for found in loaded.encode_batch_fast(texts, add_special_tokens=False)]
