"""What cuDF and cuGraph do: number knowledge points, describe the graph, and sample walks as a second engine."""

from __future__ import annotations

from collections import Counter
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import cupy as cp
import numpy as np
from numpy.typing import NDArray

from linksyn_gpu.backend.cpu.analytics import DAMPING, LEIDEN_ITERATIONS, LEIDEN_SEED, number_by_first, without_edges
from linksyn_gpu.backend.cpu.incidence import incidence as host_incidence
from linksyn_gpu.backend.gpu.cuda import launch
from linksyn_gpu.backend.gpu.device import DeviceArray, flatnonzero, from_device, to_device
from linksyn_gpu.backend.gpu.memory import crossings
from linksyn_gpu.backend.gpu.pool import pool
from linksyn_gpu.backend.gpu.walk import StartTable, TransitionTable, WalkGraph
from linksyn_gpu.backend.protocol import StepRule
from linksyn_gpu.errors import BackendUnavailable, DataError
from linksyn_gpu.tables import KPGraph
from linksyn_gpu.text import name_key

if TYPE_CHECKING:
    import pyarrow as pa

# What Python's str.strip() removes from an ASCII string; the default of cuDF removes every control character.
ASCII_SPACE = " \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f"


# ---------------------------------------------------------------------- names of knowledge points


def has_cudf() -> bool:
    """Whether cuDF is installed; an installed but broken one is an error at its import."""
    return find_spec("cudf") is not None


def incidence(
    column: pa.ChunkedArray, *, kp_form: str = "folded", max_kps_per_seed: int | None = None
) -> tuple[DeviceArray, DeviceArray, list[str], Counter[str]]:
    """Number the distinct spellings, then the mentions, with cuDF; on the host where cuDF is not installed.

    cuDF folds ASCII names and finds equal ones. Names with other characters need Unicode's NFKC, which cuDF does not
    have: their distinct spellings cross to the host and back. The names of the KPs cross once, at the end.
    """
    if not has_cudf():
        indptr, kp_indices, names, drops = host_incidence(column, kp_form=kp_form, max_kps_per_seed=max_kps_per_seed)
        place = "incidence read on the host"
        return to_device(indptr, place), to_device(kp_indices, place), names, drops
    pool().use()
    import cudf  # makes RMM the allocator of CuPy

    crossings.count("KP lists, to device", column.nbytes)
    lists = cudf.Series(column)
    mentions = lists.list.leaves
    if len(mentions) == 0:
        raise DataError(
            "no seed has a knowledge point; find them with 'linksyn-gpu extract', or name their column with "
            "--map knowledge_points=COLUMN"
        )
    spelling, spellings = mentions.factorize()
    spellings = cudf.Series(spellings)
    group = _groups(spellings) if kp_form == "folded" else cp.arange(len(spellings), dtype=np.int64)
    kp_of_spelling, first_mention = _in_order_of_appearance(cp.asarray(spelling).astype(np.int64), group)
    kps = kp_of_spelling[spelling]
    first_spellings = spellings.take(spelling[first_mention]).to_arrow()
    crossings.count("KP names, to host", first_spellings.nbytes)
    names = [name.strip() if kp_form == "folded" else name for name in first_spellings.to_pylist()]
    ends = cp.cumsum(lists.list.len().to_cupy(), dtype=np.int64)
    indptr, kp_indices, drops = _rows(kps, ends, len(names), max_kps_per_seed)
    return indptr, kp_indices, names, drops


def _groups(spellings: Any) -> Any:
    """Number of each spelling's key, in any order: int64 [n_spellings]."""
    import cudf

    ascii_only = spellings.str.byte_count().to_cupy() == spellings.str.len().to_cupy()
    plain, other = flatnonzero(ascii_only), flatnonzero(~ascii_only)
    folded = spellings.take(plain).str.lower().str.strip(ASCII_SPACE)
    if other.size:
        on_host = spellings.take(other).to_arrow()
        keys = [name_key(name) for name in on_host.to_pylist()]
        crossings.count("non-ASCII KP spellings, to host", on_host.nbytes)
        crossings.count("non-ASCII KP keys, to device", sum(len(key.encode()) for key in keys))
        folded = cudf.concat([folded, cudf.Series(keys)], ignore_index=True)
    group = cp.empty(len(spellings), np.int64)
    group[cp.concatenate((plain, other))] = folded.factorize()[0].astype(np.int64)
    return group


