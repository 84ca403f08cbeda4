#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Backgrounds and textures: crops of photographs, dead leaves, coloured noise, gradients.

  python3 backgrounds.py --out FILE.npz [--crops 3000] [--side 152] FOLDER...     cuts crops from all pictures in the folders (README.md lists packages and licences)

Backgrounds(path) loads such a file; without one all backgrounds are computed.
"""
import os
import sys

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import need  # noqa: E402

need.imports(__file__)

import argparse, io, random
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

HELD_OUT = .06          # share of the crops, the last ones


def cut(folders, out, crops, side, seed=1):
    """The same number of crops from every picture, of a quarter of its shorter side up to all of it."""
    names = sorted(os.path.join(d, f) for top in folders for d, _, fs in os.walk(top) for f in fs if f.lower().endswith((".jpg", ".jpeg", ".png", ".webp")))
    r, pictures, seen = random.Random(seed), [], set()
    for name in names:
        if os.path.getsize(name) < 60000:
            continue
        try:
            im = Image.open(name)
            im.draft("RGB", (1600, 1600))
            im = im.convert("RGB")
        except (OSError, ValueError) as e:
            print("skipped", name, e, file=sys.stderr)
            continue
        small = im.resize((8, 8), Image.BOX).tobytes()
        key = bytes(v // 24 for v in small)
        if min(im.size) < 300 or key in seen:             # one resolution of each picture
            continue
        seen.add(key)
        if max(im.size) > 1600:
            im.thumbnail((1600, 1600))
        pictures.append(im)
    if not pictures:
        raise SystemExit(f"error: no pictures in {' '.join(folders)}, expected at least one of 300 pixels or more; remedy: name folders of the packages in README.md")
    r.shuffle(pictures)
    data, sizes = [], []
    for k in range(crops):
        im = pictures[k * len(pictures) // crops]         # the held-out crops are of other pictures
        s = int(min(im.size) * r.choice((.25, .35, .5, .7, 1.)))
        s = max(s, min(side, min(im.size)))
        x, y = r.randint(0, im.size[0] - s), r.randint(0, im.size[1] - s)
        b = io.BytesIO()
        im.crop((x, y, x + s, y + s)).resize((side, side), Image.LANCZOS).save(b, "JPEG", quality=88)
        data.append(np.frombuffer(b.getvalue(), np.uint8))
        sizes.append(len(data[-1]))
    np.savez(out, data=np.concatenate(data), sizes=np.array(sizes, np.int32), side=side)
    print(f"{out}: {crops} crops of {len(pictures)} pictures, {sum(sizes)} bytes")


class Backgrounds:
    def __init__(self, path="", dev="cpu", split="train", limit=10 ** 9):
        self.dev, self.crops = dev, None
        if path:
            f = np.load(path)
            at = np.concatenate([[0], np.cumsum(f["sizes"])])
            n = len(f["sizes"])
            own = range(0, int(n * (1 - HELD_OUT))) if split == "train" else range(int(n * (1 - HELD_OUT)), n)
            own = own[::max(1, len(own) // limit)]
            data = f["data"]
            self.crops = torch.from_numpy(np.stack([np.asarray(Image.open(io.BytesIO(data[at[i]:at[i + 1]].tobytes()))) for i in own])).permute(0, 3, 1, 2).contiguous().to(dev)

    def photographs(self, n, g, size):
        """n crops of crops, mirrored at random, (n, 3, size, size) in 0..1; dead leaves without photographs."""
        if self.crops is None:
            return self.leaves(n, g, size)
        i = torch.randint(0, len(self.crops), (n,), generator=g).to(self.dev)
        x = self.crops[i].float() / 255
        s = torch.rand(n, generator=g) * .45 + .55
        cx, cy = ((torch.rand(n, generator=g) * 2 - 1) * (1 - s) for _ in range(2))
        s2 = s * torch.where(torch.rand(n, generator=g) < .5, -1., 1.)
        o = torch.zeros(n)
        th = torch.stack([torch.stack([s2, o, cx], 1), torch.stack([o, s, cy], 1)], 1).to(self.dev)
        return F.grid_sample(x, F.affine_grid(th, (n, 3, size, size), align_corners=False), mode="bilinear", padding_mode="reflection", align_corners=False)

    def leaves(self, n, g, size, count=60):
        """Dead leaves: discs and boxes over each other, sizes after a power law."""
        lin = (torch.arange(size, device=self.dev) + .5) / size
        y, x = lin[None, :, None], lin[None, None, :]
        base = torch.rand(n, 3, generator=g)
        img = base.to(self.dev)[:, :, None, None].expand(n, 3, size, size).clone()
        par = torch.rand(count, n, 8, generator=g).to(self.dev)
        for p in par:
            c = (base.to(self.dev) + (p[:, 3:6] - .5) * 1.4).clamp(0, 1)
            r = (.02 / (p[:, 2] * .95 + .05)).clamp(.015, .35)[:, None, None]
            dx, dy = x - p[:, 0, None, None], y - p[:, 1, None, None]
            d = torch.where((p[:, 6] < .6)[:, None, None], torch.sqrt(dx * dx + dy * dy), torch.maximum(dx.abs() * (.5 + p[:, 7, None, None]), dy.abs()))
            a = ((r - d) * size + .5).clamp(0, 1)[:, None]
            img = img + (c[:, :, None, None] - img) * a
        return img

    def noise(self, n, g, size):
        """Noise whose spectrum falls as a power between 0.6 and 2 of the frequency, in colours."""
        fy = torch.fft.fftfreq(size)[:, None].abs()
        fx = torch.fft.rfftfreq(size)[None]
        f = torch.sqrt(fy * fy + fx * fx).clamp_min(1 / size).to(self.dev)
        p = (torch.rand(n, generator=g) * 1.4 + .6).to(self.dev)[:, None, None, None]
        z = torch.fft.rfft2(torch.randn(n, 3, size, size, generator=g).to(self.dev)) * f ** -p
        x = torch.fft.irfft2(z, s=(size, size))
        x = x / x.flatten(1).std(1)[:, None, None, None]
        m = torch.randn(n, 3, 3, generator=g).to(self.dev) * .5 + 1
        x = torch.einsum("nij,njhw->nihw", m / m.sum(2, keepdim=True).abs().clamp_min(.5), x)
        c, k = (torch.rand(n, w, generator=g).to(self.dev)[:, :, None, None] for w in (3, 1))
        return (c * .8 + .1 + x * (.03 + .17 * k)).clamp(0, 1)

    def plain(self, n, g, size):
        t = (torch.arange(size, device=self.dev) + .5) / size
        a, b = (torch.rand(n, 3, generator=g).to(self.dev)[:, :, None, None] for _ in range(2))
        w = torch.rand(n, generator=g).to(self.dev)[:, None, None, None]
        ang = (torch.rand(n, generator=g) * 6.3).to(self.dev)[:, None, None, None]
        k = ((t[None, None, None] - .5) * torch.cos(ang) + (t[None, None, :, None] - .5) * torch.sin(ang) + .5).clamp(0, 1) * w
        return a + (b - a) * k

    def sample(self, n, g, size, odds=(.55, .12, .13, .20)):
        """(n, 3, size, size) in 0..1 on dev: photographs, dead leaves, noise, plain or a gradient; a third of them out of focus."""
        kind = torch.multinomial(torch.tensor(odds), n, True, generator=g)
        out = torch.empty(n, 3, size, size, device=self.dev)
        for k, f in enumerate((self.photographs, self.leaves, self.noise, self.plain)):
            i = (kind == k).nonzero()[:, 0]
            if len(i):
                out[i.to(self.dev)] = f(len(i), g, size)
        dof = (torch.rand(n, generator=g) - .55).clamp_min(0).to(self.dev)
        for r in (2, 4):
            soft = F.avg_pool2d(F.avg_pool2d(F.pad(out, (2 * r,) * 4, mode="replicate"), 2 * r + 1, 1), 2 * r + 1, 1)
            on = (dof > .02 * r).float()[:, None, None, None]
            out = out + (soft - out) * on
        return out.clamp(0, 1)


if __name__ == "__main__":
    ap = argparse.ArgumentParser()
    ap.add_argument("folders", nargs="+"); ap.add_argument("--out", required=True); ap.add_argument("--crops", type=int, default=3000); ap.add_argument("--side", type=int, default=152)
    a = ap.parse_args()
    cut(a.folders, a.out, a.crops, a.side)
