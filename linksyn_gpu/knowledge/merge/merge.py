"""Decide which names of a bank are the same knowledge point, and which pairs are doubtful.

    names -> units (normal form, merge key, sense) -> candidate pairs -> rules and guards -> complete linkage

Every alias records the rule that merged it, what the rule found, and the line of a rules file that undoes the merge.
docs/knowledge.md describes the rules.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linksyn_gpu.errors import DataError
from linksyn_gpu.knowledge.merge.candidates import lookalike_pairs
from linksyn_gpu.knowledge.merge.clusters import Link, complete_linkage
from linksyn_gpu.knowledge.merge.guards import share_words, veto
from linksyn_gpu.knowledge.merge.initials import initials_pairs
from linksyn_gpu.knowledge.merge.lookalike import DOUBTFUL, SAME, judge, one_stem
from linksyn_gpu.knowledge.merge.normal_form import merge_key, normal_form, steps_between
from linksyn_gpu.knowledge.merge.one_edit import one_edit_pairs
from linksyn_gpu.knowledge.merge.rules import Rules
from linksyn_gpu.knowledge.merge.synonyms import Synonym, split_gloss, synonyms_in_names, unambiguous
from linksyn_gpu.knowledge.merge.units import Mention, Senses, Unit, Units, make_units
from linksyn_gpu.taxonomy.disciplines import Taxonomy
from linksyn_gpu.text import CJK

SCORES = {"user": 2.0, "abbreviation": 1.0, "gloss": 1.0, "alias": 0.95, "typo": 0.9, "adjective": 0.9}
EQUAL = 0.9999
"""Cosine from which a model does not see the difference between two names (Co and CO to a model without capitals)."""
STEM_BONUS = 0.07
"""How far below `accept_similarity` two names may be that differ in one word with the same stem."""
INITIALS_BONUS = 0.53
"""How far below `accept_similarity` an abbreviation and the only name with its letters as initials may be."""
SPELLING_RULES = ("typo", "adjective")
"""Rules for spellings of one name; such a spelling has the synonyms of the other."""
UNREAD_SHARE = 0.01
"""Share of Chinese names with the vector of another name above which the model is taken not to read Chinese."""

Decide = Callable[[Sequence[tuple[Unit, Unit, str]]], Sequence[tuple[bool, float] | None]]
"""Asks a model about (unit, unit, why); returns (same?, confidence) per pair, or None without an answer."""
Vectors = Callable[[Sequence[str]], Mapping[str, NDArray[np.float32]]]
"""Unit vectors of distinct names; names without one are left out."""
Neighbours = Callable[[Sequence[str]], Iterable[tuple[int, int, float]]]
"""Further candidate pairs (i, j, similarity) among spellings, for example from an embedding model."""


@dataclass
class MergeOptions:
    """How names are merged."""

    fuzzy: bool = True
    """Use synonyms and similar names too; False: merge keys only."""
    threshold: float = 0.7
    """Lowest cosine of a candidate pair."""
    sure: float = 0.85
    """Lowest cosine at which a pair that no rule explains is doubtful; below it the names are different."""
    rules: Rules = field(default_factory=Rules)
    homographs: Senses = field(default_factory=dict)
    taxonomy: Taxonomy | None = None
    neighbours: Neighbours | None = None
    vectors: Vectors | None = None
    """Vectors of the model of `neighbours`, for pairs that the search for neighbours does not propose."""
    accept_similarity: float | None = None
    """Lowest similarity of `neighbours` at which a pair without a guard is merged; None: such pairs are doubtful."""
    decide: Decide | None = None


@dataclass
class Merging:
    """The result of merging."""

    canonical: list[str]
    """[n_mentions] name of each mention's knowledge point."""
    merges: list[dict[str, Any]]
    """Rows of merges.jsonl, one per alias."""
    doubtful: list[dict[str, Any]]
    """Rows of doubtful.jsonl, most similar first."""
    counts: dict[str, Any]


