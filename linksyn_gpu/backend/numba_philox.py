"""Philox4x32-10 for kernels: the same blocks as `rng.py`, and the path names of `reference.path_keys`."""

from __future__ import annotations

from typing import Any

from numba import uint64

from linksyn_gpu.backend.numba_core import jit, mulhi
from linksyn_gpu.backend.rng import LOW, M0, M1, W0, W1

_ROUND_KEYS = 10  # rounds; written out as a loop of fixed length, which the compiler unrolls


@jit
def philox(c0: Any, c1: Any, c2: Any, c3: Any, k0: Any, k1: Any) -> Any:
    """One block: counter words, key words and results are uint64 that hold 32 bits each.

    Kept in 64-bit words on purpose: the compiler sees that the upper halves are zero and multiplies four
    counters at a time.
    """
    half, low = uint64(32), uint64(LOW)
    m0, m1 = uint64(M0), uint64(M1)
    for _ in range(_ROUND_KEYS):
        p0 = m0 * c0
        p1 = m1 * c2
        c0 = (p1 >> half) ^ c1 ^ k0
        c2 = (p0 >> half) ^ c3 ^ k1
        c1 = p1 & low
        c3 = p0 & low
        k0 = (k0 + uint64(W0)) & low
        k1 = (k1 + uint64(W1)) & low
    return c0, c1, c2, c3


@jit
def draw(k0: Any, k1: Any, walk_id: Any, step: Any, trial: Any) -> Any:
    """128 random bits of (walk id, step, trial): 64 that draw from a row, 64 that decide acceptance."""
    low, half = uint64(LOW), uint64(32)
    name = uint64(walk_id)
    w0, w1, w2, w3 = philox(name & low, name >> half, uint64(step), uint64(trial), k0, k1)
    return (w0 << half) | w1, (w2 << half) | w3


@jit
def draw_below(k0: Any, k1: Any, walk_id: Any, step: Any, trial: Any, total: Any) -> Any:
    """floor(bits * total / 2^64) for the row's bits of (walk id, step, trial)."""
    bits, _ = draw(k0, k1, walk_id, step, trial)
    return mulhi(bits, uint64(total))


@jit
def splitmix(x: Any) -> Any:
    """splitmix64's finaliser (Steele, Lea and Flood, OOPSLA 2014) of x * the golden ratio."""
    z = uint64(x) * uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> uint64(30))) * uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> uint64(27))) * uint64(0x94D049BB133111EB)
    return z ^ (z >> uint64(31))
