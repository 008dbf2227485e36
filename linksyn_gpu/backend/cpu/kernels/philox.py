"""Philox4x32-10 for kernels: the same blocks as `rng.py`, and the keys of KP sets."""

from __future__ import annotations

from numba import uint64

from linksyn_gpu.backend.cpu.kernels.core import jit, jit_inline
from linksyn_gpu.backend.rng import LOW, M0, M1, W0, W1


@jit_inline
def _round(c0, c1, c2, c3, k0, k1):
    half, low = uint64(32), uint64(LOW)
    p0 = uint64(M0) * c0
    p1 = uint64(M1) * c2
    return (p1 >> half) ^ c1 ^ (k0 & low), p1 & low, (p0 >> half) ^ c3 ^ (k1 & low), p0 & low


@jit_inline
def philox(c0, c1, c2, c3, k0, k1):
    """One block: counter words, key words and results are uint64 that hold 32 bits each.

    Words have 64 bits and the rounds are unrolled on purpose: the compiler then sees that upper halves are zero, and
    multiplies four counters at a time (`philox_lanes`).
    """
    w0, w1 = uint64(W0), uint64(W1)
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0, k1)
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0 + w0, k1 + w1)
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0 + uint64(2) * w0, k1 + uint64(2) * w1)
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0 + uint64(3) * w0, k1 + uint64(3) * w1)
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0 + uint64(4) * w0, k1 + uint64(4) * w1)
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0 + uint64(5) * w0, k1 + uint64(5) * w1)
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0 + uint64(6) * w0, k1 + uint64(6) * w1)
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0 + uint64(7) * w0, k1 + uint64(7) * w1)
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0 + uint64(8) * w0, k1 + uint64(8) * w1)
    return _round(c0, c1, c2, c3, k0 + uint64(9) * w0, k1 + uint64(9) * w1)


@jit
def philox_lanes(n, ids, turns, k0, k1, bits, accept_bits):
    """Blocks of n lanes: walk id and turn (step | trial << 32) to the row's bits and the upper 53 acceptance bits.

    `accept_bits` may be None: the rule accepts every proposal.
    """
    half, low = uint64(32), uint64(LOW)
    for j in range(n):
        name, turn = ids[j], turns[j]
        c0, c1, c2, c3 = philox(name & low, name >> half, turn & low, turn >> half, k0, k1)
        bits[j] = (c0 << half) | c1
        if accept_bits is not None:
            accept_bits[j] = ((c2 << half) | c3) >> uint64(11)


@jit_inline
def draw(k0, k1, walk_id, step, trial):
    """128 random bits of (walk id, step, trial): 64 that draw from a row, 64 that decide acceptance."""
    low, half = uint64(LOW), uint64(32)
    name = uint64(walk_id)
    w0, w1, w2, w3 = philox(name & low, name >> half, uint64(step), uint64(trial), k0, k1)
    return (w0 << half) | w1, (w2 << half) | w3


@jit_inline
def splitmix(x):
    """splitmix64's finaliser (Steele, Lea and Flood, OOPSLA 2014) of x * the golden ratio."""
    z = uint64(x) * uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> uint64(30))) * uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> uint64(27))) * uint64(0x94D049BB133111EB)
    return z ^ (z >> uint64(31))
