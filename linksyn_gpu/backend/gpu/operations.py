"""The GPU backend: CuPy, kernels/*.cu and RAPIDS, with the bits of the reference."""

from linksyn_gpu.backend.gpu.build import cooccurrence, evidence
from linksyn_gpu.backend.gpu.bundle import link_paths, load_evidence, order_evidence
from linksyn_gpu.backend.gpu.device import DeviceArray, asarray, free_memory, release, to_host, walk_ids
from linksyn_gpu.backend.gpu.neighbours import similar_pairs
from linksyn_gpu.backend.gpu.paths import KeySet, count_occurrences, key_set, path_keys, path_lengths, screen_paths
from linksyn_gpu.backend.gpu.rapids import analytics, incidence, sample_walks_cugraph
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
from linksyn_gpu.backend.reference.bundle import EvidenceGraph, OrderedEvidence
