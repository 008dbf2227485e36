"""Engine 'ray' with stand-ins for its program and for Ray: settings, placement, life of the application."""

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from click.testing import CliRunner

from linksyn_gpu.cli import main
from linksyn_gpu.config import SynthesisConfig
from linksyn_gpu.errors import ConfigError, EngineError
from linksyn_gpu.llm.client import Limits
from linksyn_gpu.llm.dispatch import ask_all
from linksyn_gpu.llm.journal import Journal
from linksyn_gpu.llm.servers import launch, ray_serve
from linksyn_gpu.llm.servers.ray_serve import program
from tests.llm.fake_server import request

on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="engine 'ray' is for Linux")
FAST = Limits(concurrency=8, timeout=20.0, max_attempts=2, backoff=0.01, backoff_cap=0.05, unreachable_after=0.3)


def config(**settings):
    return SynthesisConfig(engine="ray", model="small", **settings)


def starts(folder):
    return [json.loads(line) for line in (folder / "starts.jsonl").read_text().splitlines()]


# ---------------------------------------------------------------------- the program is started, watched and stopped


@pytest.fixture
def standin(monkeypatch):
    monkeypatch.setattr(ray_serve, "PROGRAM", str(Path(__file__).with_name("standin_ray.py")))


def answer_all(settings, folder, n):
    with Journal(folder / "journal") as journal, launch.running(settings, folder=folder) as engine:
        stats = ask_all([request(f"r{i}") for i in range(n)], engine, journal, limits=FAST)
        records = list(journal.read())
    assert sorted(record["id"] for record in records) == sorted(f"r{i}" for i in range(n)), "each is answered once"
    return records, stats, engine


@on_linux
def test_it_starts_answers_and_is_stopped(tmp_path, standin, capfd):
    settings = config(replicas=3, vllm_args=("--folder", str(tmp_path)))
    _, stats, engine = answer_all(settings, tmp_path, 12)
    assert stats.completed == 12
    assert len(starts(tmp_path)) == 1
    assert Limits.of(settings, engine).concurrency == 3 * settings.concurrency
    said = capfd.readouterr().err
    assert "Ray: placing 3 replicas of small on this machine" in said
    assert "Ray: ready after" in said
    assert "serving small" in (tmp_path / "ray.log").read_text()


@on_linux
def test_a_program_that_dies_is_restarted_and_no_request_is_lost(tmp_path, standin, capfd):
    settings = config(vllm_args=("--folder", str(tmp_path), "--die-at", "6", "--latency", "0.02"))
    records, stats, _ = answer_all(settings, tmp_path, 30)
    assert stats.completed == 30
    assert {record["attempts"] for record in records} == {1}
    first, second = starts(tmp_path)
    assert first["argv"] == second["argv"], "the same port"
    assert "restart 1 of 3" in capfd.readouterr().err


@on_linux
def test_a_program_that_cannot_deploy_is_an_error_with_its_log(tmp_path, standin):
    settings = config(vllm_args=("--folder", str(tmp_path), "--refuse"))
    with (
        pytest.raises(EngineError, match=r"(?s)Ray could not be started.*no such model"),
        launch.running(settings, folder=tmp_path),
    ):
        pass


@on_linux
def test_a_python_without_ray_is_an_error_that_says_what_to_install(tmp_path):
    settings = config(vllm_python=sys.executable, ray_address="127.0.0.1:1", vllm_start_timeout=120.0)
    with (
        pytest.raises(EngineError, match=r"ray\[serve\]|no Ray cluster at 127\.0\.0\.1:1"),
        launch.running(settings, folder=tmp_path),
    ):
        pass


def test_the_program_gets_what_the_settings_say(tmp_path):
    settings = config(
        ray_address="auto", replicas=4, tensor_parallel=2, accelerator="H100", vllm_memory_share=0.9, vllm_args=("--x",)
    )
    given = ray_serve.options(settings, tmp_path, 5)
    made = program.Options(**given)
    assert (made.address, made.replicas, made.tensor_parallel, made.accelerator) == ("auto", 4, 2, "H100")
    assert made.arguments == ["--x", "--gpu-memory-utilization", "0.9000"]
    assert made.name.startswith(program.PREFIX)
    assert made.name == ray_serve.options(settings, tmp_path, 6)["name"], "a later call replaces what a killed one left"
    assert made.name != ray_serve.options(settings, tmp_path / "other", 5)["name"]


