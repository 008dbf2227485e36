"""Homographs that the table lacks are split by their neighbours' vectors, and other names are not."""

import numpy as np

from linksyn_gpu.knowledge.merge.senses import MIN_SEEDS, find_senses

ANATOMY, COMPUTING = np.eye(2, dtype=np.float32)
"""Directions of two subjects."""
VECTORS = {
    **dict.fromkeys(("axon", "myelin", "synapse", "dendrite"), ANATOMY),
    **dict.fromkeys(("process", "system call", "scheduler", "memory page"), COMPUTING),
}


def seeds(*rows):
    """Each (name, neighbours, discipline) in as many seeds as the rule asks for."""
    return [([name, *near], discipline) for name, near, discipline in rows] * MIN_SEEDS


def senses(rows, known=(), vectors=VECTORS):
    return find_senses(lambda: rows, known, lambda names: {n: vectors[n] for n in names if n in vectors})


NERVES = ("axon", "myelin", "synapse")
SYSTEMS = ("process", "system call", "scheduler")
SPIKE = seeds(("spike train", NERVES, "biology"), ("Spike trains", SYSTEMS, "computer science"))


def test_a_name_with_unlike_neighbours_in_two_disciplines_has_two_senses():
    assert senses(SPIKE) == {
        "spiketrain": {
            "biology": frozenset({"biology"}),
            "computer science": frozenset({"computer science"}),
        }
    }


def test_a_common_or_similar_neighbour_keeps_a_name_whole():
    common = seeds(("spike", NERVES, "biology"), ("spike", (*SYSTEMS, "axon"), "computer science"))
    similar = seeds(("spike", NERVES, "biology"), ("spike", ("dendrite", "process", "scheduler"), "computer science"))
    assert senses(common) == {}
    assert senses(similar) == {}


def test_too_few_seeds_neighbours_or_vectors_split_nothing():
    assert senses(SPIKE[:-1]) == {}
    assert senses(seeds(("spike", NERVES[:2], "biology"), ("spike", SYSTEMS, "computer science"))) == {}
    assert senses(SPIKE, vectors={}) == {}


def test_a_discipline_with_little_evidence_joins_the_sense_with_the_most_seeds():
    rows = [*SPIKE, (["spike train", *SYSTEMS], "computer science"), (["spike train"], "history")]
    assert senses(rows)["spiketrain"]["computer science"] == {"computer science", "history"}


def test_the_table_decides_on_its_own_names():
    assert senses(SPIKE, known={"spiketrain"}) == {}
