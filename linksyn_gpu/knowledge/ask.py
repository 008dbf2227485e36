"""Ask a running engine about seeds and names through the journal, and read the answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from linksyn_gpu.knowledge.extract.llm import PERCENT, TEMPLATES, share
from linksyn_gpu.llm.asking import NO_ANSWER
from linksyn_gpu.llm.json_answer import read_object
from linksyn_gpu.llm.prompting import content_request, object_schema, render_messages
from linksyn_gpu.llm.protocol import Failure, Outcome
from linksyn_gpu.taxonomy.disciplines import UNKNOWN, Taxonomy

if TYPE_CHECKING:
    from linksyn_gpu.knowledge.merge.units import Unit
    from linksyn_gpu.llm import Engine
    from linksyn_gpu.llm.client import Limits, Stats
    from linksyn_gpu.llm.journal import Journal


@dataclass(frozen=True)
class Asker:
    """An engine, the journal of its answers, and the limits of the client."""

    engine: Engine
    journal: Journal
    limits: Limits
    templates: str | None = None

    def ask(
        self,
        requests: Iterable[Mapping[str, Any]],
        validate: Callable[[str], str | None],
        on_progress: Callable[[Stats], None] | None = None,
    ) -> Stats:
        """Send the requests that have no answer in the journal, each id once."""
        from linksyn_gpu.llm.dispatch import ask_all

        todo = self.journal.index().unsettled(requests)
        return ask_all(todo, self.engine, self.journal, limits=self.limits, validate=validate, on_progress=on_progress)

    def outcomes(self, requests: Iterable[Mapping[str, Any]]) -> Iterator[Outcome]:
        """What the journal holds of each request; a failure with the reason `NO_ANSWER` if that is nothing."""
        for request in requests:
            yield self.journal.outcome(request["custom_id"]) or Failure(request["custom_id"], NO_ANSWER, "")

    def same(self, pairs: Sequence[tuple[Unit, Unit, str]]) -> list[tuple[bool, float] | None]:
        """Whether each pair of units is the same knowledge point: (same?, confidence), or None without an answer."""
        fields = {"same": {"type": "boolean"}, "confidence": PERCENT}
        requests = []
        for left, right, why in pairs:
            values = {"left": _shown(left), "right": _shown(right), "why": why}
            requests.append(self._request("same", values, fields))
        found = []
        for value in self._objects(requests, lambda value: isinstance(value.get("same"), bool)):
            confidence = share(value.get("confidence")) if value else None
            found.append((value["same"], 1.0 if confidence is None else confidence) if value else None)
        return found

    def disciplines(self, labels: Sequence[str], taxonomy: Taxonomy) -> list[str]:
        """Discipline of each label; `UNKNOWN` without a usable answer."""
        choice = [*taxonomy.leaves, UNKNOWN]
        fields = {"discipline": {"enum": choice}, "confidence": PERCENT}
        values = [{"label": label, "disciplines": taxonomy.leaves} for label in labels]
        requests = [self._request("discipline", value, fields) for value in values]
        found = self._objects(requests, lambda value: value.get("discipline") in choice)
        return [value["discipline"] if value else UNKNOWN for value in found]

    def _request(self, template: str, values: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
        messages = render_messages(TEMPLATES, f"{template}.en.jinja", values, self.templates)
        return content_request(messages, template, object_schema(fields), max_tokens=64)

    def _objects(
        self, requests: Sequence[Mapping[str, Any]], fits: Callable[[Mapping[str, Any]], bool]
    ) -> Iterator[dict[str, Any] | None]:
        def validate(text: str) -> str | None:
            value = read_object(text)
            return None if value is not None and fits(value) else "invalid_json"

        self.ask(requests, validate)
        for outcome in self.outcomes(requests):
            value = None if isinstance(outcome, Failure) else read_object(outcome.text)
            yield value if value is not None and fits(value) else None


def _shown(unit: Unit) -> dict[str, Any]:
    return {"name": unit.spelling, "other spellings": list(unit.spellings)[1:4], "fields": sorted(unit.groups)}
