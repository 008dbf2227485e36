"""The command line: `linksyn-gpu COMMAND`. One small module per command, imported when that command runs."""

from __future__ import annotations

import importlib

import click

from linksyn_gpu import __version__
from linksyn_gpu.cli.console import errors_as_text

COMMANDS = {
    "run": "Run all stages: seeds in, new QA out.",
    "plan": "Sample all paths, ask nothing, and forecast what a run gives and costs.",
    "ingest": "Read seed files into a run folder.",
    "extract": "Find, label and merge knowledge points (optional).",
    "build": "Build the KP graph.",
    "walk": "Sample paths and link seeds along them.",
    "synthesize": "Generate new QA with a language model.",
    "enhance": "Raise the QA of chosen disciplines to a difficulty level (optional).",
    "curate": "Choose the data set: no near-duplicates, and the number asked for.",
    "export": "Write the data set for publication: Parquet, card, Croissant metadata.",
    "prove": "Make rows again from the seeds, and say whether they agree.",
    "trace": "List the QA that used a seed.",
    "revoke": "Remove seeds, and every QA that used one of them.",
    "analyze": "Compute graph analytics per KP: components, PageRank, cores, communities.",
    "report": "Print the figures of a run, and write its report page.",
    "doctor": "Show what this machine has and which backend would be used.",
    "bench": "Compare CPU and GPU on the same graph: first the results, then the times.",
}


class _Commands(click.Group):
    """Imports a command's module only when that command is called, so that --help is fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    @errors_as_text  # the disk or the number of file descriptors may fail an import, too
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"linksyn_gpu.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, package_name="linksyn-gpu")
def main() -> None:
    """Turn a bank of seed questions into new, diverse, controllable QA training data.

    Begin with 'linksyn-gpu run SEEDS --out DIR'. After a stop, run the same command again to continue.

    \b
    Exit codes: 0 done; 1 failed; 2 wrong usage or settings; 3 stopped early, run again to continue; 130 interrupted.
    """
    from linksyn_gpu.cli.console import show_warnings

    show_warnings()
