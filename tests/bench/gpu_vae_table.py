#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Makes the tables of tests/bench/gpu-vae from the folder of its measurements."""
import json
import os
import sys

CEILING = 560  # TFLOP/s: cuDNN's convolution of 128 channels through PyTorch, channels last, float16


def lines(name):
    path = os.path.join(sys.argv[1], name)
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as f:
        return [json.loads(line) for line in f if line.startswith("{")]


engine, torch = lines("engine"), lines("torch")
ours = {r["row"]: r for r in engine if "row" in r}
theirs = {r["row"]: r for r in torch if "row" in r}


def cells(r):
    return f"{r['seconds']:.3f} s | {r['driver_peak'] / 2**30:.2f} GiB" if r else " | "


print("; ".join(f"{r['device']}, PyTorch {r['torch']}" for r in torch if "torch" in r) + "\n")
print("| work | PyTorch | its peak | gst-avatar | its peak | frames a second | speed-up |")
print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
for label, row, other in (
        ("decode 384x384", "decode/384x384/0/exact", "decode/384x384"),
        ("decode 512x512", "decode/512x512/0/exact", "decode/512x512"),
        ("decode 512x512, tiling=fast", "decode/512x512/0/fast", "decode/512x512"),
        ("decode 704x768", "decode/704x768/0/exact", "decode/704x768"),
        ("decode 704x768, budget 4 GiB", "decode/704x768/4096/exact", "decode/704x768"),
        ("decode 704x768, budget 3 GiB", "decode/704x768/3072/exact", "decode/704x768"),
        ("encode 512x512: 129 frames there, one here", "encode/512x512/0", "encode/512x512/129"),
        ("encode one frame 512x512", "encode/512x512/0", "encode/512x512/1")):
    a, b = ours.get(row), theirs.get(other)
    speed = f"{b['seconds'] / a['seconds']:.1f}x" if a and b else ""
    fps = f"{a['frames'] / a['seconds']:.0f}" if a and a["frames"] > 1 else ""
    print(f"| {label} | {cells(b)} | {cells(a)} | {fps} | {speed} |")
print(f"\n| convolution of the largest tile | time | TFLOP/s | of {CEILING} |")
print("| --- | ---: | ---: | ---: |")
for r in engine:
    if "layer" in r:
        rate = r["flops"] / r["seconds"] * 1e-12
        print(f"| {r['layer']} | {r['seconds'] * 1e3:.2f} ms | {rate:.0f} | {100 * rate / CEILING:.0f} % |")
for r in torch:
    if "check" in r:
        print(f"\nFrames of {r['check']}: {r['psnr_float16']:.1f} dB from PyTorch's in float16, {r['psnr_float32']:.1f} from "
              f"PyTorch's in float32, which are {r['torch_float16']:.1f} from each other (contrast {r['contrast']:.0f} of 255).")
for r in lines("fast"):
    print(f"tiling=fast: {r['fast_exact']:.1f} dB from exact tiles, {r['fast_whole']:.1f} from the clip decoded whole; exact "
          f"tiles: {r['exact_whole']:.1f} from that ({r['model']}).")
