"""The CPU backend: every operation of the reference in Numba, on all cores, with the same bits."""

from linksyn_gpu.backend.cpu.analytics import analytics
from linksyn_gpu.backend.cpu.build import cooccurrence, evidence, graph_arrays
from linksyn_gpu.backend.cpu.bundle import EvidenceGraph, RankedEvidence, link_paths, load_evidence, rank_evidence
from linksyn_gpu.backend.cpu.incidence import incidence
from linksyn_gpu.backend.cpu.neighbours import similar_pairs
from linksyn_gpu.backend.cpu.paths import KeySet, count_occurrences, key_set, path_keys, path_lengths, screen_paths
from linksyn_gpu.backend.cpu.walk import (
    StartTable,
    TransitionTable,
    WalkGraph,
    calibrated_potential,
    calibrated_scale,
    cell_graph,
    count_steps,
    load_graph,
    node_value,
    sample_walks,
    start_table,
    transition_table,
)
from linksyn_gpu.backend.host import (
    asarray,
    fetch_rows,
    free_memory,
    release,
    sample_walks_cugraph,
    to_host,
    walk_ids,
    walks_that_fit,
)
from linksyn_gpu.backend.neighbours import SimilarPairs
from linksyn_gpu.backend.protocol import StepRule
from linksyn_gpu.backend.reference.bundle import LabelTable, load_labels, rank_seeds, screen_bundles
from linksyn_gpu.backend.reference.edges import check_incidence, kp_counts
