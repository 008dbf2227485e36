"""Real faults in a small campaign: kills, damaged files, a full disk, few file descriptors, little memory.

    python bench/soak.py SEEDS [--json] [--only damage,kills,disk,descriptors,memory] [--cases 200] [--minutes 60]

The campaign has every stage, from ingest to export, against a local server whose answers depend only on the prompt.
Each case makes one fault, lets the campaign go on, and follows the messages until it is complete. A case is right if

- no command shows a traceback or dies of a signal that the case did not send,
- a command that ends well leaves the right files: the data set has the bytes of a campaign without faults,
- a command that fails says why, and the campaign then completes with the same bytes,
- the journal has one answer per request, and an answer that it kept is not asked for again.

A full disk needs the right to mount a file system in memory. A case that is wrong is printed with its command line.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import hashlib
import http.server
import json
import multiprocessing
import os
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from timing import report

CONCURRENCY = 4
PATHS = 16
STAGES = ("ingest", "build", "walk", "synthesize", "enhance", "curate", "export", "report")
WORDS = (
    "tax",
    "wage",
    "rent",
    "price",
    "crop",
    "grain",
    "river",
    "plant",
    "cell",
    "acid",
    "metal",
    "wave",
    "heat",
    "star",
)
NEVER = re.compile("Traceback|Fatal Python error|Exception ignored|terminate called|LLVM ERROR")
"""What a command must not print."""
PRELOADED = (
    *(f"linksyn_gpu.{name}" for name in ("cli", "pipeline.api", "backend.cpu", "llm.client", "llm.dispatch")),
    *(f"linksyn_gpu.pipeline.stages.{name}" for name in STAGES),
    *(
        "linksyn_gpu.dataset.shards",
        "linksyn_gpu.dataset.split",
        "linksyn_gpu.report.page",
        "pyarrow.dataset",
        "pyarrow.parquet",
        "aiohttp",
    ),
)
"""Loaded once, in the process from which those of the commands are forked."""
MIB = 2**20


# ---------------------------------------------------------------------- server


def answer(body: dict[str, Any]) -> dict[str, Any]:
    """An answer in the schema of the request, a function of the request."""
    schema, text = body["response_format"]["json_schema"], json.dumps(body["messages"])
    chance = random.Random(hashlib.sha256(f"{text} {body.get('seed')}".encode()).digest())
    if schema["name"] == "judge":
        return {"reasons": ["as drawn"], "level": chance.randint(2, 4)}
    if schema["name"] == "solve":
        value = int(re.findall(r"at value (\d+)", text)[-1])
        return {"explanation": "so", "answer": f"{2 * value} joules"}
    if schema["name"] == "compare":
        return {"same": True}
    values = [chance.randint(100, 999_999) for _ in range(schema["schema"]["properties"]["qa"].get("minItems", 1))]
    return {
        "qa": [new_qa(chance, value, schema["schema"]["properties"]["qa"]["items"]["properties"]) for value in values]
    }


def new_qa(chance: random.Random, value: int, fields: dict[str, Any]) -> dict[str, Any]:
    """A QA of drawn words, with the fields of a schema."""
    one, two, three = (" ".join(chance.choices(WORDS, k=3)) for _ in range(3))
    qa = {
        "question": f"Which energy does the {one} give to the {two} while the {three} is held at value {value}?",
        "explanation": f"The {one} gives twice the value {value} to the {two}, so the energy is {2 * value} joules.",
        "answer": f"{2 * value} joules",
        "options": [f"{2 * value + i} joules" for i in range(4)],
        "knowledge_points": [one],
        "discipline": "physics",
        "difficulty": chance.randint(1, 3),
    }
    return {name: qa[name] for name in qa if name in fields}


class Server(http.server.ThreadingHTTPServer):
    """Answers chat completions, and counts how often each request came."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.received: Counter[bytes] = Counter()
        self.url = f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed closes its connection; that is no error of the server."""


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection to the server."""

    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _reply(self, data: dict[str, Any]) -> None:
        content = json.dumps(data).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self) -> None:
        self._reply({"object": "list", "data": [{"id": "fake", "object": "model"}]})

    def do_POST(self) -> None:
        request = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received[hashlib.sha256(request).digest()] += 1
        message = {"role": "assistant", "content": json.dumps(answer(json.loads(request)))}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        usage = {"prompt_tokens": 700, "completion_tokens": 110, "total_tokens": 810}
        self._reply({"id": "0", "object": "chat.completion", "model": "fake", "choices": [choice], "usage": usage})


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    """A server in a thread of this process."""
    with Server() as server:
        server.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


# -------------------------------------------------------------------- commands


