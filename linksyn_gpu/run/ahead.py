"""One thing is made while the one before is used."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
_POLL_SECONDS = 0.2


@contextlib.contextmanager
def read_ahead(items: Iterable[T], size: int = 1) -> Iterator[Iterator[T]]:
    """Give the items of an iterable that is read in a thread of its own, at most `size` finished ones waiting.

    What it raises is raised where the item would have come. When the block ends, so does the thread,
    after the item at hand.
    """
    ready: queue.Queue[tuple[T] | BaseException | None] = queue.Queue(size)
    over = threading.Event()

    def put(thing: tuple[T] | BaseException | None) -> None:
        while not over.is_set():
            with contextlib.suppress(queue.Full):
                return ready.put(thing, timeout=_POLL_SECONDS)

    def make() -> None:
        try:
            for item in items:
                put((item,))
                if over.is_set():
                    return
            put(None)
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that takes the items
            put(error)

    def take() -> Iterator[T]:
        while not over.is_set():
            try:
                thing = ready.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                continue
            if thing is None:
                return
            if isinstance(thing, BaseException):
                raise thing
            yield thing[0]

    thread = threading.Thread(target=make, name="linksyn-ahead", daemon=True)
    thread.start()
    try:
        yield take()
    finally:
        over.set()
        thread.join()
