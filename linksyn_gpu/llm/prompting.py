"""Jinja templates -> chat messages -> lines of the OpenAI batch format, for every kind of prompt.

Templates run in a sandbox and escape what they print: the text of a seed can neither close the data section, nor
begin a message, nor reach Python. A user's folder overrides the package's templates by file name. `default/NAME` is
always the package's own template, for `{% extends "default/judge.en.jinja" %}`.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from json.encoder import encode_basestring, encode_basestring_ascii
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from linksyn_gpu.errors import ConfigError

if TYPE_CHECKING:
    import jinja2

URL = "/v1/chat/completions"
ROLE_MARK = re.compile(r"\n<(system|user|assistant)>(?=\n|\Z)")
"""A line with only this mark in a template: the lines after it are a message of that role."""
_ESCAPES = [(character, f"\\u{ord(character):04x}") for character in "<>&\x7f\x85\u2028\u2029"]
_to_canonical_json = json.JSONEncoder(sort_keys=True).encode

Messages = list[dict[str, str]]


def to_data(value: Any) -> str:
    """JSON that cannot leave a data section.

    It has no raw line break, and no '<', '>' or '&' that could close the section or form a control token of a chat
    template.
    """
    text = _to_json(value)
    for character, escape in _ESCAPES:
        if character in text:
            text = text.replace(character, escape)
    return text


def _to_json(value: Any) -> str:
    """`json.dumps(value, ensure_ascii=False)`, five times as fast: it makes no encoder for each call."""
    kind = type(value)
    if kind is str:
        return encode_basestring(value)
    if kind is list:
        return f"[{', '.join([_to_json(item) for item in value])}]"
    if kind is dict and all([type(key) is str for key in value]):
        return f"{{{', '.join([f'{encode_basestring(key)}: {_to_json(item)}' for key, item in value.items()])}}}"
    return json.dumps(value, ensure_ascii=False)


def render_messages(package: Path, name: str, values: Mapping[str, Any], templates: str | None = None) -> Messages:
    """Chat messages of the template `name`.

    Parameters
    ----------
    package : Path
        Folder with the package's templates.
    templates : str, optional
        Folder with the user's own templates, found by file name before the package's.

    Raises
    ------
    ConfigError
        A template is missing, has a syntax error, uses an unknown name, or tries to leave the sandbox.
    """
    import jinja2

    where = templates or package
    try:
        text = _template(package, templates, name).render(values)
    except jinja2.TemplateNotFound as error:
        raise ConfigError(f"template {error} was not found in {where}") from None
    except jinja2.TemplateSyntaxError as error:
        raise ConfigError(f"{error.filename or name}:{error.lineno}: {error.message}") from None
    except (
        jinja2.TemplateError,
        ArithmeticError,
        AttributeError,
        LookupError,
        OSError,
        TypeError,
        ValueError,
    ) as error:
        raise ConfigError(f"template {name} in {where}: {error}") from None
    # Role marks cannot come from a seed: printed values contain no "<".
    pieces = ROLE_MARK.split(f"\n{text}")
    if pieces[0].strip() or "user" not in pieces[1::2]:
        raise ConfigError(f"template {name} in {where} must begin with <system> or <user>")
    messages = zip(pieces[1::2], pieces[2::2], strict=True)
    return [{"role": role, "content": content.strip()} for role, content in messages if content.strip()]


def content_request(
    messages: Messages,
    name: str,
    schema: Mapping[str, Any],
    *,
    model: str = "auto",
    max_tokens: int = 512,
    temperature: float = 0.0,
    top_p: float | None = None,
    number: int | None = None,
    limit_in_id: int | None = None,
) -> dict[str, Any]:
    """Make a line of the OpenAI batch format.

    The id and the sampling seed are digests of the content: the same request has the same id in every run, so its
    answer is found again instead of being paid for twice.

    Parameters
    ----------
    name : str
        Name of the schema, for the server.
    number : int, optional
        Distinguishes requests of the same content that must be answered independently.
    limit_in_id : int, optional
        Counts for the id instead of `max_tokens`, which may then change without losing answers.
    """
    body: dict[str, Any] = {
        "model": model,
        "messages": messages,
        "temperature": temperature,
        **({} if top_p is None else {"top_p": top_p}),
        "max_tokens": max_tokens,
        "response_format": _response_format(name, schema),
    }
    limit = max_tokens if limit_in_id is None else limit_in_id
    before, after = _canonical_parts(limit, model, temperature, top_p, name, orjson.dumps(schema))
    content = f"{before}{', '.join([_canonical_message(message) for message in messages])}{after}"
    if number is not None:
        content = f"[{number}, {content}]"
    digest = hashlib.sha256(content.encode()).digest()
    body["seed"] = int.from_bytes(digest[16:20]) >> 1
    return {"custom_id": digest[:16].hex(), "method": "POST", "url": URL, "body": body}


def _response_format(name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": name, "strict": True, "schema": schema}}


@functools.lru_cache(maxsize=64, typed=True)  # typed: 1 and 1.0 are written differently
def _canonical_parts(
    max_tokens: int, model: str, temperature: float, top_p: float | None, name: str, schema: bytes
) -> tuple[str, str]:
    """Canonical JSON of a body, in front of its messages and behind them: it is the same for all requests of a kind."""
    body = {
        "model": model,
        "messages": [],
        "temperature": temperature,
        **({} if top_p is None else {"top_p": top_p}),
        "max_tokens": max_tokens,
        "response_format": _response_format(name, orjson.loads(schema)),
    }
    before, after = _to_canonical_json(body).split('"messages": []', 1)
    return f'{before}"messages": [', f"]{after}"


def _canonical_message(message: Mapping[str, str]) -> str:
    content, role = (encode_basestring_ascii(message[part]) for part in ("content", "role"))
    return f'{{"content": {content}, "role": {role}}}'


def object_schema(fields: Mapping[str, Any]) -> dict[str, Any]:
    """JSON schema of an object with exactly these fields, in this order."""
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}


def prompt_chars(messages: Sequence[Mapping[str, str]]) -> int:
    """Length of a prompt in characters."""
    return sum(len(message["content"]) for message in messages)


def read_templates(folder: Path, pattern: str = "*.jinja") -> list[tuple[str, str]]:
    """(name, text) of each template in a folder, sorted by name.

    Raises
    ------
    ConfigError
        A template cannot be read.
    """
    texts = []
    for path in sorted(folder.glob(pattern)):
        try:
            texts.append((path.name, path.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: cannot be read: {error}") from error
    return texts


def stage_templates(
    folders: Sequence[Path], kinds: Collection[str], templates: str | None, other_kinds: Collection[str]
) -> list[str]:
    """Texts of the templates that a stage uses: the user's, then the package's.

    Parameters
    ----------
    folders : sequence of Path
        Folders of the package.
    kinds : collection of str
        The stage's own kinds; the kind is the file name up to the first dot.
    templates : str, optional
        Folder with the user's own templates. All of them count, except those of `other_kinds`: a template may include
        others.
    """
    own = [] if templates is None else read_templates(Path(templates))
    packaged = sorted(found for folder in folders for found in read_templates(folder))
    texts = [text for name, text in own if name.partition(".")[0] not in other_kinds]
    return texts + [text for name, text in packaged if name.partition(".")[0] in kinds]


def prompt_digest(content: str) -> str:
    """Identify prompts by their content: 16 hex digits of SHA-256."""
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def fixed_words(template: str) -> str:
    """The words of a template that appear in every prompt made from it."""
    return re.sub(r"\{%.*?%\}|\{\{.*?\}\}|\{#.*?#\}", "\n", template, flags=re.S)


@functools.lru_cache(maxsize=64)
def _template(package: Path, templates: str | None, name: str) -> jinja2.Template:
    template = _environment(package, templates).get_template(name)
    template.globals = dict(template.globals)  # Jinja copies it for each prompt, and a ChainMap is slow to copy
    return template


@functools.lru_cache(maxsize=16)
def _environment(package: Path, templates: str | None) -> jinja2.Environment:
    import jinja2
    import jinja2.sandbox
    from markupsafe import Markup

    own = jinja2.FileSystemLoader(package)
    loaders: list[jinja2.BaseLoader] = [own, jinja2.PrefixLoader({"default": own})]
    if templates is not None:
        if not Path(templates).is_dir():
            raise ConfigError(f"templates = {templates!r} is not a folder")
        loaders.insert(0, jinja2.FileSystemLoader(templates))
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        loader=jinja2.ChoiceLoader(loaders),
        undefined=jinja2.StrictUndefined,
        autoescape=True,  # a value printed without `| data` cannot close the data section either
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters["data"] = lambda value: Markup(to_data(value))
    return environment
