"""Prompts: Jinja templates that turn a bundle of linked seeds into chat messages, and the answer's schema.

Templates run in a sandbox and escape what they print, so the text of a seed can neither close the data section
nor reach Python. A user's folder overrides them by file name; `default/NAME` still names the package's own, so a
template may begin with `{% extends "default/synthesize.en.jinja" %}` and replace single blocks.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linksyn_gpu.errors import ConfigError

if TYPE_CHECKING:
    import jinja2

TEMPLATES = Path(__file__).parent / "templates"
LANGUAGES = ("en", "zh")
ROLE_MARK = re.compile(r"^<(system|user|assistant)>$", re.MULTILINE)
"""A line of its own in a template: what follows is a message of that role."""

# This project's own scale; nothing is published on how LinkSyn defines its levels.
LEVELS: Mapping[str, Mapping[int, str]] = {
    "en": {
        1: "recall or recognise one fact or definition; one step",
        2: "apply one known rule or idea directly to a familiar situation",
        3: "combine two ideas, or follow several routine steps",
        4: "combine several ideas in an unfamiliar situation; choosing the method is part of the task",
        5: "expert level: a long chain of reasoning across ideas, with special cases or a proof, no standard recipe",
    },
    "zh": {
        1: "回忆或辨认一个事实或定义，一步即可",
        2: "在熟悉的情境中直接运用一条规则或一个概念",
        3: "结合两个概念，或完成若干常规步骤",
        4: "在陌生情境中综合多个概念，需要自己选择方法",
        5: "专家水平：跨概念的长链推理，含特殊情形或证明，没有现成套路",
    },
}


@dataclass(frozen=True)
class Task:
    """What one request asks for."""

    seeds: Sequence[Mapping[str, Any]]
    """The linked seeds, as `Seeds.__getitem__` gives them."""
    kp_path: Sequence[str]
    """Knowledge points of the path, in its order."""
    discipline: str | None
    difficulty: int | None
    """Level 1..5, or None: the seeds' own."""
    question_type: str
    """One of `config.QUESTION_TYPES`."""
    language: str
    """'en' or 'zh'."""
    n: int = 1
    """New QA asked for."""


def render(task: Task, templates: str | None = None) -> list[dict[str, str]]:
    """Chat messages for a task.

    Parameters
    ----------
    templates : str, optional
        Folder with the user's own templates, found by file name before the package's.

    Raises
    ------
    ConfigError
        A template is missing, wrong, uses a name that is not there, or tries to leave the sandbox.
    """
    import jinja2

    name = f"synthesize.{task.language}.jinja"
    values = {
        "seeds": [_shown(seed, task.question_type) for seed in task.seeds],
        "kp_path": list(task.kp_path),
        "discipline": task.discipline,
        "difficulty": task.difficulty,
        "level": LEVELS[task.language].get(task.difficulty) if task.difficulty else None,
        "question_type": task.question_type,
        "n": task.n,
    }
    try:
        text = _environment(templates).get_template(name).render(values)
    except jinja2.TemplateNotFound as error:
        raise ConfigError(f"template {error} was not found in {templates or TEMPLATES}") from None
    except jinja2.TemplateSyntaxError as error:
        raise ConfigError(f"{error.filename or name}:{error.lineno}: {error.message}") from None
    except (jinja2.TemplateError, TypeError, ValueError, ZeroDivisionError) as error:
        raise ConfigError(f"template {name} in {templates or TEMPLATES}: {error}") from None
    # Role marks cannot come from a seed: what a template prints of it holds no "<".
    pieces = ROLE_MARK.split(text)
    if pieces[0].strip() or "user" not in pieces[1::2]:
        raise ConfigError(f"template {name} in {templates or TEMPLATES} must begin with <system> or <user>")
    return [
        {"role": role, "content": content.strip()}
        for role, content in zip(pieces[1::2], pieces[2::2], strict=True)
        if content.strip()
    ]


def prompt_digest(templates: str | None = None) -> str:
    """Name the prompts by their content (templates, level definitions, schema): 16 hex digits of SHA-256."""
    return _digest(templates)


