# SPDX-License-Identifier: LGPL-2.1-or-later
"""Moves the face of any still picture at known landmarks: the mouth opens, the jaw drops, the lids close, the head moves. All torch, batched.

A row of landmarks (n, 17), in -1..1 of the picture: centre of the mouth x y, half its width; left eye x y, right eye x y, half an eye's width and height; centre of the head x y, half its
width and height; distance from mouth to chin; roll; depth of the lips' opening in widths; 1 if the still shows teeth.
"""
import torch
import torch.nn.functional as F
import heads as H

NAMES = ("mx", "my", "mw", "lx", "ly", "rx", "ry", "ew", "eh", "cx", "cy", "hw", "hh", "chin", "roll", "mh", "teeth")


def of_points(points, box, depth=None, teeth=None):
    """points (n, 5, 2): eyes, nose, corners of the mouth; box (n, 4): the head; both in -1..1. Returns landmarks."""
    n = len(points)
    l, r, c = points[:, 0], points[:, 1], (points[:, 3] + points[:, 4]) / 2
    roll = torch.atan2(r[:, 1] - l[:, 1], r[:, 0] - l[:, 0])
    gap = (r - l).norm(dim=1)
    mw = (points[:, 4] - points[:, 3]).norm(dim=1) / 2
    m, h = (box[:, :2] + box[:, 2:]) / 2, (box[:, 2:] - box[:, :2]) / 2
    z = torch.zeros(n, device=points.device)
    return torch.stack([c[:, 0], c[:, 1], mw, l[:, 0], l[:, 1], r[:, 0], r[:, 1], gap * .22, gap * .12, m[:, 0], m[:, 1], h[:, 0], h[:, 1],
                        (box[:, 3] - c[:, 1]).clamp_min(.05), roll, z + .75 if depth is None else depth, z if teeth is None else teeth], 1)


def of_heads(idt, size):
    box = H.face_box(idt, size) / size * 2 - 1
    lm = of_points(H.landmarks(idt), box, teeth=(idt["show0"] > .3).float())
    k = idt["scale"]
    lm[:, 7], lm[:, 8] = idt["ew"] * k, idt["eh"] * k * 1.1
    lm[:, 5 + 9] = idt["roll0"]
    lm[:, 15] = idt["mh"] / idt["mw"]
    return lm


def of_cartoons(idt):
    x, y = idt["cx"], idt["cy"]
    z = 0 * x
    return torch.stack([x, y + idt["my"], idt["mw"] * .97, x - idt["ex"], y + idt["ey"], x + idt["ex"], y + idt["ey"], idt["er"], idt["er"] * 1.1, x, y, idt["fw"], idt["fh"],
                        (idt["fh"] - idt["my"]).clamp_min(.1), z, idt["mh"] / idt["mw"] * 1.6, z], 1)


def mouth_box(lm, size, pad=.05):
    mx, my, mw, mh = lm[:, 0], lm[:, 1], lm[:, 2] * 1.15, lm[:, 15] * lm[:, 2]
    return H._pixels(torch.stack([mx - mw - pad, my - mw * .45 - pad, mx + mw + pad, my + mh * .95 + mw * .2 + pad], 1), size)


def face_box(lm, size, area=1.):
    c, h = lm[:, 9:11], lm[:, 11:13] * area
    return H._pixels(torch.cat([c - h, c + h], 1), size)


def eye_boxes(lm, size, pad=.045):
    w, h = lm[:, 7:8] * 1.1 + pad, lm[:, 8:9] * 1.1 + pad
    return [H._pixels(torch.cat([lm[:, k:k + 1] - w, lm[:, k + 1:k + 2] - h, lm[:, k:k + 1] + w, lm[:, k + 1:k + 2] + h], 1), size) for k in (3, 5)]


