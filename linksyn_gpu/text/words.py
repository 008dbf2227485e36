"""Words brought to one form: plurals to singulars, number words to digits, British spelling to American.

English alone has plurals here. Forms made by these rules are compared, never shown, so that a rule may make a word
that does not exist ("analysi") as long as it makes the same one of both spellings.
"""

from __future__ import annotations

import functools
import re
import unicodedata


def word_list(text: str) -> list[str]:
    """Words of a text, for tables that read better without a quote around each."""
    return text.split()


_IRREGULAR = {
    "mice": "mouse",
    "lice": "louse",
    "children": "child",
    "men": "man",
    "women": "woman",
    "feet": "foot",
    "teeth": "tooth",
    "geese": "goose",
    "oxen": "ox",
    "people": "people",
    "indices": "index",
    "vertices": "vertex",
    "matrices": "matrix",
    "apices": "apex",
    "appendices": "appendix",
    "vortices": "vortex",
    "cortices": "cortex",
    "helices": "helix",
    "axes": "axis",
    "analyses": "analysis",
    "hypotheses": "hypothesis",
    "syntheses": "synthesis",
    "theses": "thesis",
    "parentheses": "parenthesis",
    "bases": "base",
    "crises": "crisis",
    "diagnoses": "diagnosis",
    "oases": "oasis",
    "neuroses": "neurosis",
    "bacteria": "bacterium",
    "criteria": "criterion",
    "phenomena": "phenomenon",
    "nuclei": "nucleus",
    "stimuli": "stimulus",
    "fungi": "fungus",
    "cacti": "cactus",
    "alveoli": "alveolus",
    "bacilli": "bacillus",
    "villi": "villus",
    "loci": "locus",
    "foci": "focus",
    "radii": "radius",
    "larvae": "larva",
    "algae": "alga",
    "formulae": "formula",
    "antennae": "antenna",
    "vertebrae": "vertebra",
    "spectra": "spectrum",
    "quanta": "quantum",
    "strata": "stratum",
    "mitochondria": "mitochondrion",
    "ova": "ovum",
    "genera": "genus",
    "taxa": "taxon",
    "polyhedra": "polyhedron",
    "viruses": "virus",
    "buses": "bus",
    "gases": "gas",
    "biases": "bias",
    "lenses": "lens",
    "atlases": "atlas",
    "statuses": "status",
    "campuses": "campus",
    "censuses": "census",
    "consensuses": "consensus",
    "leaves": "leaf",
    "halves": "half",
    "lives": "life",
    "knives": "knife",
    "wives": "wife",
    "wolves": "wolf",
    "shelves": "shelf",
    "calves": "calf",
    "loaves": "loaf",
    "thieves": "thief",
    "shoes": "shoe",
    "toes": "toe",
    "dice": "die",
    "ties": "tie",
    "pies": "pie",
    "lies": "lie",
    "dies": "die",
    "calories": "calorie",
    "cookies": "cookie",
    "movies": "movie",
    "zombies": "zombie",
    "prairies": "prairie",
    "caches": "cache",
    "aches": "ache",
    "niches": "niche",
    "avalanches": "avalanche",
    "quizzes": "quiz",
    "genies": "genie",
    **dict(
        pair.split("/")
        for pair in word_list(
            "ganglia/ganglion automata/automaton protozoa/protozoan metazoa/metazoan spermatozoa/spermatozoon "
            "taxa/taxon mycelia/mycelium symposia/symposium curricula/curriculum memoranda/memorandum "
            "referenda/referendum millennia/millennium flagella/flagellum cilia/cilium sera/serum septa/septum "
            "crania/cranium maxima/maximum minima/minimum optima/optimum equilibria/equilibrium momenta/momentum "
            "continua/continuum vacua/vacuum stomata/stoma schemata/schema stigmata/stigma lemmata/lemma "
            "hyphae/hypha pupae/pupa nebulae/nebula supernovae/supernova novae/nova fibulae/fibula tibiae/tibia "
            "cocci/coccus thrombi/thrombus emboli/embolus gyri/gyrus sulci/sulcus tori/torus moduli/modulus "
            "syllabi/syllabus termini/terminus tumuli/tumulus alumni/alumnus humeri/humerus uteri/uterus "
            "emphases/emphasis ellipses/ellipse metastases/metastasis prognoses/prognosis "
            "codices/codex cervices/cervix genii/genius simplices/simplex"
        )
    ),
}
# Singular though they end in s; what ends in ss, us, is or ics is known by that alone.
_SINGULAR = frozenset(
    word_list(
        "series species news gas lens bias atlas chaos cosmos ethos pathos logos mythos asbestos yes always "
        "perhaps diabetes rabies herpes measles mumps shingles rickets scabies christmas texas kansas arkansas "
        "paris athens thomas james charles wales hercules euripides socrates archimedes thales hobbes descartes "
        "mars as has was does this its plus minus versus canvas pancreas alias trellis pajamas texas honduras "
        "bahamas andes themis adidas archaeopteris homeostasis corps aves pisces means xerxes hermes aristophanes "
        "sophocles hippocrates pythagoras judas rhinoceros albatross isosceles thermos mores"
    )
)
_ENDINGS = re.compile(r"(?:ss|sh|ch|x|zz)es$")

