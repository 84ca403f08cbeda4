#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Makes the table of tests/bench/run from the folder of its measurements."""
import os
import sys

folder = sys.argv[1]


def read(name):
    path = os.path.join(folder, name)
    if not os.path.exists(path):
        return {}
    with open(path, encoding="utf-8") as lines:
        return {k: float(v) for k, v in (line.rsplit(" ", 1) for line in lines if " " in line)}


with open(os.path.join(folder, "gemm"), encoding="utf-8") as text:
    gemm = float(text.read())
engine = {4: read("engine-4"), 8: read("engine-8")}
torch = read("torch")
for steps in (4, 8):  # bench.py times one forward; without guidance a step is one
    if "forward" in torch:
        torch[f"denoise{steps}"] = steps * torch["forward"]
media = engine[4]["media"]
print(f"float32 matrix product (oneDNN, 1536 x 1536): {gemm:.0f} GFLOP/s; clip of {media:.2f} s\n")
print("| stage | seconds | real-time factor | PyTorch, seconds | speed-up | GFLOP/s | of the product's |")
print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")


def row(label, name, steps, reference, gflop_names=()):
    time = engine[steps][name]
    work = sum(v for k, v in engine[steps].items()
               if k.startswith("gflop:") and any(g in k for g in gflop_names))
    rate = f"{work / time:.0f} | {100 * work / time / gemm:.0f} %" if work else " | "
    other = f"{reference:.2f} | {reference / time:.1f}" if reference else " | "
    print(f"| {label} | {time:.2f} | {media / time:.2f} | {other} | {rate} |")


def torch_sum(*names):
    return sum(torch[n] for n in names) if all(n in torch for n in names) else None


row("load, reference", "load", 4, None)
row("audio", "audio", 4, torch_sum("whisper"), ("audio", "whisper"))
row("denoise, 4 steps", "denoise", 4, torch_sum("denoise4"), ("denoise", "transformer"))
row("denoise, 8 steps", "denoise", 8, torch_sum("denoise8"), ("denoise", "transformer"))
row("decode", "decode", 4, torch_sum("decode"), ("decode",))
row("chain, 4 steps", "chain", 4, torch_sum("whisper", "denoise4", "decode"))
row("chain, 8 steps", "chain", 8, torch_sum("whisper", "denoise8", "decode"))
for steps in (4, 8):
    e = engine[steps]
    print(f"\n{steps} steps: first frame after {e['first-frame']:.2f} s; memory at its peak "
          f"{e['peak-process'] / 1e6:.0f} MB of the process, {e['peak-ledger'] / 1e6:.0f} MB in the ledger")
