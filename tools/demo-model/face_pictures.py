# SPDX-License-Identifier: LGPL-2.1-or-later
"""Pictures with and without the demo's cartoon faces, and the positions of their heads, to train and measure the face detector."""
import io, math
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
import data as D
import heads as H
from backgrounds import Backgrounds

BANK = 192       # pixels of a rendered person
SEEN = 416       # input size of the network
COLOURS = torch.tensor(D.SKIN + D.HAIR + D.BACK + D.SHIRT + D.LIP)


def places(idt, op, wd, dx, dy, rot):
    """(n, 14) in 0..1 of the picture: the head's box x1 y1 x2 y2 as data.face_box(), moved with the head; eyes, nose, corners of the mouth."""
    cx, cy = idt["cx"] + dx, idt["cy"] + dy
    mw, my = idt["mw"] * (.72 + .5 * wd) * (1 - .1 * op), idt["my"] + idt["mh"] * op * .35
    out = [cx - idt["fw"], cy - idt["fh"], cx + idt["fw"], cy + idt["fh"]]
    for x, y in ((-idt["ex"], idt["ey"]), (idt["ex"], idt["ey"]), (0 * mw, idt["ny"]), (-mw, my), (mw, my)):
        out += [cx + x * torch.cos(rot) - y * torch.sin(rot), cy + x * torch.sin(rot) + y * torch.cos(rot)]
    return (torch.stack(out, 1) + 1) / 2


class People:
    """n rendered identities: whole pictures, cut-out people (colour times opacity, opacity), positions, and head boxes."""

    def __init__(self, n, seed, still=False, size=BANK, chunk=32):
        self.idt, g = D.make_identities(n, seed), torch.Generator().manual_seed(seed + 1)
        r = lambda: torch.rand(n, generator=g)
        z, m = torch.zeros(n), 0. if still else 1.
        op, wd, bl = r() ** 2 * m, r() * m + .5 * (1 - m), (r() < .15).float() * m
        dx, dy, rot = ((r() - .5) * .1 * m, (r() - .5) * .07 * m, (r() - .5) * .16 * m)
        self.places = places(self.idt, op, wd, dx, dy, rot)
        self.whole, self.cut = [], []
        for s in range(0, n, chunk):
            q = {k: v[s:s + chunk] for k, v in self.idt.items()}
            a = [t[s:s + chunk] for t in (op, wd, bl, dx, dy, rot)]
            self.whole.append((D.render(q, *a, size=size) * 255).round().to(torch.uint8))
            k = len(a[0])
            on = lambda v: D.render({**q, "back": torch.full((k, 3), v), "back2": torch.full((k, 3), v), "disc": torch.zeros(k)}, *a, size=size)
            black, white = on(0.), on(1.)
            alpha = (1 - (white - black).mean(1, keepdim=True)).clamp(0, 1)
            self.cut.append((torch.cat((black, alpha), 1) * 255).round().to(torch.uint8))
        self.whole, self.cut = torch.cat(self.whole), torch.cat(self.cut)

    def __len__(self):
        return len(self.whole)

    def add_heads(self, n, seed, backgrounds="", dev="cpu", still=False, style=None):
        """Adds n heads of heads.py, in all styles or one, on backgrounds of backgrounds.py."""
        size, g = self.whole.shape[2], torch.Generator().manual_seed(seed + 1)
        idt, back = H.make_identities(n, seed, style), Backgrounds(backgrounds, "cpu", limit=400)
        r = lambda a: (torch.rand(n, generator=g) - .5) * a * (0. if still else 1.)
        op, wd, bl = (0. if still else 1.) * torch.rand(n, generator=g) ** 2, .5 + r(1.), (r(2.) > .7).float()
        m = dict(blink=bl, dx=r(.1), dy=r(.07), rot=r(.16), yaw=r(.6), pitch=r(.3), gx=r(.6), gy=r(.2))
        whole, cut = [], []
        per = 2 if dev == "cpu" else 128
        with torch.no_grad():
            for s in range(0, n, per):
                on = lambda v: v[s:s + per].to(dev)
                q, mo = {k: on(v) for k, v in idt.items()}, {k: on(v) for k, v in m.items()}
                k = len(op[s:s + per])
                behind = back.sample(k, g, size).to(dev)
                img, alpha = H.render(q, on(op), on(wd), mo, behind, size, per)
                dark, _ = H.render(q, on(op), on(wd), mo, torch.zeros_like(behind), size, per)
                whole.append((img * 255).round().to(torch.uint8).cpu())
                cut.append((torch.cat((dark * alpha[:, None].clamp_min(.02), alpha[:, None]), 1) * 255).round().to(torch.uint8).cpu())
        still_box = H.face_box(idt, size) / size
        moved = H.landmarks(idt, m)
        shift = (moved[:, 2] - H.landmarks(idt)[:, 2]) / 2 * .6
        pts = (moved.flatten(1) + 1) / 2
        self.whole, self.cut = torch.cat([self.whole] + whole), torch.cat([self.cut] + cut)
        self.places = torch.cat((self.places, torch.cat((still_box + shift.repeat(1, 2), pts), 1)))
        self.idt = {k: torch.cat((self.idt[k], idt[k] ** (1 / 2.2))) for k in ("hair", "skin")}
        return self


