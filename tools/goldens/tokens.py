# SPDX-License-Identifier: LGPL-2.1-or-later
"""Ids of Hugging Face's own tokenizers, for tests/unit/tokens.c and for a check of many more.

    tokens.py write                      # tests/golden/text: two small tokenizers, texts and prompts with their ids
    tokens.py full AVATAR_RANDOM         # tests/golden/text/full.txt: texts with their ids by the full-size tokenizers that
                                         # AVATAR_RANDOM (build/tools/avatar-random) makes, seed 0
    tokens.py check [N [LLAMA [CLIP]]]   # N random texts through engine/text, every id (needs cc, GLib and json-glib);
                                         # folders of other tokenizers in place of the small ones
    tokens.py corpus                     # tests/fuzz/corpus/{json,tokenizer,merges,prompt}

Needs transformers 4.45 to 4.47 (slow CLIPTokenizer, LlamaTokenizerFast; without ftfy) and tokenizers 0.20. The files here are of
transformers 4.46.3, tokenizers 0.20.3, Python 3.11 (Unicode 14).
"""
import os
import sys

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import need  # noqa: E402

need.imports(__file__)

import ctypes
import json
import random
import shlex
import subprocess
import tempfile
import unicodedata

import tokenizers
import transformers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

ROOT = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
OUT = os.path.join(ROOT, "tests", "golden", "text")
CORPUS = os.path.join(ROOT, "tests", "fuzz", "corpus")
LLAMA = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
         r"|\s*[\r\n]+|\s+(?!\S)|\s+")
CLIP = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
# Upstream's text around a prompt, with the same ends but a shorter middle.
TEMPLATE = ("<|start_header_id|>system<|end_header_id|>\n\nDescribe the video by detailing the following aspects: 1. The main "
            "content and theme of the video.2. The color.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n{}<|eot_id|>")
QUALITY = "Authentic, Realistic, Natural, High-quality, Lens-Fixed, "
SUFFIX = "\nThe person looks like<image>"
SPECIALS = (["<|begin_of_text|>", "<|end_of_text|>"] + [f"<|reserved_special_token_{i}|>" for i in range(4)]
            + ["<|start_header_id|>", "<|end_header_id|>", "<|reserved_special_token_4|>", "<|eot_id|>"]
            + [f"<|reserved_special_token_{i}|>" for i in range(5, 13)] + ["<unk>", "<image>", "<pad>"])
# Not of the release: for the flags of added tokens.
ODD = [AddedToken("<before>", lstrip=True, normalized=False), AddedToken("<behind>", rstrip=True, normalized=False),
       AddedToken("<both>", lstrip=True, rstrip=True, normalized=False), AddedToken("late", normalized=True),
       AddedToken("<unk><unk>", normalized=False), AddedToken("later still", normalized=True, lstrip=True)]

SENTENCES = """All human beings are born free and equal in dignity and rights. They are endowed with reason and conscience.
A woman in a red dress is talking to the camera, her hands move a little; the background is a quiet street at night.
A man with glasses sings into a microphone. He's happy, she'll say they've won; I'm sure we'd go, it doesn't matter who you're.
The portrait looks straight ahead and speaks with natural expressions, soft light, 35mm film, shallow depth of field.
Describe the video by detailing the following aspects: the main content and theme of the video, the color, shape, size.
Toutes les personnes naissent libres et égales en dignité et en droits; elles sont douées de raison. L'été à la forêt, ça va?
Alle Menschen sind frei und gleich an Würde und Rechten geboren. Größe, Straße, Äpfel und Öl.
Todos los seres humanos nacen libres e iguales en dignidad y derechos. ¿Qué tal, señor? ¡Mañana será otro día!
Все люди рождаются свободными и равными в своём достоинстве и правах. Ёлка стоит у окна.
Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα. ΟΔΥΣΣΕΥΣ ΣΟΦΟΣ
人人生而自由,在尊严和权利上一律平等。一个穿红色裙子的女人正在对着镜头说话。背景是安静的街道。
すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。カメラに向かって話す女性。
모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다. 카메라를 보고 말하는 여자.
يولد جميع الناس أحراراً متساوين في الكرامة والحقوق. امرأة تتحدث إلى الكاميرا.
כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם. אישה מדברת אל המצלמה.
सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है।
มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ
Tất cả mọi người sinh ra đều được tự do và bình đẳng về nhân phẩm và quyền lợi.
Bütün insanlar hür, haysiyet ve haklar bakımından eşit doğarlar. İstanbul'da ılık bir gün.
Wszyscy ludzie rodzą się wolni i równi pod względem swej godności. Zażółć gęślą jaźń.
int main (void) { return 0; } // 12345 67 890 3.14159 0x7fff {"key": [1, 2, 3]} <b>bold</b> https://example.org/?a=b&c=d
    if (x == 1):\n        return x + 1\n\n\n\tprint("done")\r\n
😀 😃 👍🏽 👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪 🎬 ❤️ ☕ ✨ 1️⃣ ½ ² Ⅷ ① ٣٤ १२ 一二""".split("\n")

