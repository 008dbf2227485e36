"""The progress of a command for people: a live view on a terminal, plain lines elsewhere. Both go to stderr."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from linksyn_gpu.cli.console import printable, status, view_on

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

    from linksyn_gpu.llm.client import Stats
    from linksyn_gpu.llm.endpoints import EndpointStats
    from linksyn_gpu.pipeline.progress import Progress, StageProgress, TaskProgress

Watch = Callable[[], AbstractContextManager["Progress"]]
"""Shows the progress of what runs in its block."""

PER_SECOND = 4
"""The view is drawn so many times a second."""
LINE_SECONDS = 60.0
"""Plain lines: the longest time between two of them, for a task that goes on."""
WIDE = 60
"""Columns of a terminal from which bars are drawn."""
REASONS_SHOWN = 3


@contextlib.contextmanager
def watch(
    *, plain: bool = False, metrics_port: int | None = None, metrics_host: str = "127.0.0.1"
) -> Iterator[Progress]:
    """Yield a `Progress` that is shown while the block runs.

    Parameters
    ----------
    plain : bool
        Write lines even where stderr is a terminal.
    metrics_port : int, optional
        Also serve the figures for Prometheus; 0: on a free port, which is printed.

    Raises
    ------
    ConfigError
        The figures cannot be served there.
    """
    from linksyn_gpu.pipeline.progress import Progress

    live = sys.stderr.isatty() and not plain and os.environ.get("TERM") != "dumb"
    progress = Progress() if live else Progress(changed=_Lines())
    with contextlib.ExitStack() as stack:
        if metrics_port is not None:
            from linksyn_gpu.cli.metrics import serve_metrics

            status(f"metrics: {stack.enter_context(serve_metrics(progress, metrics_host, metrics_port))}")
        if live:
            stack.enter_context(_live_view(progress))
        yield progress


# ---------------------------------------------------------------------- plain lines


class _Lines:
    """Writes a line per tenth of a task, and once in `LINE_SECONDS`."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, str], tuple[int, float]] = {}

    def __call__(self, stage: StageProgress, task: TaskProgress | None) -> None:
        if task is None:
            status(stage.notes[-1])
            return
        now = time.monotonic()
        tenth = 10 * task.done // task.total if task.total else -1
        before, written = self._last.get((stage.name, task.what), (-2, 0.0))
        if tenth != before or now - written >= LINE_SECONDS:
            self._last[stage.name, task.what] = tenth, now
            status(f"{stage.name}: {task_text(task)}{_server_text(stage)}")


def task_text(task: TaskProgress) -> str:
    """'1,234 of 12,000 answers, 42.0/s, 4 min 10 s left'."""
    if task.total is None and not task.done:
        return f"{task.what} ..."
    of = "" if task.total is None else f" of {task.total:,}"
    parts = [f"{task.done:,}{of} {task.what}"]
    if (rate := task.rate) is not None:
        parts.append(rate_text(rate))
    if (left := task.seconds_left) is not None and task.done < (task.total or 0):
        parts.append(f"{duration(left)} left")
    return ", ".join(parts)


def _server_text(stage: StageProgress) -> str:
    server = stage.server
    if server is None or not server.attempts:
        return ""
    parts = [f"{server.prompt_tokens:,} tokens read, {server.completion_tokens:,} written"]
    if stage.checked:
        parts.append(kept_text(stage))
    if server.throttled:
        parts.append(throttling_text(server))
    return "; " + "; ".join(parts)


# ---------------------------------------------------------------------- figures as text


def rate_text(rate: float) -> str:
    """'42.3/s', or '12.0/min' for less than one per second."""
    return f"{rate:,.0f}/s" if rate >= 100 else f"{rate:.1f}/s" if rate >= 1 else f"{60 * rate:.1f}/min"


def duration(seconds: float) -> str:
    """'3 days 4 h', '1 h 23 min', '4 min 10 s' or '12 s'."""
    whole = int(seconds)
    for unit, length, smaller, part in (("days", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= length:
            return f"{whole // length} {unit} {whole % length // part} {smaller}"
    return f"{whole} s"


def kept_text(stage: StageProgress) -> str:
    """Share of the sampled QA that pass the rule checks, and the most frequent reasons of the others."""
    found = dict(stage.checked)
    total = sum(found.values())
    text = f"{found.pop('', 0) / total:.1%} of {total:,} sampled QA pass the rule checks"
    most = sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))[:REASONS_SHOWN]
    return text + "".join(f", {reason} {n / total:.1%}" for reason, n in most)


def throttling_text(server: Stats) -> str:
    """How often and how long the server asked for pauses, and what that means now."""
    pause = max(0.0, server.paused_until - time.monotonic())
    passed = max(0.0, server.throttled_seconds - pause)  # a pause counts as a whole when it begins
    share = min(1.0, passed / server.seconds) if server.seconds else 0.0
    text = f"{server.throttled:,} answers 429 or 503, pauses of {share:.1%} of the time"
    if server.limit < server.slots:
        text += f"; now at most {server.limit:,} of {server.slots:,} requests in flight"
    if pause:
        text += f"; nothing is sent for {pause:.1f} s"
    return text


def _server_line(server: Stats) -> str:
    text = f"{server.in_flight:,} of {server.slots:,} requests in flight"
    if server.seconds:
        text += f", had work {1.0 - server.idle_seconds / server.seconds:.0%} of the time"
    retries = dict(server.retries)
    if retries:
        most = sorted(retries.items(), key=lambda pair: (-pair[1], pair[0]))[:REASONS_SHOWN]
        text += f", {sum(retries.values()):,} retries ({', '.join(f'{reason} {n:,}' for reason, n in most)})"
    return text


