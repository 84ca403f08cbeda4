#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Times the demo model in PyTorch on two CPU threads, for the table of tests/bench.

python3 bench.py MODEL     prints "STAGE SECONDS" lines for one clip of 129 frames, float32
"""
import json, sys, time
import torch
from models import *
from data import *
from evaluate import conditions

torch.set_num_threads(2)
model = sys.argv[1]
cfg = json.load(open(model + "/config.json"))
vae, dit, wh = load_all(model, cfg)
T, size, shift = cfg["video"]["frames"], cfg["video"]["size"], cfg["defaults"]["flow_shift"]
idt = make_identities(1, 1)
wav = torch.sin(torch.arange(T * SPF) * .055)[None] * .4
noise = torch.randn(1, cfg["transformer"]["in_channels"], (T - 1) // 4 + 1, size // 8, size // 8, generator=torch.Generator().manual_seed(1))
with torch.inference_mode():
    c = conditions(cfg, vae, wh, idt, wav, T, "cpu")[0]
    t = time.time(); audio_windows(wh(log_mel(wav)), torch.zeros(1, dtype=torch.long), T); print("audio", round(time.time() - t, 3), flush=True)
    for steps in (4, 8):
        t = time.time(); z = sample(dit, noise, c, steps, shift, 1.0, None); print(f"denoise{steps}", round(time.time() - t, 3), flush=True)
    t = time.time(); vae.decode(z / cfg["vae"]["scaling_factor"]); print("decode", round(time.time() - t, 3), flush=True)