CURATED = ["", " ", "  ", "\n", "\r\n", "\t", "a", "A", "Hello world", " Hello  world ", "hello\n\nworld", "hello \n \n world", "a\r\n\r\nb\r\n",
           "x   y", "x    ", "   x", "\n  x", "x \n", "\t\t\tx", "a\u00a0b", "a\u3000\u3000b", "a\u2028b\u2029c", "a\u0085b", "a\u200bb", "a\ufeffb",
           "don't DON'T Don'T won\u2019t", "I'm I'M I've I'VE we'll WE'LL she'd SHE'D it's IT'S they're THEY'RE", "'s 'S '\u017f '\u017fx 'ſt", "''s '''ll 'lll 'vee 're're",
           "he'sx 'tis o'clock rock'n'roll", "1 12 123 1234 12345 1234567890", "a1b22c333d4444", "1,234.56", "½ ⅓ ² x²y³ Ⅷ ⅷ ① ⓐ Ⓐ", "٠١٢٣٤٥ १२३४ 𝟏𝟐𝟑𝟒",
           "naïve café", "nai\u0308ve cafe\u0301", "e\u0301\u0302\u0323\u0316x", "\u0301a", "a\u0301\u0301\u0301", "\u1100\u1161\u11a8 각", "\u0958 \u0915\u093c", "ﬁ ﬂ ﬀ ﬆ", "ÅÅÅ Å K Ω",
           "ΣΑΣ ΟΔΥΣΣΕΥΣ Σ ΑΣ' ΑΣ. ΑΣ.Β ΑΣ\u0301 Α\u00adΣ", "İstanbul IŞIK ıİ", "ẞ ß ǅ ǆ Ǆ", "ÀÉÎÕÜ àéîõü", "𝐀𝐁𝐂 𐐀𐐨 𞤀𞤢",
           "漢字 漢字かな カナ", "中文abc中文", "中\u3000文", "\uf900\ufa0e 豈", "𠀀𪜀𫝀𫠠丽", "한국어 텍스트", "ไทย ภาษา", "العربية ١٢٣", "עברית",
           "😀", "😀😀 😀", "👩\u200d👩\u200d👧\u200d👦", "🏳\ufe0f\u200d🌈", "🇩🇪🇫🇷", "👍🏽", "1\ufe0f\u20e3", "❤\ufe0f", "a\u200db \u200d", "\u202eabc\u202c",
           "<image>", "a<image>b", "<|eot_id|>", "x<|eot_id|>\n\ny", "<|begin_of_text|>hi", "<|start_header_id|>user<|end_header_id|>\n\n", "<|endoftext|>", "<|startoftext|>x<|endoftext|>",
           "<|ENDOFTEXT|> <|StartOfText|>", "<|end\u017foftext|> <|\u017ftartoftext|>", "!<|endoftext|>!", "<|endoftext|", "<|endoftext|><|endoftext|>", "<|eot_id", "<<|eot_id|>>", "<|reserved_special_token_1|>", "<|reserved_special_token_10|>",
           "<|reserved_special_token_1<|reserved_special_token_12|>", "<unk><unk><unk>", "<unk> <unk>", "<pad><pad>", "a  <before>  b", "a  <behind>  b", "a \n<both> \u3000 <both>b", "<behind>  <before>", "too late", "collate later still too late", "late\u00a0later still", "<un late k>",
           "!!!???...", "a!b?c.d", " !a", "  !a", "!\n\n a", "$\r\n\r", "...\n", "-- \u2014 \u2013", "\"quoted\" 'quoted' \u201cquoted\u201d", "C++ C# f(x)=x^2", "#hash @at user@example.org", "\\n \\t \\", "{} {0} %s %d",
           "\x01\x02a\x1fb\x7fc", "\x0b\x0ca\x1cb", "a\ufffdb", "\ufffe\U0010ffffx", "\ue000\uf8ff", "\u0378x", "\u180ea\u2060b\u2061", "\u00ada\u0600b", "\ua9c0\u1d165\u20dd", "a" * 100, "ab" * 60, " " * 70 + "x", "\n" * 33, "9" * 50, "'" * 30, "😀" * 20, "word " * 40,
           "  leading", "trailing  ", "tab\tand\nnewline\r", "xyzzyx", " xyzzyx xyzzy", "abcabdabcabd", "elephantine elephant", "_under_score_ __init__", "CamelCaseWord ALLCAPS lower"] + SENTENCES