# ---------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": None}, "engine 'ray' needs model"),
        ({"vllm_command": "vllm"}, "vllm_command is of engine 'vllm'"),
        ({"data_parallel": 2}, "set replicas, not data_parallel"),
        ({"replicas": 0}, "replicas = 0"),
        ({"ray_address": ""}, "ray_address"),
        ({"accelerator": ""}, "accelerator"),
    ],
)
def test_wrong_settings_are_errors(settings, message):
    with pytest.raises(ConfigError, match=message):
        SynthesisConfig(**{"engine": "ray", "model": "m", **settings})


@pytest.mark.parametrize("flag", [("--replicas", "2"), ("--ray-address", "auto"), ("--accelerator", "H100")])
def test_flags_of_engine_ray_without_it_are_an_error(flag, tmp_path):
    done = CliRunner().invoke(main, ["run", "seeds.jsonl", "--out", str(tmp_path / "run"), "--engine", "smol", *flag])
    assert done.exit_code == 2
    assert f"{flag[0]} is for --engine ray" in done.output
    assert not (tmp_path / "run").exists()


# ---------------------------------------------------------------------- Ray, replaced


class Ray(ModuleType):
    """A cluster of nodes; `Serve` and this record what is asked of them."""

    def __init__(self, nodes=(), applications=(), started=False):
        super().__init__("ray")
        self.calls, self.listed = [], list(nodes) or [node("head", head=True)]
        self.applications = {name: {"status": "RUNNING", "route_prefix": "/x"} for name in applications}
        self.client = client_of(self) if started else None
        self.exceptions = SimpleNamespace(RayError=RuntimeError)
        self.serve = SimpleNamespace(start=self._start, run=self._run, shutdown=self._shutdown, delete=self._delete)

    def init(self, **options):
        self.calls.append(("init", options))

    def nodes(self):
        return self.listed

    def get_runtime_context(self):
        return SimpleNamespace(get_node_id=lambda: "head")

    def shutdown(self):
        self.calls.append(("ray.shutdown",))

    def _start(self, proxy_location, http_options):
        self.client = client_of(self, **http_options)
        self.calls.append(("start", proxy_location, http_options))

    def _run(self, application, name, route_prefix):
        self.applications[name] = {"status": "RUNNING", "route_prefix": route_prefix}
        self.calls.append(("run", application, name))

    def _shutdown(self):
        self.calls.append(("serve.shutdown",))

    def _delete(self, name, _blocking):
        self.calls.append(("delete", name))

    def of(self, what):
        return [call[1:] for call in self.calls if call[0] == what]


def client_of(ray, host="127.0.0.1", port=8000):
    def details():
        return {"applications": ray.applications, "proxies": {"head": {"node_ip": "10.0.0.1"}}}

    return SimpleNamespace(http_config=SimpleNamespace(host=host, port=port), get_serve_details=details)


def node(name, *, gpus=0, kind=None, head=False):
    resources = {"CPU": 8, "GPU": gpus}
    resources |= {f"accelerator_type:{kind}": 1} if kind else {}
    resources |= {program.HEAD: 1} if head else {}
    return {"NodeID": name, "Alive": True, "NodeManagerAddress": "10.0.0.1", "Resources": resources}


@pytest.fixture
def service(monkeypatch):
    def made(ray, **options):
        llm = ModuleType("ray.serve.llm")
        llm.LLMConfig, llm.build_openai_app = SimpleNamespace, lambda args: args["llm_configs"][0]
        monkeypatch.setitem(sys.modules, "ray", ray)
        monkeypatch.setitem(sys.modules, "ray.serve", ray.serve)
        monkeypatch.setitem(sys.modules, "ray.serve.llm", llm)
        monkeypatch.setattr(program, "_client", lambda: ray.client)
        monkeypatch.setattr(program.signal, "signal", lambda number, handler: None)
        monkeypatch.setattr(program, "engine_arguments", lambda words: {"words": list(words)})
        given = {"model": "m", "address": "auto", "replicas": 2, "tensor_parallel": 2, "accelerator": None}
        given |= {"arguments": ("--a",), "name": f"{program.PREFIX}1", "port": 1, "http_port": 9000}
        return program.Service(program.Options(**{**given, **options}))

    return made


def test_replicas_are_placed_on_the_gpus_that_were_asked_for(service):
    ray = Ray([node("head", head=True), node("a", gpus=2, kind="H100"), node("b", gpus=2, kind="H100")])
    work = service(ray, accelerator="H100")
    work.start()
    ((config, name),) = ray.of("run")
    assert config.accelerator_type == "H100"
    assert config.deployment_config == {"num_replicas": 2}
    assert config.engine_kwargs == {"words": ["--a"], "tensor_parallel_size": 2}
    assert not hasattr(config, "placement_group_config")
    assert (work.state, work.url) == ("up", f"http://127.0.0.1:9000/{name}/v1")
    assert ray.of("start") == [("HeadOnly", {"host": "127.0.0.1", "port": 9000})]


