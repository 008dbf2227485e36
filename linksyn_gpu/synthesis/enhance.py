"""Stage `enhance`: bring kept QA of chosen disciplines to a level, or drop them with a reason.

The steps for one QA:

    judge      a model gives its level, with reasons
    solve      at the level or above: k independent solves must agree with its answer
    keep       if both hold; a QA that passes at once is kept unchanged
    rewrite    otherwise: extend its path, link more seeds, and have a model write a harder question from all of it, the
               judge's reasons and the faults of earlier attempts; then rule checks, judge and solve again
    drop       after the last allowed rewrite, with the reason of that rewrite

Each step is done for all current rows before the next, so that a server always has many requests to batch. The requests
depend only on the rows, the settings and earlier answers: the same answers always give the same result, and a row that
misses an answer is pending.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from linksyn_gpu.config import ALL, DEFAULT_MAX_TOKENS, EnhanceConfig, SynthesisConfig
from linksyn_gpu.llm.asking import Validate, is_pending, request_model
from linksyn_gpu.llm.prompting import content_request
from linksyn_gpu.llm.protocol import Completion, Failure, Outcome, unusable
from linksyn_gpu.synthesis import answers, prompts
from linksyn_gpu.synthesis.prompts.enhancement import Rewriting, render_rewriting
from linksyn_gpu.tables import Asked, Item, without_cut_explanation
from linksyn_gpu.text import name_key

REASONS = {
    "judge_failed": "the judge gave no readable level",
    "rewrite_failed": "the model gave no readable harder question",
    "level_not_reached": "the last rewrite was judged below the target level",
    "answer_not_confirmed": "the question reached the level, but too few solves agreed with its answer",
}
"""Why a QA is dropped, in addition to the reasons of the rule checks, which a rewrite must pass too."""

FAULTS = {
    "en": ("level {}", "independent solvers came to other answers than the one given"),
    "zh": ("等级 {}", "独立解题者得出的答案与所给答案不同"),
}
"""How a rewriting prompt states a level that is too low, and an answer that was not confirmed."""

WORKING, KEPT, DROPPED, PENDING = "working", "kept", "dropped", "pending"


class Judged(Protocol):
    """A level with its reasons."""

    @property
    def level(self) -> int: ...
    @property
    def reasons(self) -> tuple[str, ...]: ...


class ExaminerLike(Protocol):
    """Has a model judge and solve QA (`quality.judge.Examiner`); a failure says why there is no result."""

    def judge(self, qas: Sequence[tuple[Item, Asked]]) -> Sequence[Judged | Failure]: ...
    def solve(self, qas: Sequence[tuple[Item, Asked]]) -> Sequence[int | Failure]: ...


Check = Callable[[Item, Asked], tuple[str, str] | None]
"""Why an item is dropped, as (reason, detail); None: it is kept."""


@dataclass(frozen=True)
class Extension:
    """An extended path, and the seeds linked along it."""

    nodes: tuple[int, ...]
    seeds: tuple[int, ...]
    """The QA's own seeds first."""
    steps: int
    """KPs added; fewer than asked for if the walk ended early."""


@dataclass
class Version:
    """The original QA, or one rewrite of it."""

    item: Item
    level: int | None = None
    reasons: tuple[str, ...] = ()
    agreed: int | None = None
    """Solves that agree with the answer; None: not solved."""
    written: Completion | None = None
    """The answer that holds the rewrite; None: the original."""
    extension: Extension | None = None
    fault: tuple[str, str] | None = None
    """(reason, detail) why this version is not kept."""


@dataclass
class Work:
    """A row of qa.parquet that is being enhanced."""

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
    def asked(self) -> Asked:
        return Asked(self.row["question_type"], self.row["language"])


def chooser(disciplines: Iterable[str]) -> Callable[[str | None], bool]:
    """A test whether a QA's discipline was chosen; names are compared in the same way as knowledge points."""
    chosen = {name_key(name) for name in disciplines}
    return lambda name: ALL in chosen or (name is not None and name_key(name) in chosen)


