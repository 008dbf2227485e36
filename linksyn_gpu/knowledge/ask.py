"""Asks a running engine through the journal, and reads back what it said: an answer's text, or why there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from linksyn_gpu.knowledge.extract.llm import share
from linksyn_gpu.knowledge.prompting import make_request
from linksyn_gpu.llm.json_answer import read_object
from linksyn_gpu.llm.prompting import object_schema
from linksyn_gpu.taxonomy.disciplines import UNKNOWN, Taxonomy

if TYPE_CHECKING:
    from linksyn_gpu.knowledge.merge.units import Unit
    from linksyn_gpu.llm import Engine
    from linksyn_gpu.llm.client import Limits, Stats
    from linksyn_gpu.llm.journal import Journal

Request = Mapping[str, Any]
PERCENT = {"type": "integer", "minimum": 0, "maximum": 100}


@dataclass(frozen=True)
class Answer:
    """What a request came to: a text, or a reason with its detail."""

    text: str | None
    reason: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Asker:
    """An engine, the journal of its answers, and how hard to try."""

    engine: Engine
    journal: Journal
    limits: Limits
    templates: str | None = None

    def ask(
        self,
        requests: Iterable[Request],
        validate: Callable[[str], str | None],
        on_progress: Callable[[Stats], None] | None = None,
    ) -> Stats:
        """Ask what the journal has no answer for."""
        from linksyn_gpu.llm.dispatch import ask_all

        todo = self.journal.index().unsettled(requests)
        return ask_all(todo, self.engine, self.journal, limits=self.limits, validate=validate, on_progress=on_progress)

    def same(self, pairs: Sequence[tuple[Unit, Unit, str]]) -> list[tuple[bool, float] | None]:
        """Ask of each pair of units whether they are one: (same?, confidence), or None without a usable answer."""
        fields = {"same": {"type": "boolean"}, "confidence": PERCENT}
        requests = []
        for left, right, why in pairs:
            values = {"left": _shown(left), "right": _shown(right), "why": why}
            requests.append(self._request("same.en.jinja", values, fields))
        found = []
        for value in self._objects(requests, lambda value: isinstance(value.get("same"), bool)):
            confidence = share(value.get("confidence")) if value else None
            found.append((value["same"], 1.0 if confidence is None else confidence) if value else None)
        return found

    def disciplines(self, labels: Sequence[str], taxonomy: Taxonomy) -> list[str]:
        """Ask to which discipline each label belongs; `UNKNOWN` without a usable answer."""
        choice = [*taxonomy.leaves, UNKNOWN]
        fields = {"discipline": {"enum": choice}, "confidence": PERCENT}
        values = [{"label": label, "disciplines": taxonomy.leaves} for label in labels]
        requests = [self._request("discipline.en.jinja", value, fields) for value in values]
        found = self._objects(requests, lambda value: value.get("discipline") in choice)
        return [value["discipline"] if value else UNKNOWN for value in found]

    def _request(self, template: str, values: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
        return make_request(template, values, object_schema(fields), templates=self.templates, max_tokens=64)

    def _objects(
        self, requests: Sequence[Request], fits: Callable[[Mapping[str, Any]], bool]
    ) -> Iterator[dict[str, Any] | None]:
        def validate(text: str) -> str | None:
            value = read_object(text)
            return None if value is not None and fits(value) else "invalid_json"

        self.ask(requests, validate)
        for answer in read_answers(requests, self.journal):
            value = read_object(answer.text) if answer.text is not None else None
            yield value if value is not None and fits(value) else None


def read_answers(requests: Iterable[Request], journal: Journal) -> Iterator[Answer]:
    """For each request what the journal holds of it."""
    from linksyn_gpu.llm.protocol import Failure, from_record

    index = journal.index()
    for request in requests:
        record = journal.get(request["custom_id"], index)
        if record is None:
            yield Answer(None, "no_answer")
            continue
        outcome = from_record(record)
        if isinstance(outcome, Failure):
            yield Answer(None, outcome.reason, outcome.detail)
        else:
            yield Answer(outcome.text)


def _shown(unit: Unit) -> dict[str, Any]:
    return {"name": unit.spelling, "other spellings": list(unit.spellings)[1:4], "fields": sorted(unit.groups)}