def warp(still, lm, o, wd, m, mood, look):
    """still (M, 3, s, s) in 0..1, lm (M, 17), o, wd and motion's values (M,), mood (M, 6) as data.MOODS, look (M, 4): darkness of the inside, teeth, tongue, softness."""
    M, _, s, _ = still.shape
    dev = still.device
    lin = (torch.arange(s, device=dev, dtype=torch.float32) + .5) / s * 2 - 1
    Y, X = torch.meshgrid(lin, lin, indexing="ij")
    X, Y = X[None].expand(M, s, s), Y[None].expand(M, s, s)
    q = {k: lm[:, i, None, None] for i, k in enumerate(NAMES)}
    one = lambda v: v[:, None, None]
    o, wd = one(o), one(wd)
    smile, frown, raised, lids, wide, _ = (one(v) for v in mood.unbind(1))
    st = H._step
    # the head moves, the background stays: the motion fades out around the head
    hx, hy = (X - q["cx"]) / q["hw"], (Y - q["cy"]) / q["hh"]
    r = torch.sqrt(hx * hx + hy * hy * torch.where(hy > 0, .6, 1.) ** 2 + 1e-9)
    w = st(1.95, 1.05, r)
    deep = torch.sqrt((1 - (r * .9) ** 2).clamp_min(0))
    k = q["hw"] / .5
    a = one(m["rot"]) * w
    px, py = X - q["cx"], Y - q["cy"] - q["hh"] * .8
    x = q["cx"] + px * torch.cos(a) + py * torch.sin(a) - (one(m["dx"]) * k + one(m["yaw"]) * q["hw"] * .55 * deep) * w
    y = q["cy"] + q["hh"] * .8 - px * torch.sin(a) + py * torch.cos(a) - (one(m["dy"]) * k + one(m["pitch"]) * q["hh"] * .4 * deep) * w
    # the mouth, in units of half its width
    c, sn = torch.cos(q["roll"]), torch.sin(q["roll"])
    ux, uy = x - q["mx"], y - q["my"]
    u, v = (ux * c + uy * sn) / q["mw"], (-ux * sn + uy * c) / q["mw"]
    near = torch.exp(-(u / 1.7) ** 4) * torch.exp(-(v / 1.6) ** 4)
    grow = 1 + ((wd - .5) * .34 - .08 * o) * near
    u = u / grow
    v = v + smile * .20 * (u * u).clamp(0, 2) * near * (1 - .3 * o) - smile * .05 * near
    g = q["mh"] * o
    prof = (1 - u * u).clamp_min(1e-4) ** .6
    top, bot = -.22 * g * prof, .78 * g * prof
    chin = q["chin"] / q["mw"]
    jaw = .62 * torch.exp(-(u / 2.1) ** 4)
    below = v - bot
    share = st(0., .55 * chin, below)
    down = .78 * g * (prof * (u.abs() < 1).float() * (1 - share) + jaw * share) * (1 - st(chin * .95, chin * 1.9, v))
    low = (v > (top + bot) * .5).float()
    vs = torch.where(low > 0, torch.where(below >= 0, v - down, torch.full_like(v, .01)), torch.where(v <= top, v + .22 * g * prof * torch.exp(-((v - top) / .55) ** 2), torch.full_like(v, -.01)))
    # back to the picture
    gx = q["mx"] + (u * c - vs * sn) * q["mw"]
    gy = q["my"] + (u * sn + vs * c) * q["mw"]
    lashes = torch.zeros_like(gx)
    blink = (one(m["blink"]) + lids * (1 - one(m["blink"]))).clamp(0, 1)
    for ex, ey in ((q["lx"], q["ly"]), (q["rx"], q["ry"])):
        dx, dy = x - ex, y - ey
        e, b = (dx * c + dy * sn) / q["ew"], (-dx * sn + dy * c) / q["eh"]
        arc = (1 - e * e).clamp_min(0)
        lid = -arc + 1.72 * arc * blink
        up = st(-3.2, -1., b) * st(-1.6, -.9, e) * st(1.6, .9, e)
        start = -2.2
        bs = start + (b - start) * (-arc - start) / (lid - start).clamp_min(.05)
        inside = (b < lid) & (b > start) & (e.abs() < 1)
        shift = torch.where(inside, bs - b, torch.zeros_like(b))
        # brows
        brow = torch.exp(-((b + 3.) / 1.4) ** 2) * torch.exp(-(e / 1.7) ** 4)
        side = torch.sign(ex - q["cx"])
        lift = (raised * 9 + frown * side * e * .5 * -1. - frown.abs() * .2) * brow
        shift = shift + lift
        gy = gy + shift * q["eh"] * c
        gx = gx - shift * q["eh"] * sn
        lashes = torch.maximum(lashes, torch.exp(-((b - lid) / .16) ** 2) * (e.abs() < 1).float() * arc.clamp(0, 1) ** .3 * blink)
    img = F.grid_sample(still, torch.stack([gx, gy], -1), mode="bilinear", padding_mode="border", align_corners=False)
    img = img * (1 - .6 * lashes[:, None])
    # the inside of the mouth
    aa = 2.6 / s / q["mw"]
    inner = H._cov(torch.maximum(top - v, v - bot), aa) * (u.abs() < 1).float() * (o > .01).float()
    box = torch.exp(-(((X - q["mx"]) / (q["hw"] * .8)) ** 2 + ((Y - q["my"] + q["hh"] * .3) / (q["hh"] * .5)) ** 2))[:, None]
    lum = (still * box).sum((2, 3), keepdim=True) / box.sum((2, 3), keepdim=True)
    bright = lum.amax(1, keepdim=True)
    grey = ((lum.amax(1) - lum.amin(1)) < .02).float()[:, None]
    c3 = lambda r_, g_, b_: (lambda t: t + (t.mean(1, keepdim=True) - t) * grey)(torch.tensor([r_, g_, b_], device=dev).view(1, 3, 1, 1))
    dark, teeth, tongue, soft = (v_[:, None, None, None] for v_ in look.unbind(1))
    inn = c3(.34, .07, .08) * dark * bright * 1.2
    inn = inn.expand(M, 3, s, s)
    mix = lambda base, col, a_: base + (col - base) * a_[:, None]
    side = (1 - u * u).clamp(0, 1)
    inn = mix(inn, c3(.72, .30, .30) * bright, H._cov(H._ell2(u, v - .76 * g, .62 + 0 * g, g * .40 + .01), aa * 2) * ((o - .2) * 4).clamp(0, 1) * tongue[:, 0])
    white = c3(.98, .95, .88) * (bright * 1.15).clamp(0, 1)
    row = H._cov(v - (-.22 * g * .9 + .26 - .12 * u * u), aa) * st(.0, .08, g)
    inn = mix(inn, white * (.55 + .45 * side)[:, None], row * teeth[:, 0] * (1 - q["teeth"]))
    inn = mix(inn, white * (.45 + .4 * side)[:, None], H._cov(.70 * g - v, aa) * ((o - .35) * 3).clamp(0, 1) * teeth[:, 0] * .7)
    inn = inn * (.6 + .4 * st(0, .12, v - top))[:, None]
    return mix(img, inn.clamp(0, 1), inner).clamp(0, 1)


