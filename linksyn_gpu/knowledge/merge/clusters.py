"""Clusters of accepted pairs by complete linkage: all pairs within a cluster are accepted.

A = B and B = C alone never merge A with C. Single linkage would chain whole subjects into one node that way.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from linksyn_gpu.knowledge.merge.rules import Groups


@dataclass(frozen=True)
class Link:
    """A pair of units that a rule accepts as the same."""

    left: int
    right: int
    rule: str
    """'abbreviation', 'gloss', 'alias', 'typo', 'adjective', 'embedding', 'model' or 'user'."""
    score: float
    """Strength; stronger links are taken first. 'user' is 2."""
    detail: str = ""
    """What the rule found, such as a quotation from a text."""


def complete_linkage(
    links: Iterable[Link], apart: Iterable[tuple[int, int]] = ()
) -> tuple[list[list[int]], list[Link]]:
    """Cluster units.

    Parameters
    ----------
    links : iterable of Link
        Accepted pairs. A 'user' link joins its two clusters without further conditions.
    apart : iterable of (int, int)
        Pairs that must stay in different clusters.

    Returns
    -------
    clusters : list of list of int
        Clusters of two or more units, members ascending.
    refused : list of Link
        Links not used because some pair between the two clusters is not accepted.
    """
    ordered = sorted(links, key=lambda link: (-link.score, link.left, link.right))
    accepted = {(min(link.left, link.right), max(link.left, link.right)) for link in ordered}
    forbidden = {(min(pair), max(pair)) for pair in apart}
    groups = Groups()
    members: dict[object, list[int]] = defaultdict(list)
    user_made: set[tuple[int, int]] = set()
    refused = []
    for link in ordered:
        a, b = groups.find(link.left), groups.find(link.right)
        if a == b:
            continue
        left, right = members.get(a) or [link.left], members.get(b) or [link.right]
        crossing = [(min(x, y), max(x, y)) for x in left for y in right]
        if any(pair in forbidden for pair in crossing) or (
            link.rule != "user" and any(pair not in accepted and pair not in user_made for pair in crossing)
        ):
            refused.append(link)
            continue
        if link.rule == "user":
            user_made.update(crossing)
        groups.join(a, b)
        members[a] = left + right
        members.pop(b, None)
    return sorted(sorted(found) for found in members.values() if len(found) > 1), refused