def test_without_gpus_each_worker_of_a_replica_gets_a_core(service):
    ray = Ray()
    service(ray).start()
    ((config, _),) = ray.of("run")
    assert config.placement_group_config == {"bundles": [{"CPU": 1}] * 2}


@pytest.mark.parametrize(("kind", "gpus"), [("A100", 8), ("H100", 3)])
def test_too_few_gpus_are_an_error_before_anything_is_deployed(kind, gpus, service):
    ray = Ray([node("head", head=True), node("a", gpus=gpus, kind=kind)])
    with pytest.raises(SystemExit, match="= 4 GPUs of type H100 are needed"):
        service(ray, accelerator="H100").start()
    assert ray.of("run") == ray.of("start") == []


def test_no_cluster_is_an_error_that_says_how_to_start_one(service, monkeypatch):
    ray = Ray()
    monkeypatch.setattr(ray, "init", lambda **options: (_ for _ in ()).throw(ConnectionError("nobody there")))
    with pytest.raises(SystemExit, match="ray start --head"):
        service(ray, address="10.0.0.9:6379").start()


def test_what_was_deployed_is_removed_and_the_rest_of_the_cluster_stays(service):
    ray = Ray(started=True, applications=[f"{program.PREFIX}other"])
    work = service(ray)
    work.start()
    assert ray.of("start") == [], "Serve was running"
    work.stop()
    assert ray.of("delete") == [(f"{program.PREFIX}1",)]
    assert ray.of("serve.shutdown") == []
    alone = Ray()
    work = service(alone)
    work.start()
    work.stop()
    assert alone.of("delete") == [(f"{program.PREFIX}1",)]
    assert alone.of("serve.shutdown") == [()], "Serve was started here, and nobody else uses it"


def test_an_application_that_serves_the_model_is_used_and_stays(service, monkeypatch):
    ray = Ray(started=True, applications=["theirs"])
    monkeypatch.setattr(program, "models_of", lambda url: {"m"} if url == "http://127.0.0.1:8000/x/v1" else set())
    work = service(ray)
    work.start()
    assert work.url == "http://127.0.0.1:8000/x/v1"
    work.stop()
    assert ray.of("run") == ray.of("delete") == ray.of("serve.shutdown") == []


def test_serve_that_listens_only_on_another_machine_is_an_error(service):
    ray = Ray([{**node("head"), "NodeManagerAddress": "10.0.0.2"}, node("b", head=True)], started=True)
    with pytest.raises(SystemExit, match=r"listens on 127\.0\.0\.1 of another machine"):
        service(ray).start()


def watched(work, monkeypatch, rounds):
    """The state after some rounds of watching."""
    naps = iter(range(rounds))

    def sleep(seconds):
        if next(naps, None) is None:
            raise KeyboardInterrupt

    monkeypatch.setattr(program.time, "sleep", sleep)
    with pytest.raises(KeyboardInterrupt):
        work.watch()
    return work.state


def test_a_lost_application_is_reported(service, monkeypatch):
    ray = Ray()
    work = service(ray)
    work.start()
    assert watched(work, monkeypatch, 1) == "up"
    ray.applications[f"{program.PREFIX}1"]["status"] = "UNHEALTHY"
    assert watched(work, monkeypatch, 1) == "up", "Serve replaces replicas itself"
    ray.applications[f"{program.PREFIX}1"]["status"] = "DEPLOY_FAILED"
    assert watched(work, monkeypatch, 1) == "lost"


def test_an_application_that_is_used_is_not_lost_while_it_answers_slowly(service, monkeypatch):
    ray = Ray(started=True, applications=["theirs"])
    monkeypatch.setattr(program, "models_of", lambda url: {"m"})
    work = service(ray)
    work.start()
    monkeypatch.setattr(program, "models_of", lambda url: set())  # too slow to say its models
    ray.applications["theirs"]["status"] = "UNHEALTHY"
    assert watched(work, monkeypatch, 3) == "up"
    del ray.applications["theirs"]
    assert watched(work, monkeypatch, 1) == "lost"


def test_a_busy_cluster_is_not_a_lost_one(service, monkeypatch):
    ray = Ray()
    work = service(ray)
    work.start()

    def busy():
        raise RuntimeError("deadline exceeded")

    monkeypatch.setattr(program, "_details", busy)
    assert watched(work, monkeypatch, program.SILENT - 1) == "up"
    assert watched(work, monkeypatch, program.SILENT) == "lost"