# ---------------------------------------------------------------------------- the small tokenizers

def train_llama(folder):
    t = Tokenizer(models.BPE(ignore_merges=True))
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA), "isolated"),
                                               pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(SENTENCES * 3, trainers.BpeTrainer(vocab_size=2000, show_progress=False,
                                                             initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    d = json.loads(t.to_str())
    vocab, merges = d["model"]["vocab"], d["model"]["merges"]
    for whole in ["xyzzyx", "Ġxyzzyx", "elephantine", "ĠĠĠĠĠĠĠ", "ð٤"]:  # only with ignore_merges
        vocab.setdefault(whole, len(vocab))
    for left, right in [("b", "d"), ("a", "bd"), ("ab", "d"), ("abd", "a"), ("c", "abd")]:  # a token in two ways, and one that comes early
        if left in vocab and right in vocab:
            vocab.setdefault(left + right, len(vocab))
            merges.append([left, right] if isinstance(merges[0], list) else f"{left} {right}")
    t = Tokenizer.from_str(json.dumps(d))
    t.add_special_tokens(SPECIALS)
    for token in ODD:
        (t.add_tokens if token.normalized else t.add_special_tokens)([token])
    d = json.loads(t.to_str())
    if isinstance(d["model"]["merges"][0], list):
        d["model"]["merges"] = [" ".join(m) for m in d["model"]["merges"]]
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "tokenizer.json"), "w", encoding="utf-8") as f:
        json.dump(d, f, ensure_ascii=False, separators=(",", ":"))
    with open(os.path.join(folder, "tokenizer_config.json"), "w") as f:
        json.dump({"bos_token": "<|begin_of_text|>", "eos_token": "<|end_of_text|>", "unk_token": "<unk>", "pad_token": "<pad>",
                   "tokenizer_class": "LlamaTokenizer", "clean_up_tokenization_spaces": True}, f, indent=1)


def byte_alphabet():
    """GPT-2's, in the order of CLIP's vocabulary."""
    own = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    return [chr(b) for b in own] + [chr(256 + i) for i in range(256 - len(own))]


