#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Clips for the end-to-end test: faces and voices that the model was not trained on.

python3 heldout.py --weights DIR --data DIR --out DIR [--clips 3]

Writes speech_N.wav, reference_N.png and heldout.json: for every clip the head's box, the mouth's
box (pixels, x1 y1 x2 y2), the true opening per frame, and the correlation that this PyTorch
sampler reaches at 4 steps.
"""
import os
import sys

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import need  # noqa: E402

need.imports(__file__)

import argparse, json, wave
import numpy as np
import torch
from PIL import Image
from models import *
from data import *
from evaluate import conditions, corr
from text import Texts

ap = argparse.ArgumentParser()
ap.add_argument("--weights", required=True); ap.add_argument("--data", required=True); ap.add_argument("--out", required=True)
ap.add_argument("--clips", type=int, default=3); ap.add_argument("--frames", type=int, default=129); ap.add_argument("--seed", type=int, default=6000000)
a = ap.parse_args()
os.makedirs(a.out, exist_ok=True)
cfg = read_config(a.weights)
vae, dit, wh = load_all(a.weights, cfg)
texts = Texts(a.weights + "/ckpts", cfg)
T, size, d = a.frames, cfg["video"]["size"], cfg["defaults"]
speech = np.load(a.data + "/speech_test.npy").astype(np.float32) / 32768
out = []
for i in range(a.clips):
    at = (len(speech) - T * SPF) * (2 * i + 1) // (2 * a.clips)        # far apart, for different voices
    pcm = speech[at:at + T * SPF]
    pcm = np.round(pcm / np.abs(pcm).max() * .7 * 32767).astype("<i2")
    with wave.open(f"{a.out}/speech_{i}.wav", "wb") as w:
        w.setnchannels(1); w.setsampwidth(2); w.setframerate(SR); w.writeframes(pcm.tobytes())
    wav = torch.from_numpy(pcm.astype(np.float32) / 32768)[None]
    idt = make_identities(1, a.seed + i)
    g = torch.Generator().manual_seed(i)
    with torch.no_grad():
        c, u, ref, mel, feats = conditions(cfg, vae, wh, texts, idt, wav, T, "cpu", "")
        noise = torch.randn(1, cfg["transformer"]["in_channels"], (T - 1) // 4 + 1, size // 8, size // 8, generator=g)
        z = sample(dit, noise, c, 4, d["flow_shift"], 1.0, None)
        y = decode_tiled(vae, z / cfg["vae"]["scaling_factor"])
    frames = ((y[0].clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).transpose(0, 1)
    Image.fromarray(ref[0].permute(1, 2, 0).numpy()).save(f"{a.out}/reference_{i}.png")
    opening = mouth_targets(wav, T)[0][0]
    r = corr(measure_opening(frames, mouth_box(idt, size)[0]), opening)
    print(i, "correlation", round(r, 3), flush=True)
    out.append(dict(speech=f"speech_{i}.wav", reference=f"reference_{i}.png", face_box=[int(v) for v in face_box(idt, size)[0]], mouth_box=[int(v) for v in mouth_box(idt, size)[0]],
                    true_opening=[round(float(v), 5) for v in opening], pytorch_correlation_4_steps=round(r, 4)))
json.dump(dict(frames=T, size=size, clips=out), open(a.out + "/heldout.json", "w"), indent=1)
