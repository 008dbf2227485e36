"""Difficulty levels 1 to 5, and the scales of seed banks, which `difficulty.toml` maps to them."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from linksyn_gpu.config.checks import shown
from linksyn_gpu.config.loader import read_toml
from linksyn_gpu.errors import ConfigError

FOLDER = Path(__file__).parent
_JOINTS = re.compile(r"[\s_]+|(?<=[^\W\d])-(?=[^\W\d])")

# This project's own scale: the LinkSyn paper does not define its levels.
LEVELS: Mapping[str, Mapping[int, str]] = {
    "en": {
        1: "recall or recognise one fact or definition; one step",
        2: "apply one known rule or idea directly to a familiar situation",
        3: "combine two ideas, or follow several routine steps",
        4: "combine several ideas in an unfamiliar situation; choosing the method is part of the task",
        5: "expert level: a long chain of reasoning across ideas, with special cases or a proof, no standard recipe",
    },
    "zh": {
        1: "回忆或辨认一个事实或定义，一步即可",
        2: "在熟悉的情境中直接运用一条规则或一个概念",
        3: "结合两个概念，或完成若干常规步骤",
        4: "在陌生情境中综合多个概念，需要自己选择方法",
        5: "专家水平：跨概念的长链推理，含特殊情形或证明，没有现成套路",
    },
}


class DifficultyScale:
    """Maps the values of a scale, texts or numbers, to levels 1..5."""

    def __init__(self, name: str, levels: Mapping[str, Any]) -> None:
        self.name = name
        for value, level in levels.items():
            if isinstance(level, bool) or not isinstance(level, int) or not 1 <= level <= 5:
                raise ConfigError(f"difficulty scale {name}: {value} = {shown(repr(level))} must be a level 1..5")
        self._levels = {_value_key(value): level for value, level in levels.items()}

    def level(self, value: Any) -> int | None:
        """Level of a value; None if the scale does not have it."""
        if isinstance(value, bool):
            return None
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        return self._levels.get(_value_key(str(value)))


def _value_key(text: str) -> str:
    key = _JOINTS.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()
    whole, point, rest = key.partition(".")
    return whole if point and rest.strip("0") == "" and whole.isdigit() else key


@functools.lru_cache(maxsize=16)
def difficulty_scale(name: str) -> DifficultyScale:
    """The shipped scale of a name, or the scale of a TOML file.

    Raises
    ------
    ConfigError
        There is no such scale, or the file is not a scale.
    """
    if name.endswith(".toml"):
        return DifficultyScale(name, read_toml(name))
    scales = read_toml(FOLDER / "difficulty.toml")
    if name not in scales:
        raise ConfigError(f"difficulty scale {name!r} does not exist; use {', '.join(scales)} or a .toml file")
    return DifficultyScale(name, scales[name])
