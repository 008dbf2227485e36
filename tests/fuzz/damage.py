"""Damages each file of a finished run in turn and runs commands on the folder.

`python -m tests.fuzz.damage RUN SCRATCH` prints one JSON line per command. It runs in its own process, because a read
out of bounds may kill that process.
"""

import json
import random
import shutil
import sys
import traceback
from pathlib import Path

from click.testing import CliRunner

from linksyn_gpu.cli import main
from tests.conftest import QUICK, SEEDS

NOT_READ = (".lock", "journal/lock", "report.html", "rejects.jsonl", "qa.jsonl")


def flipped(content: bytes, draw: random.Random) -> bytes:
    """One byte changed, in the second half: past the header of an array."""
    at = draw.randrange(len(content) // 2, len(content))
    return content[:at] + bytes([content[at] ^ 0x80]) + content[at + 1 :]


def cut(content: bytes, draw: random.Random) -> bytes:
    return content[: len(content) // 2]


def zeroed(content: bytes, draw: random.Random) -> bytes:
    """Of the same size, as a file system leaves a file after a power cut."""
    return bytes(len(content))


def outcome(words: list[str]) -> dict[str, object]:
    result = CliRunner().invoke(main, words)
    unexpected = result.exception is not None and not isinstance(result.exception, SystemExit)
    trace = "".join(traceback.format_exception(*result.exc_info)[-3:]) if unexpected else ""
    return {"code": result.exit_code, "trace": trace, "said": result.stderr[-300:]}


def damage_everything(run: Path, scratch: Path) -> None:
    draw = random.Random(3)
    paths = (run / "paths.parquet").read_bytes()
    for file in sorted(path for path in run.rglob("*") if path.is_file()):
        name = str(file.relative_to(run))
        if name in NOT_READ or file.stat().st_size < 2:
            continue
        for damage in (flipped, cut, zeroed):
            for command in ("report", "run", "walk"):
                out = shutil.copytree(run, scratch / "damaged")
                (out / name).write_bytes(damage(file.read_bytes(), draw))
                words = {
                    "report": ["report", str(out)],
                    "run": ["run", SEEDS, "--out", str(out), *QUICK],
                    "walk": ["walk", str(out), "--paths", "12", "--calibration-rounds", "2", "--force"],
                }[command]
                found = {"file": name, "damage": damage.__name__, "command": command, **outcome(words)}
                walked = out / "paths.parquet"
                found["same_paths"] = walked.is_file() and walked.read_bytes() == paths
                print(json.dumps(found), flush=True)
                shutil.rmtree(out)


if __name__ == "__main__":
    damage_everything(Path(sys.argv[1]), Path(sys.argv[2]))
