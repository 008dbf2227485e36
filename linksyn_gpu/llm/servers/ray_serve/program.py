"""Model replicas that Ray places on a cluster, behind one OpenAI endpoint of Ray Serve. A program, not a module.

    PYTHON program.py OPTIONS          a JSON object with the fields of `Options`

It runs in the environment of vLLM and Ray and imports nothing of this package. It connects to a Ray cluster, or starts
Ray on this machine, and deploys the application. An application of the cluster that serves the model is used instead.
On 127.0.0.1:port, `/health` answers 200 once requests are taken and 503 before and when the application is lost;
`/endpoint` gives the address. SIGTERM removes what this program deployed or started, and ends it.
"""

from __future__ import annotations

import http.server
import json
import os
import signal
import sys
import threading
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any, NoReturn

PREFIX = "linksyn-gpu-"
"""Of the names of applications that this program deploys; those of other runs are not used."""
WATCH_SECONDS = 2.0
SILENT = 30
"""Times in a row that the cluster does not say the application's state before it counts as lost; a busy one is slow."""
HEAD = "node:__internal_head__"
"""Resource by which Ray marks the head node."""
LOST = ("DEPLOY_FAILED", "DELETING", "NOT_STARTED")
"""States of an application that does not come back by itself; Serve restarts replicas and proxies that die."""
ANY_ADDRESS, THIS_MACHINE = ("0.0.0.0", "::"), ("127.0.0.1", "localhost", "::1")
OBJECT_STORE_BYTES = 256 * 2**20
"""Of a Ray that is started here: requests and answers are small."""


@dataclass(frozen=True)
class Options:
    """What to serve."""

    model: str
    address: str | None
    """Of the Ray cluster, or 'auto'; None: Ray is started on this machine."""
    replicas: int
    tensor_parallel: int
    accelerator: str | None
    """Ray's name of the GPU, such as H100; None: the replicas need no GPU."""
    arguments: tuple[str, ...]
    """Arguments of `vllm serve` for each replica."""
    name: str
    """Of the application; a new start of the same name takes the place of an older one."""
    port: int
    """For the health check."""
    http_port: int
    """Of the endpoint, if Serve is not running yet."""


