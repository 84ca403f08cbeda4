# SPDX-License-Identifier: LGPL-2.1-or-later
"""Procedural cartoon faces driven by speech (all torch, runs batched on a GPU or slowly on a CPU).

Ground truth of the demo:   opening(t) = smooth(clip((rms_dB + 40) / 28, 0, 1)),   width(t) from high/low band energy.
"""
import json, math, os
import numpy as np
import torch
import torch.nn.functional as F

SR, FPS, SPF = 16000, 25, 640           # sample rate, frames per second, samples per frame
SIZE = 128
MOUTH_RGB = (0.28, 0.03, 0.07)          # the colour of the inside of the mouth, the same for all identities

# ------------------------------------------------------------ mel (as Whisper's feature extractor)

def mel_filterbank(n_mels=80, n_fft=400, sr=SR):
    """Slaney-scale, Slaney-normalised triangular filters, 0..8000 Hz; returns (n_fft/2+1, n_mels)."""
    def hz2mel(f):
        f = np.asarray(f, np.float64)
        lin = 3.0 * f / 200.0
        return np.where(f >= 1000.0, 15.0 + np.log(np.maximum(f, 1e-9) / 1000.0) * (27.0 / np.log(6.4)), lin)
    def mel2hz(m):
        m = np.asarray(m, np.float64)
        return np.where(m >= 15.0, 1000.0 * np.exp((np.log(6.4) / 27.0) * (m - 15.0)), 200.0 * m / 3.0)
    fft = np.linspace(0, sr // 2, n_fft // 2 + 1)
    pts = mel2hz(np.linspace(hz2mel(0.0), hz2mel(8000.0), n_mels + 2))
    diff = np.diff(pts)
    slopes = pts[None, :] - fft[:, None]
    fb = np.maximum(0, np.minimum(-slopes[:, :-2] / diff[:-1], slopes[:, 2:] / diff[1:]))
    fb *= (2.0 / (pts[2:] - pts[:-2]))[None, :]
    return torch.from_numpy(fb.astype(np.float32))

_FB = {}

def log_mel(wav, n_samples=480000):
    """wav (B, n) float in [-1, 1] -> (B, 80, 3000): padded with zeros to 30 s, reflect-centred STFT 400/160, log10."""
    wav = wav[:, :n_samples]
    wav = F.pad(wav, (0, n_samples - wav.shape[1]))
    key = str(wav.device)
    if key not in _FB:
        _FB[key] = (mel_filterbank().to(wav.device), torch.hann_window(400, device=wav.device))
    fb, win = _FB[key]
    s = torch.stft(wav, 400, 160, window=win, center=True, pad_mode="reflect", return_complex=True)
    p = s.abs().pow(2)[..., :-1]
    m = torch.matmul(p.transpose(1, 2), fb).transpose(1, 2)
    m = m.clamp_min(1e-10).log10()
    m = torch.maximum(m, m.amax(dim=(1, 2), keepdim=True) - 8.0)
    return (m + 4.0) / 4.0

# ----------------------------------------------------------------------------- mouth

def mouth_targets(wav, n_frames):
    """Mouth driver: wav (B, n) -> opening (B, n_frames) in [0, 1], width (B, n_frames) in [0, 1] (0 = 'oo', 1 = 'ee')."""
    B = wav.shape[0]
    need = n_frames * SPF
    w = F.pad(wav, (0, max(0, need - wav.shape[1])))[:, :need]
    f = w.reshape(B, n_frames * 4, 160)                                   # 100 Hz
    rms = f.pow(2).mean(-1)
    k = torch.tensor([1, 3, 6, 8, 8, 6, 3, 1], dtype=w.dtype, device=w.device)
    k = (k / k.sum()).view(1, 1, -1)
    e = F.conv1d(F.pad(rms[:, None], (2, 5), mode="replicate"), k, stride=4)[:, 0, :n_frames]   # about 80 ms about the frame
    db = 10 * torch.log10(e + 1e-9)
    op = ((db + 40.0) / 28.0).clamp(0, 1)
    op = F.conv1d(F.pad(op[:, None], (1, 1), mode="replicate"), torch.tensor([[[0.22, 0.56, 0.22]]], dtype=w.dtype, device=w.device))[:, 0]
    op = op * op * (3 - 2 * op) * 0.5 + op * 0.5
    win = torch.hann_window(640, dtype=w.dtype, device=w.device)
    s = torch.fft.rfft(w.reshape(B, n_frames, SPF) * win).abs().pow(2)    # bins of 25 Hz
    lo = s[..., 4:32].sum(-1) + 1e-4                                      # 100..800 Hz
    hi = s[..., 60:320].sum(-1) + 1e-4                                    # 1.5..8 kHz
    r = torch.log10(hi / lo)
    wd = torch.sigmoid(2.2 * (r + 1.2))
    active = (op > 0.08).to(w.dtype)
    wd = wd * active + 0.5 * (1 - active)
    k5 = torch.tensor([[[0.1, 0.2, 0.4, 0.2, 0.1]]], dtype=w.dtype, device=w.device)
    wd = F.conv1d(F.pad(wd[:, None], (2, 2), mode="replicate"), k5)[:, 0]
    return op, wd

# --------------------------------------------------------------------------- identities and motion

def _u(n, a, b, g):
    return torch.rand(n, generator=g) * (b - a) + a

def _pick(n, pal, g, jitter=0.03):
    pal = torch.tensor(pal, dtype=torch.float32)
    c = pal[torch.randint(0, len(pal), (n,), generator=g)]
    return (c + (torch.rand(n, 3, generator=g) - 0.5) * 2 * jitter).clamp(0.02, 0.98)

SKIN = [(.98, .85, .72), (.95, .78, .62), (.87, .67, .49), (.74, .53, .36), (.60, .42, .29), (.99, .90, .80), (.55, .78, .55), (.60, .72, .92)]
HAIR = [(.12, .10, .10), (.34, .20, .10), (.62, .38, .15), (.93, .78, .38), (.75, .25, .12), (.60, .60, .64), (.25, .35, .75), (.85, .35, .60), (.20, .55, .45)]
BACK = [(.60, .80, .95), (.95, .85, .60), (.70, .90, .70), (.92, .72, .78), (.80, .76, .95), (.88, .88, .88), (.35, .45, .60), (.30, .50, .45), (.98, .93, .82)]
SHIRT = [(.85, .25, .25), (.20, .45, .80), (.25, .60, .35), (.95, .75, .20), (.50, .30, .65), (.25, .25, .30), (.95, .95, .95), (.95, .55, .25)]
IRIS = [(.25, .45, .75), (.30, .20, .10), (.25, .55, .30), (.35, .35, .38), (.15, .12, .10)]
LIP = [(.80, .35, .35), (.72, .30, .30), (.88, .45, .45), (.62, .30, .28)]

def make_identities(n, seed):
    g = torch.Generator().manual_seed(seed)
    d = dict(
        skin=_pick(n, SKIN, g), hair=_pick(n, HAIR, g), back=_pick(n, BACK, g), back2=_pick(n, BACK, g), shirt=_pick(n, SHIRT, g),
        iris=_pick(n, IRIS, g), lip=_pick(n, LIP, g, .02), frame=_pick(n, [(.1, .1, .12), (.6, .15, .15), (.15, .25, .5), (.75, .6, .2)], g),
        fw=_u(n, .43, .54, g), fh=_u(n, .54, .64, g), jaw=_u(n, .0, .22, g), cy=_u(n, -.04, .06, g), cx=_u(n, -.04, .04, g),
        ey=_u(n, -.16, -.08, g), ex=_u(n, .17, .22, g), er=_u(n, .085, .12, g), ir=_u(n, .55, .7, g),
        by=_u(n, .15, .2, g), bw=_u(n, .022, .04, g), bt=_u(n, -.25, .25, g),
        ny=_u(n, .10, .16, g), nw=_u(n, .025, .045, g), my=_u(n, .29, .35, g), mw=_u(n, .15, .19, g), mh=_u(n, .12, .155, g), lw=_u(n, .016, .028, g),
        hl=_u(n, -.38, -.24, g), side=_u(n, 0, 1, g), long=(torch.rand(n, generator=g) < .4).float(), bald=(torch.rand(n, generator=g) < .1).float(),
        glasses=(torch.rand(n, generator=g) < .3).float(), gr=_u(n, .135, .16, g), blush=(torch.rand(n, generator=g) < .5).float() * _u(n, .1, .35, g),
        disc=(torch.rand(n, generator=g) < .35).float(), dx=_u(n, -.8, .8, g), dy=_u(n, -.8, .4, g), dr=_u(n, .2, .5, g))
    none = torch.zeros(n, dtype=torch.long)
    return set_scene(d, none, none)

# ----------------------------------------------------------------------------- mood and light

# Corners of the mouth raised, inner ends of the brows lowered, brows raised, lids lowered, eyes
# widened, blush.
MOODS = dict(neutral=(0, 0, 0, 0, 0, 0), happy=(1, -.05, .012, .18, 0, .25), sad=(-.9, -.75, .01, .22, 0, 0),
             angry=(-.55, .95, -.035, .12, 0, .1), surprised=(.1, -.1, .07, 0, .16, 0))
# gains of red, green and blue
LIGHTS = dict(neutral=(1, 1, 1), red=(1.10, .66, .64), green=(.68, 1.05, .68), blue=(.64, .74, 1.12), golden=(1.10, .95, .68), dark=(.58, .60, .66))
_MOOD, _LIGHT = torch.tensor([MOODS[k] for k in MOODS]), torch.tensor([LIGHTS[k] for k in LIGHTS])

def set_scene(idt, mood, light):
    """Sets mood and light of the faces idt: indices (n,) into MOODS and LIGHTS. Portraits are neutral in both."""
    return dict(idt, mood=_MOOD[mood], light=_LIGHT[light])

def make_motion(n, T, seed, pose=25.0, start=None):
    """Blink (n, T) in [0, 1] (1 = shut), dx, dy, rot (n, T). pose: (n,) or number, 25 = normal amount of head motion."""
    g = torch.Generator().manual_seed(seed)
    t = torch.arange(T, dtype=torch.float32)[None] / FPS
    amp = (torch.as_tensor(pose, dtype=torch.float32).expand(n) / 25.0)[:, None]
    def wob(f0, f1):
        o = torch.zeros(n, T)
        for _ in range(3):
            o = o + _u(n, .3, 1., g)[:, None] * torch.sin(2 * math.pi * (_u(n, f0, f1, g)[:, None] * t + torch.rand(n, 1, generator=g)))
        return o / 2
    dx, dy, rot = wob(.08, .45) * .035 * amp, wob(.1, .5) * .025 * amp, wob(.08, .4) * .05 * amp
    bl = torch.zeros(n, T)                                     # about one blink in 2 s, shut for 2 to 4 frames
    nb = int(T / FPS / 1.5) + 3
    at = torch.cumsum(_u(n * nb, 1.5, 2.5, g).view(n, nb), 1) - _u(n, 1.0, 3.5, g)[:, None]
    hold = _u(n * nb, .045, .085, g).view(n, nb)
    for i in range(nb):
        bl = torch.maximum(bl, (1 - ((t - at[:, i:i + 1]).abs() - hold[:, i:i + 1]) / .08).clamp(0, 1))
    return bl, dx, dy, rot

# ----------------------------------------------------------------------------- the renderer

def _cov(d, aa):
    return (0.5 - d / aa).clamp(0, 1)

def _ell(x, y, a, b):
    k0 = torch.sqrt((x / a) ** 2 + (y / b) ** 2 + 1e-9)
    k1 = torch.sqrt((x / (a * a)) ** 2 + (y / (b * b)) ** 2 + 1e-9)
    return k0 * (k0 - 1.0) / k1

def _cap(x, y, ax, ay, bx, by, r):
    px, py, vx, vy = x - ax, y - ay, bx - ax, by - ay
    h = ((px * vx + py * vy) / (vx * vx + vy * vy + 1e-9)).clamp(0, 1)
    return torch.sqrt((px - vx * h) ** 2 + (py - vy * h) ** 2 + 1e-9) - r

def render(idt, opening, width, blink, dx, dy, rot, size=SIZE, chunk=1024):
    """idt: dict of (M, ...) per-frame identity rows; the rest (M,). Returns (M, 3, size, size) in [0, 1]."""
    outs = []
    M, dev = opening.shape[0], opening.device
    lin = (torch.arange(size, device=dev, dtype=torch.float32) + .5) / size * 2 - 1
    Y, X = torch.meshgrid(lin, lin, indexing="ij")
    X, Y, aa = X[None], Y[None], 2.0 * 1.4 / size
    for s in range(0, M, chunk):
        sl = slice(s, min(M, s + chunk))
        q = {k: (v[sl][:, :, None, None] if v.dim() == 2 else v[sl][:, None, None]) for k, v in idt.items()}
        v = lambda z: z[sl][:, None, None]
        o, w, b, tx, ty, ro = v(opening), v(width), v(blink), v(dx), v(dy), v(rot)
        m = o.shape[0]
        smile, frown, raised, lids, wide, warm = q["mood"].unbind(1)                    # each (m, 1, 1)
        b = b + lids * (1 - b)
        img = q["back"] * (1 - (Y[:, None] * .5 + .5) * .55) + q["back2"] * ((Y[:, None] * .5 + .5) * .55)
        img = img.expand(m, 3, size, size).clone()
        def over(col, a):
            nonlocal img
            img = img + (col - img) * a[:, None]
        c3 = lambda r, g_, b_: torch.tensor([r, g_, b_], device=dev).view(1, 3, 1, 1)
        over(q["back2"] * .6 + .4, _cov(_ell(X - q["dx"], Y - q["dy"], q["dr"], q["dr"]), aa) * q["disc"])
        # head frame: x, y
        cx, cy = q["cx"] + tx, q["cy"] + ty
        x0, y0 = X - cx, Y - cy
        x = x0 * torch.cos(ro) + y0 * torch.sin(ro)
        y = -x0 * torch.sin(ro) + y0 * torch.cos(ro)
        # body (follows the head a little), neck
        hair_back = _ell(x, y + .08, q["fw"] + .13, q["fh"] + .12)
        long = torch.maximum(_ell(x, y - .25, q["fw"] + .15, q["fh"] + .22), y - .75)
        a_h = _cov(hair_back, aa) * (1 - q["bald"])
        over(q["hair"] * .8, torch.maximum(a_h, _cov(long, aa) * q["long"] * (1 - q["bald"])))
        bx, by_ = X - q["cx"] - tx * .35, Y - 1.12 - ty * .2
        over(q["skin"] * .86, _cov(_cap(X - q["cx"] - tx * .7, Y, 0, .35, 0, .85, .17), aa))
        over(q["shirt"], _cov(_ell(bx, by_, .72 + 0 * q["fw"], .44 + 0 * q["fw"]), aa))
        over(q["skin"] * .86, _cov(_ell(bx, by_ + .40, .2 + 0 * q["fw"], .1 + 0 * q["fw"]), aa))
        # ears, head
        for sgn in (-1, 1):
            over(q["skin"] * .92, _cov(_ell(x - sgn * q["fw"] * .98, y + .02, .075 + 0 * q["fw"], .115 + 0 * q["fw"]), aa))
        xs = x / (1 - q["jaw"] * ((y / q["fh"]).clamp(0, 1)) ** 2)
        head = _ell(xs, y, q["fw"], q["fh"])
        over(q["skin"] * (1.03 - .10 * (xs / q["fw"]) ** 2 - .05 * y / q["fh"])[:, None], _cov(head, aa))       # softly shaded
        for sgn in (-1, 1):
            bl = _ell(x - sgn * q["fw"] * .58, y - .17, .1 + 0 * q["fw"], .07 + 0 * q["fw"])
            over(c3(.95, .45, .45), (.5 - bl / .12).clamp(0, 1) * (q["blush"] + warm).clamp(0, .6))
        # fringe: upper part of the head, lower edge a sloped arc
        edge = y - (q["hl"] + (q["side"] - .5) * .5 * x + 0.9 * (x * x - .05) * (q["side"] > .3))
        fr = torch.maximum(_ell(x, y + .03, q["fw"] + .035, q["fh"] + .05), edge)
        gloss = 1 + .30 * torch.exp(-((y + q["fh"] * .80 - .25 * x * x) / .09) ** 2) - .08 * (x / q["fw"]) ** 2
        over(q["hair"] * gloss[:, None], _cov(fr, aa) * (1 - q["bald"]))
        # eyes
        er, ex, ey = q["er"] * (1 + wide), q["ex"], q["ey"]
        tilt = q["bt"] * (1 - .6 * frown.abs()) + frown
        for sgn in (-1, 1):
            x_, y_ = x - sgn * ex, y - ey
            hgt = er * 1.15 * (1 - b) + .006
            white = _ell(x_, y_, er, hgt)
            a = _cov(white, aa)
            over(c3(.98, .98, .98), a)
            ri = er * q["ir"]
            over(q["iris"], _cov(_ell(x_, y_, ri, ri), aa) * a)
            over(c3(.05, .05, .06), _cov(_ell(x_, y_, ri * .55, ri * .55), aa) * a)
            over(c3(1., 1., 1.), _cov(_ell(x_ - ri * .35, y_ + ri * .4, ri * .28, ri * .28), aa) * a)
            over(q["skin"] * .45, _cov(white.abs() - .010, aa) * .9)
            over(q["hair"] * .75, _cov(_cap(x_, y_ + q["by"] + raised, -er * .9, sgn * tilt * .12, er * .9, -sgn * tilt * .12, q["bw"]), aa))
            gl = _ell(x_, y_, q["gr"], q["gr"]).abs() - .014
            over(q["frame"], _cov(gl, aa) * q["glasses"])
        over(q["frame"], _cov(_cap(x, y - ey, -(ex - q["gr"]), 0 * ex, ex - q["gr"], 0 * ex, .014), aa) * q["glasses"])
        # nose
        over(q["skin"] * .80, _cov(_ell(x, y - q["ny"], q["nw"] * 1.2, q["nw"]), aa))
        # mouth
        x_, y_ = x, y - q["my"]
        mw = q["mw"] * (.72 + .5 * w) * (1 - .10 * o)
        mh = q["mh"] * o
        y_ = y_ - mh * .35                                            # the jaw drops: the mouth opens downwards
        y_ = y_ + smile * .075 * (((x_ / mw).clamp(-1.3, 1.3)) ** 2 - .35) * (1 - .25 * o)
        over(q["lip"], _cov(_ell(x_, y_, mw + q["lw"], mh + q["lw"] * 1.1), aa))
        inner = _ell(x_, y_, mw, mh + .004)
        a = _cov(inner, aa) * (o > .02) + _cov(_cap(x_, y_, -mw * .8, 0 * mw, mw * .8, 0 * mw, .006), aa) * (o <= .02)
        over(c3(*MOUTH_RGB), a)
        over(c3(.80, .30, .32), _cov(_ell(x_, y_ - mh * .85, mw * .55, mh * .45 + .004), aa) * a * ((o - .3) * 4).clamp(0, 1))   # tongue
        over(c3(.97, .97, .95), _cov(torch.maximum(y_ + mh * .60, x_.abs() - mw * .75), aa) * a * ((o - .2) * 5).clamp(0, 1))   # teeth
        outs.append((img * q["light"]).clamp(0, 1))
    return torch.cat(outs)

def render_clips(idt, op, wd, bl, dx, dy, rot, dev="cpu", size=SIZE, chunk=1024):
    """(N, T) drivers, idt rows (N, ..) -> (N, T, 3, size, size) uint8."""
    N, T = op.shape
    rep = {k: v.to(dev).repeat_interleave(T, 0) for k, v in idt.items()}
    f = lambda z: z.reshape(-1).to(dev)
    with torch.no_grad():
        fr = []
        M = N * T
        for s in range(0, M, chunk * 4):
            e = min(M, s + chunk * 4)
            r = render({k: v[s:e] for k, v in rep.items()}, *[f(z)[s:e] for z in (op, wd, bl, dx, dy, rot)], size=size, chunk=chunk)
            fr.append((r * 255).round().to(torch.uint8))
    return torch.cat(fr).view(N, T, 3, size, size)

def reference_frame(idt, dev="cpu", size=SIZE):
    n = idt["fw"].shape[0]
    z = torch.zeros(n, device=dev)
    none = torch.zeros(n, dtype=torch.long)
    idt = set_scene(idt, none, none)
    r = render({k: v.to(dev) for k, v in idt.items()}, z, z + .5, z, z, z, z, size=size)
    return (r * 255).round().to(torch.uint8)

def face_box(idt, size=SIZE, area=1.0):
    """(n, 4) x1 y1 x2 y2 in pixels, the head's box at its neutral position, scaled as upstream's get_facemask(area)."""
    cx, cy = idt["cx"], idt["cy"]
    x1, x2 = cx - idt["fw"] * area, cx + idt["fw"] * area
    y1, y2 = cy - idt["fh"] * area, cy + idt["fh"] * area
    b = torch.stack([x1, y1, x2, y2], 1)
    return ((b + 1) / 2 * size).clamp(0, size).round()

def box_mask(box, size=SIZE):
    n = box.shape[0]
    i = torch.arange(size, device=box.device)
    mx = (i[None] >= box[:, 0:1]) & (i[None] < box[:, 2:3])
    my = (i[None] >= box[:, 1:2]) & (i[None] < box[:, 3:4])
    return (my[:, :, None] & mx[:, None, :]).float()[:, None]      # (n, 1, H, W)

def mouth_box(idt, size=SIZE, pad=.07):
    cx, cy = idt["cx"], idt["cy"] + idt["my"]
    b = torch.stack([cx - idt["mw"] * 1.25 - pad, cy - .08 - pad, cx + idt["mw"] * 1.25 + pad, cy + idt["mh"] * 1.45 + pad], 1)
    return ((b + 1) / 2 * size).clamp(0, size).round()

def eye_boxes(idt, size=SIZE, pad=.045):
    """Two (n, 4) boxes around the eyes."""
    out = []
    for sgn in (-1, 1):
        cx, cy, r = idt["cx"] + sgn * idt["ex"], idt["cy"] + idt["ey"], idt["er"] * 1.2 + pad
        out.append(((torch.stack([cx - r, cy - r, cx + r, cy + r], 1) + 1) / 2 * size).clamp(0, size).round())
    return out

def focus(idt, size=SIZE):
    """(n, 1, size, size): 1, higher around the mouth and the eyes."""
    e = eye_boxes(idt, size)
    return 1 + 5 * box_mask(mouth_box(idt, size), size) + 2.5 * torch.maximum(box_mask(e[0], size), box_mask(e[1], size))

def measure_opening(frames, box):
    """frames (T, 3, H, W) uint8 of one clip, box (4,) -> (T,) height of the mouth opening: soft count of dark mouth pixels in
    the box."""
    x1, y1, x2, y2 = [int(z) for z in box]
    f = frames[:, :, y1:y2, x1:x2].float() / 255
    c = torch.tensor(MOUTH_RGB, device=f.device).view(1, 3, 1, 1)
    d2 = ((f - c) ** 2).sum(1)
    return torch.exp(-d2 / (2 * .11 ** 2)).sum((1, 2))

# ----------------------------------------------------------------------------- speech

def normalise(wav, peak=.7):
    """(B, n) scaled to the peak that mouth_targets expects."""
    return wav * (peak / wav.abs().amax(1, keepdim=True).clamp_min(1e-3))

class Speech:
    def __init__(self, path, split, dev):
        self.wav = torch.from_numpy(np.load(os.path.join(path, f"speech_{split}.npy"))).to(dev)
        self.dev = dev

    def sample(self, n, seconds, g, n_samples=480000):
        """n random cuts of the given lengths (n,) in seconds, at the start of a 30 s window padded with zeros. (n, 480000) float."""
        out = torch.zeros(n, n_samples, device=self.dev)
        L = self.wav.shape[0]
        for i in range(n):
            m = min(int(float(seconds[i]) * SR), n_samples, L)
            s = int(torch.randint(0, L - m + 1, (1,), generator=g))
            out[i, :m] = self.wav[s:s + m].float() / 32768.0
        gain = 10 ** ((torch.rand(n, generator=g) * 8 - 6) / 20)       # -6 .. +2 dB
        return (out * gain.to(self.dev)[:, None]).clamp(-1, 1)
