# SPDX-License-Identifier: LGPL-2.1-or-later
"""Clips of all kinds for training and measurement, as one batch: a mix of

  cartoon   data.py's faces
  head      heads.py's heads, in all its styles ("photo" to "line" alone: the name of a style)
  warp      stills, of heads in any style, cartoons and a folder's pictures, moved by warp.py
  texture   no face: backgrounds that are shifted, turned and zoomed (for the VAE)

A mix is a text such as "cartoon:.3,head:.45,warp:.25".
"""
import json, os
import numpy as np
import torch
import torch.nn.functional as F
import data as D
import heads as H
import warp as W
from backgrounds import Backgrounds

KINDS = ("cartoon", "head", "warp", "texture")
VAE_MIX = "cartoon:.2,head:.35,warp:.2,texture:.25"
TALK_MIX = "cartoon:.3,head:.42,warp:.28"


def parse(mix):
    """Odds by name; a style's name means a head of that style."""
    out = {}
    for part in mix.split(","):
        name, _, odds = part.partition(":")
        if name not in KINDS + H.STYLES:
            raise SystemExit(f"error: mix {mix!r}: found {name!r}, expected one of {', '.join(KINDS + H.STYLES)}")
        out[name] = float(odds or 1)
    return out


def load_stills(folder, size):
    """Pictures and their landmarks: FOLDER/stills.json is a list of dicts with file, box (x1 y1 x2 y2) and points (5 x 2), in pixels."""
    from PIL import Image
    pics, lm = [], []
    for r in json.load(open(os.path.join(folder, "stills.json"))):
        im = Image.open(os.path.join(folder, r["file"])).convert("RGB")
        k = torch.tensor([2 / im.size[0], 2 / im.size[1]])
        pics.append(torch.from_numpy(np.asarray(im.resize((size, size), Image.LANCZOS)).copy()).permute(2, 0, 1))
        lm.append(W.of_points(torch.tensor(r["points"]).float()[None] * k - 1, torch.tensor(r["box"]).float()[None] * k.repeat(2) - 1, teeth=torch.tensor([float(r.get("teeth", 0))]))[0])
    return torch.stack(pics).float() / 255, torch.stack(lm)


