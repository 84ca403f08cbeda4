#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The video VAE in PyTorch, in float16 under autocast and in upstream's tiles, as the baseline of bench-gpu-vae.

    gpu_vae_torch.py FOLDER [--rows WxH,...] [--check FRAMES WxH]

FOLDER holds config.json and vae.safetensors, as bench-gpu-vae reads them. Prints one JSON object a line: for each size
the seconds of decoding 33 random latent frames and what the driver says is in use at the peak, then encoding 129 frames
and one frame of 512x512. --check decodes FRAMES.latents, which bench-gpu-vae --dump wrote, in float16 and in float32, and
says how far FRAMES is from each, in dB. The network is the one that the demo model is trained with.
"""
import os
import sys

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tools"))
import need  # noqa: E402

need.imports(__file__)

import argparse
import json
import threading
import time

import numpy as np
import torch

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tools/demo-model"))
import models  # noqa: E402

LATENTS = 33


def blend(a, b, n, dim):
    """b's first n entries along dim, from a's last n to b's own; in place, as upstream blends."""
    w = (torch.arange(n, device=b.device) / n).to(b.dtype).view([-1 if d == dim else 1 for d in range(5)])
    head = b.narrow(dim, 0, n)
    head.copy_(a.narrow(dim, a.shape[dim] - n, n) * (1 - w) + head * w)


def space_tiled(run, x, size, keep_in, edge_out, keep_out):
    """Tiles of size, keep_in apart, blended over edge_out, of which keep_out are kept."""
    if max(x.shape[-2:]) <= size:
        return run(x)
    rows = [[run(x[..., i:i + size, j:j + size]) for j in range(0, x.shape[-1], keep_in)]
            for i in range(0, x.shape[-2], keep_in)]
    lines = []
    for i, row in enumerate(rows):
        line = []
        for j, tile in enumerate(row):
            if i:
                blend(rows[i - 1][j], tile, min(rows[i - 1][j].shape[-2], tile.shape[-2], edge_out), 3)
            if j:
                blend(row[j - 1], tile, min(row[j - 1].shape[-1], tile.shape[-1], edge_out), 4)
            line.append(tile[..., :keep_out, :keep_out])
        lines.append(torch.cat(line, -1))
    return torch.cat(lines, -2)


def decode(vae, z):
    """Upstream's tiles: 17 latent frames, 12 apart; 32 x 32 cells, 24 apart."""
    out, last = [], None
    for i in range(0, z.shape[2], 12):
        if i and i + 1 == z.shape[2]:
            break
        d = space_tiled(vae.decode, z[:, :, i:i + 17], 32, 24, 64, 192)
        if i:
            d = d[:, :, 1:]
            blend(last, d, min(last.shape[2], d.shape[2], 16), 2)
        last = d
        out.append(d[:, :, :48 + (i == 0)])
    return torch.cat(out, 2)


def encode(vae, x):
    """Moments in upstream's tiles of space: 256 pixels, 192 apart; in time of 65 frames, 48 apart."""
    run = lambda t: torch.cat(vae.encode(t), 1)
    if x.shape[2] <= 64:
        return space_tiled(run, x, 256, 192, 8, 24)
    out, last = [], None
    for i in range(0, x.shape[2], 48):
        m = space_tiled(run, x[:, :, i:i + 65], 256, 192, 8, 24)
        if i:
            m = m[:, :, 1:]
            blend(last, m, min(last.shape[2], m.shape[2], 4), 2)
        last = m
        out.append(m[:, :, :12 + (i == 0)])
    return torch.cat(out, 2)


class Peak:
    """Peak of the memory in use, from the driver."""

    def __enter__(self):
        self.bytes, self.quit = 0, False
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def watch(self):
        while not self.quit:
            free, total = torch.cuda.mem_get_info()
            self.bytes = max(self.bytes, total - free)
            time.sleep(0.002)

    def __exit__(self, *_):
        self.quit = True
        self.thread.join()


def timed(work, runs=2):
    best = None
    with Peak() as peak:
        for i in range(runs + 1):
            torch.cuda.synchronize()
            start = time.time()
            work()
            torch.cuda.synchronize()
            if i:
                best = min(best or 1e9, time.time() - start)
    return best, peak.bytes


def to_bytes(frames):
    """[1, 3, T, H, W] -> [T, H, W, 3]"""
    return ((frames[0].float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 3, 0).cpu().numpy()


def psnr(a, b):
    error = np.mean((a.astype(np.float32) - b.astype(np.float32)) ** 2)
    return float(10 * np.log10(255**2 / max(float(error), 1e-12)))


def check(vae, path, size, factor):
    w, h = map(int, size.split("x"))
    ours = np.fromfile(path, np.uint8).reshape(-1, h, w, 3)
    z = np.fromfile(path + ".latents", np.float32).reshape(LATENTS, 16, h // 8, w // 8)
    z = torch.from_numpy(z).cuda().permute(1, 0, 2, 3)[None] / factor
    with torch.autocast("cuda", torch.float16):
        half = to_bytes(decode(vae, z))
    vae.float()
    full = to_bytes(decode(vae, z))
    print(json.dumps({"check": size, "psnr_float16": psnr(ours, half), "psnr_float32": psnr(ours, full),
                      "torch_float16": psnr(half, full), "contrast": float(full.std())}))


def main():
    need.cuda()
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--rows", default="384x384,512x512,704x768")
    parser.add_argument("--check", nargs=2)
    args = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    with open(os.path.join(args.folder, "config.json"), encoding="utf-8") as f:
        config = json.load(f)["vae"]
    vae = models.AutoencoderKLCausal3D(config)
    vae.load_state_dict({k: v.float() for k, v in
                         models.load_safetensors(os.path.join(args.folder, "vae.safetensors")).items()})
    vae = vae.cuda().half().eval().requires_grad_(False)
    print(json.dumps({"torch": torch.__version__, "device": torch.cuda.get_device_name()}), flush=True)
    torch.manual_seed(1)
    with torch.inference_mode():
        for size in filter(None, args.rows.split(",")):
            w, h = map(int, size.split("x"))
            z = torch.randn(1, 16, LATENTS, h // 8, w // 8, device="cuda")
            with torch.autocast("cuda", torch.float16):
                seconds, peak = timed(lambda: decode(vae, z))
            print(json.dumps({"row": "decode/" + size, "seconds": seconds, "driver_peak": peak}), flush=True)
            torch.cuda.empty_cache()
        for frames in (129, 1) if args.rows else ():
            x = torch.rand(1, 3, 1, 512, 512, device="cuda", dtype=torch.float16).expand(-1, -1, frames, -1, -1) * 2 - 1
            with torch.autocast("cuda", torch.float16):
                seconds, peak = timed(lambda: encode(vae, x))
            print(json.dumps({"row": f"encode/512x512/{frames}", "seconds": seconds, "driver_peak": peak}), flush=True)
            torch.cuda.empty_cache()
        if args.check:
            check(vae, args.check[0], args.check[1], config["scaling_factor"])


main()
