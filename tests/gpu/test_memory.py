"""The memory plan against what the device's pool allocated."""

import numpy as np

from linksyn_gpu.backend.gpu.memory import SLACK, plan_memory
from linksyn_gpu.backend.protocol import CampaignSize
from linksyn_gpu.backend.reference import operations as ref
from tests.graphs import random_graph

N_WALKS = 60_000


def test_a_round_takes_no_more_than_its_plan(gpu):
    from linksyn_gpu.backend.gpu.device import peak_memory  # imports CuPy

    graph = random_graph(n_seeds=2000, n_kps=300, seed=2)
    assert gpu.release() == 0, "an earlier test holds device memory"
    one = gpu.asarray(np.ones(300))
    on_device = gpu.load_graph(graph, second_order=False)
    table = gpu.transition_table(on_device, one)
    start = gpu.start_table(table, one, one)
    rule = ref.StepRule(True, 1.0, 1.0)
    nodes = gpu.sample_walks(on_device, table, start, gpu.walk_ids(0, N_WALKS), length=4, rule=rule, key=1)
    status = gpu.screen_paths(nodes, 2, gpu.key_set())
    gpu.count_occurrences(nodes, status == 0, 300)
    gpu.path_lengths(nodes)
    gpu.to_host(nodes)
    plan = plan_memory(CampaignSize(graph.n_kps, graph.indices.size, n_paths=N_WALKS), N_WALKS, 4, gpu.free_memory())
    taken = peak_memory()
    assert plan.n_batches == 1
    assert taken <= plan.peak_bytes
    # The slack alone does not make the plan true: the arrays are planned for as they are.
    assert taken <= plan.peak_bytes - SLACK + (8 << 20)
    assert taken >= (plan.peak_bytes - SLACK) // 4


def test_released_memory_is_returned(gpu):
    from linksyn_gpu.backend.gpu.device import peak_memory  # imports CuPy

    array = gpu.asarray(np.zeros(1 << 20))
    del array
    assert gpu.release() == 0
    assert peak_memory() == 0
