"""The errors of linksyn-gpu: one small tree.

Library code raises these; the command line turns them into one line of text (`cli/`).
A message says what is wrong, where, and how to fix it.
"""


class LinkSynError(Exception):
    """Base of every error that linksyn-gpu raises on purpose."""


class ConfigError(LinkSynError):
    """A setting is unknown, out of range, or contradicts what a run folder holds."""


class DataError(LinkSynError):
    """An input file, table or graph is invalid."""


class BackendUnavailable(LinkSynError):
    """The requested backend cannot run on this machine."""


class KernelError(LinkSynError):
    """A device kernel did not compile or did not launch."""


class EngineError(LinkSynError):
    """The language-model engine could not be started, reached or used."""


class StopAsking(EngineError):
    """No request can succeed until something outside this program changes. Answers received so far are kept."""


class WorkerError(LinkSynError):
    """A process that computes a part of the rows died each time, or cannot be used."""
