#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Makes the speech for the demo model with espeak-ng (needs numpy, espeak-ng and ffmpeg).

Writes OUT/speech_train.npy, OUT/speech_test.npy (int16 mono 16 kHz, all utterances joined),
OUT/speech_index.json (per utterance: split, voice, start, length, text).
The test split uses only voices (espeak voice + variant) that the train split never uses.
"""
import os
import sys

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import need  # noqa: E402

need.imports(__file__)

import argparse, json, random, subprocess
import numpy as np

SUBJ = ["the old captain", "my neighbour", "a small robot", "the weather report", "our teacher", "this little engine",
        "the garden", "a quiet river", "the morning train", "her brother", "the cook", "an honest mirror", "the violin",
        "that orange cat", "the village choir", "a young painter", "the museum guide", "every student", "the north wind",
        "your computer", "the baker", "a famous singer", "the blue lantern", "nobody", "the whole family"]
VERB = ["remembers", "opens", "carries", "whispers about", "looks after", "cannot find", "paints", "follows", "is waiting for",
        "laughs at", "measures", "sings about", "walks around", "believes in", "asks about", "dreams of", "repairs",
        "shows us", "leaves behind", "understands", "argues with", "borrows", "hides", "welcomes", "forgets"]
OBJ = ["a wooden boat", "the first snow", "seven green apples", "the broken clock", "an empty room", "the moon above the hill",
       "fresh bread and butter", "two heavy suitcases", "an unusual question", "the river bank", "a piece of chocolate",
       "the longest bridge", "a box of photographs", "the queue at the station", "some very loud music", "a letter from home",
       "the shadow on the wall", "three wise monkeys", "an old song", "the smell of coffee", "a yellow umbrella",
       "the edge of the forest", "a cup of hot tea", "the answer", "almost everything"]
TAIL = ["", "", " before breakfast", " on a rainy afternoon", ", and then smiles", ", or so they say", " every single day",
        " without a word", ", slowly and carefully", " in the middle of the night", ", isn't it strange?", ", oh yes!",
        " for the very first time", ", because it is beautiful", " when the music stops", ", as you know"]
FIXED = ["Hello! I am a small cartoon face, and I move my mouth when you talk.",
         "She sells sea shells by the sea shore, and he keeps sheep on the cheap side of the street.",
         "Peter prepares a proper pot of pea soup. Bob buys big blue balloons. Mum makes marmalade.",
         "One, two, three, four, five, six, seven, eight, nine, ten.",
         "Ah. Eh. Ee. Oh. Oo. Ah! Oh! Ee!", "Wow, how now, brown cow? Around the house and out.",
         "We were away a year ago. You owe me a yellow yo-yo.", "Please wait. I am thinking. All right, go on.",
         "The quick brown fox jumps over the lazy dog.", "Good morning everyone, and thank you for coming today.",
         "Is that so? Really? Well, I never thought of it that way.", "Baa, baa, black sheep, have you any wool?",
         "Mama, papa, banana, tomato, potato, volcano.", "Stop. Look. Listen. Now cross the road.",
         "Fish and chips, salt and vinegar, sticks and stones.", "Who knew the moon could move so soon?"]

def sentence(r):
    k = r.random()
    if k < 0.25:
        return r.choice(FIXED)
    s = r.choice(SUBJ) + " " + r.choice(VERB) + " " + r.choice(OBJ) + r.choice(TAIL)
    if k > 0.75:
        s += ", while " + r.choice(SUBJ) + " " + r.choice(VERB) + " " + r.choice(OBJ)
    s = s[0].upper() + s[1:]
    return s if s[-1] in "?!" else s + "."

TRAIN_VOICES = [(v, x) for v in ("en-us", "en-gb", "en-gb-scotland", "en-029", "en-gb-x-gbcwmd")
                for x in ("", "+m1", "+m2", "+m3", "+m4", "+m7", "+f1", "+f2", "+f3", "+croak", "+Andy", "+Alicia", "+Denis")]
# Voices of other languages, which read the same words with other sounds and another melody.
FOREIGN_VOICES = [(v, x) for v in ("de", "fr-fr", "es", "it", "pt-br", "pl", "sv", "nl", "tr", "ru", "hi", "sw") for x in ("", "+m3", "+f2", "+m7", "+f3")]
TEST_VOICES = [(v, x) for v in ("en-gb-x-rp", "en-us-nyc", "en-gb-x-gbclan") for x in ("+m5", "+f4", "+f5", "+m6", "+Annie", "+Michael")]

def say(text, voice, speed, pitch, gap):
    p = subprocess.run(["espeak-ng", "-v", voice, "-s", str(speed), "-p", str(pitch), "-g", str(gap), "--stdout", text],
                       capture_output=True)
    if p.returncode or len(p.stdout) < 2000:
        return None
    q = subprocess.run(["ffmpeg", "-v", "error", "-i", "-", "-ar", "16000", "-ac", "1", "-f", "s16le", "-"],
                       input=p.stdout, capture_output=True)
    a = np.frombuffer(q.stdout, dtype="<i2").astype(np.float32) / 32768.0
    return a if len(a) > 4000 else None

def make(split, seconds, voices, r, foreign=0.):
    out, index, pos, bad = [], [], 0, set()
    while pos < seconds * 16000:
        v = r.choice(FOREIGN_VOICES if foreign and r.random() < foreign else voices)
        if v in bad:
            continue
        parts, texts = [np.zeros(int(16000 * r.uniform(0.05, 0.5)), np.float32)], []
        speed, pitch = r.randint(115, 200), r.randint(20, 80)
        for _ in range(r.randint(2, 5)):
            t = sentence(r)
            a = say(t, v[0] + v[1], speed, pitch, r.choice([0, 0, 1, 3]))
            if a is None:
                bad.add(v); break
            parts += [a * (10 ** (r.uniform(-4, 0) / 20)), np.zeros(int(16000 * r.choice([0.1, 0.3, 0.5, 0.8, 1.4])), np.float32)]
            texts.append(t)
        if v in bad or not texts:
            continue
        a = np.concatenate(parts)
        a = a / max(1e-3, np.abs(a).max()) * 0.9
        out.append(np.round(a * 32767).astype(np.int16))
        index.append(dict(split=split, voice=v[0] + v[1], start=pos, length=len(a), text=" ".join(texts)))
        pos += len(a)
    if bad:
        print("voices not available:", sorted(bad), file=sys.stderr)
    return np.concatenate(out), index

if __name__ == "__main__":
    need.programs("espeak-ng", "ffmpeg")
    ap = argparse.ArgumentParser()
    ap.add_argument("--out", default="data"); ap.add_argument("--train", type=float, default=1200)
    ap.add_argument("--test", type=float, default=150)
    ap.add_argument("--foreign", type=float, default=0, help="share of the training utterances in voices of other languages")
    a = ap.parse_args()
    os.makedirs(a.out, exist_ok=True)
    tr, i1 = make("train", a.train, TRAIN_VOICES, random.Random(1), a.foreign)
    te, i2 = make("test", a.test, TEST_VOICES, random.Random(2))
    np.save(a.out + "/speech_train.npy", tr); np.save(a.out + "/speech_test.npy", te)
    json.dump(i1 + i2, open(a.out + "/speech_index.json", "w"))
    print(len(i1), "train utterances", len(tr) / 16000, "s;", len(i2), "test", len(te) / 16000, "s;",
          len({x["voice"] for x in i1}), "train voices", len({x["voice"] for x in i2}), "test voices")
