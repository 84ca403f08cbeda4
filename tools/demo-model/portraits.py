#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Measures a model on portraits that it was not trained on: a photograph, a folder's pictures, held-out rendered heads and drawn faces.

  python3 portraits.py --weights models/demo --data data --out OUT [--astronaut FILE.png] [--portraits FOLDER] [--backgrounds FILE.npz] [--heads 4] [--steps 4] [--frames 129]

--astronaut is skimage/data/astronaut.png of Debian's python3-skimage or of PyPI's scikit-image (public domain). FOLDER has stills.json (scenes.load_stills).
Per row: faces found by the detector (IoU with the known box); PSNR of the VAE alone and of the first generated frame against the portrait; movement and
spread: mean absolute difference of a frame to the one before, and to the portrait, inside the mouth's box, 0 to 255; r: correlation of the mouth's measure with the speech's opening, and with that of another clip's speech.
Frames are shifted first so that the upper face keeps its place. The mouth's measure of a frame is the projection of the mouth's box on the direction in which it varies most, growing with the distance to the portrait. Writes portraits.json, portraits.png.
"""
import os
import sys

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import need  # noqa: E402

need.imports(__file__)

import argparse, json, math, time
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from models import *
from data import *
import face_net
import scenes as S
import warp as W
from evaluate import conditions_of, corr
from text import Texts

CROP = (110, 0, 350, 240)                                # the head in the astronaut's 512 x 512
BOX = (180, 55, 272, 182)                                # in the whole picture: hairline to chin, and points
POINTS = ((203.5, 101), (246, 102.5), (225, 127), (205, 141.5), (243.5, 143.5))


def astronaut(path, size):
    im = Image.open(path).convert("RGB").crop(CROP).resize((size, size), Image.LANCZOS)
    k, o = 2 / (CROP[2] - CROP[0]), torch.tensor(CROP[:2])
    lm = W.of_points((torch.tensor(POINTS) - o)[None] * k - 1, (torch.tensor(BOX).view(2, 2) - o).view(1, 4) * k - 1, teeth=torch.ones(1))
    return torch.from_numpy(np.asarray(im).copy()).permute(2, 0, 1)[None], lm


def mouth_measure(frames, box):
    """frames (T, 3, H, W), steady, the portrait first; box (4,) -> (T - 1,): the first principal component of the box's blurred brightness over time, growing with the
    distance to the portrait."""
    x1, y1, x2, y2 = [int(v) for v in box]
    f = frames[:, :, y1:y2, x1:x2].float().mean(1, keepdim=True)
    f = F.avg_pool2d(F.pad(f, (1, 1, 1, 1), mode="replicate"), 3, 1).flatten(1)
    f, rest = f[1:], f[:1]
    far = (f - rest).abs().mean(1)
    f = f - f.mean(0)
    u, s, v = torch.linalg.svd(f, full_matrices=False)
    return u[:, 0] * s[0] * (1 if corr(u[:, 0], far) > 0 else -1)


def steady(frames, face, mouth, reach=7):
    """frames (T, 3, H, W) uint8 shifted so that the upper face stays where it is in the first frame: the best of all shifts up to @reach pixels, with parabolas between them."""
    T, _, h, w = frames.shape
    x1, y1, x2, _ = [int(v) for v in face]
    y2 = int(mouth[1])
    x1, y1, x2, y2 = max(x1, reach + 1), max(y1, reach + 1), min(x2, w - reach - 1), max(min(y2, h - reach - 1), max(y1, reach + 1) + 8)
    g = frames.float().mean(1)
    goal, k = g[:1, y1:y2, x1:x2], 2 * reach + 1
    cost = torch.stack([(g[:, y1 + dy:y2 + dy, x1 + dx:x2 + dx] - goal).pow(2).mean((1, 2)) for dy in range(-reach, reach + 1) for dx in range(-reach, reach + 1)], 1).view(T, k, k)
    at = cost.flatten(1).argmin(1)
    iy, ix = (at // k).clamp(1, k - 2), (at % k).clamp(1, k - 2)
    n = torch.arange(T)
    part = lambda a, b, c: ((a - c) / (2 * (a - 2 * b + c)).clamp_min(1e-6)).clamp(-.5, .5)
    dy = iy - reach + part(cost[n, iy - 1, ix], cost[n, iy, ix], cost[n, iy + 1, ix])
    dx = ix - reach + part(cost[n, iy, ix - 1], cost[n, iy, ix], cost[n, iy, ix + 1])
    th = torch.zeros(T, 2, 3)
    th[:, 0, 0] = th[:, 1, 1] = 1
    th[:, 0, 2], th[:, 1, 2] = dx * 2 / w, dy * 2 / h
    return F.grid_sample(frames.float(), F.affine_grid(th, (T, 3, h, w), align_corners=False), padding_mode="border", align_corners=False)


def vae_alone(vae, kinds, n, backgrounds, size):
    """Prints the PSNR of the VAE alone for @n held-out portraits of each kind, for portrait_psnr in config.json."""
    none, still = torch.zeros(n, dtype=torch.long), torch.zeros(n, 1)
    for kind in kinds:
        x = S.Scenes(kind, backgrounds, "", "cpu", size, "test", limit=200).clips(n, 7100000, still, still + .5, torch.full((n,), 25.), none, none)["ref"]
        y = vae.decode(vae.encode((x.float() / 127.5 - 1)[:, :, None])[0])[:, :, 0].clamp(-1, 1)
        p = sorted(psnr((b + 1) * 127.5, a) for a, b in zip(x, y))
        print(f"{kind}: VAE alone {sum(p) / n:.2f} dB, from {p[0]:.1f} to {p[-1]:.1f}", flush=True)


def psnr(a, b):
    return 10 * math.log10(255 ** 2 / ((a.float() - b.float()) ** 2).mean().clamp_min(1e-6).item())


@torch.no_grad()
def main():
    ap = argparse.ArgumentParser()
    here = os.path.dirname(os.path.abspath(__file__))
    ap.add_argument("--weights", default=here + "/../../models/demo"); ap.add_argument("--data", default="data"); ap.add_argument("--out", default="portraits")
    ap.add_argument("--astronaut", default=""); ap.add_argument("--portraits", default=""); ap.add_argument("--backgrounds", default="")
    ap.add_argument("--heads", type=int, default=4); ap.add_argument("--cartoons", type=int, default=2); ap.add_argument("--steps", type=int, default=4); ap.add_argument("--frames", type=int, default=129)
    ap.add_argument("--vae", type=int, default=0, help="measure only the VAE, on so many portraits of each kind")
    ap.add_argument("--detector", default=""); ap.add_argument("--styles", default="photo", help="styles of the heads")
    a = ap.parse_args()
    os.makedirs(a.out, exist_ok=True)
    dev = "cuda" if torch.cuda.is_available() else "cpu"
    cfg = read_config(a.weights)
    vae, dit, wh = load_all(a.weights, cfg, dev)
    if a.vae:
        return vae_alone(vae.cpu(), ["cartoon"] + a.styles.split(",") + ["warp", "texture"], a.vae, a.backgrounds, cfg["video"]["size"])
    texts = Texts(a.weights + "/ckpts", cfg, dev)
    net = torch.jit.load(a.detector or a.weights + "/ckpts/det_align/detface.pt")
    size, T, g = cfg["video"]["size"], a.frames, torch.Generator().manual_seed(7)
    rows = []                                            # name, ref, face box, mouth box, true frames or None

    def voice(k, n):
        return normalise(Speech(a.data, "test", "cpu").sample(n, [T / FPS] * n, torch.Generator().manual_seed(100 + k)))
    for name, pics, lm in ([("astronaut", *astronaut(a.astronaut, size))] if a.astronaut else []) + (
            [(f"portrait {i}", (p * 255).round().to(torch.uint8)[None], q[None]) for i, (p, q) in enumerate(zip(*S.load_stills(a.portraits, size)))] if a.portraits else []):
        rows.append((name, pics[0], W.face_box(lm, size)[0], W.mouth_box(lm, size)[0], None))
    kinds = [("cartoon", a.cartoons)] + [(s, a.heads) for s in a.styles.split(",")]
    start = len(rows)
    wav = voice(0, start + sum(n for _, n in kinds) + 1)
    op, wd = mouth_targets(wav, T)
    for kind, n in kinds:
        if n:
            i = len(rows)
            none = torch.zeros(n, dtype=torch.long)
            c = S.Scenes(kind, a.backgrounds, "", dev, size, "test", limit=100).clips(n, 7000000 + i, op[i:i + n], wd[i:i + n], 25., none, none)
            rows += [(f"{kind} {k}", c["ref"][k].cpu(), c["face"][k], c["mouth"][k], c["frames"][k].cpu()) for k in range(n)]
    out, sheet = [], []
    for i, (name, ref, face, mouth, true) in enumerate(rows):
        t0 = time.time()
        found = face_net.detect(net, ref)
        over = float(face_net.iou(face[None], found[:, :4]).max()) if len(found) else 0.
        area = cfg["defaults"]["face_mask_area"]
        c, h = (face[:2] + face[2:]) / 2, (face[2:] - face[:2]) / 2 * area
        r = ref[None].to(dev)
        cond = conditions_of(cfg, vae, wh, texts, r, torch.cat([c - h, c + h])[None].clamp(0, size).round(), wav[i:i + 1], T, dev, "")[0]
        noise = torch.randn(1, cfg["transformer"]["in_channels"], (T - 1) // 4 + 1, size // 8, size // 8, generator=g).to(dev)
        z = sample(dit, noise, cond, a.steps, cfg["defaults"]["flow_shift"])
        back = lambda y: ((y.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).cpu()
        frames = back(decode_tiled(vae, z / cfg["vae"]["scaling_factor"])[0].transpose(0, 1))
        alone = back(vae.decode(vae.encode((r.float() / 127.5 - 1)[:, :, None])[0])[0].transpose(0, 1))[0]
        x1, y1, x2, y2 = [int(v) for v in mouth]
        held = steady(torch.cat([ref[None], frames]), face, mouth)
        part = held[:, :, y1:y2, x1:x2]
        m = mouth_measure(held, mouth)
        other = op[(i + 1) % len(op)]
        row = dict(name=name, faces=len(found), iou=over, vae_psnr=psnr(alone, ref), first_psnr=psnr(frames[0], ref), movement=(part[2:] - part[1:-1]).abs().mean().item(), spread=(part - part[:1]).abs().mean().item(),
                   r=corr(m, op[i]), r_other=corr(m, other), r_speeches=corr(op[i], other), seconds=time.time() - t0)
        if true is not None:
            held = steady(torch.cat([ref[None], true]), face, mouth)
            tp = held[:, :, y1:y2, x1:x2]
            row.update(true_r=corr(mouth_measure(held, mouth), op[i]), true_movement=(tp[2:] - tp[1:-1]).abs().mean().item())
        out.append(row)
        print({k: (round(v, 3) if isinstance(v, float) else v) for k, v in row.items()}, flush=True)
        pick = [0, *op[i, 1:].topk(3).indices.add(1).tolist(), int(op[i].argmin())]
        sheet.append(torch.cat([ref, alone] + [frames[k] for k in pick] + ([true[k] for k in pick[1:3]] if true is not None else [ref * 0] * 2), 2))
    Image.fromarray(torch.cat(sheet, 1).permute(1, 2, 0).numpy()).save(a.out + "/portraits.png")
    json.dump(out, open(a.out + "/portraits.json", "w"), indent=1)


if __name__ == "__main__":
    main()