class Service:
    """The application while this program runs."""

    def __init__(self, options: Options) -> None:
        try:
            import ray
            from ray import serve
        except ImportError as error:
            _fail(f'{sys.executable} has no Ray Serve ({error}): VENV/bin/pip install "ray[serve]", beside vLLM')
        self._ray: Any = ray
        self._serve: Any = serve
        self._options = options
        self._own_serve = self._own_application = False
        self._application = options.name
        """The name of the application that is used."""
        self.state = "starting"
        self.url = ""

    def start(self) -> None:
        """Connect, and deploy unless an application serves the model; return when requests are taken."""
        self._connect()
        signal.signal(signal.SIGTERM, _leave)  # Ray has put its own handler in the place
        self._own_serve = _client() is None
        if not self._own_serve and (found := self._existing()) is not None:
            self._application, self.url = found
            print(f"an application of the cluster serves {self._options.model}: {self.url}", flush=True)
        else:
            self._check_resources()
            self._deploy()
        self.state = "up"

    def _connect(self) -> None:
        options = self._options
        if options.address is not None:
            try:
                self._ray.init(address=options.address)
            except (ConnectionError, ValueError, RuntimeError) as error:
                _fail(
                    f"there is no Ray cluster at {options.address}, or it refuses this program ({error}). Start "
                    "one with `ray start --head`, and on further machines `ray start --address=HEAD:6379`; give this "
                    "program the cluster's token (RAY_AUTH_TOKEN_PATH) where the log says InvalidAuthToken; or leave "
                    "--ray-address out: Ray is then started on this machine"
                )
            return
        # Without GPUs, Ray's CPUs are places only: each replica needs one, and so does each part of the endpoint.
        places = max(os.cpu_count() or 1, 4 * options.replicas * options.tensor_parallel)
        cpus = places if options.accelerator is None else None
        self._ray.init(address="local", num_cpus=cpus, include_dashboard=False, object_store_memory=OBJECT_STORE_BYTES)

    def _check_resources(self) -> None:
        options, nodes = self._options, [node for node in self._ray.nodes() if node["Alive"]]
        needed = options.replicas * options.tensor_parallel
        if options.accelerator is None:
            return
        kinds = {
            name.partition(":")[2]
            for node in nodes
            for name in node["Resources"]
            if name.startswith("accelerator_type:")
        }
        kind = f"accelerator_type:{options.accelerator}"
        found = int(sum(node["Resources"].get("GPU", 0) for node in nodes if kind in node["Resources"]))
        if found < needed:
            _fail(
                f"replicas * tensor_parallel = {needed} GPUs of type {options.accelerator} are needed, and the Ray "
                f"cluster has {found} (types in the cluster: {', '.join(sorted(kinds)) or 'none'}). Start more nodes, "
                "lower --replicas or --tensor-parallel, or correct --accelerator"
            )

    def _deploy(self) -> None:
        from ray.serve.llm import LLMConfig, build_openai_app

        options = self._options
        engine = engine_arguments(options.arguments) | {"tensor_parallel_size": options.tensor_parallel}
        placed: dict[str, Any] = {"accelerator_type": options.accelerator}
        if options.accelerator is None:
            placed = {"placement_group_config": {"bundles": [{"CPU": 1}] * options.tensor_parallel}}
        config = LLMConfig(
            model_loading_config={"model_id": options.model, "model_source": options.model},
            deployment_config={"num_replicas": options.replicas},
            engine_kwargs=engine,
            log_engine_metrics=False,
            **placed,
        )
        if self._own_serve:
            host = "127.0.0.1" if HEAD in self._node()["Resources"] else self._head_address()
            self._serve.start(proxy_location="HeadOnly", http_options={"host": host, "port": options.http_port})
        self._own_application = True
        prefix = f"/{options.name}"
        self._serve.run(build_openai_app({"llm_configs": [config]}), name=options.name, route_prefix=prefix)
        self.url = self._address(prefix)

    def watch(self) -> None:
        """Follow the application's state until the process ends."""
        silent = 0
        while True:
            time.sleep(WATCH_SECONDS)
            try:
                found = _details()["applications"].get(self._application)
            except (self._ray.exceptions.RayError, TimeoutError) as error:
                silent += 1
                print(f"the cluster does not say the application's state: {error}", flush=True)
                lost = silent >= SILENT
            else:
                silent = 0
                lost = found is None or found["status"] in LOST
            if lost:
                print("the application is no longer there, or cannot be deployed again", flush=True)
            self.state = "lost" if lost else "up"

    def stop(self) -> None:
        """Remove what this program deployed or started."""
        if self._own_application and self._options.address is not None:
            self._serve.delete(self._options.name, _blocking=False)  # first: the time to end may be over soon
            if self._own_serve and not set(_details()["applications"]) - {self._options.name}:
                self._serve.shutdown()
        self._ray.shutdown()

    # ------------------------------------------------------------------ addresses

    def _node(self) -> dict[str, Any]:
        """Ray's description of this node."""
        own = self._ray.get_runtime_context().get_node_id()
        node: dict[str, Any] = next(node for node in self._ray.nodes() if node["NodeID"] == own)
        return node

    def _head_address(self) -> str:
        return next(str(n["NodeManagerAddress"]) for n in self._ray.nodes() if n["Alive"] and HEAD in n["Resources"])

    def _address(self, prefix: str) -> str:
        """Address of an application, with /v1."""
        http = _client().http_config
        own = self._node()["NodeManagerAddress"]
        proxies = [str(proxy["node_ip"]) for proxy in _details()["proxies"].values()]
        host = http.host
        if host in ANY_ADDRESS or host in THIS_MACHINE:
            if own in proxies:
                host = "127.0.0.1"
            elif host in ANY_ADDRESS and proxies:
                host = proxies[0]
            else:
                _fail(
                    f"Ray Serve of the cluster listens on {host} of another machine: run this command there, or start "
                    "Serve with `serve start --http-host 0.0.0.0`"
                )
        return f"http://{host}:{http.port}{prefix.rstrip('/')}/v1"

    def _existing(self) -> tuple[str, str] | None:
        """Name and address of an application of somebody else that serves the model."""
        for name, found in _details()["applications"].items():
            if found["status"] != "RUNNING" or found.get("route_prefix") is None or name.startswith(PREFIX):
                continue
            url = self._address(found["route_prefix"])
            if self._options.model in models_of(url):
                return name, url
        return None


def models_of(url: str) -> set[str]:
    """Names of the models that an address serves; none where it is no OpenAI endpoint."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url}/models", timeout=10.0) as reply:
            return {str(row["id"]) for row in json.load(reply)["data"]}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _client() -> Any:
    """Serve's client of the cluster; None where Serve does not run."""
    from ray.serve.context import _get_global_client

    return _get_global_client(raise_if_no_controller_running=False)


def _details() -> dict[str, Any]:
    """Applications and proxies of Serve."""
    client = _client()
    details: dict[str, Any] = {} if client is None else client.get_serve_details()
    return {"applications": details.get("applications") or {}, "proxies": details.get("proxies") or {}}


def engine_arguments(words: Sequence[str]) -> dict[str, Any]:
    """Arguments of `vllm serve` as those of its engine, as vLLM itself reads them."""
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    parser = AsyncEngineArgs.add_cli_args(FlexibleArgumentParser())
    given = vars(parser.parse_args(list(words)))
    return {name: value for name, value in given.items() if value != parser.get_default(name)}


def _fail(message: str) -> NoReturn:
    """End with a message, which is the last line of the log."""
    raise SystemExit(message)


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    """End on SIGTERM; what was deployed is removed on the way."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the supervisor kills this process if it takes too long
    raise SystemExit(0)


def answer_checks(service: Service, port: int) -> None:
    """Answer `/health` and `/endpoint` in a thread."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            up = service.state == "up"
            body = json.dumps({"base_url": service.url, "state": service.state}).encode()
            self.send_response(200 if up else 503)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Write nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def main() -> None:
    """Serve until a signal comes."""
    signal.signal(signal.SIGTERM, _leave)
    given = json.loads(sys.argv[1])
    options = Options(**{**given, "arguments": tuple(given["arguments"])})
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_COLOR_PREFIX", "0")  # the log is a file
    service = Service(options)
    answer_checks(service, options.port)
    try:
        service.start()
        service.watch()
    finally:
        service.stop()


if __name__ == "__main__":
    main()
