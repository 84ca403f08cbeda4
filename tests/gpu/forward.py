#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The released transformer at full width, block by block: how far bench-gpu's forward and PyTorch's in bf16 are from
PyTorch's in float32, with the same random weights.

    bench-gpu cuda --dump FILE WxH/PRECISION/0 && forward.py WxH NAME=FILE...

Needs a GPU with 64 GB. Prints a Markdown table of relative errors (L2), and exits with 1 if a dump named bf16 is more
than 1.2 times as far away as PyTorch.
"""
import os
import sys

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tools"))
import need  # noqa: E402

need.imports(__file__)

import torch

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "bench"))
import gpu_torch  # noqa: E402

DEVICE = "cuda"
GOLDEN = 0x9e3779b97f4a7c15
U64 = (1 << 64) - 1


def signed(v):
    return v - (1 << 64) if v >> 63 else v


def shifted(z, n):
    """z >> n of 64 bits without their sign"""
    return (z >> n) & ((1 << (64 - n)) - 1)


def mix(z):
    """SplitMix64's last step, of a tensor or of a number"""
    if isinstance(z, int):
        z = ((z ^ (z >> 30)) * 0xbf58476d1ce4e5b9) & U64
        z = ((z ^ (z >> 27)) * 0x94d049bb133111eb) & U64
        return z ^ (z >> 31)
    z = (z ^ shifted(z, 30)) * signed(0xbf58476d1ce4e5b9)
    z = (z ^ shifted(z, 27)) * signed(0x94d049bb133111eb)
    return z ^ shifted(z, 31)


def string_hash(name):
    """g_str_hash()"""
    h = 5381
    for c in name.encode():
        h = (h * 33 + c) & 0xffffffff
    return h


def draw(n, stream):
    """n whole numbers of 16 bits: engine/model/random-weights.c"""
    i = torch.arange(0, n, 4, device=DEVICE, dtype=torch.int64)
    bits = mix(i * signed(GOLDEN) + signed(stream))
    return torch.stack([bits << (48 - 16 * j) >> 48 for j in range(4)], 1).flatten()[:n].float()


def scaled(width):
    """width / 32768 in float32"""
    return torch.tensor(width, dtype=torch.float32).item() / 32768


def floats(shape, stream, width):
    return (draw(torch.Size(shape).numel(), stream) * scaled(width)).view(shape)


def weights():
    out = {}
    for name, shape in gpu_torch.shapes(gpu_torch.RELEASED).items():
        matrix, n = len(shape) > 1, torch.Size(shape).numel()
        norm = not matrix and name.endswith(".weight")
        width = (3 * shape[0] / n) ** 0.5 * 0.7 if matrix else 0.05
        value = (1.0 if norm else 0.0) + draw(n, mix(string_hash(name))) * scaled(width)
        out[name] = value.bfloat16().view(shape)
    return out


def inputs(width, height):
    c, h, w = gpu_torch.RELEASED, height // 8, width // 8
    frames, text, used = gpu_torch.FRAMES, gpu_torch.TEXT, gpu_torch.TEXT_USED
    mask = torch.zeros(text, device=DEVICE)
    mask[:used] = 1
    return {"x": floats((16, frames, h, w), 4, 1.7), "t": torch.tensor([1000.], device=DEVICE),
            "ref": floats((16, 1, h, w), 5, 1.7).repeat(1, frames, 1, 1), "text": floats((text, c["text_states_dim"]), 1, 1),
            "mask": mask, "pooled": floats((c["text_states_dim_2"],), 2, 1), "audio": floats((129, 10, 5, 384), 3, 1),
            "face": floats((h, w), 6, 1), "motion_exp": torch.full((4,), 30, device=DEVICE),
            "motion_pose": torch.full((4,), 25, device=DEVICE), "fps": torch.tensor([25.], device=DEVICE)}


def read_dump(path):
    out = {}
    with open(path, "rb") as f:
        while line := f.readline():
            name, n = line.split()
            value = torch.frombuffer(bytearray(f.read(4 * int(n))), dtype=torch.float32)
            out.setdefault(name.decode(), value)  # keeps the first step
    return out


def run(w, given, half):
    if half:
        net = gpu_torch.Transformer(gpu_torch.RELEASED, {
            k: v.float() if k.startswith(gpu_torch.FLOAT32) else v for k, v in w.items()})
    else:
        net = gpu_torch.Transformer(gpu_torch.RELEASED, {k: v.float() for k, v in w.items()})
    net.taps = {}
    with torch.no_grad(), torch.autocast("cuda", torch.bfloat16, enabled=half):
        net.taps["velocity"] = net.forward(**given).float().cpu()
    return net.taps


def main():
    width, height = map(int, sys.argv[1].split("x"))
    dumps = {a.split("=", 1)[0]: read_dump(a.split("=", 1)[1]) for a in sys.argv[2:]}
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    w, given = weights(), inputs(width, height)
    names = ["vec", "txt_in"] + [f"double_{i}" for i in range(20)] + [f"single_{i}" for i in range(40)] + ["velocity"]
    torch_bf16 = run(w, given, True)
    truth = run(w, given, False)
    s = (width // 16) * (height // 16)
    image, used = 34 * s, 34 * s + gpu_torch.TEXT_USED
    rows = {"txt_in": slice(0, gpu_torch.TEXT_USED), **{f"single_{i}": slice(0, used) for i in range(39)},
            "single_39": slice(s, image)}  # the last block computes only the video

    def error(name, value):
        a, b = value, truth[name]
        if name == "vec":  # of all steps at once
            a = a[:b.numel()]
        if name in rows:
            b = b[rows[name]]
            a = a.view(-1, b.shape[-1])
            a = a[rows[name]] if len(a) > len(b) else a
        return float((a.flatten().double() - b.flatten().double()).norm() / b.double().norm())

    print("| after | PyTorch bf16 |" + "".join(f" {d} |" for d in dumps))
    print("| --- |" + " ---: |" * (1 + len(dumps)))
    worst = 0.0
    for name in names:
        mine = {d: error(name, dumps[d][name]) for d in dumps}
        base = error(name, torch_bf16[name])
        if "bf16" in mine:
            worst = max(worst, mine["bf16"] / base)
        print(f"| {name} | {base:.2e} |" + "".join(f" {v:.2e} |" for v in mine.values()))
    print(f"\nlargest ratio of bf16 to PyTorch's: {worst:.2f}")
    return worst > 1.2


if __name__ == "__main__":
    need.arguments(2, "forward.py WxH NAME=FILE...")
    need.cuda()
    sys.exit(main())
