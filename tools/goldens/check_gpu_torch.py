#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Compares tests/bench/gpu_torch.py in float32 with the golden forward, which upstream's own module made.

    check_gpu_torch.py      exits with 1 if a tensor's relative error (L2) is above 1e-5
"""
import os
import sys

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import need  # noqa: E402

need.imports(__file__)

import json
import struct

import torch

ROOT = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
sys.path.insert(0, os.path.join(ROOT, "tests", "bench"))
import gpu_torch  # noqa: E402

with open(os.path.join(ROOT, "tests", "golden", "upstream", "transformer_forward.safetensors"), "rb") as f:
    head = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
    blob = bytearray(f.read())
config = json.loads(head.pop("__metadata__")["config"])["transformer"]
g = {}
for name, e in head.items():
    a, b = e["data_offsets"]
    g[name] = torch.frombuffer(blob[a:b], dtype=torch.float32).view(e["shape"])
weights = {k[8:]: v for k, v in g.items() if k.startswith("weights.")}
want = {k: tuple(v.shape) for k, v in weights.items()}
if want != gpu_torch.shapes(config):
    sys.exit(f"names or shapes differ: {set(want.items()) ^ set(gpu_torch.shapes(config).items())}")
worst = 0.0


def compare(name, got):
    global worst
    ref = g[name].flatten()
    error = float((got.flatten() - ref).norm() / ref.norm())
    worst = max(worst, error)
    print(f"{name} {error:.2e}")


def forward(**other):
    net = gpu_torch.Transformer(config, weights)
    net.taps = {}
    given = {"x": g["in.x"][0], "t": g["in.t"], "ref": g["in.ref_latents"][0], "text": g["in.text_states"][0],
             "mask": g["in.text_mask"][0], "pooled": g["in.text_states_2"][0], "audio": g["in.audio_prompts"][0],
             "face": g["in.face_mask"][0, 0, 0], "motion_exp": g["in.motion_exp"][0],
             "motion_pose": g["in.motion_pose"][0], "fps": g["in.fps"]}
    with torch.no_grad():
        return net.forward(**dict(given, **other)), net.taps


v, taps = forward()
for name, value in taps.items():
    if "out.full." + name in g:
        compare("out.full." + name, value)
compare("out.full", v)
compare("out.full_at_cached_t", forward(t=g["in.cached.t"])[0])
compare("out.full_face_0.6", forward(face=g["in.face_mask"][0, 0, 0] * 0.6)[0])
compare("out.full_no_audio", forward(audio=torch.zeros_like(g["in.audio_prompts"][0]))[0])
print(f"worst {worst:.2e}")
sys.exit(worst > 1e-5)
