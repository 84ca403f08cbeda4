#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Draws examples of the training data: per row a portrait and four frames of clips of one kind (scenes.py).

  python3 scene_sheet.py --out heads.png [--mix photo:1,painted:1,...] [--rows 8] [--backgrounds FILE.npz] [--boxes]
"""
import os
import sys

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import need  # noqa: E402

need.imports(__file__)

import argparse, time
import numpy as np
import torch
from PIL import Image, ImageDraw
import data as D
import heads as H
import scenes as S

if __name__ == "__main__":
    ap = argparse.ArgumentParser()
    ap.add_argument("--out", required=True); ap.add_argument("--mix", default="photo,grey,statue,painted,flat,line,warp,cartoon"); ap.add_argument("--columns", type=int, default=3)
    ap.add_argument("--backgrounds", default=""); ap.add_argument("--seed", type=int, default=1); ap.add_argument("--boxes", action="store_true"); ap.add_argument("--size", type=int, default=128)
    a = ap.parse_args()
    torch.set_num_threads(1)
    n, spread = a.columns, H.make_motion

    def apart(n, T, seed, pose=25.):
        """Frames two seconds apart, the last one with closed eyes."""
        m = {k: v[:, ::50][:, :T].clone() for k, v in spread(n, 50 * T, seed, pose).items()}
        m["blink"] = torch.zeros(n, T)
        m["blink"][:, -1] = 1
        return m
    H.make_motion = apart
    op, wd, none = torch.tensor([0., .4, .9, .25]).repeat(n, 1), torch.tensor([.5, .8, .4, .2]).repeat(n, 1), torch.zeros(n, dtype=torch.long)
    rows = []
    for i, kind in enumerate(a.mix.split(",")):
        t = time.process_time()
        c = S.Scenes(kind, a.backgrounds, size=a.size, limit=300).clips(n, a.seed + 100 * i, op, wd, 25., none, none)
        print(f"{kind}: {n * 5 / (time.process_time() - t):.1f} frames a second of one core's time", flush=True)
        line = []
        for k in range(n):
            ref = Image.fromarray(c["ref"][k].permute(1, 2, 0).numpy())
            if a.boxes:
                draw = ImageDraw.Draw(ref)
                for b in (c["face"][k], c["mouth"][k], c["eyes"][k, :4], c["eyes"][k, 4:]):
                    draw.rectangle([float(v) for v in b], outline=(0, 255, 0))
            line += [torch.from_numpy(np.array(ref)).permute(2, 0, 1)] + list(c["frames"][k])
        rows.append(torch.cat(line, 2))
    Image.fromarray(torch.cat(rows, 1).permute(1, 2, 0).numpy()).save(a.out)