def merge_names(mentions: Sequence[Mention], options: MergeOptions, synonyms: Iterable[Synonym] = ()) -> Merging:
    """Decide which names are the same.

    Parameters
    ----------
    mentions : sequence of Mention
        Each (name, discipline) once.
    synonyms : iterable of Synonym
        Synonyms that texts state (`synonyms_in_text`); those in the names themselves are found here.

    Raises
    ------
    DataError
        The user's rules contradict each other or give two knowledge points the same title.
    """
    found = make_units(mentions, options.rules, options.homographs, options.taxonomy)
    links = _Links(found, options)
    links.add_rules()
    if options.fuzzy:
        links.add_synonyms([*synonyms_in_names(name for unit in found.units for name in unit.spellings), *synonyms])
        links.add_lookalikes()
        links.add_neighbours()
        links.add_initials()
        links.add_misspelled_synonyms()
        links.ask()
    clusters, refused = complete_linkage(links.accepted.values(), links.apart)
    titles = _titles(found, clusters, options.rules)
    merges = _merge_rows(found, clusters, titles, links.accepted)
    counts = {
        "names": len({mention.name for mention in mentions}),
        "kps": len(set(titles)),
        "merged_by_rule": dict(Counter(row["rule"] for row in merges)),
        "homographs_split": len(found.homographs),
        "doubtful": len(links.doubtful),
        "kept_apart_by_guard": dict(links.vetoed),
        "refused_by_linkage": len(refused),
        "ambiguous_abbreviations": len(links.ambiguous),
        "pairs_of_unread_script": links.unread,
    }
    doubtful = [_doubt_row(found.units, link, link.rule) for link in links.doubtful.values()]
    doubtful += [_doubt_row(found.units, link, f"linkage ({link.rule})") for link in refused]
    doubtful.sort(key=lambda row: (-row["score"], row["left"], row["right"]))
    return Merging([titles[unit] for unit in found.of_mention], merges, doubtful, counts)