def write_clip(folder, merges):
    vocab = byte_alphabet()
    vocab += [v + "</w>" for v in vocab] + ["".join(m) for m in merges] + ["<|startoftext|>", "<|endoftext|>"]
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "vocab.json"), "w", encoding="utf-8") as f:
        json.dump({v: i for i, v in enumerate(vocab)}, f, ensure_ascii=False, separators=(",", ":"))
    with open(os.path.join(folder, "merges.txt"), "w", encoding="utf-8") as f:
        f.write("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))


def train_clip(folder):
    t = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(CLIP), "removed", invert=True),
                                               pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.train_from_iterator([s.lower() for s in SENTENCES] * 3,
                          trainers.BpeTrainer(vocab_size=1300, show_progress=False, end_of_word_suffix="</w>",
                                              initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    merges = [m.split(" ") if isinstance(m, str) else m for m in json.loads(t.to_str())["model"]["merges"]]
    write_clip(folder, merges + [("b", "d"), ("a", "bd"), ("abd", "a")])


class Truth:
    def __init__(self, llama, clip):
        self.llama = transformers.LlamaTokenizerFast.from_pretrained(llama, padding_side="right")
        self.clip = transformers.CLIPTokenizer.from_pretrained(clip, max_length=77)
        if self.clip.fix_text is not None:
            sys.exit("ftfy is installed, with which CLIPTokenizer cleans texts otherwise; upstream does not ask for it")

    def ids(self, text):
        return (self.llama(text, add_special_tokens=False)["input_ids"],
                self.clip.convert_tokens_to_ids(self.clip.tokenize(text)))


# ------------------------------------------------------------------------------------ random texts

def assigned(first, last):
    return [chr(c) for c in range(first, last + 1) if unicodedata.category(chr(c)) not in ("Cn", "Cs")]


BLOCKS = [assigned(*r) for r in [
    (0x20, 0x7e), (0x20, 0x7e), (0x61, 0x7a), (0x61, 0x7a), (0x41, 0x5a), (0x30, 0x39), (0xa0, 0xff), (0x100, 0x24f), (0x250, 0x2af), (0x2b0, 0x2ff), (0x300, 0x36f), (0x370, 0x3ff),
    (0x391, 0x3a9), (0x400, 0x52f), (0x530, 0x58f), (0x590, 0x5ff), (0x600, 0x6ff), (0x900, 0x97f), (0x980, 0xdff), (0xe00, 0xeff), (0xf00, 0xfff), (0x1000, 0x10ff), (0x1100, 0x11ff),
    (0x1200, 0x17ff), (0x1800, 0x1aff), (0x1b00, 0x1dff), (0x1e00, 0x1eff), (0x1f00, 0x1fff), (0x2000, 0x206f), (0x2070, 0x20ff), (0x2100, 0x218f), (0x2190, 0x23ff), (0x2400, 0x27bf),
    (0x2c00, 0x2dff), (0x2e80, 0x303f), (0x3040, 0x30ff), (0x3100, 0x33ff), (0x3400, 0x4dbf), (0x4e00, 0x9fff), (0xa000, 0xabff), (0xac00, 0xd7a3), (0xd7b0, 0xd7fb), (0xe000, 0xe0ff),
    (0xf900, 0xfaff), (0xfb00, 0xfdff), (0xfe00, 0xfe6f), (0xff00, 0xffef), (0x10000, 0x107ff), (0x10400, 0x1044f), (0x10800, 0x10fff), (0x11000, 0x119ff), (0x12000, 0x16fff),
    (0x1d000, 0x1d7ff), (0x1e000, 0x1efff), (0x1f000, 0x1faff), (0x20000, 0x2a6df), (0x2a700, 0x2ebe0), (0x2f800, 0x2fa1d), (0x30000, 0x3134a), (0xe0000, 0xe01ef), (1, 0x10ffff)]]
SPACES = list(" \t\n\r\x0b\x0c\x85\xa0\u1680\u2000\u2003\u2009\u2028\u2029\u202f\u205f\u3000") + ["\r\n", "  ", "\n\n"]
BITS = (["'s", "'S", "'t", "'T", "'re", "'RE", "'Re", "'ve", "'vE", "'m", "'M", "'ll", "'Ll", "'LL", "'d", "'D", "'\u017f", "'", "\u2019", "\u2019s", "''", " '", "\u017f", "\u212a", "\u0130", "\u03a3", "\u03c3"]
        + SPECIALS + [t.content for t in ODD] + ["<|startoftext|>", "<|endoftext|>", "<|ENDOFTEXT|>", "<|end", "|>", "<|", "<"]
        + ["\u200d", "\ufe0f", "\u20e3", "\u0301", "\u0308", "\u0323", "\u00ad", "\ufeff", "\ufffd", "\u1161", "\u11a8", "\U0001f3fd", "\U0001f1e9"]
        + ["ab", "abd", "abda", "xyzzyx", "123", "1234", "{}", "...", "--", "://", "\\"])
WORDS = " ".join(SENTENCES).split()


def random_text(rng):
    out = []
    home = rng.choice(BLOCKS)
    for _ in range(rng.choice([1, 2, 3, 5, 8, 13, 20])):
        kind = rng.random()
        if kind < .25:
            out.append(rng.choice(WORDS))
        elif kind < .45:
            out += rng.choices(home, k=rng.randint(1, 6))
        elif kind < .55:
            out += rng.choices(rng.choice(BLOCKS), k=rng.randint(1, 4))
        elif kind < .72:
            out += rng.choices(SPACES, k=rng.choice([1, 1, 1, 2, 3, 5])) if rng.random() < .5 else [" "]
        elif kind < .82:
            out.append(str(rng.randrange(10 ** rng.randint(1, 9))))
        elif kind < .95:
            out.append(rng.choice(BITS))
        else:
            out.append(rng.choice(out) * rng.randint(2, 9) if out else "")
    text = "".join(out)
    return "".join(c.swapcase() if rng.random() < .3 else c for c in text) if rng.random() < .1 else text


# ----------------------------------------------------------------------------------------- goldens

def escape(text):
    """Escapes for g_strcompress(), so that a text is one line."""
    return "".join(c if c not in "\\" and (" " <= c < "\x7f" or c.isalnum()) else
                   "".join(f"\\{b:03o}" for b in c.encode("utf-8")) for c in text)


def checksum(ids):
    """FNV-1a of 32 bits over the ids as 4 bytes each."""
    h = 2166136261
    for b in b"".join(i.to_bytes(4, "little") for i in ids):
        h = (h ^ b) * 16777619 % 2**32
    return f"{len(ids)}#{h:08x}"


def write(n=2400):
    llama, clip = os.path.join(OUT, "llama"), os.path.join(OUT, "clip")
    train_llama(llama)
    train_clip(clip)
    truth, rng = Truth(llama, clip), random.Random(1)
    head = f"# transformers {transformers.__version__}, tokenizers {tokenizers.__version__}, Unicode {unicodedata.unidata_version}\n"
    with open(os.path.join(OUT, "texts.txt"), "w", encoding="utf-8") as f:
        f.write(head + "# a text, its ids by LLaMA-3's rules, by CLIP's; of many only how many, and a checksum\n")
        for text in CURATED:
            f.write("\t".join([escape(text)] + [" ".join(map(str, ids)) for ids in truth.ids(text)]) + "\n")
        for text in (random_text(rng) for _ in range(n)):
            if len(text) < 60 or rng.random() < .05:
                f.write("\t".join([escape(text)] + [checksum(ids) for ids in truth.ids(text)]) + "\n")
    prompts = ["", "A woman talks.", " two  spaces ", "\nnew line", "\n\n", "\r\n \n x", "don't<|eot_id|>stop", "中文 prompt 😀", "<|begin_of_text|>", "the end <pad>",
               "word " * 20] + [random_text(rng).replace("<image>", "") for _ in range(60)]
    with open(os.path.join(OUT, "prompts.txt"), "w", encoding="utf-8") as f:
        f.write(head + f"# crop_start {len(truth.llama(TEMPLATE.split('{}')[0])['input_ids'])}, max_length 351\n"
                "# a prompt without quality words, its ids in the template with BOS and <image>, CLIP's 77\n")
        for p in prompts:
            ids = truth.llama(TEMPLATE.format(p) + SUFFIX, truncation=True, max_length=351, padding="max_length")
            ids = [i for i, m in zip(ids["input_ids"], ids["attention_mask"]) if m]
            assert ids[-1] == truth.llama.convert_tokens_to_ids("<image>"), "a prompt that does not fit"
            clip_ids = truth.clip(p, truncation=True, max_length=77, padding="max_length")["input_ids"]
            f.write("\t".join([escape(p), checksum(ids), checksum(clip_ids)]) + "\n")
    os.system(f"du -ab {OUT}")


def words_text(rng, vocabulary, names):
    """Words that a vocabulary has, whole, cut and run together."""
    out = []
    for _ in range(rng.choice([1, 2, 3, 5, 8])):
        word = bytes(names[c] for c in rng.choice(vocabulary)).decode("utf-8", errors="ignore")
        out += [word[:rng.randint(1, 9)] if rng.random() < .3 else word] + ([" "] if rng.random() < .5 else [])
    return "".join(out)


def full(program, n=700):
    rng, names = random.Random(3), {c: b for b, c in zip(list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256)), byte_alphabet())}
    for c, b in zip(byte_alphabet()[len(names):], [b for b in range(256) if b not in names.values()]):
        names[c] = b
    with tempfile.TemporaryDirectory() as folder:
        subprocess.check_call([program, "--parts", "tokenizers", folder])
        llama, clip = (os.path.join(folder, "ckpts", k) for k in ("llava_llama_image", "text_encoder_2"))
        truth = Truth(llama, clip)
        words = [w for w in truth.llama.get_vocab() if all(c in names for c in w)]
        words += [w.removesuffix("</w>") for w in truth.clip.encoder if all(c in names for c in w)]
        words.sort()
        with open(os.path.join(OUT, "full.txt"), "w", encoding="utf-8") as f:
            f.write(f"# transformers {transformers.__version__}, tokenizers {tokenizers.__version__}, Unicode {unicodedata.unidata_version}\n"
                    "# a text, its ids by the random tokenizers of the released sizes, LLaMA's and CLIP's; of many only how many, and a checksum\n")
            for i in range(n):
                text = words_text(rng, words, names) if i % 4 else random_text(rng)
                if len(text) < 80:
                    f.write("\t".join([escape(text)] + [" ".join(map(str, ids)) if i < 40 else checksum(ids) for ids in truth.ids(text)]) + "\n")


