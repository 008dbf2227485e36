"""Results cross through pinned buffers on a stream of their own: complete, in order, and only when they are ready."""

import sys

import numpy as np
import pytest

from linksyn_gpu.config import WalkConfig
from linksyn_gpu.sampling.bundle import SeedLinker
from linksyn_gpu.sampling.graph import build_graph
from linksyn_gpu.sampling.plan import Round
from linksyn_gpu.sampling.walk import Walker
from linksyn_gpu.tables import Cell
from tests.device import standin_cupy
from tests.sampling.test_cells import bank


@pytest.mark.parametrize("pinned", [1, 100, 1 << 20])
@pytest.mark.parametrize("turned", [False, True])
def test_rows_arrive_where_they_belong_whatever_the_size_of_the_buffers(gpu, monkeypatch, pinned, turned):
    monkeypatch.setattr(sys.modules["linksyn_gpu.backend.gpu.transfer"], "PINNED_BYTES", max(pinned, 20))
    table = np.arange(35, dtype=np.int32).reshape(7, 5)
    rows = np.array([3, 0, 9, 4, 8, 1, 2])
    out = np.full((10, 5), -7, np.int32)
    end = gpu.fetch_rows(gpu.asarray(table.T.copy()).T if turned else gpu.asarray(table), out, rows)
    assert (out == -7).all(), "nothing is copied before the device was given other work"
    end()
    assert np.array_equal(out[rows], table)
    assert (np.delete(out, rows, axis=0) == -7).all()


def test_a_copy_that_does_not_wait_for_the_kernels_is_found(gpu, monkeypatch):
    monkeypatch.setattr(standin_cupy.Stream, "wait_event", lambda self, event: None)
    end = gpu.fetch_rows(gpu.asarray(np.zeros((2, 2), np.int32)), np.zeros((2, 2), np.int32), np.arange(2))
    with pytest.raises(AssertionError, match="not computed yet"):
        end()


def test_a_read_that_does_not_wait_for_the_copy_is_found(gpu, monkeypatch):
    monkeypatch.setattr(standin_cupy.Event, "synchronize", lambda self: None)
    out = np.zeros((2, 2), np.int32)
    gpu.fetch_rows(gpu.asarray(np.ones((2, 2), np.int32)), out, np.arange(2))()
    assert not (out == 1).any()


@pytest.mark.parametrize("batch_size", [None, 7])
def test_rounds_that_overlap_have_the_bits_of_rounds_in_turn(gpu, batch_size):
    seeds = bank(120)
    graph = build_graph(seeds, backend="reference")
    config = WalkConfig(length=3, min_length=3, distinct=True, calibration_rounds=2)
    cells = [Cell(None, 3, 0), Cell(None, 1, 0)]
    rounds = [Round(0, 40), Round(0, 0), Round(0, 25), Round(0, 40)]
    results = []
    for backend in ("reference", "gpu"):
        walker = Walker(graph, config, seed=6, backend=backend, batch_size=batch_size)
        linker = SeedLinker(graph, seeds, seed=6, backend=backend, loaded=walker.loaded_of(graph))
        if backend == "gpu":
            results.append(list(walker.linked_rounds(rounds, cells, {None: linker})))
            continue
        results.append([])
        for part in rounds:
            linker.begin_round(cells[part.cell])
            results[-1].append(walker.sample_linked(part.n_paths, part.cell, linker))
    for (batch, bundles), (other, other_bundles) in zip(*results, strict=True):
        for name in ("nodes", "lengths", "ids", "status", "round"):
            assert np.array_equal(getattr(batch, name), getattr(other, name)), name
        assert np.array_equal(bundles.seeds, other_bundles.seeds)
        assert batch.redraws == other.redraws
    assert any(batch.redraws for batch, _ in results[0])


def test_results_of_a_round_are_copied_after_the_walks_of_the_next_were_launched(gpu, monkeypatch):
    transfer, walk = (sys.modules[f"linksyn_gpu.backend.gpu.{name}"] for name in ("transfer", "walk"))
    order = []
    copy, launch = transfer._copy, walk.launch

    def copied(source, *rest):
        order.append("copy")
        copy(source, *rest)

    def launched(name, *arguments):
        order.extend(["walks"] if name == "sample_walks" else [])
        launch(name, *arguments)

    monkeypatch.setattr(transfer, "_copy", copied)
    monkeypatch.setattr(walk, "launch", launched)
    seeds = bank(120)
    graph = build_graph(seeds, backend="cpu")
    walker = Walker(graph, WalkConfig(length=3, calibration_rounds=0, max_redraws=0), seed=6, backend="gpu")
    linker = SeedLinker(graph, seeds, seed=6, backend="gpu", loaded=walker.loaded_of(graph))
    list(walker.linked_rounds([Round(0, 20)] * 3, [Cell(None, None, 0)], {None: linker}))
    assert order == ["walks", "walks", "copy", "copy", "walks", "copy", "copy", "copy", "copy"]
