"""The reference backend: every operation in plain NumPy, readable and slow."""

from linksyn_gpu.backend.cpu.analytics import analytics
from linksyn_gpu.backend.cpu.incidence import incidence
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
from linksyn_gpu.backend.reference.build import cooccurrence, evidence, graph_arrays
from linksyn_gpu.backend.reference.bundle import (
    EvidenceGraph,
    LabelTable,
    RankedEvidence,
    link_paths,
    load_evidence,
    load_labels,
    rank_evidence,
    rank_seeds,
    screen_bundles,
)
from linksyn_gpu.backend.reference.edges import check_incidence, kp_counts
from linksyn_gpu.backend.reference.neighbours import similar_pairs
from linksyn_gpu.backend.reference.paths import (
    KeySet,
    count_occurrences,
    key_set,
    path_keys,
    path_lengths,
    screen_paths,
)
from linksyn_gpu.backend.reference.walk import (
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