# ------------------------------------------------------------------------------------------- check

class GArray(ctypes.Structure):
    _fields_ = [("data", ctypes.POINTER(ctypes.c_int32)), ("len", ctypes.c_uint)]


class GErrorStruct(ctypes.Structure):
    _fields_ = [("domain", ctypes.c_uint32), ("code", ctypes.c_int), ("message", ctypes.c_char_p)]


class Ours:
    def __init__(self, llama, clip, folder):
        library = os.path.join(folder, "text.so")
        need.programs("cc", "pkg-config")
        flags = shlex.split(subprocess.check_output(["pkg-config", "--cflags", "--libs", "glib-2.0", "json-glib-1.0"], text=True))
        sources = [f"engine/text/{n}.c" for n in ("added", "bpe", "clean", "prompt", "split", "tokenizer", "tokenizer-clip", "tokenizer-json")]
        sources += ["engine/formats/json.c", "engine/formats/json-cursor.c", "engine/base/tensor.c", "engine/base/dtype.c"]
        subprocess.check_call(["cc", "-std=gnu11", "-O2", "-shared", "-fPIC", "-Wl,-z,lazy", "-I", ROOT, "-I", os.path.join(ROOT, "include"),
                               *[os.path.join(ROOT, s) for s in sources], *flags, "-lm", "-o", library])
        self.lib, self.glib = ctypes.CDLL(library, mode=os.RTLD_LAZY), ctypes.CDLL("libglib-2.0.so.0")
        self.glib.g_array_new.restype = self.glib.g_array_set_size.restype = ctypes.POINTER(GArray)
        self.array = self.glib.g_array_new(0, 0, 4)
        self.tokenizers = [self.open(f"avatar_tokenizer_new_{k}", v) for k, v in (("llama", llama), ("clip", clip))]

    def open(self, function, folder):
        error, function = ctypes.POINTER(GErrorStruct)(), getattr(self.lib, function)
        function.restype = ctypes.c_void_p
        tokenizer = function(folder.encode(), ctypes.byref(error))
        if not tokenizer:
            sys.exit(error.contents.message.decode())
        return ctypes.c_void_p(tokenizer)

    def ids(self, text):
        out, data = [], text.encode("utf-8")
        for t in self.tokenizers:
            self.glib.g_array_set_size(self.array, 0)
            self.lib.avatar_tokenizer_encode(t, data, ctypes.c_size_t(len(data)), self.array)
            out.append(list(self.array.contents.data[:self.array.contents.len]))
        return tuple(out)


