"""`linksyn-gpu prove`: makes rows again from the seeds, and says whether they agree."""

from __future__ import annotations

import json
import sys

import click

from linksyn_gpu.cli.console import errors_as_text, result
from linksyn_gpu.cli.live import watch
from linksyn_gpu.cli.options import existing_run

SHOWN = 200


@click.command()
@existing_run
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--dataset", metavar="FOLDER", type=click.Path(), help="Also compare a published data set.")
@click.option("--all", "every", is_flag=True, help="Prove all QA of the run.")
@errors_as_text
def command(folder: str, ids: tuple[str, ...], dataset: str | None, every: bool) -> None:
    """Make path, bundle, prompt and text of QA in DIR again, and compare them with what is recorded.

    The graph is built and the walks are sampled again from the seeds; the answer is read from the journal. Exit code 1:
    something differs.
    """
    from linksyn_gpu.dataset.croissant import METADATA, changed_files
    from linksyn_gpu.pipeline import stages
    from linksyn_gpu.pipeline.folder import Workspace

    if bool(ids) == every:
        raise click.UsageError("give ids, or --all")
    with Workspace(folder, create=False, lock=False) as ws, watch() as progress:
        proofs = stages.prove(ws, ids or stages.all_ids(ws), dataset=dataset, progress=progress)
    for proof in proofs:
        if proof.agrees and not every:
            text = " (texts: of stage enhance, not made again)" if proof.rewritten else ""
            result(f"{proof.id}  agrees with {', '.join(proof.found_in)}{text}")
        elif proof.reason:
            result(f"{proof.id}  differs: {proof.reason}")
        for found in proof.differences:
            recorded, derived = (_short(value) for value in (found.recorded, found.derived))
            result(f"{proof.id}  differs in {found.file}: {found.field} is {recorded}, should be {derived}")
    changed = changed_files(dataset) if dataset is not None else []
    for path in changed:
        result(f"{dataset}/{path}  differs: it is not the file that {METADATA} describes")
    differing = sum(not proof.agrees for proof in proofs)
    result(f"proved     {len(proofs):,} QA = {len(proofs) - differing:,} agree + {differing:,} differ")
    if differing or changed:
        sys.exit(1)


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