class Painter:
    """Makes pictures, each from its own seed, so that picture number i does not depend on the others."""

    def __init__(self, people, seed):
        self.people, self.seed = people, seed

    def start(self, i):
        self.g = torch.Generator().manual_seed(self.seed * 1000003 + i)

    def u(self, a=0., b=1.):
        return a + (b - a) * float(torch.rand((), generator=self.g))

    def n(self, k):
        return int(torch.randint(0, k, (), generator=self.g))

    def colour(self):
        c = COLOURS[self.n(len(COLOURS))] if self.u() < .7 else torch.rand(3, generator=self.g)
        return (c + (torch.rand(3, generator=self.g) - .5) * .1).clamp(0, 1).view(3, 1, 1)

    # --------------------------------------------------------------------- pictures without a face

    def ground(self, s):
        kind = self.u()
        img = self.colour().expand(3, s, s).clone()
        if kind < .3:
            t = torch.linspace(0, 1, s)
            a = self.u(0, 2 * math.pi)
            img = img + (self.colour() - img) * ((t[None] - .5) * math.cos(a) + (t[:, None] - .5) * math.sin(a) + .5).clamp(0, 1)
        elif kind < .6:
            k = 2 + self.n(14)
            noise = torch.rand(1, 3 if self.u() < .5 else 1, k, k, generator=self.g)
            img = img + (F.interpolate(noise, (s, s), mode="bicubic", align_corners=False)[0] - .5) * self.u(.2, 1.6)
        elif kind < .7:
            img = img + (torch.rand(3, s, s, generator=self.g) - .5) * self.u(.2, 2)
        elif kind < .78:
            t, p, other = torch.arange(s), 2 + self.n(s // 4), self.colour()
            on = ((t // p) % 2)[None] ^ (((t // p) % 2)[:, None] * self.n(2))
            img = torch.where(on.bool()[None].expand(3, s, s), other, img)
        return img.clamp(0, 1)

    def shapes(self, img, count):
        s = img.shape[1]
        t = (torch.arange(s) + .5) / s
        for _ in range(count):
            cx, cy = self.u(), self.u()
            a, b = math.exp(self.u(-3.5, -.8)), math.exp(self.u(-3.5, -.8))
            kind = self.u()
            if kind < .35:
                b = a * self.u(.8, 1.3)
            ang = self.u(-.6, .6)
            x, y = t[None] - cx, t[:, None] - cy
            x, y = x * math.cos(ang) + y * math.sin(ang), y * math.cos(ang) - x * math.sin(ang)
            d = torch.sqrt((x / a) ** 2 + (y / b) ** 2) if kind < .65 else torch.maximum(x.abs() / a, y.abs() / b)
            img = img + (self.colour() - img) * ((1 - d) * min(a, b) * s + .5).clamp(0, 1)
            if kind < .2:   # rings: eyes alone are not a face
                for f in (.65, .35):
                    img = img + (self.colour() - img) * ((f - d) * min(a, b) * s + .5).clamp(0, 1)
        return img

    # ------------------------------------------------------------------------- people

    def person(self, faceless=False):
        """A cut-out (4, h, w) in 0..1 and its positions; without a face: from behind, or from the neck down."""
        i = self.n(len(self.people))
        cut, place, idt = self.people.cut[i].float() / 255, self.people.places[i].clone(), self.people.idt
        if self.u() < .5:
            cut, place = cut.flip(2), flip(place)
        if faceless:
            s = cut.shape[1]
            x1, y1, x2, y2 = (place[:4] * s).tolist()
            if self.u() < .5:
                t = torch.arange(s) + .5
                d = ((t[None] - (x1 + x2) / 2) / (x2 - x1) * 1.8) ** 2 + ((t[:, None] - (y1 + y2) / 2) / (y2 - y1) * 1.8) ** 2
                colour = torch.cat((idt["hair"][i] if self.u() < .7 else idt["skin"][i], torch.ones(1))).view(4, 1, 1)
                cut = cut + (colour - cut) * ((1 - d) * 20 + .5).clamp(0, 1)
            else:
                cut = cut.clone()
                cut[:, :min(int(y2) + 2, s)] = 0
        return cut, place

    def paste(self, img, cut, place, scale, aspect, taken, whole=None):
        """Places a person, @scale of the picture wide, at random, with the head inside the picture and not on another head. None: no room."""
        s = img.shape[1]
        w = max(8, round(s * scale))
        h = max(8, round(w * aspect))
        size = torch.tensor([w, h] * 7)
        for _ in range(8):
            head = place[:4] * size[:4]
            out = self.u(0, .12) if self.u() < .2 else 0.
            lo_x, lo_y = -float(head[0]) - out * w, -float(head[1]) - out * h
            hi_x, hi_y = s - float(head[2]) + out * w, s - float(head[3]) + out * h
            if hi_x < lo_x or hi_y < lo_y:
                return None
            x, y = round(self.u(lo_x, hi_x)), round(self.u(lo_y, hi_y))
            at = place * size + torch.tensor([x, y] * 7)
            room = torch.tensor([-.25, -.35, .25, .35]) * torch.tensor([w, h, w, h])
            if all(apart(at[:4] + room, t) for t in taken):
                break
        else:
            return None
        fitted = F.interpolate(cut[None], (h, w), mode="bilinear", antialias=True, align_corners=False)[0]
        y1, y2, x1, x2 = max(y, 0), min(y + h, s), max(x, 0), min(x + w, s)
        piece = fitted[:, y1 - y:y2 - y, x1 - x:x2 - x]
        img[:, y1:y2, x1:x2] = img[:, y1:y2, x1:x2] * (1 - piece[3:]) + piece[:3]
        return at

    # ------------------------------------------------------------------------- pictures

    def as_rendered(self, s):
        """A person on its own background: the whole picture, or a part with the head."""
        i = self.n(len(self.people))
        img, place = self.people.whole[i].float() / 255, self.people.places[i].clone()
        b = img.shape[1]
        if self.u() < .6:
            x1, y1, x2, y2 = (place[:4] * b).tolist()
            side = self.u(min(max(x2 - x1, y2 - y1) * 1.02, b), b)
            x = self.u(max(0, x2 - side), min(x1, b - side)) if x2 - side < x1 else 0
            y = self.u(max(0, y2 - side), min(y1, b - side)) if y2 - side < y1 else 0
            x, y, side = int(max(x, 0)), int(max(y, 0)), int(side)
            img = img[:, y:y + side, x:x + side]
            h, w = img.shape[1:]
            place = (place * b - torch.tensor([x, y] * 7)) / torch.tensor([w, h] * 7)
        if self.u() < .5:
            img, place = img.flip(2), flip(place)
        return F.interpolate(img[None], (s, s), mode="bilinear", antialias=True, align_corners=False)[0], [place * s]

    def composed(self, s, faces):
        img = self.shapes(self.ground(s), self.n(7) if self.u() < .6 else 0)
        taken = []
        if self.u() < (.25 if faces else .5):
            cut, place = self.person(faceless=True)
            self.paste(img, cut, place, math.exp(self.u(-1.6, .2)), self.u(.9, 1.1), taken)
        for _ in range(faces):
            cut, place = self.person()
            if self.u() < .2:     # a picture inside the picture
                cut = torch.cat((cut[:3] + (1 - cut[3:]) * self.colour(), torch.ones_like(cut[3:])))
            at = self.paste(img, cut, place, math.exp(self.u(-1.75, .35 if faces == 1 else -.5)), self.u(.88, 1.14), taken)
            if at is not None:
                taken.append(at)
        return img, taken

    def light(self, img):
        """Applies colour casts, contrast, desaturation, noise and JPEG compression."""
        if self.u() < .7:
            img = img * (1 + (torch.rand(3, 1, 1, generator=self.g) - .5) * self.u(0, .5)) * self.u(.6, 1.25) + self.u(-.08, .12)
            img = img.clamp(0, 1) ** math.exp(self.u(-.4, .4))
        if self.u() < .25:
            grey = img.mean(0, keepdim=True)
            img = grey + (img - grey) * self.u(0, 1)
        if self.u() < .25:
            img = img + torch.randn(img.shape, generator=self.g) * self.u(.01, .07)
        img = (img.clamp(0, 1) * 255).round().to(torch.uint8)
        if self.u() < .15:
            packed = io.BytesIO()
            Image.fromarray(img.permute(1, 2, 0).numpy()).save(packed, "JPEG", quality=30 + self.n(60))
            img = torch.from_numpy(np.array(Image.open(packed))).permute(2, 0, 1)
        return img

    def picture(self, i, kind=None):
        """Number i: (3, s, s) uint8, s between 96 and 416, mostly 128 as the demo's portraits are; places (faces, 14) in its pixels.
        kind: "rendered", "one", "two", "none" or any."""
        self.start(i)
        s = 128 if self.u() < .65 else 96 + 16 * self.n(21)
        v = self.u()
        kind = kind or ("rendered" if v < .3 else "one" if v < .7 else "two" if v < .82 else "none")
        if kind == "rendered":
            img, at = self.as_rendered(s)
        else:
            img, at = self.composed(s, {"one": 1, "two": 2, "none": 0}[kind])
        return self.light(img), torch.stack(at) if at else torch.zeros(0, 14)

    def batch(self, numbers):
        """Input of the network (n, 3, 416, 416) in 0..1, and rows of index, places in its pixels."""
        seen, rows = [], []
        for k, i in enumerate(numbers):
            img, at = self.picture(i)
            seen.append(F.interpolate(img[None].float(), (SEEN, SEEN), mode="bilinear", align_corners=False)[0])
            rows.append(torch.cat((torch.full((len(at), 1), float(k)), at * (SEEN / img.shape[1])), 1))
        return torch.stack(seen).round() / 255, torch.cat(rows)


def flip(place):
    """Mirrors pictures and points; left and right eye are exchanged."""
    x = place.clone()
    x[0::2] = 1 - place[0::2]
    x[[0, 2]] = 1 - place[[2, 0]]
    return x[[0, 1, 2, 3, 6, 7, 4, 5, 8, 9, 12, 13, 10, 11]]


def apart(a, b):
    return bool(a[2] < b[0] or b[2] < a[0] or a[3] < b[1] or b[3] < a[1])
