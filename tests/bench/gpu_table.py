#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Makes the tables of tests/bench/gpu from the folder of its measurements."""
import json
import os
import sys

TEXT = 650
STEPS_FULL, STEPS_CACHED = 30, 20  # upstream's cache over 50 steps


def lines(name):
    path = os.path.join(sys.argv[1], name)
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as f:
        return [json.loads(line) for line in f if line.startswith("{")]


engine = {r["row"]: r for r in lines("engine") if "row" in r}
torch = lines("torch")
reference = {r["row"]: r for r in torch if "row" in r}
ceiling = {r["ceiling"]: r.get("tflops", r.get("gbytes")) for r in torch if "ceiling" in r}
ops = lines("ops")
device = next((r["device"] for r in ops if "device" in r), "")


def work(size):
    """TFLOP of a forward: products, attention"""
    w, h = map(int, size.split("x"))
    tokens = 34 * (w // 16) * (h // 16) + TEXT
    return 60 * tokens * 226.49e6 * 1e-12, 60 * 4 * tokens**2 * 3072 * 1e-12


def floor(size, fp8):
    """Seconds that the ceilings alone would take; None: not measured"""
    products, attention = work(size)
    rates = ceiling.get("gemm fp8" if fp8 else "gemm bf16"), ceiling.get(f"attention {size}")
    if fp8 and any(r.get("op") == "attention of a chunk" for r in ops):
        at = [i for i, r in enumerate(ops) if r.get("row", "").endswith("/fp8")]
        found = [r["tflops"] for r in ops[at[0]:] if r.get("op") == "attention of a chunk"] if at else []
        rates = rates[0], found[0] if found else None
    return products / rates[0] + attention / rates[1] if all(rates) else None


def cell(r, digits=2):
    if not r:
        return " | "
    if "error" in r:
        return f"{r['error']} | "
    return f"{r['seconds']:.{digits}f} s | {r['driver_mib'] / 1024:.2f} GiB"


print(device)
print(f"PyTorch {next((r['torch'] for r in torch if 'torch' in r), 'not run')}; ceilings: "
      + ", ".join(f"{k} {v:.0f}" for k, v in ceiling.items()) + " (TFLOP/s, GB/s)\n")
print("| forward | PyTorch | its peak | gst-avatar | its peak | speed-up | of the ceilings | same bits as |")
print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |")
for label, row, other, resident in (
        ("384x384, bf16, resident", "384x384/bf16/0", "384x384", None),
        ("512x512, bf16, resident", "512x512/bf16/0", "512x512", None),
        ("704x768, bf16, resident", "704x768/bf16/0", "704x768", None),
        ("512x512, bf16, budget 3 GiB", "512x512/bf16/3072", "512x512/offload", "512x512/bf16/0"),
        ("704x768, bf16, budget 4 GiB", "704x768/bf16/4096", "704x768/offload", "704x768/bf16/0"),
        ("704x1216, bf16, resident", "704x1216/bf16/0", None, None),
        ("704x1216, bf16, budget 6 GiB", "704x1216/bf16/6144", None, "704x1216/bf16/0"),
        ("512x512, fp8, resident", "512x512/fp8/0", "512x512", None),
        ("704x768, fp8, resident", "704x768/fp8/0", "704x768", None)):
    mine, theirs = engine.get(row), reference.get(other)
    if not mine:
        continue
    good = "seconds" in mine
    gain = f"{theirs['seconds'] / mine['seconds']:.2f}" if good and theirs and "seconds" in theirs else ""
    least = floor(row.split("/")[0], "/fp8/" in row)
    part = f"{100 * least / mine['seconds']:.0f} %" if good and least else ""
    same = ""
    if resident and good and "check" in engine.get(resident, {}):
        same = "resident" if engine[resident]["check"] == mine["check"] else "DIFFERENT BITS"
    print(f"| {label} | {cell(theirs)} | {cell(mine, 3)} | {gain} | {part} | {same} |")

guided = engine.get("512x512/fp8/0/guided")
if guided and "seconds" in guided:
    cached = (guided["sum"] - guided["full"] * guided["seconds"]) / max(1, guided["runs"] - guided["full"])
    print(f"\nGuided clip at 512x512, 50 steps, upstream's cache, fp8: {guided['sum']:.1f} s "
          f"({guided['full']} full steps of {guided['seconds']:.2f} s, the others {cached:.3f} s)")
    if "seconds" in reference.get("512x512", {}):
        t = reference["512x512"]["seconds"]
        print(f"PyTorch, {2 * STEPS_FULL} full forwards alone: {2 * STEPS_FULL * t:.0f} s resident"
              + (f", {2 * STEPS_FULL * reference['512x512/offload']['seconds']:.0f} s offloaded"
                 if "seconds" in reference.get("512x512/offload", {}) else ""))

print("\nOperations of a forward at 512x512, each repeated until the clock has settled:\n")
print("| operation | bf16, ms | of a forward, ms | TFLOP/s | GB/s | fp8, ms | of a forward, ms | TFLOP/s | GB/s |")
print("| --- |" + " ---: |" * 8)
table, kind = {}, None
for r in ops:
    kind = r["row"].rsplit("/", 1)[-1] if "tokens" in r else kind
    if "ms" in r:
        table.setdefault(r["op"], {})[kind] = r
for name, kinds in table.items():
    print(f"| {name} |" + "".join(
        f" {r['ms']:.3f} | {r['forward_ms']:.1f} | {r['tflops']:.0f} | {r['gbytes']:.0f} |" if r else " | | | |"
        for r in (kinds.get("bf16"), kinds.get("fp8"))))
