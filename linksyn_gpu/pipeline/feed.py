"""Items that one thread makes and another one takes, through a bounded queue."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class Feed(Generic[T]):
    """An iterator over items that a separate thread makes; use as a context manager.

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
        self._over = False  # nothing is made any more, or nothing is taken any more
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="linksyn-feed", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Stop the producer at its next item, if it is still running."""
        self._end(None)
        self._thread.join()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._over)
            if self._items:
                self._changed.notify_all()
                return self._items.popleft()
        if self._error is not None:
            raise self._error
        raise StopIteration

    def finish(self) -> None:
        """Let the producer run to its end; items that nobody took are lost. Raises the producer's error."""
        for _ in self:
            pass

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            self._produce(self._put)
        except _Stopped:
            pass
        except BaseException as caught:  # noqa: BLE001 - raised again in the thread that takes the items
            error = caught
        self._end(error)

    def _put(self, item: T) -> None:
        with self._changed:
            self._changed.wait_for(lambda: len(self._items) < self._size or self._over)
            if self._over:
                raise _Stopped
            self._items.append(item)
            self._changed.notify_all()

    def _end(self, error: BaseException | None) -> None:
        with self._changed:
            self._over, self._error = True, self._error or error
            self._changed.notify_all()


class _Stopped(Exception):
    """Ends a producer whose items nobody takes."""
