"""Items that one thread makes and another one takes, through a bounded queue."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class Feed(Generic[T]):
    """An iterator over items that a thread of its own makes; use as a context manager.

    Parameters
    ----------
    produce : callable
        Runs in the thread and passes each item to the function that it gets.
    size : int
        Items that may wait in the queue; the producer waits when there are more.
    """

    def __init__(self, produce: Callable[[Callable[[T], None]], None], size: int = 64) -> None:
        self._produce, self._size = produce, size
        self._items: deque[T] = deque()
        self._changed = threading.Condition()
        self._closed = False  # nobody takes items any more
        self._cancelled = False
        self._ended = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="linksyn-feed", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        """Stop the producer at its next item, if it is still at work."""
        self._close(cancel=True)
        self._thread.join()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._ended or self._closed)
            if self._items and not self._closed:
                item = self._items.popleft()
                self._changed.notify_all()
                return item
            if self._error is not None and not self._closed:
                raise self._error
        raise StopIteration

    def finish(self) -> None:
        """Let the producer run to its end, without keeping what it still makes. Raises the error that it raised."""
        self._close(cancel=False)
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _close(self, *, cancel: bool) -> None:
        with self._changed:
            self._closed, self._cancelled = True, cancel
            self._items.clear()
            self._changed.notify_all()

    def _run(self) -> None:
        try:
            self._produce(self._put)
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that takes the items
            self._error = error
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _put(self, item: T) -> None:
        with self._changed:
            self._changed.wait_for(lambda: len(self._items) < self._size or self._closed)
            if self._cancelled:
                raise _Cancelled
            if not self._closed:
                self._items.append(item)
                self._changed.notify_all()


class _Cancelled(Exception):
    """Ends a producer whose items nobody needs."""
