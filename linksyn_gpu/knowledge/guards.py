"""Why two names that look alike are not one: numbers, negation, antonyms, opposite affixes.

Every guard works on normal forms, and on differences alone: what two names share never speaks against them. A guard
that fires is final for rules and for models; only a user's own rule overrides it.
"""

from __future__ import annotations

import functools
import re
from collections import Counter

from linksyn_gpu.knowledge.normal_form import CJK, HAS_CJK

_TOKEN = re.compile(f"[{CJK}]|[^{CJK} ]+")
_CJK_NUMBER = re.compile("[零一二两三四五六七八九十百千万甲乙丙丁戊]")
_NUMBER = re.compile(r"\d")
_MULTIPLES = re.compile(
    r"^(mono|uni|bi|di|tri|tetra|quad|quadri|penta|quint|hexa|hepta|octa|nona|deca|poly|multi|semi|hemi|demi)(?=[a-z]{3})"
)
_MEASURES = re.compile(r"^(kilo|mega|giga|tera|centi|milli|micro|nano|pico|deci)(?=[a-z]{3})")
_NUMBER_LIKE = frozenset(
    "primary secondary tertiary quaternary single double triple quadruple half quarter once twice binary ternary "
    "unary linear quadratic cubic quartic".split()
)

_NEGATIONS = ("non", "un", "in", "im", "il", "ir", "dis", "anti", "counter", "mis", "de", "a", "an")
_NEGATION_WORDS = frozenset("not no non without never anti lack absence".split())
_CJK_NEGATIONS = "非不无未反抗否"

_OPPOSITES = (
    "macro micro|hyper hypo|endo exo|inter intra|intro extro|intro extra|pre post|ante post|super sub|over under"
    "|homo hetero|iso aniso|pro anti|pro con|ecto endo|epi hypo|eu dys|eu pro|ana cata|syn anti|up down|out in"
    "|inner outer|fore after|ab ad|im ex|in ex|an cat|a an|para ortho|ortho meta|meta para|auto allo|auto hetero|cis trans"
    "|over under|max min|maxi mini|intra extra|sym asym|con di|con de|in de|pro re|af ef|in e|im e|as de|e re|in de"
)
_AFFIXES = tuple(
    sorted({tuple(sorted(pair.split())) for pair in _OPPOSITES.split("|")}, key=lambda p: -len(p[0]) - len(p[1]))
)
_ENDINGS = (
    "ate ite|ate ide|ite ide|ane ene|ane yne|ene yne|ic ous|ol al|ase ose|er ee|or ee|ful less|on in|gram graph|cline form"
    "|us ous|meter gram|meter liter|gram liter|al ar|ide ine|ine ene|one ol|ium ine|tion tive"
)
_SUFFIXES = tuple(tuple(pair.split()) for pair in _ENDINGS.split("|"))

