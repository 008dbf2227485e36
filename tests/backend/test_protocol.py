"""Every backend has the operations of the protocol; mypy checks their types, this test what a caller can pass."""

import inspect

import pytest

from linksyn_gpu.backend import resolve
from linksyn_gpu.backend.protocol import Operations
from linksyn_gpu.errors import BackendUnavailable, ConfigError

OPERATIONS = {name: f for name, f in vars(Operations).items() if inspect.isfunction(f) and not name.startswith("_")}


def passed(function):
    """Names, kinds and defaults of the parameters."""
    found = inspect.signature(function).parameters.values()
    return [(one.name, one.kind, one.default) for one in found if one.name != "self"]


def assert_implements(module):
    for name, declared in OPERATIONS.items():
        assert passed(getattr(module, name)) == passed(declared), name


@pytest.mark.parametrize("name", ["reference", "cpu"])
def test_a_backend_has_every_operation_with_the_same_parameters(name):
    assert len(OPERATIONS) > 20
    assert_implements(resolve(name).ops)


def test_an_unknown_backend_is_refused():
    with pytest.raises(ConfigError, match="not one of auto, cpu, gpu, reference"):
        resolve("tpu")


def test_cugraph_walks_need_a_gpu():
    with pytest.raises(BackendUnavailable, match="--backend gpu"):
        resolve("cpu").ops.sample_walks_cugraph(None, None, None, None, length=1, rule=None, key=0)
