"""Stage `enhance`: kept QA of chosen disciplines are brought to a level, or dropped with a reason.

For a QA, one after the other:

    judge      a model says its level, and why
    solve      at the level or above: k independent solves, which must agree with its answer
    keep       when both hold; a QA that was hard and right from the start is kept as it is
    rewrite    else: its path is walked on, further seeds are linked, and a model writes a harder question from all of
               it, the judge's reasons and what was wrong with earlier attempts; then rule checks, judge, solve again
    drop       after so many rewrites, with the reason of the last one

Each step is taken for all rows in work before the next, so that a server always has many requests to batch. What is
asked depends on nothing but the rows, the settings and earlier answers: asked again over the same answers, the stage
comes to the same end, and a row whose answers are not all there yet is simply pending.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from linksyn_gpu.config import ALL, EnhanceConfig
from linksyn_gpu.llm.prompting import content_request, prompt_chars
from linksyn_gpu.llm.protocol import Completion, Failure, Outcome, unusable
from linksyn_gpu.quality import checks, judge
from linksyn_gpu.quality.equivalence import same_answer
from linksyn_gpu.synthesis import answers, prompts
from linksyn_gpu.synthesis.answers import Item
from linksyn_gpu.synthesis.prompts.enhancement import Rewriting, render_rewriting
from linksyn_gpu.text import name_key

REASONS = {
    "judge_failed": "the judge gave no level that can be read",
    "rewrite_failed": "the model gave no harder question that can be read",
    "level_not_reached": "the last rewrite was judged below the level asked for",
    "answer_not_confirmed": "the question reached the level, but too few solves agreed with its answer",
}
"""Why a QA is dropped, beside the reasons of `quality.checks`, which a rewrite must pass too."""

TOLD = {
    "en": ("level {}", "independent solvers came to other answers than the one given"),
    "zh": ("等级 {}", "独立解题者得出的答案与所给答案不同"),
}
"""What a writer is told of a level, and of an answer that was not confirmed."""

WORKING, KEPT, DROPPED, PENDING = "working", "kept", "dropped", "pending"
Request = Mapping[str, Any]
Validate = Callable[[str], str | None]
Ask = Callable[[str, Sequence[Request], Validate], Iterable[Outcome | None]]
"""(kind, requests, validate) -> the outcome of each, in order; None: there is none yet."""


@dataclass(frozen=True)
class Extension:
    """A path that was walked on, and the seeds linked along it."""

    nodes: tuple[int, ...]
    seeds: tuple[int, ...]
    """The QA's own seeds first."""
    steps: int
    """KPs that were added; fewer than asked for where the walk had nowhere to go."""


@dataclass
class Version:
    """A QA as it was, or as a rewrite made it."""

    item: Item
    level: int | None = None
    reasons: tuple[str, ...] = ()
    agreed: int | None = None
    """Solves that agree with the answer; None: not solved."""
    written: Completion | None = None
    """The rewrite; None: the original."""
    extension: Extension | None = None
    fault: tuple[str, str] | None = None
    """(reason, detail) why this version is not kept."""


@dataclass
class Work:
    """A row of qa.parquet on its way."""

    row: Mapping[str, Any]
    nodes: tuple[int, ...]
    seeds: tuple[int, ...]
    state: str = WORKING
    pending_reason: str = ""
    versions: list[Version] = field(default_factory=list)
    """The original, then one for each rewrite."""

    def __post_init__(self) -> None:
        row = self.row
        self.versions.append(Version(Item(row["question"], row["answer"], tuple(row["options"]), row["explanation"])))

    @property
    def last(self) -> Version:
        return self.versions[-1]

    @property
    def question(self) -> judge.Question:
        """The last version as it is judged and solved."""
        item = self.last.item
        return judge.Question(item.question, item.options, item.answer, self.row["question_type"], self.row["language"])

    @property
    def extended(self) -> int:
        """KPs that were added to the path of the last version."""
        return 0 if self.last.extension is None else self.last.extension.steps


def chooser(disciplines: Iterable[str]) -> Callable[[str | None], bool]:
    """Says of a QA's discipline whether it was chosen; names are compared as those of knowledge points are."""
    chosen = {name_key(name) for name in disciplines}
    return lambda name: ALL in chosen or (name is not None and name_key(name) in chosen)