# Words whose plural names another thing, as grammars list them: in a name of one word they stay plurals.
PLURALS_OF_THEIR_OWN = frozenset(
    word_list(
        "arms clothes customs damages glasses goods headquarters humanities means morals mores odds outskirts premises "
        "proceeds remains riches savings securities spectacles surroundings valuables"
    )
)

_CARDINALS = word_list(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_ORDINALS = word_list(
    "zeroth first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth "
    "fifteenth sixteenth seventeenth eighteenth nineteenth"
)
_TENS = {word: 10 * n for n, word in enumerate(word_list("twenty thirty forty fifty sixty seventy eighty ninety"), 2)}
_SUFFIX = {1: "st", 2: "nd", 3: "rd"}
NUMBER_WORDS = (
    {word: str(n) for n, word in enumerate(_CARDINALS)}
    | {word: f"{n}{_SUFFIX.get(n, 'th')}" for n, word in enumerate(_ORDINALS)}
    | {word: str(n) for word, n in _TENS.items()}
    | {f"{word[:-1]}ieth": f"{n}th" for word, n in _TENS.items()}
)


def join_numbers(words: list[str]) -> list[str]:
    """Words with "twenty", "first" as one, "21st", and so up to 99."""
    joined: list[str] = []
    for word in words:
        tens = _TENS.get(joined[-1].casefold()) if joined else None
        ones = NUMBER_WORDS.get(word.casefold(), "")
        if tens is not None and ones[:1] in "123456789" and ones.rstrip("stndrh") in "123456789" and ones:
            joined[-1] = f"{tens // 10}{ones}"
        else:
            joined.append(word)
    return joined


ROMAN = {
    word: str(n)
    for n, word in enumerate(word_list("I II III IV V VI VII VIII IX X XI XII XIII XIV XV XVI XVII XVIII XIX XX"), 1)
    if word not in ("I", "V", "X")  # a letter far more often than a number
}


@functools.lru_cache(maxsize=2**18)
def singular(word: str) -> str:
    """Singular of an English word in lower case; what is no plural comes back as it is."""
    if not word.endswith("s") and word not in _IRREGULAR:
        return word
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if len(word) <= 3 or word in _SINGULAR or word.endswith(("ss", "us", "is", "ics", "'s")):
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith("eses") and len(word) > 6:  # "prostheses"
        return word[:-2] + "is"
    if _ENDINGS.search(word) or word.endswith("oes"):
        return word[:-2]
    return word[:-1]


_OUR = re.compile(
    r"(behavi|neighb|endeav|demean|splend|flav|harb|parl|clam|ferv|cand|ranc|glam|hon|hum|tum|vap|rum|vig|arm|sav"
    r"|col|fav|lab|val|od)our"
)
_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"^aeroplane"), "airplane"),
    (re.compile(r"^programme"), "program"),
    (re.compile(r"^(?:alumini)um"), "aluminum"),
    (re.compile(r"(?<=.)(?:ae|oe)"), "e"),
    (re.compile(r"^(?:ae|oe)"), "e"),
    (re.compile(r"(?<=\w{3})is(?=e$|ed$|er$|ing$|ation|able$)"), "iz"),
    (re.compile(r"(?<=\w)ys(?=e$|ed$|er$|ing$)"), "yz"),
    (re.compile(r"(?<=\w{4})ll(?=ing$|ed$|er$)"), "l"),
    (re.compile(r"(met|lit|cent|fib|theat|calib|lust|spect)re$"), r"\1er"),
    (re.compile(r"euvre"), "euver"),
    (re.compile(r"ogue$"), "og"),
    (re.compile(r"sulph"), "sulf"),
    (re.compile(r"^(def|off|lic|pret)ence"), r"\1ense"),
    (re.compile(r"^gray"), "grey"),
    (re.compile(r"^practise"), "practice"),
    (re.compile(r"^plough"), "plow"),
    (re.compile(r"^mould"), "mold"),
    (re.compile(r"^artefact"), "artifact"),
    (re.compile(r"gement$"), "gment"),
    (re.compile(r"^ageing$"), "aging"),
    (re.compile(r"^sceptic"), "skeptic"),
    (re.compile(r"^enquir"), "inquir"),
    (re.compile(r"lment$"), "llment"),
)


