"""The boundary between the library and a terminal: errors become one line of text, progress goes to stderr."""

from __future__ import annotations

import contextlib
import functools
import logging
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from linksyn_gpu.errors import ConfigError, LinkSynError, StopAsking

if TYPE_CHECKING:
    from rich.console import Console

FAILED, WRONG_USAGE, STOPPED_EARLY, INTERRUPTED = 1, 2, 3, 130
# C0 and C1 controls except tab and newline, and the marks that reorder text: model output must not steer a terminal.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """Replace control characters, which text of models, servers and input files may contain."""
    return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", text)


_terminal: Console | None = None  # the terminal with a live view on it: text is written above the view


@contextlib.contextmanager
def view_on(terminal: Console) -> Iterator[None]:
    """While the block runs, write results and messages through a terminal that shows a live view."""
    global _terminal
    _terminal = terminal
    try:
        yield
    finally:
        _terminal = None


def result(text: str) -> None:
    """Write a result to stdout."""
    _write(text, to_terminal=sys.stdout.isatty())


def status(text: str) -> None:
    """Write progress or a message to stderr."""
    _write(text, to_terminal=True, err=True)


def _write(text: str, *, to_terminal: bool, err: bool = False) -> None:
    if _terminal is not None and to_terminal:
        from rich.text import Text

        _terminal.print(Text(printable(text)), soft_wrap=True)
    else:
        click.echo(printable(text), err=err)


class _Log(logging.Handler):
    """Shows the library's warnings, which may quote a server."""

    def emit(self, record: logging.LogRecord) -> None:
        status(f"{record.levelname.capitalize()}: {record.getMessage()}")


def show_warnings() -> None:
    """Write the library's warnings to stderr, in place of Python's own handler."""
    logging.getLogger("linksyn_gpu").handlers = [_Log(logging.WARNING)]


class _Exit(click.ClickException):
    """One line on stderr and an exit code."""

    def __init__(self, error: object, code: int) -> None:
        super().__init__(printable(str(error)))
        self.exit_code = code  # type: ignore[misc]  # click reads it from the instance


def errors_as_text(function: Callable[..., Any]) -> Callable[..., Any]:
    """Turn the library's errors into text and exit codes; anything else is a bug and keeps its traceback."""

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except ConfigError as error:
            raise _Exit(error, WRONG_USAGE) from error
        except StopAsking as error:
            raise _Exit(error, STOPPED_EARLY) from error
        except (LinkSynError, OSError) as error:  # OSError: a full disk, a folder without permission
            raise _Exit(error, FAILED) from error
        except MemoryError as error:
            raise _Exit(f"not enough memory: {error}", FAILED) from error
        except KeyboardInterrupt:
            status("Interrupted. Finished work is kept; run the same command again to continue.")
            sys.exit(INTERRUPTED)

    return wrapped


def exit_if_stopped(counts: Mapping[str, Any], engine: str) -> None:
    """Exit with `STOPPED_EARLY` if the same command would ask for more, or if no request had a usable answer."""
    failed = {reason for reason in counts.get("pending_reasons", {}) if reason != "no_answer"}
    if (limit := counts.get("bound")) is not None and not failed and "stopped" not in counts:
        status(f"Stopped at the limit you set: {limit}. Raise it and run the same command again to continue.")
    elif "stopped" in counts or (counts.get("pending") and engine != "batch"):
        why = counts.get("stopped") or "the server failed on some requests"
        status(f"Stopped early: {why}. Finished work is kept; run the same command again to continue.")
        sys.exit(STOPPED_EARLY)
    if counts.get("answered") == 0 < counts.get("failed", 0):
        status("No request had a usable answer; dropped.parquet holds each one with its reason.")
        sys.exit(STOPPED_EARLY)
