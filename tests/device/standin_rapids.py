"""Stand-ins for RMM, cuDF and pylibcugraph, over Arrow and SciPy, that return device arrays of the CuPy stand-in.

If the real packages do not promise an order, these deliberately return an inconvenient one.
"""

from __future__ import annotations

import sys
import types
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy import sparse
from scipy.sparse import csgraph

from tests.device.standin_cupy import READS, Block, CountedPool, ndarray, set_allocator, unwrap

# ---------------------------------------------------------------------- RMM


class CudaMemoryResource(CountedPool):
    """Memory without a pool."""


class PoolMemoryResource(CountedPool):
    def __init__(self, upstream_mr: Any, initial_pool_size: Any = None, maximum_pool_size: Any = None) -> None:
        assert initial_pool_size == 0, "the default is half of the device"
        self.maximum = maximum_pool_size

    def allocate(self, n_bytes: int) -> Block:
        if self.maximum is not None and self.live + n_bytes > self.maximum:
            raise MemoryError("std::bad_alloc: out_of_memory: maximum pool size exceeded")
        return super().allocate(n_bytes)

    def pool_size(self) -> int:
        return self.held


class StatisticsResourceAdaptor:
    def __init__(self, upstream_mr: Any) -> None:
        self._pool = upstream_mr

    def allocate(self, n_bytes: int) -> Block:
        return self._pool.allocate(n_bytes)

    @property
    def allocation_counts(self) -> Any:
        return types.SimpleNamespace(current_bytes=self._pool.live, peak_bytes=self._pool.held)


def rmm_modules() -> dict[str, types.ModuleType]:
    names = ("rmm", "rmm.mr", "rmm.allocators", "rmm.allocators.cupy")
    found = {name: types.ModuleType(name) for name in names}
    for name, module in found.items():
        module.__spec__ = ModuleSpec(name, None)
    mr = found["rmm"].mr = found["rmm.mr"]
    current: list[Any] = [CudaMemoryResource()]
    for resource in (CudaMemoryResource, PoolMemoryResource, StatisticsResourceAdaptor):
        setattr(mr, resource.__name__, resource)
    mr.get_current_device_resource = lambda: current[0]
    mr.set_current_device_resource = lambda mr: current.__setitem__(0, mr)
    found["rmm.allocators.cupy"].rmm_cupy_allocator = lambda n_bytes: current[0].allocate(n_bytes)
    return found


# ---------------------------------------------------------------------- cuDF


class StringMethods:
    def __init__(self, values: pa.Array) -> None:
        self._values = values

    def byte_count(self) -> Series:
        return Series(pc.binary_length(self._values))

    def len(self) -> Series:
        return Series(pc.utf8_length(self._values))

    def lower(self) -> Series:
        assert all(text.isascii() for text in self._values.to_pylist())
        return Series(pa.array([text.lower() for text in self._values.to_pylist()], pa.string()))

    def strip(self, to_strip: str) -> Series:
        return Series(pa.array([text.strip(to_strip) for text in self._values.to_pylist()], pa.string()))


class ListMethods:
    def __init__(self, values: pa.ListArray) -> None:
        self._values = values

    @property
    def leaves(self) -> Series:
        return Series(self._values.flatten())

    def len(self) -> Series:
        return Series(pc.list_value_length(self._values))


class Series:
    """A column in device memory."""

    def __init__(self, data: Any) -> None:
        if isinstance(data, Series):
            data = data._values
        if isinstance(data, pa.ChunkedArray):
            READS["upload"] += 1
            data = data.combine_chunks()
        self._values = data if isinstance(data, pa.Array) else pa.array(data, pa.string())

    def __len__(self) -> int:
        return len(self._values)

    @property
    def str(self) -> StringMethods:
        return StringMethods(self._values)

    @property
    def list(self) -> ListMethods:
        return ListMethods(self._values)

    def factorize(self) -> tuple[ndarray, Series]:
        texts = self._values.to_pylist()
        distinct = sorted(set(texts), reverse=True)
        number = {text: i for i, text in enumerate(distinct)}
        return ndarray(np.array([number[text] for text in texts], np.int64)), Series(distinct)

    def take(self, indices: ndarray) -> Series:
        return Series(self._values.take(pa.array(unwrap(indices))))

    def to_cupy(self) -> ndarray:
        return ndarray(self._values.to_numpy(zero_copy_only=False))

    def to_arrow(self) -> pa.Array:
        READS["column"] += 1
        return self._values


def cudf_module() -> types.ModuleType:
    found = types.ModuleType("cudf")

    def concat(objs: list[Series], *, ignore_index: bool) -> Series:
        assert ignore_index
        return Series(pa.concat_arrays([series._values for series in objs]))

    found.concat, found.Series = concat, Series
    return found


class CudfFinder(MetaPathFinder, Loader):
    """Imports the stand-in for cuDF, which makes RMM the allocator of CuPy as the real one does."""

    def find_spec(self, fullname: Any, path: Any = None, target: Any = None) -> ModuleSpec | None:
        return ModuleSpec("cudf", self) if fullname == "cudf" else None

    def create_module(self, spec: ModuleSpec) -> types.ModuleType:
        return cudf_module()

    def exec_module(self, module: types.ModuleType) -> None:
        set_allocator(sys.modules["rmm.allocators.cupy"].rmm_cupy_allocator)