def clips(still, lm, op, wd, motion, mood, light, seed, chunk=256):
    """still (N, 3, s, s) in 0..1, lm (N, 17), op and wd (N, T), motion of (N, T), mood (N, 6), light (N, 3) -> (N, T, 3, s, s) uint8 on still's device."""
    N, T = op.shape
    dev = still.device
    g = torch.Generator().manual_seed(seed)
    rnd = lambda a, b: torch.rand(N, generator=g) * (b - a) + a
    look = torch.stack([rnd(.3, 1.1), (torch.rand(N, generator=g) < .8).float() * rnd(.7, 1.), (torch.rand(N, generator=g) < .8).float(), rnd(0, 1)], 1).to(dev)
    lm, mood, light = lm.to(dev), mood.to(dev), light.to(dev)
    rows = torch.arange(N * T, device=dev) // T
    mo = {k: v.reshape(-1).to(dev) for k, v in motion.items()}
    o, w = op.reshape(-1).to(dev), wd.reshape(-1).to(dev)
    out = torch.empty(N * T, 3, *still.shape[2:], dtype=torch.uint8, device=dev)
    with torch.no_grad():
        for s in range(0, N * T, chunk):
            r, sl = rows[s:s + chunk], slice(s, s + chunk)
            y = warp(still[r], lm[r], o[sl], w[sl], {k: v[sl] for k, v in mo.items()}, mood[r], look[r])
            out[sl] = ((y * light[r][:, :, None, None]).clamp(0, 1) * 255).round().to(torch.uint8)
    return out.view(N, T, 3, *still.shape[2:])