@functools.lru_cache(maxsize=2**18)
def american(word: str) -> str:
    """One spelling of a word in lower case for its British and American ones, without accents on Latin letters."""
    if not word.isascii():
        word = _without_accents(word)
    if len(word) < 5 or not word.isalpha():
        return "grey" if word == "gray" else word
    word = _OUR.sub(r"\1or", word)
    for pattern, replacement in _RULES:
        word = pattern.sub(replacement, word)
    return word


def _without_accents(word: str) -> str:
    pieces = []
    for character in word:
        parts = unicodedata.normalize("NFD", character)
        pieces.append(parts[0] if len(parts) > 1 and parts[0].isascii() else character)
    return "".join(pieces)


_DIGITS = {character: n for n, character in enumerate("零一二三四五六七八九")}
_CHINESE_ORDINAL = re.compile("第([零一二三四五六七八九十]{1,3})")


def chinese_ordinals(text: str) -> str:
    """Write Chinese ordinals up to 99 with digits: 第二定律 becomes 第2定律."""
    return _CHINESE_ORDINAL.sub(lambda m: "第" + _chinese_number(m[1]), text) if "第" in text else text


def _chinese_number(text: str) -> str:
    tens, ten, ones = text.partition("十")
    if not ten:
        return "".join(str(_DIGITS[c]) for c in text)
    if any(len(part) > 1 or part == "十" for part in (tens, ones)):
        return text
    return str(_DIGITS.get(tens, 1) * 10 + _DIGITS.get(ones, 0))


