"""Personal data and secrets are found; quantities, formulas and code of lessons are not taken for them."""

import json

import pytest

from linksyn_gpu.text.privacy import find_private


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("email", "Write to jane.doe+exam@mail.uni-bonn.de for the answer."),
        ("email", "联系 zhang.wei@qq.com 获取答案"),
        ("phone", "Call +49 228 734060 before noon."),
        ("phone", "Call +1 (650) 253-0000."),
        ("phone", "电话：+86 10 6275 1111"),
        ("secret", "Use AKIA" + "Q3EGRWZ5T7UVXYA2 as the key."),
        ("secret", "token ghp_" + "16C7e42F292c6912E7710c838347Ae178B4a"),
        ("secret", "-----BEGIN RSA " + "PRIVATE KEY-----"),
        ("secret", "postgres://user:" + "s3cr3tpass@db.internal:5432/x"),
    ],
)
def test_each_kind_is_found_and_named(kind, text):
    found = find_private(text)
    assert found is not None
    assert found[0] == kind


@pytest.mark.parametrize(
    "text",
    [
        "What is 123456789 + 987654321?",
        r"\frac{a+b}{c} = 6.02 \times 10^{23}",
        "x + 12 345 678 = 90 123 456",
        "The user@host prompt of a shell; alice@example.com is a sample.",
        "password = input('Password: ')",
        "0x1F4A9C3B7D2E6F80 in hexadecimal",
        "The sequence ACGTACGTACGTACGTACGTACGT codes for a protein.",
        "HTTP://www.w3.org/1999/xhtml",
        "它的坐标是 (+3, -4)，速度 +12 m/s",
        "",
    ],
)
def test_texts_of_lessons_are_not_taken_for_private_data(text):
    assert find_private(text) is None


def test_real_seeds_are_hardly_ever_hit(real_data):
    hits = []
    for name in ("seed_openstax_en.jsonl", "seed_tal_math_en_zh.jsonl"):
        for line in real_data(name).read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            text = "\n".join([row["question"], *row.get("options", []), row["answer"]])
            if (found := find_private(text)) is not None:
                hits.append((row["id"], found))
    assert len(hits) <= 3, hits
