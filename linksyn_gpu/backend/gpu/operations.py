"""The GPU backend: CuPy, kernels/*.cu and RAPIDS, with the bits of the reference."""

from linksyn_gpu.backend.gpu.build import cooccurrence, evidence
from linksyn_gpu.backend.gpu.bundle import (
    EvidenceGraph,
    RankedEvidence,
    link_paths,
    load_evidence,
    load_labels,
    rank_evidence,
    rank_seeds,
    screen_bundles,
)
from linksyn_gpu.backend.gpu.device import DeviceArray, asarray, free_memory, to_host, walk_ids
from linksyn_gpu.backend.gpu.edges import check_incidence, graph_arrays, kp_counts
from linksyn_gpu.backend.gpu.neighbours import similar_pairs
from linksyn_gpu.backend.gpu.paths import KeySet, count_occurrences, key_set, path_keys, path_lengths, screen_paths
from linksyn_gpu.backend.gpu.rapids import analytics, incidence, sample_walks_cugraph
from linksyn_gpu.backend.gpu.transfer import fetch_rows, release
from linksyn_gpu.backend.gpu.walk import (
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
    walks_that_fit,
)
from linksyn_gpu.backend.neighbours import SimilarPairs
from linksyn_gpu.backend.protocol import StepRule
from linksyn_gpu.backend.reference.bundle import LabelTable
