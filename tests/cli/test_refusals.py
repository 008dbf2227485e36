"""One campaign against a server that refuses for every reason that lies in the account or the set-up.

The same command is run again after each stop. It ends complete, without --force, and no request is lost or asked twice.
"""

import json

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from linksyn_gpu.cli import main
from tests.cli.test_server import journal_lines, reply
from tests.conftest import SEEDS
from tests.llm.fake_server import FakeServer
from tests.requests import requests_of

CONCURRENCY = 4
SETTINGS = f"""
paths = 24
[walk]
calibration_rounds = 2
[synthesis]
engine = "openai"
question_types = ["open"]
language = "en"
concurrency = {CONCURRENCY}
"""
SPACE = 600  # tokens that the small context leaves for an answer


def refusal(status, message, **error):
    return {"status": status, "json": {"error": {"message": message, **error}}}


class Provider:
    """A server whose account, parameters and context change between the calls of the command."""

    def __init__(self):
        self.phase = "balance"
        self.good = 0
        self.refused = 0

    def enter(self, phase):
        self.phase, self.good, self.refused = phase, 0, 0

    def __call__(self, body, n):
        refused = getattr(self, self.phase)(body)
        if refused is None:
            self.good += 1
            return reply(body, n)
        self.refused += 1
        return refused

    def balance(self, body):
        """Five answers, then the account is empty."""
        if self.good >= 5:
            return refusal(402, "Insufficient balance on this account", code="insufficient_balance")
        return None

    def quota(self, body):
        """A quota that no waiting restores, under the status of a rate limit."""
        return refusal(429, "You have used up your monthly quota; check your billing page", code="insufficient_quota")

    def parameters(self, body):
        """Five answers, to requests without temperature and seed; then the account is empty again."""
        if "temperature" in body:
            return refusal(400, "Unsupported parameter: temperature", param="temperature", code="unsupported_parameter")
        if "seed" in body:
            detail = [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]
            return {"status": 422, "json": {"detail": detail}}
        return self.balance(body)

    def context(self, body):
        """A context so small that the answer limit of the requests does not fit."""
        limit = body.get("max_tokens") or body.get("max_completion_tokens") or 0
        if limit > SPACE:
            message = f"max_tokens is too large: {limit}. This model's maximum context length is 1024 tokens"
            return refusal(400, f"{message} and your request has {1024 - SPACE} input tokens.", type="BadRequestError")
        return None

    def well(self, body):
        return None


@pytest.fixture
def campaign(tmp_path):
    """Runs the one command and gives its result; `campaign.provider`, `campaign.out`."""

    settings = tmp_path / "run.toml"
    settings.write_text(SETTINGS, encoding="utf-8")

    class Campaign:
        provider = Provider()
        out = tmp_path / "out"

        def run(self, phase, codes=(0,)):
            self.provider.enter(phase)
            words = ["run", SEEDS, "--out", str(self.out), "--config", str(settings), "--base-url", server.url]
            result = CliRunner().invoke(main, words)
            assert result.exit_code in codes, result.output
            return result

        def answered(self):
            lines = (json.loads(line.split(" ", 1)[1]) for line in journal_lines(self.out))
            return [line["id"] for line in lines if line["kind"] == "completion"]

        def rows(self, name):
            return pq.read_table(self.out / name).to_pylist()

    with FakeServer(Campaign.provider) as server:
        yield Campaign()


def test_a_campaign_that_meets_every_refusal_of_account_and_set_up_ends_complete_without_force(campaign, caplog):
    stopped = campaign.run("balance", codes=[3])
    assert "Insufficient balance on this account" in stopped.stderr, "the server's own words"
    assert "402" in stopped.stderr
    assert "requests have no answer yet" in stopped.stdout
    assert campaign.provider.refused <= 3 * CONCURRENCY, "the run stops after a few identical refusals"
    assert len(campaign.answered()) == 5

    stopped = campaign.run("quota", codes=[3])
    assert "monthly quota" in stopped.stderr
    assert campaign.provider.refused <= 3 * CONCURRENCY, "a quota is not waited for"
    assert len(campaign.answered()) == 5

    stopped = campaign.run("parameters", codes=[3])
    for name in ("temperature", "seed"):
        reported = [record for record in caplog.records if f"refuses {name}" in record.getMessage()]
        assert len(reported) == 1, f"that {name} is left out is reported once"
    assert "Insufficient balance" in stopped.stderr
    assert len(campaign.answered()) == 10

    campaign.run("context", codes=[0, 3])  # asked with the space that is left, or stopped with the server's message
    campaign.run("well")

    requests = requests_of(campaign.out)
    assert len(requests) > 10
    assert sorted(campaign.answered()) == sorted(request["custom_id"] for request in requests), "each answered once"
    kept, dropped = campaign.rows("qa.parquet"), campaign.rows("dropped.parquet")
    assert [row for row in dropped if row["stage"] != "path"] == []
    assert len(kept) == len(requests)
    without = [row for row in kept if row["temperature"] is None]
    assert len(without) == 5, "the parameters that were left out are recorded for each row"
    assert all(row["seed"] is None for row in without)


def test_one_refused_request_among_good_ones_is_dropped_with_its_reason_and_does_not_stop_the_run(campaign):
    """A content filter answers 403 to one prompt; that says nothing about the key."""
    seen = []

    def filtered(body):
        prompt = body["messages"][-1]["content"]
        seen.append(prompt)
        third = list(dict.fromkeys(seen))[2:3]
        return refusal(403, "This prompt was flagged by our content policy") if prompt in third else None

    campaign.provider.filtered = filtered
    campaign.run("filtered")
    requests = requests_of(campaign.out)
    assert len(campaign.rows("qa.parquet")) == len(requests) - 1
    (dropped,) = [row for row in campaign.rows("dropped.parquet") if row["stage"] != "path"]
    assert "content policy" in dropped["detail"]


def test_a_run_in_which_every_request_is_refused_does_not_end_well(campaign):
    """A 400 whose text names no parameter: after a few identical ones it is the set-up and not the request."""
    campaign.provider.broken = lambda body: refusal(400, "The model is not configured for chat")
    stopped = campaign.run("broken", codes=[3])
    assert "The model is not configured for chat" in stopped.stderr
    assert campaign.answered() == []
    campaign.run("well")
    assert len(campaign.rows("qa.parquet")) == len(requests_of(campaign.out))