def _in_order_of_appearance(spelling: Any, group: Any) -> tuple[Any, Any]:
    """KP number of each spelling, and the first mention of each KP, KPs numbered by their first mention."""
    group_of_mention = group[spelling]
    order = cp.argsort(group_of_mention)  # stable: the first mention of a group comes first
    in_group = group_of_mention[order]
    change = cp.ones(in_group.size, np.bool_)
    change[1:] = in_group[1:] != in_group[:-1]
    first = order[flatnonzero(change)]  # [n_kps], by group number
    by_first = cp.argsort(first)
    number = cp.empty(first.size, np.int64)
    number[by_first] = cp.arange(first.size, dtype=np.int64)
    return number[group], first[by_first]


def _rows(kps: Any, ends: Any, n_kps: int, limit: int | None) -> tuple[Any, Any, Counter[str]]:
    """Drop repeats of a KP in a seed, and KPs past `limit`; sort each seed's KPs."""
    seed = cp.searchsorted(ends, cp.arange(kps.size, dtype=np.int64), side="right")
    key = seed * n_kps + kps
    order = cp.argsort(key)
    in_order = key[order]
    change = cp.ones(key.size, np.bool_)
    change[1:] = in_order[1:] != in_order[:-1]
    first = order[flatnonzero(change)]
    drops = Counter[str]()
    if first.size < key.size:
        drops["repeated_in_seed"] = int(key.size - first.size)
    if limit is not None:
        first.sort()
        holder = seed[first]
        place = cp.arange(first.size, dtype=np.int64) - cp.searchsorted(holder, holder)
        kept = flatnonzero(place < limit)
        if kept.size < first.size:
            drops["max_kps_per_seed"] = int(first.size - kept.size)
        first = first[kept]
        first = first[cp.argsort(key[first])]
    indptr = cp.searchsorted(seed[first], cp.arange(ends.size + 1, dtype=np.int64)).astype(np.int64)
    return indptr, kps[first].astype(np.int32), drops


# ---------------------------------------------------------------------- cuGraph


def analytics(graph: KPGraph) -> dict[str, NDArray[Any]]:
    """By cuGraph.

    Raises
    ------
    BackendUnavailable
        cuGraph is not installed.
    """
    plc = _cugraph()
    graph = graph.checked
    n_kps = graph.n_kps
    if graph.n_edges == 0:
        return without_edges(graph)
    indptr, indices, weight = (to_device(array, "analytics") for array in (graph.indptr, graph.indices, graph.weight))
    handle = plc.ResourceHandle()
    network = _network(plc, handle, indptr, indices, weight.astype(np.float64), symmetric=True)
    found = {
        "component": plc.weakly_connected_components(handle, network, None, None, None, None, False),
        "pagerank": plc.pagerank(
            handle, network, None, None, None, None,
            alpha=DAMPING, epsilon=1e-9, max_iterations=1000, do_expensive_check=False,
        ),
        "core": plc.core_number(handle, network, "incoming", False),
        "community": plc.leiden(handle, LEIDEN_SEED, network, LEIDEN_ITERATIONS, 1.0, 1.0, False)[:2],
    }  # fmt: skip
    cp.cuda.runtime.deviceSynchronize()
    by_kp = {}
    for name, (vertices, values) in found.items():
        column = cp.empty(n_kps, values.dtype)
        column[vertices] = values
        by_kp[name] = from_device(column, "analytics")
    return {
        "degree": graph.degree,
        "component": number_by_first(by_kp["component"]),
        "pagerank": by_kp["pagerank"].astype(np.float64),
        "core": by_kp["core"].astype(np.int32),
        "community": number_by_first(by_kp["community"]),
    }