_ANTONYMS = (
    "left right|up down|upper lower|high low|long short|large small|big small|great small|major minor|maximum minimum"
    "|maximal minimal|max min|positive negative|plus minus|addition subtraction|add subtract|adding subtracting"
    "|multiplication division|multiply divide|multiplying dividing|sum difference|product quotient|increase decrease"
    "|increasing decreasing|rise fall|gain loss|profit loss|odd even|rational irrational|real imaginary|even odd"
    "|acute obtuse|horizontal vertical|parallel perpendicular|parallel series|convex concave|interior exterior|inner outer"
    "|internal external|inside outside|open closed|input output|import export|implicit explicit|inclusive exclusive"
    "|active passive|direct indirect|dependent independent|supply demand|buyer seller|borrower lender|lender borrower"
    "|creditor debtor|asset liability|credit debit|surplus shortage|surplus deficit|inflation deflation"
    "|expansionary contractionary|fixed variable|fixed floating|public private|domestic foreign|formal informal"
    "|monopoly monopsony|absolute relative|absolute comparative|nominal real|cathode anode|anion cation|acid base"
    "|oxidation reduction|oxidant reductant|oxidizing reducing|exothermic endothermic|solvent solute|proton electron"
    "|proton neutron|neutron electron|molarity molality|metal nonmetal|organic inorganic|saturated unsaturated|strong weak"
    "|aerobic anaerobic|mitosis meiosis|haploid diploid|dominant recessive|genotype phenotype|artery vein|arterial venous"
    "|transcription translation|prokaryote eukaryote|prokaryotic eukaryotic|predator prey|host parasite|plant animal"
    "|male female|masculine feminine|sensory motor|afferent efferent|sympathetic parasympathetic|systole diastole"
    "|systolic diastolic|innate adaptive|innate acquired|acquired inherited|antigen antibody|gram-positive gram-negative"
    "|introvert extrovert|conscious unconscious|classical operant|reward punishment|reinforcement punishment"
    "|retrograde anterograde|proactive retroactive|short-term long-term|nature nurture|absorption adsorption"
    "|absorption emission|convection conduction|conduction radiation|reflection refraction|refraction diffraction"
    "|reflection diffraction|transverse longitudinal|elastic inelastic|kinetic potential|static dynamic|static kinetic"
    "|ac dc|voltage current|series parallel|conductor insulator|clockwise counterclockwise|lunar solar|north south"
    "|east west|northern southern|eastern western|old new|ancient modern|early late|first last|before after|past future"
    "|war peace|rural urban|central peripheral|core periphery|democracy autocracy|legislative executive"
    "|legislative judicial|executive judicial|civil criminal|plaintiff defendant|majority minority|ascending descending"
    "|sequential parallel|stack queue|synchronous asynchronous|encoder decoder|encryption decryption|supervised unsupervised"
    "|precision recall|deductive inductive|qualitative quantitative|discrete continuous|sample population|null alternative"
    "|mean median|mean mode|median mode|necessary sufficient|sufficient necessary|numerator denominator|divisor dividend"
    "|union intersection|prime composite|factor multiple|permutation combination|sine cosine|tangent cotangent"
    "|secant cosecant|sine tangent|cosine tangent|area perimeter|area volume|perimeter volume|radius diameter|row column"
    "|domain range|local global|upstream downstream|inward outward|forward backward|front back|anterior posterior"
    "|dorsal ventral|medial lateral|proximal distal|push pull|source sink|hot cold|warm cold|heating cooling|fast slow"
    "|melting freezing|boiling freezing|boiling melting|evaporation condensation|vaporization condensation|hypertonic hypotonic"
    "|light dark|day night|summer winter|spring autumn|spring fall|wet dry|hard soft|young old|parent child|father mother"
    "|brother sister|husband wife|king queen|speed velocity|mass weight|distance displacement|theory law|theorem law"
    "|equation inequality|expression equation|dna rna|bacterium virus|liberal conservative|left-wing right-wing"
    "|federal state|federal confederal|stress strain|tension compression|accuracy precision|sensitivity specificity"
    "|validity reliability|incidence prevalence|immigration emigration|immigrant emigrant|birth death|analog digital"
    "|hardware software|client server|compiler interpreter|sender receiver|producer consumer|customer supplier"
)
_PAIRS = frozenset(frozenset(pair.split()) for pair in _ANTONYMS.split("|"))
_CJK_ANTONYMS = (
    "正负 正反 正余 正逆 上下 大小 内外 左右 加减 乘除 增减 奇偶 质合 主被 显隐 阴阳 酸碱 吸放 吸呼 升降 冷热 高低 长短 快慢 "
    "强弱 前后 横纵 男女 父母 南北 东西 真假 有无 有不 开闭 开关 动静 动植 雌雄 公私 公母 进出 入出 买卖 借贷 收支 盈亏 供求 供需 "
    "宏微 直曲 锐钝 凸凹 同异 异等 单双 单多 单复 生死 先后 早晚 新旧 古今 轻重 浓稀 粗细 深浅 软硬 软件硬件 胜负 攻防 攻守 "
    "整分 整小 分小 加乘 加除 减乘 减除 指对 差比 横竖 积商 和差 和积 差积 和商 交并 偶奇 圆椭 弦切 弧弦 点线 线面 点面 行列 分子分母 分母分子 被除数除数 氧化还原 合成分解 分解化合 "
    "有丝减数 有性无性 原核真核 显性隐性 阳极阴极 阳离子阴离子 正极负极 吸热放热 需求供给 通胀通缩 膨胀紧缩 扩张紧缩 输入输出 "
    "进口出口 客观主观 唯物唯心 定性定量 归纳演绎 必要充分 充分必要 连续离散 面积周长 面积体积 周长体积 半径直径 速度速率 质量重量 "
    "位移路程 串联并联 反射折射 折射衍射 传导对流 蒸发凝结 熔化凝固 升华凝华 动脉静脉 转录翻译 排列组合 方程不等式 定理定律 "
    "实数虚数 有理无理 平行垂直 最大最小 最高最低 绝对相对 内部外部 直接间接 固定可变 名义实际 公法私法 民法刑法 原告被告"
)
_CJK_PAIRS = tuple(
    (word[: len(word) // 2], word[len(word) // 2 :]) if len(word) % 2 == 0 else (word[:3], word[3:])
    for word in _CJK_ANTONYMS.split()
)


def veto(form: str, other: str) -> str | None:
    """Name of the guard that keeps two normal forms apart, or None.

    Returns
    -------
    'number', 'negation', 'antonym', 'affix' or None
    """
    mine, theirs = Counter(_TOKEN.findall(form)), Counter(_TOKEN.findall(other))
    left, right = list((mine - theirs).elements()), list((theirs - mine).elements())
    if not left and not right:
        return None
    if sorted(filter(None, map(_number, left))) != sorted(filter(None, map(_number, right))):
        return "number"
    if any(_one_negates(a, b) for a in left for b in right) or _negating(left) != _negating(right):
        return "negation"
    if any(frozenset((a, b)) in _PAIRS for a in left for b in right):
        return "antonym"
    if HAS_CJK.search(form) and (found := _cjk_veto(form, other, left, right)):
        return found
    if any(_opposed(a, b) for a in left for b in right):
        return "affix"
    return None


def share_words(form: str, other: str) -> bool:
    """Whether two normal forms have a word (or Chinese character) in common."""
    return not set(_TOKEN.findall(form)).isdisjoint(_TOKEN.findall(other))


@functools.lru_cache(maxsize=2**16)
def _number(token: str) -> str | None:
    """What a token counts or measures with: digits, a number word, a single letter ("vitamin C"), or a prefix (di-)."""
    if _NUMBER.search(token) or token in _NUMBER_LIKE or (len(token) == 1 and not token.isspace()):
        if HAS_CJK.match(token) and not _CJK_NUMBER.match(token):
            return None
        return token
    found = _MULTIPLES.match(token) or _MEASURES.match(token)
    return found[1] if found else None


def _negating(tokens: list[str]) -> int:
    return sum(token in _NEGATION_WORDS or token in _CJK_NEGATIONS for token in tokens)


def _one_negates(a: str, b: str) -> bool:
    """One token is the other with a prefix of negation: equilibrium, disequilibrium."""
    if len(a) > len(b):
        a, b = b, a
    return len(a) >= 3 and b.endswith(a) and b[: len(b) - len(a)] in _NEGATIONS


def _opposed(a: str, b: str) -> bool:
    """Two tokens differ in opposite prefixes or in endings that make another thing of a word."""
    for one, two in _AFFIXES:
        for p, q in ((one, two), (two, one)):
            if a.startswith(p) and b.startswith(q) and a[len(p) :] == b[len(q) :] and len(a) - len(p) >= 3:
                return True
    for p, q in _SUFFIXES:
        for x, y in ((p, q), (q, p)):
            if a.endswith(x) and b.endswith(y) and a[: -len(x)] == b[: -len(y)] and len(a) - len(x) >= 3:
                return True
    return False


def _cjk_veto(form: str, other: str, left: list[str], right: list[str]) -> str | None:
    rest, others_rest = "".join(left), "".join(right)
    for one, two in _CJK_PAIRS:
        if len(one) == 1:
            opposed = (one in rest and two in others_rest) or (two in rest and one in others_rest)
        else:
            opposed = (one in form and two in other and two not in form and one not in other) or (
                two in form and one in other and one not in form and two not in other
            )
        if opposed:
            return "antonym"
    return None