# Traditional characters that stand in names of school and university subjects, and their simplified forms: not a
# whole table, and one-to-one. 後 is left out (后 is a word of its own), as are 乾, 幹, 裡, 係, 複 and their like.
_TRADITIONAL = (
    "學学數数幾几論论會会計计經经濟济歷历漢汉語语動动靜静電电場场運运強强體体積积圖图線线點点邊边對对應应關关連连續续離离變变換换類类別别種种組组織织細细遺遗傳传進进質质氣气壓压溫温熱热產产業业資资貨货幣币"
    "價价稅税財财務务貿贸銀银錢钱險险權权義义責责國国際际聯联條条約约憲宪選选舉举議议員员黨党軍军戰战爭争亂乱滅灭統统區区縣县鄉乡農农莊庄漁渔礦矿鐵铁鋼钢銅铜鋁铝鈉钠鉀钾鈣钙鎂镁錳锰鉛铅氫氢鹽盐鹼碱還还劑剂"
    "濃浓燒烧層层構构結结標标準准測测驗验實实證证據据題题問问課课書书讀读寫写譯译詩诗詞词賦赋記记說说話话聲声韻韵調调樂乐戲戏劇剧藝艺術术畫画機机車车輪轮飛飞導导彈弹衛卫訊讯號号碼码網网絡络軟软處处驅驱醫医"
    "藥药療疗診诊斷断腫肿腦脑腎肾臟脏脈脉縮缩養养營营維维醣糖鳥鸟魚鱼蟲虫馬马龍龙龜龟貓猫樹树葉叶莖茎開开閉闭門门間间頻频顯显隱隐陰阴陽阳極极陸陆島岛灣湾嶼屿風风雲云東东長长寬宽輕轻圓圆橢椭錐锥稜棱補补餘余"
    "倫伦認认識识覺觉憶忆為为與与個个們们兩两過过來来從从現现發发當当時时無无滿满減减總总單单"
    "規规劃划給给師师練练習习筆笔紙纸閱阅觀观聽听講讲詳详級级綠绿編编終终絕绝紅红純纯紡纺紀纪納纳紋纹緒绪綜综緯纬緩缓績绩繪绘繼继纖纤罰罚羅罗聖圣職职腸肠膚肤膽胆膠胶興兴艦舰節节範范簡简籌筹築筑糧粮蘇苏蘭兰"
    "藍蓝蘋苹裝装見见視视親亲覽览訂订訓训設设訪访評评試试詢询該该誤误誘诱請请諾诺謀谋謝谢謠谣護护譜谱貢贡貧贫購购貯贮費费賀贺賃赁賓宾賞赏賠赔賢贤賣卖賽赛贈赠贏赢趙赵趨趋跡迹踐践軌轨軸轴較较載载輔辅輛辆輯辑"
    "輸输轄辖轉转辦办辭辞遊游達达違违遙遥遞递遠远適适遲迟遷迁邏逻郵邮鄭郑醬酱釋释針针鈍钝鉗钳銳锐鋒锋錄录錦锦鍋锅鍵键鎖锁鏈链鏡镜鑑鉴閃闪閣阁闊阔陣阵陳陈隊队階阶隨随難难雙双雜杂雞鸡霧雾靈灵韓韩響响頁页頂顶"
    "項项順顺須须預预頑顽頒颁頓顿頗颇領领頭头額额顏颜願愿顧顾飯饭飲饮飽饱餅饼館馆饑饥駐驻駕驾騎骑騙骗驕骄驚惊魯鲁鮮鲜鯨鲸鳳凤鴨鸭鵝鹅鷹鹰麥麦黃黄齊齐齒齿勞劳勢势勵励勝胜勳勋協协卻却參参啟启喪丧團团園园圍围"
    "執执堅坚報报塊块塵尘墳坟壇坛壞坏壯壮壽寿夢梦奪夺奮奋婦妇媽妈孫孙寧宁審审寶宝將将專专尋寻屆届屬属歲岁崗岗帶带幫帮庫库廠厂廣广廢废廳厅張张彎弯徑径恆恒惡恶惱恼愛爱態态慮虑慶庆憂忧懷怀戶户拋抛掃扫掛挂揮挥"
    "損损搖摇搶抢撐撑撥拨擁拥擇择擊击擔担擠挤擬拟擴扩擺摆攝摄敵敌斂敛曬晒朧胧柵栅棄弃棟栋榮荣槍枪樁桩樣样橋桥檔档檢检櫃柜欄栏欽钦歐欧歡欢歸归殘残殺杀殼壳毀毁氈毡決决沒没況况淚泪淨净淺浅淵渊渾浑湯汤溝沟滯滞"
    "滲渗漲涨漸渐潔洁潛潜潤润澤泽濕湿濾滤瀏浏瀝沥災灾烏乌煉炼煙烟煩烦爐炉爾尔牆墙牽牵犧牺狀状狹狭獎奖獨独獲获獵猎環环瑪玛瓊琼畢毕異异瘋疯瘍疡癢痒癱瘫皺皱盜盗盡尽監监盤盘盧卢眾众矯矫硯砚碩硕確确磚砖禍祸禮礼"
    "禪禅稱称穩稳窮穷竅窍競竞"
)
_SIMPLIFIED = str.maketrans(_TRADITIONAL[0::2], _TRADITIONAL[1::2])


def simplified(text: str) -> str:
    """Write the commonest traditional characters in their simplified form, and 图象 as 图像; others stay."""
    return text.translate(_SIMPLIFIED).replace("图象", "图像").replace("想象", "想像")
