#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Times the stages in PyTorch on two CPU threads, 129 frames: python3 bench.py MODEL   (prints "stage seconds" lines)

Needs torch, numpy, Pillow and tokenizers.
"""
import os
import sys

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import need  # noqa: E402

need.imports(__file__)

import json, time
import torch
from models import *
from data import *
from evaluate import conditions
from text import Texts

def timed(name, f, repeat=2):
    f()
    t = time.perf_counter()
    for _ in range(repeat):
        r = f()
    print(name, round((time.perf_counter() - t) / repeat, 3), flush=True)
    return r

if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    torch.set_num_threads(2)
    cfg = read_config(sys.argv[1])
    vae, dit, wh = load_all(sys.argv[1], cfg)
    texts = Texts(sys.argv[1] + "/ckpts", cfg)
    T = cfg["video"]["frames"]
    L, s = (T - 1) // 4 + 1, cfg["video"]["size"] // 8
    torch.manual_seed(0)
    wav = torch.randn(1, T * SPF) * .1
    with torch.no_grad():
        timed("whisper", lambda: wh(log_mel(wav)))
        c = conditions(cfg, vae, wh, texts, make_identities(1, 5000000), wav, T, "cpu")[0]
        z = torch.randn(1, cfg["vae"]["latent_channels"], L, s, s)
        timed("forward", lambda: dit(z, torch.tensor([1000.0]), **c))
        timed("decode", lambda: decode_tiled(vae, z), 1)