# ---------------------------------------------------------------------- pylibcugraph


class SGGraph:
    def __init__(
        self, resource_handle: Any, graph_properties: Any, src_or_offset_array: ndarray,
        dst_or_index_array: ndarray, *, weight_array: ndarray, store_transposed: bool, renumber: bool,
        do_expensive_check: bool, input_array_format: str,
    ) -> None:  # fmt: skip
        assert input_array_format == "CSR"
        assert src_or_offset_array.dtype == dst_or_index_array.dtype, "the real one would widen, with a warning"
        assert weight_array.dtype in (np.float32, np.float64)
        self.symmetric, self.vertex_type = graph_properties, dst_or_index_array.dtype
        n = src_or_offset_array.size - 1
        self.matrix = sparse.csr_array(
            (unwrap(weight_array).astype(np.float64), unwrap(dst_or_index_array), unwrap(src_or_offset_array)),
            shape=(n, n),
        )


def pylibcugraph_module() -> types.ModuleType:
    found = types.ModuleType("pylibcugraph")
    found.ResourceHandle = lambda: "handle"
    found.GraphProperties = lambda *, is_symmetric, is_multigraph: is_symmetric
    found.SGGraph = SGGraph
    found.weakly_connected_components = _components
    found.pagerank = _pagerank
    found.core_number = _core_number
    found.leiden = _leiden
    found.biased_random_walks = _biased_random_walks
    return found


def _by_vertex(values: Any) -> tuple[ndarray, ndarray]:
    """Vertices and values, in an order that nobody promised."""
    order = np.random.default_rng(len(values)).permutation(len(values)).astype(np.int32)
    return ndarray(order), ndarray(np.asarray(values)[order])


def _components(
    resource_handle: Any, graph: SGGraph, offsets: None, indices: None, weights: None, labels: None,
    do_expensive_check: bool,
) -> tuple[ndarray, ndarray]:  # fmt: skip
    labels_found = csgraph.connected_components(graph.matrix, directed=False)[1]
    return _by_vertex(labels_found.max() - labels_found)


def _pagerank(
    resource_handle: Any, graph: SGGraph, precomputed_vertex_out_weight_vertices: None,
    precomputed_vertex_out_weight_sums: None, initial_guess_vertices: None, initial_guess_values: None, *,
    alpha: float, epsilon: float, max_iterations: int, do_expensive_check: bool,
) -> tuple[ndarray, ndarray]:  # fmt: skip
    n = graph.matrix.shape[0]
    out = graph.matrix.sum(axis=1)
    rank = np.full(n, 1.0 / n)
    for _ in range(max_iterations):
        flow = np.divide(rank, out, out=np.zeros(n), where=out > 0)
        renewed = alpha * (graph.matrix.T @ flow + rank[out == 0].sum() / n) + (1.0 - alpha) / n
        if np.abs(renewed - rank).sum() < epsilon:
            break
        rank = renewed
    return _by_vertex(renewed)


def _core_number(
    resource_handle: Any, graph: SGGraph, degree_type: str, do_expensive_check: bool
) -> tuple[ndarray, ndarray]:
    degree = np.diff(graph.matrix.indptr)
    core, live, k = np.zeros(degree.size, np.int32), np.ones(degree.size, bool), 0
    while live.any():
        weak = live & (degree <= k)
        if not weak.any():
            k += 1
            continue
        core[weak] = k
        live &= ~weak
        degree = degree - (graph.matrix[:, weak] != 0).sum(axis=1)
    return _by_vertex(core)


def _leiden(
    resource_handle: Any, random_state: int, graph: SGGraph, max_level: int, resolution: float, theta: float,
    do_expensive_check: bool,
) -> tuple[ndarray, ndarray, float]:  # fmt: skip
    """Components in place of communities: enough to follow the numbers through."""
    vertices, labels = _by_vertex(csgraph.connected_components(graph.matrix, directed=False)[1])
    return vertices, labels, 0.0


def _biased_random_walks(
    resource_handle: Any, input_graph: SGGraph, start_vertices: ndarray, max_length: int, *, random_state: int
) -> tuple[ndarray, ndarray, int]:
    rng = np.random.default_rng(random_state)
    starts = unwrap(start_vertices)
    assert starts.dtype == input_graph.vertex_type, "start vertices are read as the graph's own type"
    nodes = np.full((starts.size, max_length + 1), -1, np.int32)
    nodes[:, 0] = starts
    matrix = input_graph.matrix
    for path in nodes:
        for step in range(max_length):
            row = slice(matrix.indptr[path[step]], matrix.indptr[path[step] + 1])
            if row.start == row.stop:
                break
            weights = matrix.data[row]
            path[step + 1] = rng.choice(matrix.indices[row], p=weights / weights.sum())
    return ndarray(nodes.ravel()), ndarray(np.zeros(starts.size * max_length, np.float32)), max_length
