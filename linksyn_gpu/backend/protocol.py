"""The interface that every backend implements.

A backend is a module, `reference/operations.py`, `cpu/operations.py` or `gpu/operations.py`, whose functions have the
names and parameters of `Operations` and return the same bits. Arrays and handles stay in the backend's memory, and
their types are opaque to callers: an `Array` is a NumPy array on a CPU and a CuPy array on a GPU.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NewType, Protocol, Self, TypeVar

from linksyn_gpu.tables import PATH_STATUS, KPGraph, SeedLabels

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from linksyn_gpu.backend.neighbours import SimilarPairs

MAX_BATCH = 2**31
NOT_A_PATH = -2  # first seed of a path that takes a step without an edge
FEW_SEEDS, OFF_CELL = (PATH_STATUS.index(reason) for reason in ("few_seeds", "off_cell"))

# Rank of a seed in a round: uses so far, then distance to the level of the cell ...
RANKS_PER_USE = 8  # more than any distance to a level: one use counts more than all of them
FOREIGN = 1 << 43  # ... after all seeds of the cell's discipline


@dataclass(frozen=True)
class StepRule:
    """How a step is taken."""

    no_revisit: bool
    p: float
    q: float

    @property
    def second_order(self) -> bool:
        return self.p != 1.0 or self.q != 1.0

    def acceptance(self) -> tuple[int, int, int]:
        """floor(a * 2^53) for a step (back to the previous KP, to a neighbour of it, elsewhere)."""
        raw = (1.0 / self.p, 1.0, 1.0 / self.q)
        back, near, far = (int(a / max(raw) * 2.0**53) for a in raw)
        return back, near, far


@dataclass(frozen=True)
class EdgeRule:
    """Which edges a graph has, and what they weigh."""

    weight: str = "count"
    """'count', 'cosine', 'jaccard' or 'npmi'."""
    min_count: int = 1
    """Fewest seeds of an edge."""
    top_k: int | None = None
    """An edge is among the `top_k` heaviest of at least one end; None: no limit."""

    @property
    def prunes(self) -> bool:
        return self.min_count > 1 or self.top_k is not None


@dataclass(frozen=True, eq=False)
class GraphArrays:
    """A graph with its evidence, on the host; the fields are those of `KPGraph`."""

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    count: NDArray[np.int32]
    weight: NDArray[np.int32]
    seed_count: NDArray[np.int64]
    evidence_indptr: NDArray[np.int64]
    evidence: NDArray[np.int32]
    component: NDArray[np.int32]
    """[n_kps] connected component of each KP, numbered by its first KP."""
    drops: Counter[str]
    """Pruned edges, by reason."""


@dataclass(frozen=True, eq=False)
class KPCounts:
    """Properties of each KP's seeds, on the host."""

    seed_count: NDArray[np.int64]
    """[n_kps]"""
    rated: NDArray[np.int64]
    """[n_kps] seeds with a level."""
    level_sum: NDArray[np.int64]
    """[n_kps] sum of their levels."""
    indptr: NDArray[np.int64]
    """[n_kps + 1] begin of each KP's disciplines."""
    disciplines: NDArray[np.int32]
    """Disciplines of the KP's seeds, ascending."""
    counts: NDArray[np.int64]
    """Seeds of each of them."""


@dataclass(frozen=True)
class CampaignSize:
    """What the memory of a campaign depends on."""

    n_kps: int
    n_entries: int
    """Of the graph: an undirected edge has two."""
    n_evidence: int = 0
    """Seeds of all edges; 0 where no seeds are linked."""
    n_seeds: int = 0
    n_cells: int = 1
    n_weights: int = 0
    """Disciplines with edge weights of their own, for their cells."""
    n_paths: int = 0
    """Of the whole campaign, where the KP sets of paths must be distinct; otherwise 0."""

    @classmethod
    def of(cls, graph: KPGraph, *, n_cells: int = 1, n_weights: int = 0, n_paths: int = 0) -> Self:
        """Size of a campaign on a graph."""
        n_evidence = 0 if graph.evidence is None else graph.evidence.size
        n_seeds = graph.n_seeds or 0 if n_evidence else 0
        return cls(graph.n_kps, graph.indices.size, n_evidence, n_seeds, n_cells, n_weights, n_paths)


class Array(Protocol):
    """An array in a backend's memory. The docstring of each operation gives its shape and element type."""

    @property
    def size(self) -> int: ...
    def __add__(self, other: Any) -> Self: ...
    def __mul__(self, other: Any) -> Self: ...
    def __gt__(self, other: Any) -> Self: ...
    def __ge__(self, other: Any) -> Self: ...
    def __eq__(self, other: object) -> Any: ...
    def __getitem__(self, rows: slice) -> Self: ...