class _Links:
    """Collects pairs of units: accepted, doubtful, or stopped by a guard."""

    def __init__(self, found: Units, options: MergeOptions) -> None:
        self._units = found.units
        self._of_name = found.of_name
        self._options = options
        self._by_key: dict[str, list[int]] = {}
        for place, unit in enumerate(found.units):
            if not unit.held_apart:
                self._by_key.setdefault(unit.key, []).append(place)
        self.accepted: dict[tuple[int, int], Link] = {}
        self.doubtful: dict[tuple[int, int], Link] = {}
        self.apart: set[tuple[int, int]] = set()
        self.vetoed: Counter[str] = Counter()
        self.ambiguous: set[str] = set()
        self.unread = 0
        """Pairs by meaning not used because the model cannot read Chinese."""

    def add_rules(self) -> None:
        """Add the user's rules."""
        for a, b in self._options.rules.apart:
            self.apart.update(_pair(x, y) for x in self._of_name.get(a, ()) for y in self._of_name.get(b, ()) if x != y)
        for a, b in self._options.rules.same:
            for x in self._of_name.get(a, ()):
                for y in self._of_name.get(b, ()):
                    if x != y and self._units[x].sense in (self._units[y].sense, None):
                        self._accept(x, y, "user", "merge rules", SCORES["user"])

    def add_synonyms(self, synonyms: Sequence[Synonym]) -> None:
        """Add stated synonyms, and longer names that contain a stated abbreviation."""
        usable, self.ambiguous = unambiguous(synonyms)
        expansions: dict[str, Synonym] = {}
        for item in usable:
            self._link_synonym(item)
            if item.kind == "abbreviation" and not CJK.search(item.short):
                expansions[item.short] = item
        for place, unit in enumerate(self._units):
            for spelling in unit.spellings if expansions else ():
                self._expand(place, spelling, expansions)

    def _expand(self, place: int, spelling: str, expansions: dict[str, Synonym]) -> None:
        """Link "DNA replication" to "deoxyribonucleic acid replication" if the bank has both."""
        words = spelling.split()
        for at, word in enumerate(words):
            item = expansions.get(word.casefold()) if len(words) > 1 and word.isupper() else None
            if item is not None:
                other = merge_key(normal_form(" ".join([*words[:at], item.long, *words[at + 1 :]])))
                for found in self._by_key.get(other, ()):
                    self._consider(place, found, item.kind, item.quote)

    def _link_synonym(self, item: Synonym) -> None:
        for x in self._by_key.get(merge_key(item.short), ()):
            for y in self._by_key.get(merge_key(item.long), ()):
                one, two = self._units[x].form, self._units[y].form
                # A number says nothing about names without a common word: vitamin C is ascorbic acid.
                if item.kind == "alias" and share_words(one, two) and (guard := veto(one, two)):
                    self.vetoed[guard] += 1
                else:
                    self._consider(x, y, item.kind, item.quote)

    def _consider(self, x: int, y: int, rule: str, detail: str = "", score: float | None = None) -> None:
        """Accept a pair by a rule, or make it doubtful if its disciplines are in different groups."""
        if x == y or _pair(x, y) in self.accepted:
            return
        score = SCORES[rule] if score is None else score
        if self._units[x].shares_groups(self._units[y]):
            self._accept(x, y, rule, detail, score)
        else:
            self._doubt(x, y, f"disciplines ({rule})", detail, score)

    def add_lookalikes(self) -> None:
        """Add candidates with similar spelling."""
        forms = [unit.form for unit in self._units]
        for x, y in zip(*(part.tolist() for part in one_edit_pairs(forms)), strict=True):
            self._judge(x, y, 1.0)
        found = lookalike_pairs(forms, threshold=self._options.threshold)
        for x, y, score in zip(found.left.tolist(), found.right.tolist(), found.score.tolist(), strict=True):
            self._judge(x, y, score)

    def _judge(self, x: int, y: int, score: float) -> None:
        pair, one, two = _pair(x, y), self._units[x], self._units[y]
        if pair in self.accepted or pair in self.doubtful or pair in self.apart or one.key == two.key:
            return
        verdict, why = judge(one.form, two.form, one.spelling, two.spelling, score, self._options.sure)
        if verdict == SAME:
            self._consider(x, y, why)
        elif verdict == DOUBTFUL:
            self._doubt(x, y, why, "", score)
        elif why:
            self.vetoed[why] += 1

    def add_neighbours(self) -> None:
        """Add candidates with similar meaning."""
        if self._options.neighbours is None:
            return
        sure = self._options.accept_similarity
        found = list(self._options.neighbours([unit.spelling for unit in self._units]))
        blind = self._cannot_read_chinese(found)
        for x, y, score in found:
            pair, one, two = _pair(x, y), self._units[x], self._units[y]
            if pair in self.accepted or pair in self.apart or one.key == two.key:
                continue
            if blind and (CJK.search(one.form) or CJK.search(two.form)):
                self.unread += 1
            elif guard := veto(one.form, two.form):
                self.vetoed[guard] += 1
            elif sure is not None and _accepts(sure, score, one, two):
                self._consider(x, y, "embedding", f"cosine {score:.3f}", min(score, 0.89))
            else:
                self._doubt(x, y, "similar meaning", "", score)

    def add_initials(self) -> None:
        """Add abbreviations by initials (NMR), if the vectors agree; a stated long form takes precedence."""
        if self._options.vectors is None:
            return
        pairs, ambiguous = initials_pairs(self._units)
        self.ambiguous |= ambiguous
        stated = {place for pair, link in self.accepted.items() if link.rule == "abbreviation" for place in pair}
        pairs = [(x, y) for x, y in pairs if x not in stated and self._units[x].form not in self.ambiguous]
        if not pairs:
            return
        known = self._options.vectors(list(dict.fromkeys(self._units[p].spelling for pair in pairs for p in pair)))
        for x, y in pairs:
            one, two = (known.get(self._units[place].spelling) for place in (x, y))
            if one is None or two is None:
                continue
            score, sure = float(one @ two), self._options.accept_similarity
            if sure is not None and score >= sure - INITIALS_BONUS:
                self._consider(x, y, "initials", f"cosine {score:.3f}", min(score, 0.88))
            else:
                self._doubt(x, y, "initials", "", score)

    def add_misspelled_synonyms(self) -> None:
        """A misspelled name has the synonyms of the right one; complete linkage would keep it apart from both."""
        partners: dict[int, list[int]] = {}
        for (x, y), link in self.accepted.items():
            if link.rule not in SPELLING_RULES:
                partners.setdefault(x, []).append(y)
                partners.setdefault(y, []).append(x)
        for pair, link in list(self.accepted.items()):
            for right, wrong in (pair, pair[::-1]) if link.rule in SPELLING_RULES else ():
                for other in partners.get(right, ()):
                    if other != wrong and not veto(self._units[wrong].form, self._units[other].form):
                        self._consider(wrong, other, link.rule, f"of {self._units[right].spelling}", 0.85)

    def _cannot_read_chinese(self, pairs: Sequence[tuple[int, int, float]]) -> bool:
        """Whether the model gives equal vectors to many Chinese names: its vocabulary lacks their characters."""
        chinese = {place for place, unit in enumerate(self._units) if CJK.search(unit.form)}
        equal = {
            place
            for x, y, score in pairs
            for place in (x, y)
            if score >= EQUAL and place in chinese and self._units[x].key != self._units[y].key
        }
        return len(equal) > UNREAD_SHARE * len(chinese)

    def ask(self) -> None:
        """Let a model decide doubtful pairs; a pair without an answer stays doubtful."""
        if self._options.decide is None or not self.doubtful:
            return
        doubts = list(self.doubtful.items())
        answers = self._options.decide([(self._units[d.left], self._units[d.right], d.rule) for _, d in doubts])
        for (pair, doubt), answer in zip(doubts, answers, strict=True):
            if answer is not None:
                del self.doubtful[pair]
                if answer[0]:
                    self._accept(doubt.left, doubt.right, "model", f"confidence {answer[1]:.2f}", 0.8 * answer[1])

    def _accept(self, x: int, y: int, rule: str, detail: str, score: float) -> None:
        if _pair(x, y) not in self.apart:
            self.doubtful.pop(_pair(x, y), None)
            self.accepted[_pair(x, y)] = Link(*_pair(x, y), rule, score, detail)

    def _doubt(self, x: int, y: int, why: str, detail: str, score: float) -> None:
        if _pair(x, y) not in self.apart and _pair(x, y) not in self.accepted:
            self.doubtful[_pair(x, y)] = Link(*_pair(x, y), why, score, detail)


