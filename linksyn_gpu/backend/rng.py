"""Philox4x32-10: the only source of randomness (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011).

A counter-based generator: the draw of walk `id`, step `s`, trial `t` is a pure function of (id, s, t) and a key. No
walker depends on another, and any split of the work gives the same bits.

    block(id, step, trial) -> 4 x 32 bits; the first 64 draw from a row, the second 64 decide acceptance.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from linksyn_gpu.tables import UInt64

M0, M1 = 0xD2511F53, 0xCD9E8D57
W0, W1 = 0x9E3779B9, 0xBB67AE85
ROUNDS = 10
LOW = 0xFFFFFFFF


class Purpose(IntEnum):
    """What a stream of random numbers is for; each purpose has its own key."""

    WALK = 1
    CALIBRATION = 2
    BUNDLE = 3
    EXTENSION = 4
    NEIGHBOURS = 5


def philox(c0: UInt64, c1: UInt64, c2: UInt64, c3: UInt64, k0: int, k1: int) -> tuple[UInt64, ...]:
    """Philox4x32-10 over arrays of counters.

    Parameters
    ----------
    c0, c1, c2, c3 : arrays of uint64, broadcastable
        Counter words, each below 2^32.
    k0, k1 : int
        Key words, each below 2^32.

    Returns
    -------
    four arrays of uint64, each below 2^32
    """
    low, half = np.uint64(LOW), np.uint64(32)
    for r in range(ROUNDS):
        key0 = np.uint64((k0 + r * W0) & LOW)
        key1 = np.uint64((k1 + r * W1) & LOW)
        p0 = np.uint64(M0) * c0
        p1 = np.uint64(M1) * c2
        c0, c1, c2, c3 = (p1 >> half) ^ c1 ^ key0, p1 & low, (p0 >> half) ^ c3 ^ key1, p0 & low
    return c0, c1, c2, c3


def draw(key: int, ids: UInt64, step: int, trial: int) -> tuple[UInt64, UInt64]:
    """128 random bits for each walk id at (step, trial): two arrays of 64 bits, the first for the draw from a row."""
    step_word, trial_word = np.uint64(step), np.uint64(trial)
    zero = np.zeros_like(ids)
    words = philox(
        ids & np.uint64(LOW), ids >> np.uint64(32), zero + step_word, zero + trial_word, key & LOW, key >> 32
    )
    half = np.uint64(32)
    return (words[0] << half) | words[1], (words[2] << half) | words[3]


def derive_key(seed: int, purpose: Purpose, index: int = 0) -> int:
    """64-bit key for a purpose: the first 64 bits of the block at counter (index, 0, 0, purpose) under `seed`.

    `index` distinguishes the streams of one purpose: the redraw attempt of a walk, the cell of a calibration.
    """
    c0, c1, c2, c3 = (np.array([word], np.uint64) for word in (index & LOW, index >> 32, 0, int(purpose)))
    words = philox(c0, c1, c2, c3, seed & LOW, seed >> 32)
    return (int(words[0][0]) << 32) | int(words[1][0])
