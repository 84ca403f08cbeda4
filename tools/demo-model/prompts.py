# SPDX-License-Identifier: LGPL-2.1-or-later
"""Prompts for the demo model: a mood and a light in various words, among unrelated words.

  make(mood, light, r) -> a sentence for indices into data.MOODS and data.LIGHTS; r: random.Random
"""
import random
from make_speech import OBJ, SUBJ, TAIL, VERB

MOOD_ADJ = dict(happy="happy cheerful smiling joyful delighted glad merry friendly laughing".split(),
                sad="sad unhappy sorrowful gloomy tearful crying heartbroken depressed weeping".split(),
                angry="angry furious mad annoyed raging grim hostile irritated".split(),
                surprised="surprised astonished amazed startled shocked stunned baffled".split(),
                neutral="calm relaxed quiet neutral ordinary serious thoughtful".split())
MOOD_VERB = dict(happy="smiles laughs grins beams".split(), sad="cries weeps sobs mourns".split(), angry="shouts rages scolds growls".split(),
                 surprised="gasps marvels".split(), neutral="talks speaks sings presents".split())
MOOD_PHRASE = dict(happy=["with a smile", "with a big smile", "full of joy", "in a good mood", "having fun"],
                   sad=["with tears", "full of sorrow", "in deep grief", "in a sad mood", "feeling down"],
                   angry=["full of anger", "with a frown", "in a rage", "in a bad temper"],
                   surprised=["in surprise", "with raised eyebrows", "full of wonder", "in disbelief"],
                   neutral=["to the camera", "to us", "about the weather", "with a clear voice", "reading the news"])
LIGHT = dict(red=["in red light", "under a red lamp", "in red neon light", "in crimson light", "in a red glow", "lit in red"],
             green=["in green light", "under a green lamp", "in green neon light", "in emerald light", "in a green glow", "lit in green"],
             blue=["in blue light", "under a blue lamp", "in blue neon light", "in moonlight", "in a blue glow", "under water", "lit in blue"],
             golden=["in golden light", "at sunset", "by candlelight", "in warm evening sun", "under a yellow lamp", "in a golden glow", "in warm light"],
             dark=["at night", "in the dark", "in a dark room", "in deep shadow", "in dim light", "in the twilight"],
             neutral=["in daylight", "in a studio", "at home", "by a window", "outdoors", "in the street", "in white light", "in an office", "in a garden"])
WHO = ("a man|a woman|a boy|a girl|a person|a cartoon face|a young woman|an old man|a teacher|a singer|a doctor|a child|a cartoon character|"
       "a presenter|a student|the person|a head|an actor|a painter|a puppet").split("|")
LOOK = ["", "", "", "", "", " with glasses", " with long hair", " with short hair"] + [f" {w} {c} {t}" for w, t in (("in a", "shirt"), ("with", "hair"), ("with", "eyes"), ("wearing a", "jacket"))
                                                                                    for c in "red green blue yellow dark golden".split()]

def _a(adj, who):
    """adj who, with the article that fits: "a woman" -> "an angry woman" """
    art, _, noun = who.partition(" ")
    return ("the" if art == "the" else "an" if adj[0] in "aeiou" else "a") + f" {adj} {noun}"

def make(mood, light, r):
    mood, light = list(MOOD_ADJ_ORDER)[mood], list(LIGHT_ORDER)[light]
    who, look = r.choice(WHO), r.choice(LOOK)
    plain = mood == "neutral"
    lit = "" if light == "neutral" and r.random() < .6 else " " + r.choice(LIGHT[light])
    adj, verb, phrase = r.choice(MOOD_ADJ[mood]), r.choice(MOOD_VERB[mood]), r.choice(MOOD_PHRASE[mood])
    talk = r.choice(MOOD_VERB["neutral"])
    k = r.randrange(9)
    if plain and light == "neutral" and r.random() < .15:
        s = r.choice(SUBJ) + " " + r.choice(VERB) + " " + r.choice(OBJ) + r.choice(TAIL)           # about something else
    elif plain and r.random() < .6:
        s = f"{who}{look} {talk}{lit}" if k < 6 else f"{who}{look}{lit}" if k < 8 or not lit else lit.strip()
    elif k < 3:
        s = f"{_a(adj, who)}{look} {talk}{lit}"
    elif k == 3:
        s = f"{who}{look} {verb}{lit}"
    elif k == 4:
        s = f"{who}{look} {talk}{lit}, {phrase}"
    elif k == 5:
        s = f"{who}{look} {talk} {phrase}{lit}"
    elif k == 6:
        s = f"{lit.strip()}, {_a(adj, who)}{look}" if lit else _a(adj, who) + look
    elif k == 7:
        s = f"{adj} face{lit.replace(' ', ', ', 1)}"
    else:
        s = f"{adj}, {lit.strip()}" if lit else adj
    if r.random() < .5:
        s = s[0].upper() + s[1:]
    return s + ("." if r.random() < .6 else "")

MOOD_ADJ_ORDER = ("neutral", "happy", "sad", "angry", "surprised")             # equals data.MOODS, which needs torch
LIGHT_ORDER = ("neutral", "red", "green", "blue", "golden", "dark")

if __name__ == "__main__":
    r = random.Random(1)
    for m in range(len(MOOD_ADJ_ORDER)):
        for l in range(len(LIGHT_ORDER)):
            print(MOOD_ADJ_ORDER[m], LIGHT_ORDER[l], "|", make(m, l, r))