def execute(commands: Sequence[Sequence[str]], log: str, limits: dict[int, int]) -> None:
    """In a process of its own: run commands until one fails, and exit with its code."""
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.close(out)
    faulthandler.enable()
    from linksyn_gpu.cli import main

    for kind, limit in limits.items():
        limit += used_address_space() if kind == resource.RLIMIT_AS else 0
        resource.setrlimit(kind, (limit, limit))
    for words in commands:
        print("$", *words, flush=True)
        try:
            main([*words])
        except SystemExit as end:
            if end.code:
                raise


def used_address_space() -> int:
    """Bytes, on Linux."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


@dataclass
class Ended:
    """How commands ended."""

    code: int
    text: str

    @property
    def stage(self) -> str:
        """The last command that was started."""
        return next((line.split()[1] for line in reversed(self.text.splitlines()) if line.startswith("$ ")), "start")

    @property
    def message(self) -> str:
        lines = [line for line in self.text.splitlines() if line.strip()]
        return next((line for line in reversed(lines) if line.startswith(("Error", "Stopped"))), "".join(lines[-1:]))


@dataclass
class Case:
    """One fault, and what came of it."""

    name: str
    outcome: str = ""
    stage: str = ""
    message: str = ""
    wrong: list[str] = field(default_factory=list)


class Campaign:
    """A campaign in a folder of its own."""

    def __init__(self, seeds: list[str], server: Server, scratch: Path, number: str = "0") -> None:
        self.folder, self.scratch, self.server = scratch / "out", scratch, server
        model = ("--engine", "openai", "--base-url", server.url, "--model", "fake", "--concurrency", str(CONCURRENCY))
        raised = (
            "--enhance-disciplines",
            "all",
            "--enhance-level",
            "4",
            "--enhance-tries",
            "1",
            "--enhance-solves",
            "1",
        )
        out = str(self.folder)
        self.commands: dict[str, tuple[str, ...]] = {
            "ingest": ("ingest", *seeds, "--out", out),
            "build": ("build", out),
            "walk": ("walk", out, "--paths", str(PATHS), "--calibration-rounds", "2", "--seed", number),
            "synthesize": ("synthesize", out, *model),
            "enhance": ("enhance", out, "--base-url", server.url, *raised),
            "curate": ("curate", out),
            "export": ("export", out, "--to", str(scratch / "export"), "--name", "soak", "--validation", "0.2"),
            "report": ("report", out),
        }
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([*PRELOADED])

    def run(self, stages: Sequence[str] = STAGES, kill_after: float | None = None, **limits: int) -> Ended:
        """Run the commands of some stages in a new process, until one fails or the process is killed."""
        log = self.scratch / "log"
        kinds = {getattr(resource, name): limit for name, limit in limits.items()}
        process = self._context.Process(
            target=execute, args=([self.commands[name] for name in stages], str(log), kinds)
        )
        process.start()
        process.join(kill_after)
        if process.exitcode is None:
            process.kill()
            process.join()
        assert process.exitcode is not None
        return Ended(process.exitcode, log.read_text(errors="replace") if log.exists() else "")

    def data(self) -> dict[str, str]:
        """Digest of each data file of the published data set, and of the tables that it is made of."""
        tables = (self.folder / name for name in ("qa.jsonl", "enhanced.jsonl", "curated.jsonl"))
        shards = (path for path in (self.scratch / "export").rglob("*") if path.suffix in (".parquet", ".jsonl"))
        files = [path for path in (*tables, *shards) if path.is_file()]
        return {str(path.relative_to(self.scratch)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    def duplicates(self) -> int:
        """Answers that the journal has twice."""
        from linksyn_gpu.llm.journal import Journal

        with Journal(self.folder / "journal", writable=False) as journal:
            ids = Counter(record["id"] for _, record in journal.lines() if record is not None)
        return ids.total() - len(ids)


def look(case: Case, ended: Ended, *, killed: bool = False) -> None:
    """Note what a command must never show."""
    case.stage, case.message = case.stage or ended.stage, case.message or ended.message
    if ended.code < 0 and not killed:
        case.wrong.append(f"{ended.stage} died of {signal.Signals(-ended.code).name}")
    if found := NEVER.search(ended.text):
        begin = max(0, found.start() - 300)
        case.wrong.append(f"{ended.stage}: {' | '.join(ended.text[begin : begin + 1500].splitlines())}")


def finish(case: Case, campaign: Campaign, expected: dict[str, str]) -> None:
    """Without faults: the campaign completes with the expected bytes, and the journal has nothing twice."""
    ended = campaign.run(STAGES[:-1])  # `report` shows what there is, and is slow
    if ended.code and "manifest.json" in case.name:  # the message says how, or that it is of another campaign
        if (campaign.folder / "manifest.json").exists():
            shutil.move(campaign.folder / "manifest.json", campaign.folder / "manifest.damaged")
        ended = campaign.run(STAGES[:-1])
    look(case, ended)
    if ended.code:
        case.wrong.append(f"not repaired by the same commands: {ended.stage}: {ended.message}")
        return
    if changed := [name for name, digest in expected.items() if campaign.data().get(name) != digest]:
        case.wrong.append(f"other bytes in {', '.join(changed)}")
    if twice := campaign.duplicates():
        case.wrong.append(f"{twice} answers twice")


# ---------------------------------------------------------------------- faults


def flipped(content: bytes, other: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(content))
    return content[:at] + bytes([content[at] ^ 1 << chance.randrange(8)]) + content[at + 1 :]


DAMAGES: dict[str, Callable[[bytes, bytes, random.Random], bytes | None]] = {
    "delete": lambda content, other, chance: None,
    "empty": lambda content, other, chance: b"",
    "cut": lambda content, other, chance: content[: chance.randrange(len(content))],
    "flip": flipped,
    "swap": lambda content, other, chance: other,
}
"""New content of a file, from its content, the file of another campaign, and chance; None: the file is removed."""


def checked(name: Path) -> bool:
    """Whether a file has a checksum: the lines of a journal have their own, and the page is made again."""
    return name.parts[1] not in ("journal", "enhance-journal", "manifest.json", "report.html")


@dataclass(frozen=True)
class Reference:
    """A campaign without faults: its folder after each stage, that of another campaign, and its data."""

    seeds: list[str]
    server: Server
    scratch: Path
    after: dict[str, Path]
    other: Path
    data: dict[str, str]
    seconds: float
    requests: int

    @classmethod
    def make(cls, seeds: list[str], server: Server, scratch: Path) -> Reference:
        after = {}
        (scratch / "other").mkdir()
        foreign = Campaign(seeds, server, scratch / "other", number="5")
        if (ended := foreign.run()).code:
            raise SystemExit(f"the campaign fails without faults:\n{ended.text[-3000:]}")
        (scratch / "work").mkdir()
        own = Campaign(seeds, server, scratch / "work")
        server.received.clear()
        begin = time.perf_counter()
        for stage in STAGES:
            if (ended := own.run([stage])).code:
                raise SystemExit(f"the campaign fails without faults:\n{ended.text[-3000:]}")
            after[stage] = Path(shutil.copytree(scratch / "work", scratch / f"after-{stage}"))
        seconds = time.perf_counter() - begin
        reference = cls(seeds, server, scratch, after, scratch / "other", own.data(), seconds, len(server.received))
        if {"out/qa.jsonl", "out/enhanced.jsonl", "out/curated.jsonl"} - set(reference.data):
            raise SystemExit("the campaign without faults has no data")
        return reference

    @contextlib.contextmanager
    def campaign(self, stage: str | None = None) -> Iterator[Campaign]:
        """A campaign as it is after a stage; None: a new one."""
        work = self.scratch / "work"
        shutil.rmtree(work, ignore_errors=True)
        if stage is None:
            work.mkdir()
        else:
            shutil.copytree(self.after[stage], work, symlinks=True)
        self.server.received.clear()
        yield Campaign(self.seeds, self.server, work)


def damage(reference: Reference, chance: random.Random, cases: int) -> Iterator[Case]:
    """Each file, after each stage, in five ways; `cases` of them by chance, 0: all."""
    every = [
        (stage, file.relative_to(folder), kind)
        for stage, folder in reference.after.items()
        for file in sorted((folder / "out").rglob("*"))
        if file.is_file() and file.stat().st_size
        for kind in DAMAGES
    ]
    for stage, name, kind in chance.sample(every, cases or len(every)):
        case = Case(f"{kind} {name} after {stage}")
        with reference.campaign(stage) as campaign:
            path, other = campaign.scratch / name, reference.other / name
            content = path.read_bytes()
            foreign = other.read_bytes() if other.is_file() else content[::-1]
            new = DAMAGES[kind](content, foreign, chance)
            if new is None:
                path.unlink()
            else:
                path.write_bytes(new)
            ended = campaign.run(STAGES[STAGES.index(stage) + 1 :] or ["report"])
            look(case, ended)
            if ended.code == 0 and new == content:
                case.outcome = "the same in both campaigns"
            elif ended.code == 0:
                same = path.is_file() and path.read_bytes() == content
                case.outcome = "made again" if same else "not needed, or asked again"
            else:
                case.outcome = "refused"
            if case.outcome.startswith("not needed") and checked(name) and name.name not in ended.text:
                case.wrong.append("nobody said that the file is damaged")
            finish(case, campaign, reference.data)
        yield case


def kills(reference: Reference, chance: random.Random, cases: int) -> Iterator[Case]:
    """SIGKILL at random moments, about three per campaign. A campaign goes on with its first stage each time."""
    for number in range(cases or 100):
        case = Case(f"kills {number}", outcome="complete")
        with reference.campaign() as campaign:
            stages = []
            for _ in range(3):
                ended = campaign.run(kill_after=chance.uniform(0, reference.seconds))
                look(case, ended, killed=ended.code == -signal.SIGKILL)
                stages.append(ended.stage if ended.code == -signal.SIGKILL else "")
            case.stage = " ".join(filter(None, stages))
            finish(case, campaign, reference.data)
            sent_again(case, reference, most=CONCURRENCY * len(stages))
        yield case


def sent_again(case: Case, reference: Reference, most: int) -> None:
    """Requests that were in flight when a process ended are sent again, others are not."""
    again = reference.server.received.total() - reference.requests
    if again > most:
        case.wrong.append(f"{again} requests sent again, at most {most} were in flight")


def disk(reference: Reference, chance: random.Random, cases: int) -> Iterator[Case]:
    """The disk is full after some bytes. Then it has space again."""
    whole = {
        stage: sum(path.stat().st_size for path in (reference.scratch / f"after-{stage}").rglob("*") if path.is_file())
        for stage in ("export", "report")
    }
    for number in range(cases or 40):
        most = 1.5 * whole["export"] if number % 8 else 1.2 * whole["report"]  # the page of the report is large
        size = int(chance.uniform(4096, most)) // 4096 * 4096
        case = Case(f"a disk of {size} bytes")
        with reference.campaign() as campaign:
            mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(campaign.scratch)]
            done = subprocess.run(mount, capture_output=True, text=True, check=False)
            if done.returncode:
                yield Case("a full disk", outcome="skipped: no right to mount a file system in memory")
                return
            try:
                ended = campaign.run()
                look(case, ended)
                case.outcome = "refused" if ended.code else "enough space"
                subprocess.run([*mount[:4], "remount,size=1G", *mount[5:]], check=True)
                finish(case, campaign, reference.data)
                sent_again(case, reference, most=CONCURRENCY)
            finally:
                subprocess.run(["umount", str(campaign.scratch)], check=True)
        yield case


def descriptors(reference: Reference, chance: random.Random, cases: int) -> Iterator[Case]:
    """Few file descriptors; then enough."""
    for limit in range(6, 6 + (cases or 40)):
        yield _limited(reference, f"at most {limit} file descriptors", RLIMIT_NOFILE=limit)


def memory(reference: Reference, chance: random.Random, cases: int) -> Iterator[Case]:
    """Little address space beyond that of the loaded package; then enough."""
    for number in range(cases or 24):
        limit = 256 * (number + 1)
        yield _limited(reference, f"at most {limit} MiB more of address space", RLIMIT_AS=limit * MIB)


def _limited(reference: Reference, name: str, **limits: int) -> Case:
    case = Case(name)
    with reference.campaign() as campaign:
        ended = campaign.run(**limits)
        look(case, ended)
        case.outcome = "refused" if ended.code else "enough"
        finish(case, campaign, reference.data)
        sent_again(case, reference, most=CONCURRENCY)
    return case


FAULTS = {"damage": damage, "kills": kills, "disk": disk, "descriptors": descriptors, "memory": memory}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seeds", nargs="+")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", default=",".join(FAULTS), help="kinds of faults, with commas")
    parser.add_argument("--cases", type=int, default=0, help="cases per kind; 0: all, or the usual number")
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no case of a kind after this time")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    record: dict[str, Any] = {}
    lines = []
    with tempfile.TemporaryDirectory() as scratch, serving() as server:
        seeds = [str(Path(seed).resolve()) for seed in options.seeds]
        reference = Reference.make(seeds, server, Path(scratch))
        for kind in options.only.split(","):
            begin, found = time.perf_counter(), []
            for case in FAULTS[kind](reference, random.Random(options.seed), options.cases):
                found.append(case)
                if case.wrong:
                    print(f"{kind}: {case.name}: {'; '.join(case.wrong)}", file=sys.stderr, flush=True)
                if time.perf_counter() - begin > 60 * options.minutes:
                    break
            outcomes = Counter(case.outcome for case in found)
            record[kind] = {
                "cases": len(found),
                "outcomes": dict(outcomes),
                "wrong": [f"{case.name}: {'; '.join(case.wrong)}" for case in found if case.wrong],
                "messages": Counter(case.message[:160] for case in found if case.outcome == "refused").most_common(12),
                "stages": dict(Counter(stage for case in found for stage in case.stage.split())),
                "seconds": round(time.perf_counter() - begin, 1),
            }
            told = ", ".join(f"{n} {outcome}" for outcome, n in outcomes.most_common())
            lines.append(f"{kind}: {len(found)} cases: {told}; wrong: {len(record[kind]['wrong'])}")
    report(record, options.json, lines)
    if any(kind["wrong"] for kind in record.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