def _accepts(sure: float, score: float, one: Unit, two: Unit) -> bool:
    """Whether vectors of this cosine make two names the same."""
    return score < EQUAL and score >= sure - (STEM_BONUS if one_stem(one.form, two.form) else 0.0)


def _pair(x: int, y: int) -> tuple[int, int]:
    return (x, y) if x < y else (y, x)


def _titles(found: Units, clusters: Sequence[Sequence[int]], rules: Rules) -> list[str]:
    """[n_units] title of each unit's cluster: its most frequent spelling, or the user's title."""
    units = found.units
    cluster_of = {member: cluster for cluster in clusters for member in cluster}
    given: dict[int, str] = {}
    for name, title in rules.titles.items():
        for place in found.of_name.get(name, ()):
            for member in cluster_of.get(place, [place]):
                if given.setdefault(member, title) != title:
                    raise DataError(
                        f"merge rules: {given[member]!r} and {title!r} are titles of the same knowledge point; keep one"
                    )
    titles = []
    for place, unit in enumerate(units):
        members = [units[member] for member in cluster_of[place]] if place in cluster_of else [unit]
        best = max(members, key=lambda u: u.spellings[u.spelling])
        senses = {u.sense for u in members if u.sense is not None}
        head = best.spelling.strip()
        if len(senses) == 1 and not head.endswith(note := f" ({senses.pop()})"):
            head = split_gloss(head)[0] + note
        titles.append(given.get(place, head))
    first: dict[str, object] = {}
    for place, title in enumerate(titles):
        owner = cluster_of[place][0] if place in cluster_of else place
        if first.setdefault(title, owner) != owner:
            raise DataError(f"two knowledge points have the title {title!r}; merge them with 'same' in the merge rules")
    return titles


def _merge_rows(
    found: Units, clusters: Sequence[Sequence[int]], titles: Sequence[str], links: dict[tuple[int, int], Link]
) -> list[dict[str, Any]]:
    """One row per alias: every spelling that is not the title."""
    rows = []
    grouped = {member for cluster in clusters for member in cluster}
    alone = ([place] for place, unit in enumerate(found.units) if place not in grouped and len(unit.spellings) > 1)
    for cluster in (*clusters, *alone):
        main = max(cluster, key=lambda place: found.units[place].spellings[found.units[place].spelling])
        base = found.units[main]
        for place in cluster:
            unit = found.units[place]
            link = links.get(_pair(place, main)) or _any_link(place, cluster, links)
            for spelling, count in unit.spellings.items():
                if place == main and spelling == base.spelling:
                    continue
                rule, detail, score = _within(base, spelling) if link is None else (link.rule, link.detail, link.score)
                rows.append(
                    {
                        "canonical": titles[main],
                        "alias": spelling,
                        "seeds": count,
                        "rule": rule,
                        "detail": detail,
                        "score": round(score, 4),
                        "undo": f"apart\t{base.spelling.strip()}\t{spelling.strip()}",
                    }
                )
    return rows


def _any_link(place: int, cluster: Sequence[int], links: dict[tuple[int, int], Link]) -> Link | None:
    return next((links[_pair(place, o)] for o in cluster if o != place and _pair(place, o) in links), None)


def _within(base: Unit, spelling: str) -> tuple[str, str, float]:
    """Rule, detail and score of a spelling with the unit's merge key."""
    one, two = (normal_form(split_gloss(name)[0]) for name in (base.spelling, spelling))
    steps = list(steps_between(one, two))
    return ("+".join(steps), f"{one} | {two}", 1.0) if steps else ("normal_form", one, 1.0)


def _doubt_row(units: Sequence[Unit], link: Link, why: str) -> dict[str, Any]:
    left, right = units[link.left], units[link.right]
    return {
        "left": left.spelling,
        "right": right.spelling,
        "why": why,
        "score": round(float(link.score), 4),
        "seeds": [left.count, right.count],
        "detail": link.detail,
        "merge": f"same\t{left.spelling.strip()}\t{right.spelling.strip()}",
    }