class Scenes:
    """backgrounds: file of backgrounds.py or ""; stills: folder for load_stills() or ""."""

    def __init__(self, mix, backgrounds="", stills="", dev="cpu", size=D.SIZE, split="train", compiled=False, limit=10 ** 9):
        self.mix, self.dev, self.size = parse(mix), dev, size
        self.back = Backgrounds(backgrounds, dev, split, limit)
        self.stills = load_stills(stills, size) if stills else None
        self.chunk = 256 if dev != "cpu" else 2
        if compiled:
            H.compile_distances()

    def clips(self, n, seed, op, wd, pose, mood, light):
        """op, wd: (n, T) openings and widths of mouths; pose (n,): 25 is the normal amount of motion; mood, light (n,): indices into data.MOODS and data.LIGHTS.
        Returns frames (n, T, 3, s, s) uint8 and ref (n, 3, s, s) uint8 on dev, boxes face, mouth (n, 4), eyes (n, 8) in pixels, kind (n,), landmarks' points (n, 10) in pixels."""
        T, s, dev = op.shape[1], self.size, self.dev
        g = torch.Generator().manual_seed(seed)
        names = list(self.mix)
        k = torch.multinomial(torch.tensor(list(self.mix.values())), n, True, generator=g)
        out = dict(frames=torch.empty(n, T, 3, s, s, dtype=torch.uint8, device=dev), ref=torch.empty(n, 3, s, s, dtype=torch.uint8, device=dev),
                   face=torch.zeros(n, 4), mouth=torch.zeros(n, 4), eyes=torch.zeros(n, 8), points=torch.zeros(n, 10), kind=k)
        pose = torch.as_tensor(pose, dtype=torch.float32).expand(n)
        for j, name in enumerate(names):
            i = (k == j).nonzero()[:, 0]
            if not len(i):
                continue
            at = i.to(op.device)
            f = getattr(self, name, None) or self.head
            part = f(len(i), seed + 7919 * j + 13, g, op[at], wd[at], pose[i], mood[i], light[i], **({} if name in KINDS else dict(style=H.STYLES.index(name))))
            for key, v in part.items():
                out[key][i.to(out[key].device)] = v.to(out[key].device)
        return out

    def cartoon(self, n, seed, g, op, wd, pose, mood, light):
        idt = D.make_identities(n, seed)
        fr = D.render_clips(D.set_scene(idt, mood, light), op, wd, *D.make_motion(n, op.shape[1], seed + 1, pose=pose), self.dev, self.size)
        return dict(frames=fr, ref=D.reference_frame(idt, self.dev, self.size), face=D.face_box(idt, self.size), mouth=D.mouth_box(idt, self.size),
                    eyes=torch.cat(D.eye_boxes(idt, self.size, .1), 1), points=self.pixels(self.cartoon_points(idt)))

    def cartoon_points(self, idt):
        x, y, w = idt["cx"], idt["cy"], idt["mw"] * .97
        return torch.stack([x - idt["ex"], y + idt["ey"], x + idt["ex"], y + idt["ey"], x, y + idt["ny"], x - w, y + idt["my"], x + w, y + idt["my"]], 1)

    def pixels(self, p):
        return (p + 1) / 2 * self.size

    def head(self, n, seed, g, op, wd, pose, mood, light, style=None):
        idt = H.make_identities(n, seed, style)
        back = self.back.sample(n, g, self.size)
        fr = H.render_clips(H.set_scene(idt, mood, light), op, wd, H.make_motion(n, op.shape[1], seed + 1, pose=pose), back, self.dev, self.size, self.chunk)
        return dict(frames=fr, ref=H.reference_frame(idt, back, self.dev, self.size), face=H.face_box(idt, self.size), mouth=H.mouth_box(idt, self.size),
                    eyes=torch.cat(H.eye_boxes(idt, self.size, .06), 1), points=self.pixels(H.landmarks(idt).flatten(1)))

    def still(self, n, seed, g):
        """Stills (n, 3, s, s) in 0..1 and landmarks (n, 17)."""
        u = torch.rand(n, generator=g)
        pics, lm, pts = torch.empty(n, 3, self.size, self.size, device=self.dev), torch.empty(n, 17), torch.empty(n, 10)
        own = (u < .25) if self.stills is not None else u < 0
        toon = ~own & (u > .8)
        i = own.nonzero()[:, 0]
        if len(i):
            k = torch.randint(0, len(self.stills[0]), (len(i),), generator=g)
            pics[i.to(self.dev)], lm[i] = self.stills[0][k].to(self.dev), self.stills[1][k]
        i = toon.nonzero()[:, 0]
        if len(i):
            idt = D.make_identities(len(i), seed + 3)
            p = D.reference_frame(idt, self.dev, self.size).float() / 255
            q = H.kuwahara(p, 2)                          # drawn faces with a surface
            tex = self.back.sample(len(i), g, self.size)
            a = (torch.rand(len(i), generator=g) * .35).to(self.dev)[:, None, None, None]
            pics[i.to(self.dev)], lm[i] = (q * (1 - a + a * 1.6 * tex)).clamp(0, 1), W.of_cartoons(idt)
        i = (~own & ~toon).nonzero()[:, 0]
        if len(i):
            idt = H.make_identities(len(i), seed + 4)
            p = H.reference_frame(idt, self.back.sample(len(i), g, self.size), self.dev, self.size).float() / 255
            on = (torch.rand(len(i), generator=g) < .3).float().to(self.dev)[:, None, None, None]
            p = p * (1 - on) + H.kuwahara(p, 1) * on
            m = (torch.randn(len(i), 3, 3, generator=g) * .12 + torch.eye(3)).to(self.dev)       # other colours, as of old films and filters
            cast = (torch.rand(len(i), generator=g) < .35).to(self.dev)
            p = torch.where(cast[:, None, None, None], torch.einsum("nij,njhw->nihw", m, p), p).clamp(0, 1)
            tex = (torch.rand(len(i), generator=g) < .25).float().to(self.dev)[:, None, None, None] * .3
            pics[i.to(self.dev)], lm[i] = (p * (1 - tex + tex * 1.7 * self.back.sample(len(i), g, self.size))).clamp(0, 1), W.of_heads(idt, self.size)
        return pics, lm

    def warp(self, n, seed, g, op, wd, pose, mood, light):
        pics, lm = self.still(n, seed, g)
        motion = H.make_motion(n, op.shape[1], seed + 1, pose=pose)
        none = torch.zeros(n, dtype=torch.long)
        fr = W.clips(pics, lm, op, wd, motion, D._MOOD[mood], D._LIGHT[light], seed + 2)
        ref = (pics * 255).round().to(torch.uint8)
        nose = torch.stack([lm[:, 9], lm[:, 1] - lm[:, 2] * 1.1], 1)
        c, s = torch.cos(lm[:, 14]) * lm[:, 2], torch.sin(lm[:, 14]) * lm[:, 2]
        pts = torch.stack([lm[:, 3], lm[:, 4], lm[:, 5], lm[:, 6], nose[:, 0], nose[:, 1], lm[:, 0] - c, lm[:, 1] - s, lm[:, 0] + c, lm[:, 1] + s], 1)
        return dict(frames=fr, ref=ref, face=W.face_box(lm, self.size), mouth=W.mouth_box(lm, self.size), eyes=torch.cat(W.eye_boxes(lm, self.size, .06), 1), points=self.pixels(pts))

    def texture(self, n, seed, g, op, wd, pose, mood, light):
        T, s = op.shape[1], self.size
        x = self.back.sample(n, g, s, (.75, .1, .1, .05))
        t = torch.linspace(0, 1, T)[None]
        r = lambda a: (torch.rand(n, 1, generator=g) - .5) * a
        still = (torch.rand(n, 1, generator=g) > .25).float()                  # a quarter does not move
        speed = T / 129 * still
        zoom, ang = (.75 + r(.3)) * (1 + r(.4) * t * speed), r(.3) + r(.5) * t * speed
        dx, dy = r(.3) + r(.5) * t * speed, r(.3) + r(.5) * t * speed
        th = torch.stack([torch.stack([zoom * torch.cos(ang), -zoom * torch.sin(ang), dx], -1), torch.stack([zoom * torch.sin(ang), zoom * torch.cos(ang), dy], -1)], -2).to(self.dev)
        fr = torch.stack([F.grid_sample(x[i:i + 1].expand(T, -1, -1, -1), F.affine_grid(th[i], (T, 3, s, s), align_corners=False), padding_mode="reflection", align_corners=False) for i in range(n)])
        fr = (fr * D._LIGHT[light].to(self.dev)[:, None, :, None, None]).clamp(0, 1)
        fr = (fr * 255).round().to(torch.uint8)
        return dict(frames=fr, ref=fr[:, 0])


def focus(c, size, dev):
    """(n, 1, size, size): weights of the VAE's loss as data.focus(), 1 for clips without a face."""
    e = torch.maximum(D.box_mask(c["eyes"][:, :4], size), D.box_mask(c["eyes"][:, 4:], size))
    return (1 + 5 * D.box_mask(c["mouth"], size) + 2.5 * e).to(dev)
