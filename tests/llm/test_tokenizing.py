"""Prompt tokens by the protocols of vLLM and llama.cpp, and by a tokenizer.json."""

import pytest

from linksyn_gpu.errors import ConfigError, EngineError
from linksyn_gpu.llm import Engine
from linksyn_gpu.llm.tokenizing import count_on_server, count_with_file
from tests.llm.fake_server import FakeServer

PROMPTS = [
    [{"role": "system", "content": "be brief"}, {"role": "user", "content": "one two " * n}] for n in range(1, 9)
]
EXPECTED = [2 + 2 * n for n in range(1, 9)]


def words(messages):
    return [word for message in messages for word in message["content"].split()]


def vllm(path, body):
    if path != "/tokenize":
        return None
    assert body["model"] == "fake"
    return {"count": len(words(body["messages"])), "max_model_len": 4096, "tokens": [0] * len(words(body["messages"]))}


def llama(path, body):
    if path == "/apply-template":
        return {"prompt": " ".join(words(body["messages"]))}
    return {"tokens": list(range(len(body.get("content", "").split())))}


@pytest.mark.parametrize("protocol", [vllm, llama])
def test_a_server_counts_the_tokens_of_each_prompt(protocol):
    with FakeServer() as server:
        server.tokenizer = protocol
        assert count_on_server(PROMPTS, Engine(server.url, "fake")) == EXPECTED
        assert not server.bodies, "no answer was asked for"


def test_a_server_without_a_tokenizer_is_known_as_such():
    with FakeServer() as server:
        assert count_on_server(PROMPTS, Engine(server.url, "fake")) is None
        server.tokenizer = lambda path, body: {"other": 1}
        assert count_on_server(PROMPTS, Engine(server.url, "fake")) is None


def test_a_server_that_is_not_there_is_an_error():
    with pytest.raises(EngineError, match="does not count tokens"):
        count_on_server(PROMPTS, Engine("http://127.0.0.1:9/v1", "fake"))


def test_a_tokenizer_file_counts_the_texts(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0, "one": 1, "two": 2}, unk_token="[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    made.save(str(tmp_path / "tokenizer.json"))
    assert count_with_file(PROMPTS, tmp_path / "tokenizer.json") == EXPECTED
    with pytest.raises(ConfigError, match="not a file"):
        count_with_file(PROMPTS, tmp_path / "missing.json")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"not a tokenizer\.json"):
        count_with_file(PROMPTS, tmp_path / "tokenizer.json")