def check(n, llama, clip, seed=2):
    truth, rng, wrong = Truth(llama, clip), random.Random(seed), 0
    with tempfile.TemporaryDirectory() as folder:
        ours = Ours(llama, clip, folder)
        for i in range(n):
            text = CURATED[i] if i < len(CURATED) else random_text(rng)
            for name, expected, found in zip(("LLaMA", "CLIP"), truth.ids(text), ours.ids(text)):
                if expected != found:
                    wrong += 1
                    if wrong <= 20:
                        print(f"{name}: {ascii(text)}\n  expected {expected}\n  found    {found}")
    print(f"{n} texts, {wrong} lists of ids that differ")
    return wrong > 0


# ----------------------------------------------------------------------------------------- corpora

def tiny_llama(merges=("a b", "ab c"), ignore=False, lists=False, **changes):
    vocab = byte_alphabet() + [m.replace(" ", "") for m in merges]
    d = {"version": "1.0", "added_tokens": [{"id": len(vocab) + i, "content": t, "single_word": False, "lstrip": i == 3, "rstrip": i == 4,
                                             "normalized": i == 5, "special": True}
                                            for i, t in enumerate(["<|begin_of_text|>", "<image>", "<|eot_id|>", "<l>", "<r>", "late"])],
         "normalizer": None,
         "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
             {"type": "Split", "pattern": {"Regex": LLAMA}, "behavior": "Isolated", "invert": False},
             {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}]},
         "decoder": {"type": "ByteLevel"},
         "model": {"type": "BPE", "ignore_merges": ignore, "merges": [m.split(" ") for m in merges] if lists else list(merges),
                   "vocab": {v: i for i, v in enumerate(vocab)}}}
    return json.dumps({**d, **changes}, ensure_ascii=False, separators=(",", ":")).encode("utf-8")


