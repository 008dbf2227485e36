"""Philox4x32-10 against the known answers of Random123, and keys that differ by purpose."""

import numpy as np
import pytest

from linksyn_gpu.backend import rng

# Random123's kat_vectors: counter words, key words, result words.
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_philox_gives_the_known_answers(counter, key, expected):
    words = rng.philox(*(np.array([c], np.uint64) for c in counter), *key)
    assert tuple(int(w[0]) for w in words) == expected


def test_a_draw_is_the_block_at_walk_id_step_and_trial():
    walk_id, step, trial, key = (5 << 32) | 7, 3, 2, (11 << 32) | 13
    row, acceptance = rng.draw(key, np.array([walk_id], np.uint64), step, trial)
    words = [int(w[0]) for w in rng.philox(*(np.array([c], np.uint64) for c in (7, 5, 3, 2)), 13, 11)]
    assert int(row[0]) == (words[0] << 32) | words[1]
    assert int(acceptance[0]) == (words[2] << 32) | words[3]


def test_draws_do_not_depend_on_their_neighbours():
    ids = np.arange(1000, dtype=np.uint64)
    whole = rng.draw(9, ids, 1, 0)[0]
    assert np.array_equal(whole[137:138], rng.draw(9, ids[137:138], 1, 0)[0])


def test_keys_differ_by_seed_purpose_and_index():
    keys = {
        rng.derive_key(seed, purpose, index)
        for seed in (0, 1, 2**32, 2**64 - 1)
        for purpose in rng.Purpose
        for index in (0, 1, 2**32)
    }
    assert len(keys) == 4 * len(rng.Purpose) * 3


def test_bits_are_uniform():
    bits = rng.draw(rng.derive_key(3, rng.Purpose.WALK), np.arange(100_000, dtype=np.uint64), 1, 0)[0]
    observed = np.bincount((bits >> np.uint64(58)).astype(int), minlength=64)
    chi2 = ((observed - 100_000 / 64) ** 2 / (100_000 / 64)).sum()
    assert chi2 < 117.4  # the 1e-4 quantile of chi-square with 63 degrees of freedom is 117.35
