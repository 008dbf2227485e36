"""The progress of a command for Prometheus: GET /metrics, in its text format. docs/monitoring.md lists the figures."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from linksyn_gpu import __version__
from linksyn_gpu.errors import ConfigError

if TYPE_CHECKING:
    from linksyn_gpu.llm.client import Stats
    from linksyn_gpu.llm.endpoints import EndpointStats
    from linksyn_gpu.pipeline.progress import Progress

PREFIX = "linksyn_gpu_"
SERVER_LABELS = ("stage",)
"""Labels of the figures of a client, over all its servers."""
ENDPOINT_LABELS = ("stage", "server")


class ProgressCollector:
    """Reads a `Progress` at each scrape."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def collect(self) -> Iterator[Any]:
        """The metric families, as `prometheus_client` asks for them."""
        from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily

        progress = self._progress
        stages = list(progress.stages.values())
        yield InfoMetricFamily(PREFIX + "build", "Version of the program.", {"version": __version__})
        running = GaugeMetricFamily(PREFIX + "stage_running", "1 while a stage runs, then 0.", labels=["stage"])
        done, expected = (
            GaugeMetricFamily(f"{PREFIX}task_items{suffix}", text, labels=["stage", "task"])
            for suffix, text in (
                ("", "Items of a task that are done, with those of earlier calls."),
                ("_expected", "Items of a task when it is complete."),
            )
        )
        for stage in stages:
            running.add_metric([stage.name], float(stage.counts is None))
            for task in list(stage.tasks.values()):
                done.add_metric([stage.name, task.what], task.done)
                if task.total is not None:
                    expected.add_metric([stage.name, task.what], task.total)
        yield from (running, done, expected)
        yield from _server_families([(stage.name, stage.server) for stage in stages if stage.server is not None])
        yield from _endpoint_families(
            [
                ((stage.name, url), endpoint)
                for stage in stages
                if stage.server is not None
                for url, endpoint in dict(stage.server.endpoints).items()
            ]
        )
        yield from self._sampled()
        if (cost := progress.cost()) is not None:
            yield _counter("cost", "Cost of all tokens, in the currency of the prices.", (), [((), cost)])

    def _sampled(self) -> Iterator[Any]:
        rows = [
            ((stage.name, reason or "kept"), float(n))
            for stage in list(self._progress.stages.values())
            for reason, n in dict(stage.checked).items()
        ]
        yield _counter("sampled_qa", "QA of a sample of the answers by their rule checks.", ("stage", "result"), rows)


def _server_families(servers: list[tuple[str, Stats]]) -> Iterator[Any]:
    from prometheus_client.core import GaugeMetricFamily

    plain = {
        "attempts": ("Exchanges with the server that ended, repeated ones included.", "attempts"),
        "throttles": ("Times that the server asked for a pause (HTTP 429, 503).", "throttled"),
        "throttled_seconds": (
            "Time in which the server had asked to send nothing.",
            "throttled_seconds",
        ),
        "idle_seconds": ("Time without any request in flight.", "idle_seconds"),
        "asking_seconds": ("Time in which requests were sent.", "seconds"),
        "in_flight_seconds": ("Requests in flight, integrated over time.", "slot_seconds"),
        "requests_skipped": ("Requests whose answers an earlier call had received.", "skipped"),
    }
    for name, (text, field) in plain.items():
        yield _counter(name, text, SERVER_LABELS, [((stage,), float(getattr(s, field))) for stage, s in servers])
    outcomes = [
        ((stage, outcome), float(n))
        for stage, s in servers
        for outcome, n in (("usable", s.completed), ("unusable", s.failed))
    ]
    yield _counter("requests", "Requests with an outcome.", (*SERVER_LABELS, "outcome"), outcomes)
    tokens = [
        ((stage, direction), float(n))
        for stage, s in servers
        for direction, n in (("read", s.prompt_tokens), ("written", s.completion_tokens))
    ]
    yield _counter("tokens", "Tokens of all attempts.", (*SERVER_LABELS, "direction"), tokens)
    retries = [((stage, reason), float(n)) for stage, s in servers for reason, n in dict(s.retries).items()]
    yield _counter("retries", "Further attempts, by the reason.", (*SERVER_LABELS, "reason"), retries)
    gauges = {
        "requests_in_flight": ("Requests in flight.", "in_flight"),
        "requests_in_flight_limit": ("Most requests in flight now; fewer while the server throttles.", "limit"),
        "request_slots": ("Most requests in flight, by the settings.", "slots"),
    }
    for name, (text, field) in gauges.items():
        gauge = GaugeMetricFamily(PREFIX + name, text, labels=SERVER_LABELS)
        for stage, s in servers:
            gauge.add_metric([stage], getattr(s, field))
        yield gauge


def _endpoint_families(endpoints: list[tuple[tuple[str, str], EndpointStats]]) -> Iterator[Any]:
    from prometheus_client.core import GaugeMetricFamily

    plain = {
        "endpoint_attempts": ("Attempts at this server.", "requests"),
        "endpoint_answers": ("Chat completions of this server, usable or not.", "answered"),
        "endpoint_in_flight_seconds": ("Requests in flight at this server, integrated over time.", "slot_seconds"),
        "endpoint_left_out": ("Times that this server was left out because it failed.", "times_left_out"),
    }
    for name, (text, field) in plain.items():
        yield _counter(name, text, ENDPOINT_LABELS, [(labels, float(getattr(e, field))) for labels, e in endpoints])
    errors = [((*labels, reason), float(n)) for labels, e in endpoints for reason, n in dict(e.errors).items()]
    yield _counter("endpoint_errors", "Attempts without a completion.", (*ENDPOINT_LABELS, "reason"), errors)
    tokens = [
        ((*labels, direction), float(n))
        for labels, e in endpoints
        for direction, n in (("read", e.prompt_tokens), ("written", e.completion_tokens))
    ]
    yield _counter("endpoint_tokens", "Tokens of this server.", (*ENDPOINT_LABELS, "direction"), tokens)
    working = GaugeMetricFamily(PREFIX + "endpoint_working", "0 while a server is left out.", labels=ENDPOINT_LABELS)
    for labels, e in endpoints:
        working.add_metric(labels, float(not e.left_out))
    yield working


def _counter(name: str, text: str, labels: tuple[str, ...], rows: Sequence[tuple[tuple[str, ...], float]]) -> Any:
    from prometheus_client.core import CounterMetricFamily

    family = CounterMetricFamily(PREFIX + name, text, labels=labels)
    for values, value in rows:
        family.add_metric(values, value)
    return family


@contextlib.contextmanager
def serve_metrics(progress: Progress, host: str, port: int) -> Iterator[str]:
    """Serve the figures while the block runs; gives the address.

    Raises
    ------
    ConfigError
        The package is missing, or the port cannot be used.
    """
    try:
        from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
    except ModuleNotFoundError:
        raise ConfigError(
            "--metrics-port needs the package prometheus-client: pip install 'linksyn-gpu[metrics]'"
        ) from None
    registry = CollectorRegistry()
    registry.register(ProgressCollector(progress))
    ProcessCollector(registry=registry)
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        raise ConfigError(f"--metrics-port {port}: {host} cannot be used: {error.strerror or error}") from error
    try:
        yield f"http://{host}:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