def tiny_clip(merges="a b\nab c</w>\n", drop=0):
    vocab = byte_alphabet()
    vocab = vocab + [v + "</w>" for v in vocab] + ["ab", "abc</w>", "<|startoftext|>", "<|endoftext|>"]
    vocab = json.dumps({v: i for i, v in enumerate(vocab[drop:])}, ensure_ascii=False, separators=(",", ":"))
    return vocab.encode("utf-8") + b"\0#version: 0.2\n" + merges.encode("utf-8")


def spread(text):
    """Laid out as the library writes it today, with escapes in names, and the vocabulary behind the merges."""
    d = json.loads(text)
    return json.dumps({**d, "model": {k: d["model"][k] for k in ("type", "merges", "vocab")}}, indent=2).encode("utf-8")


def corpus():
    files = {
        "json": {"nested": b'{"a": [1, [], {}, {"b": "c"}], "d": {"e": [[["f", 20]]]}}', "empty": b" { } ",
                 "escapes": rb'{"\u00e9\n\"\\\/": "\ud83d\ude00 \u0041", "\t": ["\b\f\r"]}', "utf8": '{"é😀": "Ġ中"}'.encode("utf-8"),
                 "half": rb'{"a": "\ud83d"}', "nul": rb'{"a": "\u0000"}', "control": b'{"a": "b\nc"}', "no_comma": b'{"a": 1 "b": 2}', "trailing": b'{"a": [1, ],}',
                 "numbers": b'{"a": 0, "b": 123456789}', "odd_numbers": b'{"a": 01, "b": -1, "c": 1e3, "d": 1234567890}', "twice": b'{"a": 1, "\\u0061": 2}'},
        "tokenizer": {"strings.json": tiny_llama(), "lists.json": tiny_llama(lists=True), "ignore.json": tiny_llama(ignore=True),
                      "normalizer.json": tiny_llama(normalizer={"type": "NFC"}), "no_model.json": tiny_llama(model=None),
                      "no_merges.json": tiny_llama(merges=()), "odd_added.json": tiny_llama(added_tokens=[3, {"id": -1, "content": ""}, []]),
                      "spread.json": spread(tiny_llama(lists=True)), "behind_vocab.json": tiny_llama().replace(b'"vocab":{', b'"vocab":{"x y":1} [3],"vocab":{'),
                      "escaped.json": tiny_llama().replace(b'"vocab":', rb'"voc\u0061b":').replace(b'"a":', rb'"\u0061":')},
        "merges": {"small": tiny_clip(), "odd": tiny_clip("a b\r\n\nx\n  y\na b c\n"), "unknown": tiny_clip("q w\n"), "no_byte": tiny_clip(drop=1)},
        "prompt": {f"{i:02d}": t.encode("utf-8") for i, t in enumerate(t for t in CURATED if len(t) > 12)},
    }
    for name, some in files.items():
        os.makedirs(os.path.join(CORPUS, name), exist_ok=True)
        for file, data in some.items():
            with open(os.path.join(CORPUS, name, file), "wb") as f:
                f.write(data)


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    what, rest = sys.argv[1] if len(sys.argv) > 1 else "", sys.argv[2:]
    if what == "write":
        write()
    elif what == "full":
        full(*rest)
    elif what == "corpus":
        corpus()
    elif what == "check":
        folders = rest[1:] + [os.path.join(OUT, k) for k in ("llama", "clip")][len(rest[1:]):]
        sys.exit(check(int(rest[0]) if rest else 5000, *folders))
    else:
        sys.exit(__doc__)
