"""One simulated run: a seed decides everything, and every promise is checked after each process.

The promises, on an honest disk:

1. A record that `Journal.append` took is there after the process was killed; one that `Journal.sync` covered is there
   after a power cut, too, with the same content.
2. The journal holds at most one answer for each request, and nothing is sent while its outcome is there.
3. No request is sent twice at the same time.
4. A file that passes its check has the content that was written; no check fails.
5. requests = kept + dropped + pending; the data set is that of the journal, and where the server only fails for a
   time, that of a run without faults.
6. The budget holds over all processes together.
7. Once the faults end, the campaign completes, with no incomplete file left behind.
8. A process ends with its work, or with an error of this package or of the disk.
9. While a process works in the folder, a second one is refused.

Where the disk lies about syncs, answers can be lost in a power cut, and files can be damaged. Then 2, 3, 5, 6, 8 hold,
no file with other content passes its check, and the user is asked for at most the one step that the message names.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from linksyn_gpu.errors import DataError, LinkSynError
from linksyn_gpu.llm.journal import ANSWERED, TO_ASK_AGAIN, Journal, rank_of
from linksyn_gpu.llm.protocol import to_json
from linksyn_gpu.pipeline.folder import LOCK, MANIFEST, Workspace
from tests.simulation.campaign import BEFORE, FOLDER, REQUESTS, Campaign, Task, content_of
from tests.simulation.disk import Device, SimDisk
from tests.simulation.loop import outside_of_loops
from tests.simulation.server import TOKENS, SimServer, answer_text
from tests.simulation.world import (
    LONGEST,
    Killed,
    Life,
    Record,
    SimClock,
    Trace,
    Violation,
    Weather,
    calm_life,
    draw_life,
)

CALM_LIVES = 8
"""Processes without faults within which a campaign completes: outages of the server take their time."""


class Witness:
    """What was promised about the records of a journal."""

    def __init__(self, server: SimServer, task: Task, device: Device) -> None:
        self._server, self._task, self._device = server, task, device
        self._lies = device.lies > 0
        self.limited = True
        """The budget of the task holds."""
        self.records: list[Record] = []
        """Those in the journal."""
        self.durable: list[Record] = []
        """Those of them that survive a power cut."""
        self._waiting: list[Record] = []
        self._begun: list[Record] = []
        self._given_up: set[str] = set()
        """Ids of records of which a sync failed: they may vanish in a power cut."""

    def appending(self, record: Record) -> None:
        """It may be in the journal although the process died before it was told so."""
        self._begun.append(record)

    def appended(self, record: Record) -> None:
        self.records.append(record)
        self._waiting.append(record)
        if rank_of(record) < TO_ASK_AGAIN:
            if record["id"] in self._server.settled:
                raise Violation(f"the journal takes a second outcome of {record['id']}")
            self._server.settled.add(record["id"])

    def unsynced(self) -> list[Record]:
        return list(self._waiting)

    def synced(self, covered: list[Record]) -> None:
        self.durable += covered
        self._waiting = self._waiting[len(covered) :]

    def not_synced(self, covered: list[Record]) -> None:
        """After a failed sync the system may have given up these writes: nobody promised anything about them."""
        self._given_up.update(record["id"] for record in (*covered, *self._begun))
        self._waiting = self._waiting[len(covered) :]

    def compare(self, disk: SimDisk, *, power_cut: bool) -> None:
        """Compare the journal with what was promised, after a process ended.

        Raises
        ------
        Violation
        """
        found = [record for _, record in Journal(FOLDER / "journal", writable=False, disk=disk).lines() if record]
        known = {*map(to_json, found)}
        if not (self._lies and power_cut):
            for record in self.durable if power_cut else self.records:
                if to_json(record) not in known:
                    raise Violation(f"an acknowledged record is lost: {record}")
        appended = {*map(to_json, self.records), *map(to_json, self._begun)}
        for record in found:
            if to_json(record) not in appended:
                raise Violation(f"the journal holds a record that nobody wrote: {record}")
        answers = Counter(record["id"] for record in found if rank_of(record) == ANSWERED)
        if answers and max(answers.values()) > 1:
            raise Violation(f"the journal holds two answers: {answers.most_common(1)}")
        self.records, self._waiting, self._begun = found, [], []
        if power_cut:
            self.durable = list(found)
        self._server.settled = {record["id"] for record in found if rank_of(record) < TO_ASK_AGAIN}
        if self.limited:
            self._check_budget(found)

    def _check_budget(self, found: list[Record]) -> None:
        task = self._task
        asked = len({record["id"] for record in found})
        if task.max_requests is not None and asked > task.max_requests:
            raise Violation(f"{asked} requests were asked, and {task.max_requests} allowed")
        spent = sum(record["spent_tokens"] for record in found)
        # The requests in flight may exceed the limit by what their estimates are too low: 3 attempts each.
        if task.max_tokens is not None and spent > task.max_tokens + task.concurrency * 3 * TOKENS:
            raise Violation(f"{spent} tokens were spent, and {task.max_tokens} allowed")

    def complete(self, ws: Workspace) -> None:
        """Compare the files of a complete campaign with the journal and with what they must hold.

        Raises
        ------
        Violation
        """
        task = self._task
        good = [name for name, nature in self._server.natures.items() if nature == "good"]
        outcomes = {record["id"]: record["kind"] for record in self.records if rank_of(record) < TO_ASK_AGAIN}
        outcomes |= dict.fromkeys(self._given_up - outcomes.keys(), "lost")
        answered = [name for name in good if outcomes.get(name) in ("completion", "lost")]
        if not self._lies and (answered != good or len(outcomes) != task.requests):
            raise Violation(f"outcomes: {outcomes}; answered without faults: {good}")
        rows = "".join(f"{name}: {answer_text(name)}\n" for name in good).encode()
        expected = {name: content_of(name, task) for names in (*BEFORE.values(), REQUESTS) for name in names}
        expected |= {"qa.jsonl": rows, "curated.jsonl": rows, "tasks.parquet": content_of("tasks.parquet", task)}
        for name, content in expected.items():
            node: Any = self._device.find(ws.path(name))
            if node is None or bytes(node.data) != content:
                raise Violation(f"{name} is not the file of a run without faults")
        counts = ws.counts("synthesize")
        if counts["requests"] != counts["kept"] + counts["dropped"] or counts["pending"]:
            raise Violation(f"the counts do not add up: {counts}")


@dataclass
class Result:
    """What one run did."""

    seed: int
    lies: bool
    lives: Counter[str] = field(default_factory=Counter)
    """Processes, by the fault that they had: those that it reached, and others."""
    stopped: Counter[str] = field(default_factory=Counter)
    """Processes that ended with an error, by its class."""
    steps: int = 0
    sent: int = 0
    repaired: int = 0
    """Times that a damaged manifest was moved away."""


def simulate(seed: int, trace: Trace = lambda line: None) -> Result:
    """One run.

    Raises
    ------
    Finding
        A promise was not kept.
    """
    run = _Run(seed, trace)
    try:
        return run.run()
    except Violation as violation:
        raise Finding(seed, str(violation)) from violation
    except Exception as bug:
        raise Finding(seed, f"what the processes left cannot be read: {bug!r}") from bug


class Finding(Exception):
    """A run in which a promise was not kept."""

    def __init__(self, seed: int, what: str) -> None:
        super().__init__(f"{what}\nreplay it with: python bench/faults.py --seed {seed} --trace")
        self.seed, self.what = seed, what


class _Run:
    def __init__(self, seed: int, trace: Trace) -> None:
        chance = self._chance = random.Random(seed)
        self._trace = trace
        self._clock = SimClock()
        lies = 0.3 if chance.random() < 0.15 else 0.0
        self._device = Device(chance, lies=lies, ordered=chance.random() < 0.5)
        requests = chance.choice((1, 3, 5, 8, 12)) if chance.random() < 0.97 else 90
        self._task = Task(
            requests,
            concurrency=chance.choice((1, 2, 4, 8)),
            segment_bytes=chance.choice((1, 600, 2**30)),
            max_requests=chance.randint(1, requests) if chance.random() < 0.2 else None,
            max_tokens=chance.randint(1, requests * 2 * TOKENS) if chance.random() < 0.2 else None,
        )
        self._server = SimServer.drawn(seed, self._clock, chance, requests)
        self._weather = Weather.drawn(chance)
        self._witness = Witness(self._server, self._task, self._device)
        self._result = Result(seed, lies > 0)
        disk = f"lies {lies}, ordered {self._device.ordered}"
        trace(f"seed {seed}: {self._task}, {self._weather}, {disk}, outages {self._server.outages}")

    def run(self) -> Result:
        faulty = self._chance.randint(1, 4)
        for number in range(1, faulty + 1):
            self._live(draw_life(number, self._chance, self._clock, self._weather, self._trace))
        self._server.outages = []
        self._witness.limited = False  # the user allows more
        for number in range(faulty + 1, faulty + CALM_LIVES + 1):
            if self._live(calm_life(number, self._chance, self._clock, self._trace)):
                break
        else:
            raise Violation(f"the campaign is not complete after {CALM_LIVES} processes without faults")
        left = [name for name in SimDisk(self._device, self._neutral()).names(FOLDER) if name.endswith(".part")]
        if left:
            raise Violation(f"incomplete files are left behind: {left}")
        self._result.sent = self._server.received.total()
        return self._result

    def _live(self, life: Life) -> bool:
        """Run one process, and compare what it left with what was promised; whether the campaign is complete."""
        if self._chance.random() < 0.1:
            step = self._chance.randint(1, LONGEST // 2)
            life.visit_at = step if self._chance.random() < 0.7 else f"lock {FOLDER / LOCK}"
            life.visit = self._visit
        done, error = self._process(life)
        self._server.in_flight.clear()
        self._count(life, error)
        power_cut = life.dead and life.kind == "power cut"
        if power_cut:
            self._device.lose_power()
        if isinstance(error, DataError):
            self._repair(error)
        self._witness.compare(SimDisk(self._device, self._neutral()), power_cut=power_cut)
        self._clock.now += self._chance.uniform(0.0, 60.0)
        return done

    def _process(self, life: Life) -> tuple[bool, Exception | None]:
        """(whether the campaign is complete, the error that the process ended with)"""
        disk = SimDisk(self._device, life)
        campaign = Campaign(self._task, disk, life, self._server, self._witness)
        try:
            return campaign.run(limited=self._witness.limited), None
        except Killed:
            return False, None
        except LinkSynError as stop:
            return False, stop
        except OSError as stop:
            if not life.failed:
                raise Violation(f"an error of the disk that it did not have: {stop!r}") from stop
            return False, stop
        except Exception as bug:
            raise Violation(f"the process crashed: {bug!r}") from bug
        finally:
            self._device.free(life)

    def _visit(self, life: Life) -> None:
        """Run a second process while one is in the middle of a step: it must find the folder locked, or free."""
        if life.dead:
            return
        visitor = calm_life(life.number, self._chance, self._clock, lambda line: self._trace(f"  visitor {line}"))
        with outside_of_loops():
            _, error = self._process(visitor)
        locked = self._device.is_locked_by(life)
        if locked and (error is None or "another" not in str(error)):
            raise Violation(f"a second process worked in the folder at the same time: {error}")
        self._count(visitor, error)

    def _repair(self, error: DataError) -> None:
        """Do what a message about damage says. On an honest disk there is none."""
        if not self._result.lies:
            raise Violation(f"a file is damaged on an honest disk: {error}")
        if "rename it to manifest.damaged" in str(error):
            self._result.repaired += 1
            neutral = SimDisk(self._device, self._neutral())
            neutral.replace(FOLDER / MANIFEST, FOLDER / "manifest.damaged")

    def _neutral(self) -> Life:
        return calm_life(0, self._chance, self._clock, lambda line: None)

    def _count(self, life: Life, error: Exception | None) -> None:
        reached = life.dead or life.failed
        self._result.lives[life.kind if reached or life.kind == "calm" else f"{life.kind}, not reached"] += 1
        self._result.steps += life.steps
        if error is not None:
            self._result.stopped[type(error).__name__] += 1
            self._trace(f"{life.number}.{life.steps:<4} {type(error).__name__}: {error}")
