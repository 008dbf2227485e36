"""Benchmark items in texts: what is found, what must not be, and that batches and threads change nothing."""

import json
import random

import numpy as np
import pytest

from linksyn_gpu.quality import contamination
from linksyn_gpu.quality.certificate import certificate_table, certify, injections
from linksyn_gpu.quality.contamination import BenchmarkItem, Benchmarks, searched_text
from linksyn_gpu.quality.injection import FORMS
from linksyn_gpu.text.tokens import tokens_of

STEM = "Which of the following statements is true?"
ITEMS = [
    BenchmarkItem(
        "lake",
        "exam.jsonl",
        "A farmer fences a rectangular meadow along a straight river with 360 metres of wire; which width gives the "
        "largest enclosed area when the river bank needs no wire?",
        ("60 metres", "75 metres", "90 metres", "120 metres"),
        "90 metres",
    ),
    BenchmarkItem(
        "stem",
        "exam.jsonl",
        STEM,
        ("Copper floats on mercury", "Granite is a sedimentary rock", "Helium burns in oxygen", "Chalk repels water"),
        "Copper floats on mercury",
    ),
    BenchmarkItem(
        "formula",
        "exam.jsonl",
        r"已知$$\frac{{{a}^{2}}}{4}+\left( b-1 \right)\times 3=17$$，其中$$a$$是圓的半徑，"
        "则陰影部分的面积是多少平方厘米？",
        (r"$$12\pi$$", r"$$16\pi$$", r"$$20\pi$$", r"$$24\pi$$"),
        r"$$16\pi$$",
    ),
    BenchmarkItem("short", "exam.jsonl", "7 × 13 =", ("81", "91", "97", "101"), "91"),
    BenchmarkItem("open", "exam.jsonl", "Who painted Guernica?", (), "Pablo Picasso"),
]
INDEX = Benchmarks(ITEMS)


def text_of(item):
    return searched_text(item.question, item.options, item.answer)


def found(text, index=INDEX):
    hit = index.best_hits([text])[0]
    return None if hit is None else hit.item


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: item.id)
def test_an_item_is_found_verbatim_and_the_hit_names_it(item):
    [hit] = INDEX.best_hits([text_of(item)])
    assert (hit.item, hit.file, hit.share) == (item.id, "exam.jsonl", 1.0)


@pytest.mark.parametrize("form", [form for form in FORMS if form != "numbers changed"])
def test_an_item_is_found_in_each_form(form):
    for number, text in injections(form, ITEMS):
        if form == "one word in twelve removed" and ITEMS[number].id in ("short", "open", "stem"):
            continue  # of a short item all must match
        assert found(text) is not None, (ITEMS[number].id, text)


def test_a_generic_stem_with_other_options_is_no_hit():
    assert found(searched_text(STEM, ("Iron rusts", "Gold rusts", "Tin rusts", "Lead rusts"), "Iron rusts")) is None


def test_a_generic_stem_with_the_answer_alone_is_a_hit():
    assert found(f"{STEM} I think that copper floats on mercury.") == "stem"


def test_a_short_item_needs_its_options_or_its_answer():
    assert found("7 × 13 = ?") is None
    assert found("Who painted Guernica?") is None
    assert found("Who painted Guernica? It was Pablo Picasso.") == "open"


def test_half_of_an_item_is_no_hit():
    assert found("A farmer fences a rectangular meadow along a straight river and sells the hay at the market.") is None


def test_the_words_of_an_item_in_another_order_are_no_hit():
    words = ITEMS[0].question.split()
    random.Random(1).shuffle(words)
    assert found(" ".join(words)) is None


def test_the_matched_text_is_that_of_the_text():
    [hit] = INDEX.best_hits([f"Before. {ITEMS[0].question} After that, nothing."])
    assert hit.matched.startswith("a farmer fences")
    assert hit.matched.endswith("needs no wire")


def test_spellings_of_latex_width_and_script_are_the_same_tokens():
    pairs = [
        (r"$$\dfrac{1}{2}$$", "1/2"),
        (r"$x^{2}$", "x²"),
        (r"\left( a \right)", "（ａ）"),
        (r"\text{cm}", r"\mathrm{cm}"),
        (r"\alpha \times \varphi", "α×φ"),
        ("圓的面積", "圆的面积"),
        (r"\begin{array}{l} 1 \end{array}", "{l} 1"),
    ]
    for one, other in pairs:
        a, b = tokens_of([one]), tokens_of([other])
        assert a.tokens.tolist() == b.tokens.tolist(), (one, other)


def test_other_numbers_and_words_are_other_tokens():
    cut = tokens_of(["12", "21", "sin x", "cos x", "1 2"])
    rows = [tuple(cut.tokens[a:b].tolist()) for a, b in zip(cut.indptr[:-1], cut.indptr[1:], strict=True)]
    assert len(set(rows)) == len(rows)


