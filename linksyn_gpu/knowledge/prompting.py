"""Prompts of this package: Jinja templates to requests in the OpenAI batch format, named by their content.

Templates run in a sandbox; what they print of a bank's texts can neither close the data section nor begin a message.
A user's folder wins file by file, and `default/NAME` still names the package's own for `{% extends %}`.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linksyn_gpu.errors import ConfigError
from linksyn_gpu.prompts import ROLE_MARK, to_data

if TYPE_CHECKING:
    import jinja2

TEMPLATES = Path(__file__).parent / "templates"
URL = "/v1/chat/completions"


def make_request(
    template: str,
    values: Mapping[str, Any],
    schema: Mapping[str, Any],
    *,
    templates: str | None = None,
    model: str = "auto",
    max_tokens: int = 512,
) -> dict[str, Any]:
    """Make a line of the OpenAI batch format; its id is a digest of its content, so one question is asked once.

    Raises
    ------
    ConfigError
        A template cannot be read or rendered; the message names it.
    """
    body: dict[str, Any] = {
        "model": model,
        "messages": render(template, values, templates),
        "temperature": 0.0,
        "max_tokens": max_tokens,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": template.partition(".")[0], "strict": True, "schema": schema},
        },
    }
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode(errors="replace")).digest()
    body["seed"] = int.from_bytes(digest[16:20]) >> 1
    return {"custom_id": digest[:16].hex(), "method": "POST", "url": URL, "body": body}


def render(template: str, values: Mapping[str, Any], templates: str | None = None) -> list[dict[str, str]]:
    """Chat messages of a template."""
    import jinja2

    where = f"template {template} in {templates or TEMPLATES}"
    try:
        text = _environment(templates).get_template(template).render(**values)
    except jinja2.TemplateSyntaxError as error:
        raise ConfigError(f"{error.filename or template}:{error.lineno}: {error.message}") from None
    except (jinja2.TemplateError, OSError, TypeError, ValueError) as error:
        raise ConfigError(f"{where}: {error}") from None
    pieces = ROLE_MARK.split(text)
    if pieces[0].strip() or "user" not in pieces[1::2]:
        raise ConfigError(f"{where} must begin with <system> or <user>")
    messages = zip(pieces[1::2], pieces[2::2], strict=True)
    return [{"role": role, "content": content.strip()} for role, content in messages if content.strip()]


def prompts_digest(templates: str | None = None) -> str:
    """Name the templates of this package, and a user's of the same names, by their content."""
    texts = []
    for path in sorted(TEMPLATES.glob("*.jinja")):
        own = Path(templates) / path.name if templates is not None else path
        texts.append((own if own.is_file() else path).read_text(encoding="utf-8"))
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


@functools.lru_cache(maxsize=4)
def _environment(templates: str | None) -> jinja2.Environment:
    import jinja2
    import jinja2.sandbox
    from markupsafe import Markup

    package = jinja2.FileSystemLoader(TEMPLATES)
    loaders: list[jinja2.BaseLoader] = [package, jinja2.PrefixLoader({"default": package})]
    if templates is not None:
        if not Path(templates).is_dir():
            raise ConfigError(f"templates = {templates!r} is not a folder")
        loaders.insert(0, jinja2.FileSystemLoader(templates))
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        loader=jinja2.ChoiceLoader(loaders), undefined=jinja2.StrictUndefined, autoescape=True,
        trim_blocks=True, lstrip_blocks=True, auto_reload=False,
    )  # fmt: skip
    environment.filters["data"] = lambda value: Markup(to_data(value))
    return environment