# Handle, graph and type of vertices by transition table: a table serves all batches and redraws of a round.
_weighed: WeakKeyDictionary[TransitionTable, tuple[Any, Any, Any]] = WeakKeyDictionary()


def sample_walks_cugraph(
    graph: WalkGraph,
    table: TransitionTable,
    start: StartTable,
    ids: DeviceArray,
    *,
    length: int,
    rule: StepRule,
    key: int,
) -> DeviceArray:
    """Draw starts with the walk kernel, and steps with cuGraph.

    Raises
    ------
    BackendUnavailable
        The rule uses what cuGraph's walks do not have, or cuGraph is not installed.
    """
    if rule.no_revisit or rule.second_order:
        raise BackendUnavailable(
            "cuGraph's biased walks have neither no_revisit nor p and q: set walk.walker = 'exact'"
        )
    plc = _cugraph()
    n_walks = ids.size
    nodes = cp.full((n_walks, length + 1), -1, np.int32)
    if n_walks == 0 or start.total == 0:
        return nodes
    starts = cp.empty(n_walks, np.int32)  # walks of 0 steps
    launch(
        "sample_walks", n_walks,
        table.rows, table.pairs, graph.indices, table.guide, False, start.prefix, start.prefix.size,
        ids, n_walks, 0, key, False, False, 0, 0, 0, starts,
    )  # fmt: skip
    if table not in _weighed:
        indptr, indices, mass = _live_entries(graph, table)
        handle = plc.ResourceHandle()
        network = _network(plc, handle, indptr, indices, mass.astype(np.float32), symmetric=False)
        _weighed[table] = handle, network, _index_type(indices.size)
    handle, network, index_type = _weighed[table]
    starts = starts.astype(index_type)
    cp.cuda.runtime.deviceSynchronize()
    paths, _, _ = plc.biased_random_walks(handle, network, starts, length, random_state=key % 2**31)
    cp.cuda.runtime.deviceSynchronize()
    nodes[...] = paths.reshape((n_walks, length + 1))
    return nodes


def _live_entries(graph: WalkGraph, table: TransitionTable) -> tuple[Any, Any, Any]:
    """CSR of the entries that can be drawn, with their masses: differences of prefix sums in a row."""
    n_entries = graph.indices.size
    prefix = table.prefix
    mass = prefix.copy()
    mass[1:] -= prefix[:-1]
    begins = graph.indptr[:-1][flatnonzero(graph.indptr[:-1] < graph.indptr[1:])]
    mass[begins] = prefix[begins]
    live = mass > 0
    running = cp.zeros(n_entries + 1, np.int64)
    running[1:] = cp.cumsum(live, dtype=np.int64)
    kept = flatnonzero(live)
    return running[graph.indptr], graph.indices[kept], mass[kept]


def _network(plc: Any, handle: Any, indptr: Any, indices: Any, weight: Any, *, symmetric: bool) -> Any:
    """A cuGraph graph over CSR arrays; every row is a vertex, isolated ones too.

    cuGraph works on a stream of its handle, not on CuPy's: the device is waited for between the two.
    """
    index_type = _index_type(indices.size)
    offsets, neighbours = indptr.astype(index_type), indices.astype(index_type)
    cp.cuda.runtime.deviceSynchronize()
    return plc.SGGraph(
        handle,
        plc.GraphProperties(is_symmetric=symmetric, is_multigraph=False),
        offsets,
        neighbours,
        weight_array=weight,
        store_transposed=False,
        renumber=False,
        do_expensive_check=False,
        input_array_format="CSR",
    )


def _index_type(n_entries: int) -> Any:
    """Common type of offsets, indices and vertices: int32 until an offset no longer fits."""
    return np.int32 if n_entries < 2**31 else np.int64


def _cugraph() -> Any:
    """cuGraph's low-level module, which takes CuPy arrays."""
    try:
        import pylibcugraph
    except ModuleNotFoundError as error:
        if error.name != "pylibcugraph":
            raise
        raise BackendUnavailable("cuGraph is not installed: create the environment of environment.yml") from None
    return pylibcugraph