def some_items(n):
    rng = random.Random(3)
    words = [
        f"{a}{b}" for a in ("ka", "lo", "mi", "ne", "pu", "ra") for b in ("ban", "del", "for", "gut", "hem", "jis")
    ]
    return [BenchmarkItem(str(i), "made.jsonl", " ".join(rng.choices(words, k=rng.randint(3, 30)))) for i in range(n)]


def test_the_lookup_loses_no_hit():
    """Against a search that compares every text with every item."""
    items = some_items(120)
    rng = random.Random(4)
    texts = []
    for item in items:
        words = item.question.split()
        words[rng.randrange(len(words))] = "other"
        texts.append(" ".join(words + rng.choices(items)[0].question.split()[:4]))
    index = Benchmarks(items)
    whole = Benchmarks(items)
    grams, owner, _ = contamination._question_grams(whole._tokens, whole._part_tokens, whole._item_parts)
    pairs = np.unique(np.stack([grams, owner.astype(np.uint64)]), axis=1)
    keys, starts = np.unique(pairs[0], return_index=True)
    slots, rows = contamination._hash_table(keys)
    whole._index = (slots, rows, np.append(starts, pairs.shape[1]).astype(np.int64), pairs[1].astype(np.int64))
    assert index._index[3].size < whole._index[3].size
    for a, b in zip(index.found(texts), whole.found(texts), strict=True):
        np.testing.assert_array_equal(a, b)
    assert len(index.found(texts)[0]) > 20


def test_batches_and_order_change_nothing(monkeypatch):
    items = some_items(60)
    texts = [text_of(item) for item in some_items(90)] + ["", "nothing of this"]
    expected = Benchmarks(items).best_hits(texts)
    monkeypatch.setattr(contamination, "BATCH", 7)
    monkeypatch.setattr(contamination, "get_num_threads", lambda: 3)
    assert Benchmarks(items).best_hits(texts) == expected
    assert Benchmarks(items).best_hits(texts[::-1]) == expected[::-1]
    assert any(expected)


def test_no_texts_and_no_hits_give_empty_results():
    assert INDEX.best_hits([]) == []
    assert INDEX.best_hits(["", "Quite another text about trains."]) == [None, None]
    assert [len(part) for part in INDEX.found([])] == [0, 0, 0]


def test_items_that_are_too_short_are_counted():
    index = Benchmarks([*ITEMS, BenchmarkItem("empty", "exam.jsonl", "？"), BenchmarkItem("is", "exam.jsonl", STEM)])
    assert index.too_light.tolist() == [False] * len(ITEMS) + [True, True]


def test_the_certificate_counts_what_it_found_and_is_the_same_again():
    clean = ["A quite different text about trains and rails.", text_of(ITEMS[0])]
    certificate = certify(INDEX, clean)
    assert certificate == certify(INDEX, clean)
    assert certificate["forms"]["verbatim"] == {"injected": 5, "found": 5, "recall": 1.0}
    assert certificate["clean"]["hits"] == 1
    assert certificate["clean"]["examples"][0]["item"] == "lake"
    json.dumps(certificate)
    table = certificate_table(certificate)
    assert "| verbatim | 5 | 5 | 1.000 |" in table
    assert "paraphrases" in table


def test_the_certificate_shows_a_form_that_is_not_found():
    assert certify(Benchmarks(ITEMS, share=1.0))["forms"]["numbers changed"]["recall"] < 1.0


def test_leaks_in_real_seeds_are_found_and_generic_stems_are_not(real_data):
    """Marks of the data that only share a stem or moved a decimal point are no leaks: see docs/quality.md."""
    from linksyn_gpu.config import DecontaminateConfig
    from linksyn_gpu.pipeline.benchmarks import read_benchmarks, texts_of_rows

    names = ("benchmark_tal_test_slice.jsonl", "benchmark_mmlu_slice.jsonl")
    files = [real_data(name) for name in names]
    index = read_benchmarks(DecontaminateConfig(against=tuple(map(str, files))))
    seeds = [
        json.loads(line)
        for name in ("seed_tal_math_en_zh.jsonl", "seed_openstax_en.jsonl")
        for line in real_data(name).read_text(encoding="utf-8").split("\n")
        if line
    ]
    _, items, _ = index.found(texts_of_rows(seeds))
    hits = {index.items[number].id for number in items}
    rows = [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").split("\n") if line]
    options = {seed["id"]: set(seed["options"]) for seed in seeds}
    marked = [row for row in rows if (row.get("seed_overlap") or {}).get("exact")]
    leaks = {
        row["id"] for row in marked if any(options[id_] & set(row["options"]) for id_ in row["seed_overlap"]["exact"])
    }
    assert len(leaks & hits) >= 0.99 * len(leaks) > 200
    assert not {row["id"] for row in rows if row["question"].strip().startswith(STEM[:-1])} & hits
