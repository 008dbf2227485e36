"""Ask a running engine about seeds and names through the journal, and read the answers."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from linksyn_gpu.errors import EngineError
from linksyn_gpu.knowledge.extract.llm import PERCENT, TEMPLATES, share
from linksyn_gpu.llm.asking import NO_ANSWER, is_pending
from linksyn_gpu.llm.json_answer import read_object
from linksyn_gpu.llm.prompting import content_request, object_schema, render_messages
from linksyn_gpu.llm.protocol import Failure, Outcome
from linksyn_gpu.taxonomy.disciplines import UNKNOWN, Taxonomy

if TYPE_CHECKING:
    from linksyn_gpu.config import SynthesisConfig
    from linksyn_gpu.knowledge.merge.units import Unit
    from linksyn_gpu.llm import Engine
    from linksyn_gpu.llm.budget import Budget
    from linksyn_gpu.llm.client import Stats
    from linksyn_gpu.llm.journal import Journal


class Asker:
    """Asks through the journal, within the budget, and counts what is pending and what the answers cost.

    Parameters
    ----------
    start : callable
        Returns the running engine; called only when there is something to ask.
    journal : Journal
    config : SynthesisConfig
        Settings of the requests and of the client.
    budget : Budget
        What may still be asked.
    """

    def __init__(self, start: Callable[[], Engine], journal: Journal, config: SynthesisConfig, budget: Budget) -> None:
        self._start, self._journal, self._config, self._budget = start, journal, config, budget
        self._read: set[str] = set()
        self._spent = Counter[str]()
        self.pending = Counter[str]()
        """Requests that a later call asks again, by reason."""
        self.stopped: str | None = None
        """Message of an engine that failed after it had started."""

    def ask(
        self,
        requests: Iterable[Mapping[str, Any]],
        validate: Callable[[str], str | None],
        stats: Stats | None = None,
        on_progress: Callable[[Stats], None] | None = None,
    ) -> None:
        """Send the requests that have no answer in the journal, each id once. After a failure nothing more is sent.

        Parameters
        ----------
        stats : Stats, optional
            The running figures; those of earlier calls are added to.

        Raises
        ------
        EngineError
            The engine could not be started or reached at all.
        """
        from linksyn_gpu.llm.client import Limits
        from linksyn_gpu.llm.dispatch import ask_all

        index = self._journal.index()
        todo = index.unsettled(requests)
        first = next(todo, None)
        if first is None or self.stopped is not None or self._budget.refuses(known=first["custom_id"] in index):
            return
        engine = self._start()
        try:
            ask_all(
                itertools.chain([first], todo),
                engine,
                self._journal,
                limits=Limits.of(self._config, engine),
                validate=validate,
                budget=self._budget,
                stats=stats,
                on_progress=on_progress,
            )
        except EngineError as error:
            self.stopped = str(error)

    def outcomes(self, requests: Iterable[Mapping[str, Any]]) -> Iterator[Outcome]:
        """What the journal holds of each request; a failure with the reason `NO_ANSWER` if that is nothing."""
        for request in requests:
            name = request["custom_id"]
            outcome = self._journal.outcome(name) or Failure(name, NO_ANSWER, "")
            if name not in self._read:
                self._read.add(name)
                self._count(outcome)
            yield outcome

    def _count(self, outcome: Outcome) -> None:
        if isinstance(outcome, Failure) and is_pending(outcome):
            self.pending[outcome.reason] += 1
        else:
            self._spent["requests_answered"] += 1
            self._spent["prompt_tokens"] += outcome.prompt_tokens
            self._spent["completion_tokens"] += outcome.completion_tokens

    def counts(self) -> dict[str, Any]:
        """Answers that were read and their tokens, and what is pending and why."""
        spent = {name: self._spent[name] for name in ("requests_answered", "prompt_tokens", "completion_tokens")}
        found: dict[str, Any] = {**spent, "pending": self.pending.total(), "pending_reasons": dict(self.pending)}
        if found["pending"] and self.stopped is not None:
            found["stopped"] = self.stopped
        if found["pending"] and self._budget.met is not None:
            found["bound"] = self._budget.met
        return found

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
        messages = render_messages(TEMPLATES, f"{template}.en.jinja", values, self._config.templates)
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