@dataclass(frozen=True)
class Enhancer:
    """Takes rows through all steps."""

    config: EnhanceConfig
    asking: judge.Asking
    ask: Ask
    extend: Callable[[Sequence[Work], int], Sequence[Extension]]
    """(rows, number of the try) -> an extension for each."""
    seeds: Callable[[Iterable[int]], Mapping[int, Mapping[str, Any]]]
    """Rows of the seed table by their numbers."""
    kp_names: Sequence[str]
    checker: checks.Checker
    validate_rewrite: Validate
    """Says why a rewrite's text is to be asked again."""
    spent: Counter[str] = field(default_factory=Counter)
    """Requests by kind, and tokens, of the answers that were looked at."""

    def run(self, works: Sequence[Work]) -> None:
        """Bring each row to 'kept', 'dropped' or 'pending'."""
        self._judge(works)
        for work in works:
            if work.state == WORKING and work.last.level is None:
                work.state = DROPPED  # without a level there is no telling what it needs
        self._solve(works)
        for number in range(1, self.config.tries + 1):
            todo = [work for work in works if work.state == WORKING]
            if not todo:
                return
            self._rewrite(todo, number)
            self._judge(todo)
            self._solve(todo)
        for work in works:
            if work.state == WORKING:
                work.state = DROPPED

    # ------------------------------------------------------------------ steps

    def _judge(self, works: Sequence[Work]) -> None:
        todo = [work for work in works if work.state == WORKING and work.last.fault is None]
        requests = [judge.judge_request(work.question, self.asking) for work in todo]
        for work, outcome in self._asked("judge", todo, requests, _readable(judge.read_judgement)):
            found = judge.read_judgement(outcome.text) if isinstance(outcome, Completion) else None
            version = work.last
            if found is None:
                version.fault = ("judge_failed", _why(outcome))
                continue
            version.level, version.reasons = found.level, found.reasons
            if found.level < self.config.level:
                version.fault = ("level_not_reached", f"judged {found.level}, asked {self.config.level}")

    def _solve(self, works: Sequence[Work]) -> None:
        """Check the answers of those that reached the level; who passes is kept."""
        todo = [work for work in works if work.state == WORKING and work.last.fault is None]
        each = [work for work in todo for _ in range(self.config.solves)]
        requests = [
            judge.solve_request(work.question, number, self.asking)
            for work in todo
            for number in range(self.config.solves)
        ]
        doubtful: list[tuple[Work, str]] = []
        for work in todo:
            work.last.agreed = 0
        for work, outcome in self._asked("solve", each, requests, _readable(judge.read_solution)):
            solved = judge.read_solution(outcome.text) if isinstance(outcome, Completion) else None
            if solved is None:
                continue
            question = work.question
            same = same_answer(question.answer, solved, question.question_type, question.options)
            if same is None:
                doubtful.append((work, solved))
            else:
                self._count(work, same)
        self._compare([pair for pair in doubtful if pair[0].state == WORKING])
        for work in todo:
            agreed = work.last.agreed or 0
            if work.state == WORKING and agreed >= self.config.needed:
                work.state = KEPT
            elif work.state == WORKING:
                detail = f"{agreed} of {self.config.solves} solves agree, {self.config.needed} must"
                work.last.fault = ("answer_not_confirmed", detail)

    def _compare(self, pairs: Sequence[tuple[Work, str]]) -> None:
        """Let the model say which solves agree, where rules cannot; no usable word is no agreement."""
        requests = [judge.compare_request(work.question, solved, self.asking) for work, solved in pairs]
        works = [work for work, _ in pairs]
        for work, outcome in self._asked("compare", works, requests, _readable(judge.read_same)):
            self._count(work, isinstance(outcome, Completion) and judge.read_same(outcome.text) is True)

    def _count(self, work: Work, same: bool) -> None:
        work.last.agreed = (work.last.agreed or 0) + same

    def _rewrite(self, works: Sequence[Work], number: int) -> None:
        """Write a harder version of each, which is the last one from then on."""
        extensions = self.extend(works, number)
        shown = self.seeds(row for extension in extensions for row in extension.seeds)
        tasks = [self._task(work, found, shown) for work, found in zip(works, extensions, strict=True)]
        requests = [self._rewrite_request(work, task) for work, task in zip(works, tasks, strict=True)]
        by_work = {id(work): found for work, found in zip(works, extensions, strict=True)}
        for work, outcome in self._asked("rewrite", works, requests, self.validate_rewrite):
            work.versions.append(self._version(work, outcome, by_work[id(work)]))

    def _task(self, work: Work, extension: Extension, shown: Mapping[int, Mapping[str, Any]]) -> prompts.Task:
        row = work.row
        return prompts.Task(
            seeds=[shown[seed] for seed in extension.seeds],
            kp_path=[self.kp_names[kp] for kp in extension.nodes],
            discipline=row["discipline"],
            difficulty=self.config.level,
            question_type=row["question_type"],
            language=row["language"],
        )

    def _rewrite_request(self, work: Work, task: prompts.Task) -> dict[str, Any]:
        original, *rewrites = work.versions
        language = work.row["language"]
        failures = [
            {"question": version.item.question, "fault": _faults(version, language)}
            for version in rewrites
            if version.item.question
        ]
        rewriting = Rewriting(task, work.row, _faults(original, language), failures)
        asking = self.asking
        return content_request(
            render_rewriting(rewriting, asking.templates),
            "qa",
            prompts.answer_schema(task, asking.field_limit),
            model=asking.model,
            max_tokens=asking.max_tokens,
            temperature=asking.temperature,
            top_p=asking.top_p,
            number=len(rewrites),  # at temperature 0 too, a second try on the same words is another request
        )

    def _version(self, work: Work, outcome: Outcome, extension: Extension) -> Version:
        """The version that a rewrite gives, with its fault where it is unusable."""
        nothing = Item("", "")
        if isinstance(outcome, Failure) or unusable(outcome):
            return Version(nothing, extension=extension, fault=("rewrite_failed", _why(outcome)))
        parsed = answers.parse(outcome.text)
        if parsed.reason is not None:
            fault = ("rewrite_failed", f"{parsed.reason}: {parsed.detail}")
            return Version(nothing, extension=extension, fault=fault)
        limits = prompts.text_limits(self.asking.field_limit)
        item = checks.without_cut_explanation(parsed.items[0], limits)
        found = self.checker.check(item, checks.Asked(work.row["question_type"], work.row["language"], limits))
        return Version(item, written=outcome, extension=extension, fault=found)

    def _asked(
        self, kind: str, works: Sequence[Work], requests: Sequence[Request], validate: Validate
    ) -> Iterator[tuple[Work, Outcome]]:
        """Ask, and give each row its outcome; a row that has none yet, or one that passes, becomes pending.

        A prompt that is longer than allowed is not sent.
        """
        limit = self.asking.max_prompt_chars
        chars = [prompt_chars(request["body"]["messages"]) for request in requests]
        outcomes = iter(self.ask(kind, [r for r, n in zip(requests, chars, strict=True) if n <= limit], validate))
        for work, request, n in zip(works, requests, chars, strict=True):
            if n > limit:
                yield work, Failure(request["custom_id"], "prompt_too_long", f"{n} characters, at most {limit}")
                continue
            outcome = next(outcomes)
            if outcome is None or (isinstance(outcome, Failure) and outcome.transient):
                work.state, work.pending_reason = PENDING, "no_answer" if outcome is None else outcome.reason
                continue
            self.spent[f"{kind}_requests"] += 1
            self.spent["prompt_tokens"] += outcome.prompt_tokens
            self.spent["completion_tokens"] += outcome.completion_tokens
            yield work, outcome


def _readable(read: Callable[[str], object]) -> Validate:
    """Has an answer asked again that a reader makes nothing of."""
    return lambda text: "invalid_json" if read(text) is None else None


def _why(outcome: Outcome) -> str:
    if isinstance(outcome, Failure):
        return f"{outcome.reason}: {outcome.detail}" if outcome.detail else outcome.reason
    return unusable(outcome) or "invalid_json"


def _faults(version: Version, language: str) -> list[str]:
    """What a writer is told of a version that is not kept; nothing of the machinery behind it."""
    assert version.fault is not None
    reason, _ = version.fault
    if reason == "level_not_reached":
        return [TOLD[language][0].format(version.level), *version.reasons]
    if reason == "answer_not_confirmed":
        return [TOLD[language][1]]
    known = {**checks.REASONS, **REASONS}
    return [known[reason]]