A = TypeVar("A")  # array
G = TypeVar("G")  # graph, as walks need it
T = TypeVar("T")  # transition table of a round
S = TypeVar("S")  # start table of a round
K = TypeVar("K")  # set of the KP sets sampled so far
E = TypeVar("E")  # evidence: the seeds of each edge
L = TypeVar("L")  # labels of the seeds
R = TypeVar("R")  # evidence in a round, in which each seed has a rank


class Operations(Protocol[A, G, T, S, K, E, L, R]):
    """Everything that a backend computes.

    Type parameters are the backend's array and the handles that pass between its operations. mypy checks in
    `backend/__init__.py` that each backend implements all of it.
    """

    # ------------------------------------------------------------------ memory

    def asarray(self, array: NDArray[Any]) -> A:
        """Copy a host array to the backend's memory."""

    def to_host(self, array: A) -> NDArray[Any]:
        """Copy an array to the host."""

    def fetch_rows(self, array: A, out: NDArray[Any], rows: NDArray[Any]) -> Callable[[], None]:
        """Begin to copy an array to the host; the returned function puts its rows in `out[rows]`.

        A device copies while it computes what was launched in between.
        """

    def walk_ids(self, begin: int, end: int) -> A:
        """Walk ids begin .. end - 1: int64."""

    def free_memory(self) -> int:
        """Bytes of the backend's memory that are free."""

    def release(self) -> int:
        """Return unused device memory, so that a language-model server on the same device can use it.

        Returns
        -------
        int
            Bytes that live arrays still hold on the device.
        """

    def walks_that_fit(self, size: CampaignSize, length: int, *, memory: int | None = None) -> tuple[int, int]:
        """Walks, and edge weights of disciplines, that fit in the backend's memory at once, next to everything else.

        Parameters
        ----------
        length : int
            Steps of a walk.
        memory : int, optional
            Bytes that may be used; None: all that is free. Host memory is paged and therefore not limited.
        """

    # ------------------------------------------------------------------ construction

    def incidence(
        self, column: pa.ChunkedArray, *, kp_form: str = "folded", max_kps_per_seed: int | None = None
    ) -> tuple[A, A, list[str], Counter[str]]:
        """Number the KPs of seeds, and list the KPs of each seed.

        Parameters
        ----------
        column : Arrow column of list<string>, one row per seed
            KP names; neither lists nor names are null.
        kp_form : {'folded', 'exact'}
            'folded': names are the same KP if `tables.name_key` is the same; 'exact': byte for byte.
        max_kps_per_seed : int, optional
            Use at most this many KPs of a seed, the first in the seed's own order.

        Returns
        -------
        indptr : int64 [n_seeds + 1]
        kp_indices : int32 [n_mentions]
            KPs of each seed, ascending and distinct within a seed.
        names : list of str [n_kps]
            First spelling of each KP, in order of first appearance.
        drops : Counter
            Mentions left out, by reason: 'repeated_in_seed', 'max_kps_per_seed'.

        Raises
        ------
        DataError
            No seed has a KP.
        """

    def check_incidence(self, indptr: A, kp_indices: A, n_kps: int) -> None:
        """Check that the arrays are an incidence matrix.

        Raises
        ------
        DataError
            They are not; the message says which rule they break, and the first seed that breaks it.
        """

    def graph_arrays(
        self, indptr: A, kp_indices: A, n_kps: int, rule: EdgeRule, *, memory_limit: int | None = None
    ) -> GraphArrays:
        """Co-occurrence graph with weights, pruned, with its evidence.

        Parameters
        ----------
        indptr, kp_indices, n_kps
            As `cooccurrence` takes them.
        rule : EdgeRule
        memory_limit : int, optional
            Bytes that construction may take; None: a share of what is free.
        """

    def kp_counts(self, indptr: A, kp_indices: A, n_kps: int, labels: L, n_disciplines: int) -> KPCounts:
        """Levels and disciplines of the seeds of each KP."""

    def cooccurrence(self, indptr: A, kp_indices: A, n_kps: int, *, memory_limit: int | None = None) -> tuple[A, A, A]:
        """C = A'A without its diagonal, as CSR with sorted columns.

        Parameters
        ----------
        indptr : int64 [n_seeds + 1]
        kp_indices : int32 [n_mentions]
            KPs of each seed, ascending and distinct within a seed.
        n_kps : int
        memory_limit : int, optional
            Bytes that the product may take; None: a share of what is free.

        Returns
        -------
        indptr int64 [n_kps + 1], indices int32 [n_entries], count int32 [n_entries]
        """

    def evidence(self, indptr: A, kp_indices: A, graph_indptr: A, graph_indices: A) -> tuple[A, A]:
        """Evidence: for each undirected edge (u < v, in row order), the seeds that hold both ends, ascending.

        Pairs without an edge in the graph (it was pruned) are left out.

        Returns
        -------
        evidence_indptr int64 [n_edges + 1], evidence int32
        """

    def analytics(self, graph: KPGraph) -> dict[str, NDArray[Any]]:
        """Describe each KP's place in the graph.

        Returns
        -------
        dict of arrays on the host, each [n_kps]
            degree : int64, neighbours.
            component : int32, weakly connected component, numbered by its first KP; an isolated KP is a component.
            pagerank : float64, by edge weight, damping 0.85, summing to 1.
            core : int32, the largest k of a k-core that holds the KP.
            community : int32, Leiden on weighted modularity, numbered by its first KP.

        Raises
        ------
        BackendUnavailable
            The package that computes them (python-igraph or cuGraph) is not installed.
        """

    def similar_pairs(self, vectors: NDArray[np.float32], threshold: float, *, top_k: int = 8) -> SimilarPairs:
        """Pairs of vectors with a cosine of at least `threshold`, one among the `top_k` nearest of the other.

        Parameters
        ----------
        vectors : float32 [n, d], finite, on the host
            They need not have unit length.
        threshold : float
            Least cosine of a pair, in (0, 1]. Every backend compares the cosine in double precision with it.
        top_k : int
            Neighbours that a vector keeps; of equal cosines those of the smaller rows.

        Returns
        -------
        SimilarPairs
            On the host. Scores have the same bits on every backend. All pairs are found where `method` begins with
            'exact', except in rows with more than 24 neighbours beyond `top_k` that single precision cannot order.
        """

    # ------------------------------------------------------------------ a round: value, tables, walks

    def load_graph(self, graph: KPGraph, *, second_order: bool) -> G:
        """Copy a graph to the backend's memory, with the neighbour test of node2vec if `second_order`."""

    def node_value(self, target: A, potential: A, visits: A, beta: float) -> A:
        """V(v) = P(v) * F(v), clipped to [2^-20, 2^20]; 0 where the target is 0: float64 [n_kps].

        F(v) = ((T(v) * N + s) / (n(v) + s)) ^ beta compares the visits of KP v with its target: this project's own
        formula.
        """

    def calibrated_potential(self, potential: A, target: A, visits: A) -> A:
        """P(v) <- clip(P(v) * sqrt((T(v) * M + s) / (m(v) + s)), 2^-10, 2^10): this project's own rule."""

    def cell_graph(self, graph: G, weight: A) -> G:
        """The graph with other edge weights, int32 [n_entries]: w > 0 for own edges of a cell, -w for foreign ones."""

    def calibrated_scale(self, scale: A, share: A, steps: A) -> A:
        """scale <- clip(scale * (x * M) / max(1, m), 2^-20, 2^20), m foreign steps among M: this project's own rule.

        `scale` and x = `share` are float64 [1], `steps` is (m, M) as `count_steps` returns it.
        """

    def count_steps(self, graph: G, nodes: A) -> A:
        """Foreign steps of walks, whose edges have a negative weight, and all their steps: int64 [2]."""

    def transition_table(self, graph: G, value: A, scale: A | None = None, *, steps: int = 0) -> T:
        """Table of a round: edge masses w * V, quantised to integers, summed exactly within rows.

        Parameters
        ----------
        value : float64 [n_kps]
        scale : float64 [1], optional
            Factor of edges of negative weight; None where there are none.
        steps : int
            Steps that the round will draw from the table, over all batches. A backend may add once to the table what
            makes them faster; it never changes a walk.
        """

    def start_table(self, table: T, target: A, value: A) -> S:
        """Table of start draws: masses T * V over KPs whose row is not massless."""

    def sample_walks(self, graph: G, table: T, start: S, ids: A, *, length: int, rule: StepRule, key: int) -> A:
        """Draw one walk for each id: int32 [n, length + 1], padded with -1."""

    def sample_walks_cugraph(self, graph: G, table: T, start: S, ids: A, *, length: int, rule: StepRule, key: int) -> A:
        """The same with cuGraph's biased_random_walks, over edges that weigh what the transition table says.

        A second engine, for comparison: starts are those of `sample_walks`; steps have the same probabilities but
        use other random numbers.

        Raises
        ------
        BackendUnavailable
            The backend has no cuGraph, or the rule uses `no_revisit` or p and q, which cuGraph does not have.
        """

    # ------------------------------------------------------------------ paths

    def path_lengths(self, nodes: A) -> A:
        """Entries of each row that are not -1: int32 [n]."""

    def count_occurrences(self, table: A, keep: A, size: int) -> A:
        """How often each number 0 .. size - 1 occurs in the kept rows of a table padded with -1: int64 [size].

        Visits of KPs over paths, and uses of seeds over bundles.
        """

    def key_set(self) -> K:
        """Make an empty set of KP sets already sampled."""

    def screen_paths(self, nodes: A, min_length: int, seen: K | None) -> A:
        """Status of each path, in row order: uint8 [n], index into `tables.PATH_STATUS`.

        Too short: fewer than `min_length` KPs. Repeated: its set of KPs is in `seen` or an earlier row has it (not
        tested if `seen` is None). The sets of kept paths are added to `seen`.
        """

    def path_keys(self, nodes: A) -> A:
        """64-bit key of each path's set of KPs, uint64 [n]: the sum over its distinct KPs of splitmix64's finaliser.

        Two sets have the same key with probability 2^-64; then the later path counts as a repeat and is drawn again.
        """

    # ------------------------------------------------------------------ bundles

    def load_labels(self, labels: SeedLabels) -> L:
        """Copy the disciplines and levels of the seeds to the backend's memory."""

    def rank_seeds(self, labels: L, uses: A, wanted: NDArray[np.uint8], distances: NDArray[np.int64]) -> tuple[A, A]:
        """Rank of each seed in a round, and whether it is of the cell's discipline.

        rank = uses * `RANKS_PER_USE` + distance to the level of the cell, + `FOREIGN` without a wanted discipline.

        Parameters
        ----------
        uses : int64 [n_seeds]
            Kept bundles that contain each seed.
        wanted : uint8 [n_disciplines], on the host
            1 for the disciplines that are the cell's.
        distances : int64 [highest level + 1], on the host
            Distance of each level; that of level 0 is for seeds without one.

        Returns
        -------
        rank int64 [n_seeds], own uint8 [n_seeds]
        """

    def load_evidence(self, graph: KPGraph, loaded: G | None = None) -> E:
        """Copy the evidence, and what finds an edge in it, to the backend's memory.

        Parameters
        ----------
        loaded : optional
            What `load_graph` returned for the same graph: the columns are shared with it, not copied again.

        Raises
        ------
        DataError
            The graph has no evidence.
        """

    def rank_evidence(self, evidence: E, rank: A) -> R:
        """Prepare the evidence for a round. Nothing is sorted: `link_paths` looks for the best seeds of an edge.

        Parameters
        ----------
        rank : int64 [n_seeds]
            Lower is better.
        """

    def link_paths(self, evidence: E, ranked: R, nodes: A, ids: A, keep: A, key: int) -> A:
        """One seed for each edge of each kept path, no seed twice in a bundle: int32 [n, length], padded with -1.

        Among the seeds of the best rank, in their own order, the search begins at a Philox draw and wraps around; then
        the others follow in the order of (rank, seed). An edge all of whose seeds are already in the bundle adds none.
        A path that takes a step without an edge gets `NOT_A_PATH` as its first seed.
        """

    def screen_bundles(self, bundles: A, status: A, own: A | None, min_seeds: int, min_own_share: A) -> A:
        """Status of each path after linking: uint8 [n], index into `tables.PATH_STATUS`.

        Paths with another status than 0 keep it. 'few_seeds': fewer than `min_seeds` seeds. 'off_cell': of these at
        most `min_own_share` (float64 [1]) are marked in `own` (uint8 [n_seeds]; not tested if it is None).
        """


WalkGraph = NewType("WalkGraph", object)
TransitionTable = NewType("TransitionTable", object)
StartTable = NewType("StartTable", object)
KeySet = NewType("KeySet", object)
EvidenceGraph = NewType("EvidenceGraph", object)
LabelTable = NewType("LabelTable", object)
RankedEvidence = NewType("RankedEvidence", object)

AnyOperations = Operations[
    Array, WalkGraph, TransitionTable, StartTable, KeySet, EvidenceGraph, LabelTable, RankedEvidence
]
"""The operations of some backend: its arrays and handles are opaque, and only its own operations take them."""