def instruction_text(templates: str | None = None) -> str:
    """The fixed words of all templates and levels, without any seed: what an answer must not echo."""
    parts = [re.sub(r"\{%.*?%\}|\{\{.*?\}\}|\{#.*?#\}", "\n", text, flags=re.S) for text in _sources(templates)]
    return "\n".join([*parts, *(text for levels in LEVELS.values() for text in levels.values())])


def answer_schema(task: Task, limit: int | None = None) -> dict[str, Any]:
    """JSON schema of an answer: `{"qa": [...]}` with exactly `task.n` items.

    Parameters
    ----------
    limit : int, optional
        Longest question in characters, and tight bounds on all else (`text_limits`): small models end their
        strings only where a grammar makes them. A text that fills its room was cut off in mid-sentence, which
        `quality.checks` looks for. None: no bounds, and the knowledge points are free.
    """
    text: dict[str, Any] = {"type": "string"}
    kps: dict[str, Any] = {"type": "array", "items": {"type": "string"}}
    question, explanation, answer, option, discipline = text, text, text, text, text
    if (rooms := text_limits(limit)) is not None:
        question, explanation, answer, option = (
            {"type": "string", "maxLength": rooms[name]} for name in ("question", "explanation", "answer", "options")
        )
        names = list(dict.fromkeys(task.kp_path))
        kps = {"type": "array", "items": {"enum": names}, "minItems": 1, "maxItems": min(3, len(names))}
        discipline = {"enum": [task.discipline]} if task.discipline else {"type": "string", "maxLength": 40}
    options = {"type": "array", "items": option, "minItems": 4, "maxItems": 4}
    # The explanation stands before the answer, so that a model without thinking reasons before it decides.
    fields = {
        "question": question,
        "options": options,
        "explanation": explanation,
        "answer": answer,
        "knowledge_points": kps,
        "discipline": discipline,
        "difficulty": {"type": "integer", "minimum": 1, "maximum": 5},
    }
    if task.question_type != "multiple_choice":
        del fields["options"]
    item = {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}
    items = {"type": "array", "items": item, "minItems": task.n, "maxItems": task.n}
    return {
        "type": "object",
        "properties": {"qa": items},
        "required": ["qa"],
        "additionalProperties": False,
    }


def text_limits(limit: int | None) -> dict[str, int] | None:
    """Longest text of each field of an item, in characters, under a schema with `limit`; None: no bounds."""
    if limit is None:
        return None
    return {
        "question": limit,
        "explanation": max(60, 2 * limit // 3),
        "answer": max(60, 2 * limit // 3),
        "options": max(40, limit // 3),
    }


def to_data(value: Any) -> str:
    """JSON that cannot leave a data section: no raw line break, and no '<', '>' or '&' to close a fence or
    to spell a chat template's control token with."""
    text = json.dumps(value, ensure_ascii=False)
    for character in "<>&\x7f\x85\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _shown(seed: Mapping[str, Any], question_type: str) -> dict[str, Any]:
    """What a prompt shows of a seed. Options only where they serve as a model: they are many tokens."""
    parts = ["question", "options", "answer"] if question_type == "multiple_choice" else ["question", "answer"]
    return {part: seed[part] for part in parts if seed.get(part)}


@functools.lru_cache(maxsize=8)
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
        loader=jinja2.ChoiceLoader(loaders),
        undefined=jinja2.StrictUndefined,
        autoescape=True,  # what a template prints without `| data` cannot close a fence either
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters["data"] = lambda value: Markup(to_data(value))
    return environment


def _sources(templates: str | None) -> list[str]:
    folders = [TEMPLATES] if templates is None else [Path(templates), TEMPLATES]
    texts = []
    for folder in folders:
        for path in sorted(folder.glob("*.jinja")):
            try:
                texts.append(path.read_text(encoding="utf-8"))
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigError(f"{path}: cannot be read: {error}") from error
    return texts


@functools.lru_cache(maxsize=8)
def _digest(templates: str | None) -> str:
    sample = Task((), ("a", "b"), "c", 1, "multiple_choice", "en")
    schema = [answer_schema(sample, limit) for limit in (None, 400)]
    content = json.dumps([_sources(templates), {k: dict(v) for k, v in LEVELS.items()}, schema])
    return hashlib.sha256(content.encode()).hexdigest()[:16]
