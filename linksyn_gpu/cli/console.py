"""The border between the library and a terminal: errors become one line of text, progress goes to stderr."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import click

from linksyn_gpu.errors import ConfigError, LinkSynError

FAILED, WRONG_USAGE, STOPPED_EARLY, INTERRUPTED = 1, 2, 3, 130


def at_the_border(function: Callable[..., Any]) -> Callable[..., Any]:
    """Turn the library's errors into text and exit codes; anything else is a bug and keeps its traceback."""

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except ConfigError as error:
            raise _Exit(str(error), WRONG_USAGE) from error
        except LinkSynError as error:
            raise _Exit(str(error), FAILED) from error
        except OSError as error:  # a full disk, a folder without permission: the user's to mend
            raise _Exit(str(error), FAILED) from error
        except MemoryError as error:
            raise _Exit(f"not enough memory: {error}", FAILED) from error
        except KeyboardInterrupt:
            click.echo("Interrupted. What is done is kept; run the same command again to go on.", err=True)
            sys.exit(INTERRUPTED)

    return wrapped


class _Exit(click.ClickException):
    """One line on stderr and an exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.exit_code = code  # type: ignore[misc]  # click reads it from the instance


def exit_if_stopped(counts: Mapping[str, Any], engine: str) -> None:
    """End with its own exit code when requests wait for an answer that another call of the command would bring."""
    failed = {reason for reason in counts.get("pending_reasons", {}) if reason != "no_answer"}
    if (bound := counts.get("bound")) is not None and not failed and "stopped" not in counts:
        status(f"Stopped in good order: {bound}. Raise the bound and run the same command again to go on.")
    elif "stopped" in counts or (counts["pending"] and engine != "batch"):
        why = counts.get("stopped") or "the server failed on some requests"
        status(f"Stopped early: {why}. What is done is kept; run the same command again to go on.")
        sys.exit(STOPPED_EARLY)


def status(text: str) -> None:
    """Say something to a person; results go to stdout by `click.echo` instead."""
    click.echo(text, err=True)


@contextlib.contextmanager
def progress_bars() -> Iterator[Callable[[str, int, int | None], None]]:
    """Give a `pipeline.Progress` that draws bars on a terminal's stderr, and short lines elsewhere."""
    if not sys.stderr.isatty():
        yield _progress_lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:<16}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, Any] = {}

        def show(what: str, done: int, total: int | None) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield show


def _progress_lines() -> Callable[[str, int, int | None], None]:
    """Tell of each tenth of the work, for logs."""
    told: dict[str, int] = {}

    def show(what: str, done: int, total: int | None) -> None:
        tenth = 10 * done // total if total else -1
        if told.get(what) != tenth:
            told[what] = tenth
            status(f"{what}: {done:,}" + (f" of {total:,}" if total else " ..."))

    return show