@dataclass(frozen=True)
class Enhancer:
    """Takes rows through all steps."""

    config: EnhanceConfig
    asking: SynthesisConfig
    ask: Callable[[str, Sequence[Mapping[str, Any]], Validate], Iterator[Outcome]]
    """(kind, requests, validate) -> the outcome of each, in order."""
    examiner: ExaminerLike
    check: Check
    check_reasons: Mapping[str, str]
    """What each reason of `check` means."""
    extend: Callable[[Sequence[Work], int], Sequence[Extension]]
    """(rows, number of the try) -> an extension for each."""
    seeds: Callable[[Iterable[int]], Mapping[int, Mapping[str, Any]]]
    """Rows of the seed table by number."""
    kp_names: Sequence[str]

    def run(self, works: Sequence[Work]) -> None:
        """Bring each row to 'kept', 'dropped' or 'pending'."""
        self._judge(works)
        for work in works:
            if work.state == WORKING and work.last.level is None:
                work.state = DROPPED  # without a level the prompt of a rewrite cannot say what is wrong
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
        found = self.examiner.judge([(work.last.item, work.asked) for work in todo])
        for work, judgement in zip(todo, found, strict=True):
            if isinstance(judgement, Failure):
                if not _waits(work, judgement):
                    work.last.fault = ("judge_failed", _why(judgement))
                continue
            work.last.level, work.last.reasons = judgement.level, judgement.reasons
            if judgement.level < self.config.level:
                work.last.fault = ("level_not_reached", f"judged {judgement.level}, asked {self.config.level}")

    def _solve(self, works: Sequence[Work]) -> None:
        """Check the answers of rows that reached the level; those that pass are kept."""
        todo = [work for work in works if work.state == WORKING and work.last.fault is None]
        found = self.examiner.solve([(work.last.item, work.asked) for work in todo])
        for work, agreed in zip(todo, found, strict=True):
            if isinstance(agreed, Failure):
                _waits(work, agreed)
                continue
            work.last.agreed = agreed
            if agreed >= self.config.needed:
                work.state = KEPT
            else:
                detail = f"{agreed} of {self.config.solves} solves agree, {self.config.needed} must"
                work.last.fault = ("answer_not_confirmed", detail)

    def _rewrite(self, works: Sequence[Work], number: int) -> None:
        """Write a harder version of each row, which becomes its last version."""
        extensions = self.extend(works, number)
        shown = self.seeds(row for extension in extensions for row in extension.seeds)
        tasks = [self._task(work, found, shown) for work, found in zip(works, extensions, strict=True)]
        requests = [self._rewrite_request(work, task) for work, task in zip(works, tasks, strict=True)]
        outcomes = self.ask("rewrite", requests, answers.validator(self.asking.field_limit))
        for work, extension, outcome in zip(works, extensions, outcomes, strict=True):
            if not _waits(work, outcome):
                work.versions.append(self._version(work, outcome, extension))

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
            {"question": version.item.question, "fault": self._faults(version, language)}
            for version in rewrites
            if version.item.question
        ]
        rewriting = Rewriting(task, work.row, self._faults(original, language), failures)
        asking = self.asking
        return content_request(
            render_rewriting(rewriting, asking.templates),
            "qa",
            prompts.answer_schema(task, asking.field_limit),
            model=request_model(asking),
            max_tokens=asking.max_tokens,
            limit_in_id=DEFAULT_MAX_TOKENS,
            temperature=asking.temperature,
            top_p=asking.top_p,
            number=len(rewrites) or None,  # also at temperature 0, a second try of the same text is a new request
        )

    def _version(self, work: Work, outcome: Outcome, extension: Extension) -> Version:
        """The version that a rewrite gives, with its fault if it cannot be used."""
        nothing = Item("", "")
        if isinstance(outcome, Failure):
            return Version(nothing, extension=extension, fault=("rewrite_failed", _why(outcome)))
        if reason := unusable(outcome):
            return Version(nothing, extension=extension, fault=("rewrite_failed", reason))
        parsed = answers.parse(outcome.text, 1)
        if parsed.reason is not None:
            detail = f"{parsed.reason}: {parsed.detail}"
            return Version(nothing, extension=extension, fault=("rewrite_failed", detail))
        limits = prompts.text_limits(self.asking.field_limit)
        item = without_cut_explanation(parsed.items[0], limits)
        fault = self.check(item, Asked(work.row["question_type"], work.row["language"], limits))
        return Version(item, written=outcome, extension=extension, fault=fault)

    def _faults(self, version: Version, language: str) -> list[str]:
        """What a rewriting prompt says about a version that is not kept."""
        assert version.fault is not None
        reason, _ = version.fault
        if reason == "level_not_reached":
            return [FAULTS[language][0].format(version.level), *version.reasons]
        if reason == "answer_not_confirmed":
            return [FAULTS[language][1]]
        return [REASONS.get(reason) or self.check_reasons[reason]]


def _waits(work: Work, outcome: Outcome) -> bool:
    """Whether a row's outcome is pending; the row then is pending too."""
    if not is_pending(outcome):
        return False
    assert isinstance(outcome, Failure)
    work.state, work.pending_reason = PENDING, outcome.reason
    return True


def _why(failure: Failure) -> str:
    return f"{failure.reason}: {failure.detail}" if failure.detail else failure.reason
