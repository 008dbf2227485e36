"""Stands in for the program `vllm`: a small server with vLLM's addresses that dies, hangs or refuses on demand.

    standin_vllm.py serve MODEL --port N --folder DIR [--die-at N] [--lose-engine-at N] [--lives N] [--latency S]
                    [--refuse] [--never-ready] [--stubborn] [--served-model-name NAME]

Each start adds a line to DIR/starts.jsonl. Faults happen in the first `--lives` of its lives (default 1).
"""

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

KEPT = ("PATH", "PYTHONPATH", "VLLM_CPU_KVCACHE_SPACE")


def settings() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["serve"])
    parser.add_argument("model")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--die-at", type=int)
    parser.add_argument("--lose-engine-at", type=int)
    parser.add_argument("--lives", type=int, default=1)
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--refuse", action="store_true")
    parser.add_argument("--never-ready", action="store_true")
    parser.add_argument("--stubborn", action="store_true")
    parser.add_argument("--served-model-name")
    return parser.parse_known_args()[0]


def answer(prompt: str) -> str:
    tag = hashlib.sha256(prompt.encode()).hexdigest()[:12]
    item = {
        "question": f"What follows in case {tag} once its first premise is dropped?",
        "options": ["nothing", "the converse", "the premise", "a doubt"],
        "answer": "nothing",
        "explanation": "",
        "knowledge_points": [],
        "discipline": "law",
        "difficulty": 2,
    }
    return json.dumps({"qa": [item]})


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    options: argparse.Namespace
    faulty = False
    asked = 0
    lost = False
    lock = threading.Lock()

    def log_message(self, format: str, *args: object) -> None:
        pass

    def reply(self, status: int, value: object) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        if self.path == "/health":
            self.reply(503 if self.lost or self.options.never_ready else 200, {})
        else:
            self.reply(200, {"data": [{"id": self.options.served_model_name or self.options.model}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers["Authorization"] != f"Bearer {os.environ['VLLM_API_KEY']}":
            self.reply(401, {"error": "wrong key"})
            return
        with self.lock:
            Handler.asked += 1
            if self.faulty and self.options.die_at == Handler.asked:
                print("dying on request", flush=True)
                os._exit(3)
            if self.faulty and self.options.lose_engine_at == Handler.asked:
                Handler.lost = True
        time.sleep(self.options.latency)
        if self.lost:
            self.reply(500, {"error": {"message": "EngineDeadError"}})
            return
        message = {"role": "assistant", "content": answer(body["messages"][-1]["content"])}
        self.reply(
            200,
            {
                "object": "chat.completion",
                "model": body["model"],
                "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
                "usage": {"prompt_tokens": 3, "completion_tokens": 4},
            },
        )


def main() -> None:
    options = settings()
    if options.stubborn:  # the worker inherits it
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # A process in its own session, as some of vLLM's are: no signal to a process group reaches it.
    sleeper = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]
    worker = subprocess.Popen(sleeper, start_new_session=True)
    starts = options.folder / "starts.jsonl"
    with starts.open("a", encoding="utf-8") as lines:
        kept = {name: os.environ.get(name) for name in KEPT}
        pids = [os.getpid(), worker.pid]
        lines.write(json.dumps({"argv": sys.argv[1:], "pids": pids, "environment": kept}) + "\n")
    signal.signal(signal.SIGINT, lambda number, frame: (options.folder / "interrupted").touch())
    if options.refuse:
        print("ValueError: no such model, says the stand-in", flush=True)
        sys.exit(1)
    Handler.options = options
    Handler.faulty = len(starts.read_text(encoding="utf-8").splitlines()) <= options.lives
    print(f"serving {options.model}", flush=True)
    ThreadingHTTPServer(("127.0.0.1", options.port), Handler).serve_forever(poll_interval=0.05)


if __name__ == "__main__":
    main()