def _endpoint_line(url: str, endpoint: EndpointStats) -> str:
    """Figures of one of several servers."""
    text = f"{url}: {endpoint.in_flight:,} of {endpoint.slots:,} in flight, {endpoint.answered:,} answers"
    if endpoint.seconds >= 1:
        text += f" ({rate_text(endpoint.answered / endpoint.seconds)})"
    if errors := sum(dict(endpoint.errors).values()):
        text += f", {errors:,} errors"
    return text + (", left out until it works again" if endpoint.left_out else "")


def _answers_line(server: Stats) -> str:
    return f"{server.completed:,} usable, {server.failed:,} without a usable answer"


def _tokens_line(server: Stats) -> str:
    text = f"{server.prompt_tokens:,} read, {server.completion_tokens:,} written"
    return text + (f", {server.completion_tokens / server.seconds:,.0f} written/s" if server.seconds >= 1 else "")


def _cost_line(progress: Progress, task: TaskProgress | None) -> str | None:
    """Cost so far, and what it will be when the task is done, if each item costs as much as the ones so far."""
    cost = progress.cost()
    if cost is None:
        return None
    text = f"{cost:,.2f} so far"
    made = 0 if task is None else task.done - task.found
    if task is not None and task.total is not None and made > 0 and task.done < task.total:
        text += f", about {cost * (1 + (task.total - task.done) / made):,.2f} when all are there"
    return text


# ---------------------------------------------------------------------- live view


@contextlib.contextmanager
def _live_view(progress: Progress) -> Iterator[None]:
    from rich.console import Console
    from rich.live import Live

    terminal = Console(stderr=True, highlight=False, emoji=False, markup=False)
    view = _View(progress)
    # Streams are not redirected: a stdout that is a file must get its results, see `console.result`.
    live = Live(
        view, console=terminal, refresh_per_second=PER_SECOND, redirect_stdout=False, redirect_stderr=False,
        vertical_overflow="ellipsis",
    )  # fmt: skip
    with view_on(terminal), live:
        terminal.show_cursor(True)  # a killed process could not show it again
        yield


class _View:
    """Draws the figures as they are at this moment."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from self._lines(options.max_width, plain=options.ascii_only)

    def _lines(self, width: int, *, plain: bool) -> Iterator[RenderableType]:
        from rich.text import Text

        progress = self._progress
        names = [*progress.expected, *(name for name in list(progress.stages) if name not in progress.expected)]
        stages = [progress.stages[name] for name in names if name in progress.stages]
        running = [stage for stage in stages if stage.counts is None]
        elapsed = duration(time.monotonic() - progress.began)
        line = f"{_stage_line(progress, names, plain=plain)}   {elapsed}"
        yield Text(line, style="bold", overflow="ellipsis", no_wrap=True)
        tasks = [task for stage in running for task in list(stage.tasks.values())]
        if tasks:
            yield _task_table(tasks, width)
        facts: list[tuple[str, str, str]] = []
        for stage in running or stages:
            facts += [(stage.name if i == 0 else "", note, "") for i, note in enumerate(stage.notes) if running]
            if stage.server is None or not stage.server.attempts + stage.server.in_flight + stage.server.throttled:
                continue
            server = stage.server
            if sum(other.server is not None for other in running or stages) > 1:
                facts.append(("", f"stage {stage.name}", "bold"))
            facts.append(("answers", _answers_line(server), ""))
            if stage.checked:
                facts.append(("kept", kept_text(stage), ""))
            facts.append(("tokens", _tokens_line(server), ""))
            if running:
                facts.append(("server", _server_line(server), ""))
                if len(servers := dict(server.endpoints)) > 1:
                    facts += [
                        ("", _endpoint_line(*pair), "yellow" if pair[1].left_out else "") for pair in servers.items()
                    ]
            if server.throttled:
                paused = server.paused_until > time.monotonic()
                facts.append(("throttling", throttling_text(server), "yellow" if paused else ""))
        answers = next((task for task in tasks if task.what == "answers"), None)
        if (cost := _cost_line(progress, answers)) is not None:
            facts.append(("cost", cost, ""))
        if facts:
            yield _fact_table(facts)


def _stage_line(progress: Progress, names: list[str], *, plain: bool) -> str:
    """Each stage with a mark: done, running, or to come."""
    marks = {"done": "done", "running": "running", "": "to come"} if plain else {"done": "✓", "running": "▸", "": "·"}
    parts = []
    for name in names:
        stage = progress.stages.get(name)
        state = "" if stage is None else "running" if stage.counts is None else "done"
        parts.append(f"{name} {marks[state]}")
    return "  ".join(parts)


def _task_table(tasks: list[TaskProgress], width: int) -> RenderableType:
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 0, 0), expand=False)
    table.add_column(no_wrap=True, overflow="ellipsis", max_width=max(10, width // 4))
    if width >= WIDE:
        table.add_column(width=max(8, width // 4))
    for _ in range(3):
        table.add_column(justify="right", no_wrap=True, overflow="ellipsis")
    for task in tasks:
        of = "" if task.total is None else f" / {task.total:,}"
        rate, left = task.rate, task.seconds_left
        ended = task.total is not None and task.done >= task.total
        cells: list[RenderableType] = [Text(printable(task.what))]
        if width >= WIDE:
            cells.append(ProgressBar(total=task.total, completed=task.done) if task.total else Text())
        cells += [
            Text(f"{task.done:,}{of}" if task.done or of else "..."),
            Text("" if rate is None or ended else rate_text(rate)),
            Text("done" if ended else "" if left is None else f"{duration(left)} left"),
        ]
        table.add_row(*cells)
    return table


def _fact_table(facts: list[tuple[str, str, str]]) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, text, style in facts:
        table.add_row(Text(name, style="dim"), Text(printable(text), style=style))
    return table
