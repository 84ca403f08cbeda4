# SPDX-License-Identifier: LGPL-2.1-or-later
"""Human heads with geometry that speak: signed distances, sphere tracing and shading, all torch, batched on a GPU or slowly on a CPU.

The functions have the names and shapes of data.py. A picture's coordinates are -1 to 1, x to the right, y down. A head's own coordinates
have their origin between the ears; cheeks are at x = 0.7, the crown at y = -1.15, the chin at y = 1.05, the nose at z = 0.95.

  make_identities(n, seed, photo)   dict of (n, ...) tensors, portraits with mood and light neutral
  set_scene(idt, mood, light)       as in data.py
  make_motion(n, T, seed, pose)     data.py's blink, dx, dy, rot; and yaw, pitch, gaze
  render_clips(idt, op, wd, motion, back, dev, size)   (N, T, 3, size, size) uint8
"""
import math
import torch
import torch.nn.functional as F
import data as D
from data import SIZE, _pick, _u, box_mask

# Skins of all tones, after the Monk scale, as sRGB.
SKIN = [(.96, .87, .80), (.95, .82, .72), (.93, .78, .66), (.90, .72, .58), (.84, .66, .50), (.78, .58, .42), (.65, .46, .32), (.53, .36, .25), (.41, .28, .20), (.30, .21, .16)]
HAIR = [(.07, .06, .06), (.12, .09, .07), (.22, .14, .09), (.33, .21, .12), (.48, .32, .18), (.70, .54, .32), (.45, .20, .10), (.55, .54, .53), (.80, .79, .77)]
ODD_HAIR = [(.65, .20, .35), (.20, .35, .65), (.25, .50, .35), (.80, .45, .65)]
IRIS = [(.20, .12, .07), (.28, .18, .10), (.30, .38, .22), (.25, .40, .52), (.35, .40, .42)]
CLOTH = [(.85, .40, .12), (.10, .12, .20), (.75, .76, .78), (.20, .30, .50), (.45, .12, .15), (.15, .30, .22), (.55, .50, .42), (.08, .08, .09), (.80, .65, .25), (.40, .28, .48)]
STYLES = ("photo", "grey", "statue", "painted", "flat", "line")
ODDS = (.55, .06, .06, .13, .12, .08)


def make_identities(n, seed, style=None):
    """style: an index into STYLES for all, or None for a mix of them."""
    g = torch.Generator().manual_seed(seed)
    r = lambda: torch.rand(n, generator=g)
    u = lambda a, b: _u(n, a, b, g)
    on = lambda p: (r() < p).float()
    nz = lambda s: torch.randn(n, generator=g).clamp(-2, 2) * s
    tone = r() * (len(SKIN) - 1)
    pal = torch.tensor(SKIN)
    i = tone.long().clamp_max(len(SKIN) - 2)
    skin = pal[i] + (pal[i + 1] - pal[i]) * (tone - i)[:, None] + torch.randn(n, 3, generator=g) * .015
    skin = skin.clamp(.04, .98) ** 2.2                                    # the renderer computes with linear light
    hair = torch.where((r() < .08)[:, None], _pick(n, ODD_HAIR, g), _pick(n, HAIR, g, .02))
    dark = (tone > 5.5).float()
    hair = torch.where((dark * on(.85) > 0)[:, None], _pick(n, HAIR[:2], g, .02), hair) ** 2.2
    man = on(.5)
    lip = skin * torch.tensor([.92, .52, .55]) + torch.tensor([.05, .0, .005])
    made = on(.6) * (1 - man)
    lip = torch.where((made * on(.6) > 0)[:, None], _pick(n, [(.60, .12, .15), (.70, .25, .30), (.45, .10, .16), (.75, .35, .35)], g) ** 2.2, lip)
    beard = man * on(.5)
    kind = (r() * 7).long()                                               # hair: 0 bald, 1 and 2 short, 3 medium, 4 long, 5 curly, 6 tied
    kind = torch.where((man > 0) & ((kind == 4) | (kind == 6)) & (r() < .8), torch.ones_like(kind), kind)
    kind = torch.where((man == 0) & (kind == 0) & (r() < .7), torch.full_like(kind, 4), kind)
    hat = on(.07)
    az, el = nz(.75), u(-.25, 1.1)
    L = torch.stack([torch.sin(az) * torch.cos(el), -torch.sin(el), torch.cos(az) * torch.cos(el)], 1)
    warm = nz(.12)
    d = dict(
        skin=skin, hair=hair, lip=lip.clamp(.02, .9), iris=torch.where(((tone > 5) | on(.35).bool())[:, None], _pick(n, IRIS[:2], g, .02), _pick(n, IRIS, g, .03)) ** 2.2, cloth=_pick(n, CLOTH, g, .06) ** 2.2, cloth2=_pick(n, CLOTH, g, .06) ** 2.2,
        frame=_pick(n, [(.08, .08, .09), (.35, .20, .10), (.55, .50, .45), (.45, .12, .12)], g) ** 2.2, hatc=_pick(n, CLOTH, g, .08) ** 2.2,
        scale=u(.46, .82), cx=u(-.14, .14), cy=u(-.08, .12), dist=u(3., 9.), yaw0=nz(.26), pitch0=nz(.09), roll0=nz(.05),
        wide=u(.92, 1.08), tall=u(.94, 1.07), jaw=u(.10, .42) * (1 - .4 * man), chin=u(.13, .19), cheek=u(.16, .27), browr=u(.04, .10) + man * .03, nose=u(.065, .10), nlen=u(-.03, .05),
        nbr=u(.045, .07), nwid=u(.075, .115), ear=u(.85, 1.2), neck=u(.34, .42) + man * .05, mouth=u(.56, .62), mw=u(.20, .27), lu=u(.03, .065), ll=u(.042, .078), mh=u(.17, .26),
        drop=u(.10, .19), ex=u(.27, .31), ey=u(-.07, -.02), ew=u(.12, .15), eh=u(.058, .09), etilt=nz(.025), by=u(.125, .185), bth=u(.018, .042), barch=u(.0, .05), crease=u(.0, 1.),
        fold=u(0, 1) * u(0, 1), age=u(0, 1) ** 2, freckle=on(.15) * u(.3, 1.), red=u(.0, .5), shine=u(.15, .9), beard=beard * u(.3, 1.), moust=torch.maximum(beard * on(.8), man * on(.12)) * u(.4, 1.), stubble=man * u(0, .45),
        shadow=made * u(0, .8), rouge=made * u(0, .5), lash=u(.4, .8) + made * .4,
        bald=(kind == 0).float(), long=(kind == 4).float(), med=(kind == 3).float(), curl=(kind == 5).float() * u(.03, .08), vol=torch.tensor([0., .02, .06, .08, .07, .22, .03])[kind] * u(.7, 1.3),
        hl=u(-.16, .12), part=nz(.28), bang=on(.25) * (1 - man * .5) * u(.1, .32), streak=u(.15, .5), hat=hat,
        glasses=on(.22), gr=u(.15, .20), gy=u(.7, 1.05), tint=on(.25) * u(.2, .9), neckline=u(1.15, 1.5), vneck=u(0, .6), stripe=on(.25) * u(4, 14), collar=on(.4),
        key=L, keyc=torch.stack([1 + warm, torch.ones(n), 1 - warm], 1) * u(.7, 1.5)[:, None], amb=u(.18, .6), ambc=1 + torch.randn(n, 3, generator=g) * .06,
        rim=on(.3) * u(.2, .9), rims=torch.where(r() < .5, -1., 1.), gain=u(.9, 1.3), hard=u(.2, 1.),
        inside=_pick(n, [(.30, .06, .07), (.18, .04, .05), (.10, .03, .03)], g, .01) ** 2.2, tooth=u(.72, .95), gap=u(.1, .5),
        smile0=u(-.2, .9) * on(.6), show0=on(.25) * u(.35, 1.), wide0=u(-.1, .25), frown0=nz(.15), lid0=u(0, .25), gazex=nz(.15), gazey=nz(.08), tex=r() * 9, tex2=r() * 9,
        grain=on(.5) * u(.0, .012), soft=u(0, .9), gamma=u(.85, 1.2), sat=u(.75, 1.15), lift=on(.3) * u(0, .05), dof=u(.0, 1.), tone=u(0, 1))
    s = torch.multinomial(torch.tensor(ODDS), n, True, generator=g) if style is None else torch.full((n,), style)
    d["style"] = s.float()
    stone = _pick(n, [(.80, .78, .74), (.55, .42, .28), (.62, .62, .60), (.35, .30, .22), (.75, .62, .50), (.45, .55, .48)], g, .04) ** 2.2
    for k in ("skin", "hair", "lip", "iris", "cloth", "cloth2", "hatc"):          # statues are of one material
        mix = (s == 2).float()[:, None]
        d[k] = d[k] * (1 - mix) + stone * mix * (.8 if k in ("hair", "iris") else .92 if k == "lip" else 1.)
    none = torch.zeros(n, dtype=torch.long)
    return set_scene(d, none, none)


set_scene = D.set_scene


def make_motion(n, T, seed, pose=25.0):
    """dict of (n, T): data.py's blink, dx, dy, rot; yaw and pitch in radians; gaze."""
    bl, dx, dy, rot = D.make_motion(n, T, seed, pose)
    _, a, b, c = D.make_motion(n, T, seed + 500009, pose)
    g = torch.Generator().manual_seed(seed + 3)
    jump = (torch.rand(n, T, 2, generator=g) < .02).float() * torch.randn(n, T, 2, generator=g) * .35
    gaze, at = [], torch.zeros(n, 2)
    for i in range(T):
        at = torch.where(jump[:, i] != 0, jump[:, i] * torch.tensor([1., .4]), at * .99)
        gaze.append(at)
    gaze = torch.stack(gaze, 1)
    return dict(blink=bl, dx=dx, dy=dy, rot=rot, yaw=a * 4.0, pitch=b * 3.2 + c * .6, gx=gaze[..., 0], gy=gaze[..., 1])


def still_motion(n, T=1):
    z = torch.zeros(n, T)
    return dict(blink=z, dx=z, dy=z, rot=z, yaw=z, pitch=z, gx=z, gy=z)


# ----------------------------------------------------------------------------- geometry

def _ell(x, y, z, a, b, c):
    k0 = torch.sqrt((x / a) ** 2 + (y / b) ** 2 + (z / c) ** 2 + 1e-9)
    k1 = torch.sqrt((x / (a * a)) ** 2 + (y / (b * b)) ** 2 + (z / (c * c)) ** 2 + 1e-9)
    return k0 * (k0 - 1.0) / k1


def _ball(x, y, z, r):
    return torch.sqrt(x * x + y * y + z * z + 1e-9) - r


def _cap3(x, y, z, a, b, ra, rb):
    """A capsule from a to b (tuples) whose radius goes from ra to rb."""
    px, py, pz = x - a[0], y - a[1], z - a[2]
    vx, vy, vz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    h = ((px * vx + py * vy + pz * vz) / (vx * vx + vy * vy + vz * vz)).clamp(0, 1)
    return torch.sqrt((px - vx * h) ** 2 + (py - vy * h) ** 2 + (pz - vz * h) ** 2 + 1e-9) - (ra + (rb - ra) * h)


def _smin(a, b, k):
    h = (.5 + .5 * (b - a) / k).clamp(0, 1)
    return b + (a - b) * h - k * h * (1 - h)


def _smax(a, b, k):
    h = (.5 - .5 * (b - a) / k).clamp(0, 1)
    return b + (a - b) * h + k * h * (1 - h)


def _step(a, b, x):
    t = ((x - a) / (b - a)).clamp(0, 1)
    return t * t * (3 - 2 * t)


GEO = ("wide", "tall", "jaw", "chin", "cheek", "browr", "nose", "nlen", "nbr", "nwid", "ear", "mouth", "mw_", "lu", "ll", "lipup", "liplow", "jawdrop", "ex", "ey", "smile_",
       "bald", "long", "med", "curl", "vol", "hl", "part", "bang", "hat", "neck", "beard")


POSE = [f"{a}{i}" for a in ("h", "b") for i in range(12)] + ["scale", "dist"]


def places(wx, wy, wz, p, which):
    """Coordinates in the head ("h") or body ("b") of points of the picture's space."""
    x, y, z = (w - p[f"{which}{9 + i}"] for i, w in enumerate((wx, wy, wz)))
    return [(x * p[f"{which}{k}"] + y * p[f"{which}{3 + k}"] + z * p[f"{which}{6 + k}"]) / p["scale"] for k in range(3)]


def parts_at(wx, wy, wz, pack):
    """Signed distances of skin (with the body), hair and body in the picture's space. pack: (m, GEO and POSE, 1, 1)."""
    q = dict(zip(GEO + tuple(POSE), pack.unbind(1)))
    return [d * q["scale"] for d in distances(*places(wx, wy, wz, q, "h"), *places(wx, wy, wz, q, "b"), q)]


def walk(t, near, best, last, step, rx, ry, rz, pack, least, hold):
    """One step along the rays from (0, 0, dist) by the secant of the last two distances. near, best: the smallest distance to the surface so far and where
    that was; last, step: the distance before and the step from there; least: lower bound of the slope; no steps where the distance is below hold."""
    dist = pack[:, -1]
    d, h, _ = parts_at(rx * t, ry * t, dist + rz * t, pack)
    d = torch.minimum(d, h)
    best = torch.where(d.abs() < near, t, best)
    near = torch.minimum(near, d.abs())
    slope = torch.where(step.abs() > 1e-5, (last - d) / torch.where(step.abs() > 1e-5, step, torch.ones_like(step)), torch.ones_like(d))
    s = torch.where(d > hold, d / torch.minimum(torch.maximum(slope, least), least * 0 + 1.15), d * 0)
    return t + s, near, best, d, s


def distances(x, y, z, bx, by, bz, q):
    """Signed distances of skin, hair and body. (x, y, z): in the head's coordinates; (bx, by, bz): in the body's. q: GEO's parameters (m, 1, 1)."""
    ax = x.abs()
    drop = q["jawdrop"]
    yj = (y - drop * _step(.30, .80, y)) / q["tall"]
    t = ((yj - .05) / 1.0).clamp(0, 1)
    xs = x / (1 - q["jaw"] * t * t)
    w = q["wide"]
    d = _smin(_ell(x, y + .30, z + .12, .73 * w, .84, .92), _ell(xs, yj - .24, z - .06, .64 * w, .80, .66), .2)
    d = _smin(d, _ell(ax - .34, y - .19, z - .42, q["cheek"] + .04, q["cheek"], q["cheek"]), .16)
    d = _smin(d, _ball(x * .75, yj - .90, z - .44, q["chin"]), .16)
    d = _smin(d, _ell(ax - .2, y + .17 - ax * .12, z - .62, .26 + 0 * w, .09 + 0 * w, .04 + q["browr"]), .1)
    eye = ax - q["ex"], y - q["ey"]
    d = _smax(d, -_ell(eye[0], eye[1] + .01, z - .86, .2 + 0 * w, .125 + 0 * w, .19 + 0 * w), .14)
    d = _smin(d, _ball(eye[0], eye[1], z - .52, .165), .05)
    tip = .30 + q["nlen"]
    nose = _cap3(x, y, z, (0., -.12, .64), (0., tip - .04, .83), q["nbr"], q["nbr"] + .02)
    nose = _smin(nose, _ball(x, y - tip, z - .87, q["nose"]), .07)
    nose = _smin(nose, _ell(ax - q["nwid"], y - tip - .04, z - .77, .055 + 0 * w, .055 + 0 * w, .085 + 0 * w), .05)
    d = _smin(d, nose, .07)
    my = q["mouth"]
    d = _smin(d, _ell(x, yj - my + .02, z - .50, .34 + 0 * w, .22 + 0 * w, .24 + 0 * w), .14)
    bend = q["smile_"] * (x * x / (q["mw_"] * q["mw_"])).clamp(0, 1.5) * .075
    zl = z - .70 + .9 * x * x
    d = _smin(d, _ell(x, y - (my - q["lipup"] - q["lu"] * .6) + bend, zl, q["mw_"] * .95, q["lu"] * 1.1 + .01, .06 + 0 * w), .035)
    d = _smin(d, _ell(x, y - (my + q["liplow"] + q["ll"] * .6) + bend, zl + .012, q["mw_"] * .80, q["ll"] * 1.1 + .01, .065 + 0 * w), .04)
    el = _ell(ax - .725 * w - (.25 * (.0 - z)).clamp(-.06, .08), y + .0 - .2 * (z + .1), z + .10, .05 * q["ear"], .20 * q["ear"], .13 * q["ear"])
    d = _smin(d, el, .05)
    neck = _cap3(bx, by, bz, (0., .3, -.22), (0., 1.7, -.34), q["neck"], q["neck"] * 1.08)
    chest = _ell(bx, by - 2.10, bz + .36, 1.5 + 0 * w, .72 + 0 * w, .58 + 0 * w)
    body = _smin(neck, chest, .3)
    d = _smin(d, body, .06)
    # beard: a thicker chin
    d = torch.where(q["beard"] > .75, _smin(d, _ell(x, yj - .88, z - .36, .40 + 0 * w, .30 + 0 * w, .26 + 0 * w), .1), d)
    # hair
    v, cl = q["vol"], q["curl"]
    cut = (1.05 * (y + .62 + q["hl"] - q["bang"] * _step(.62, .1, ax) * (1 + .3 * torch.sin(23 * x))) + (z - .70)) / 1.45
    cut = cut + q["part"] * x * .35 + .10 * _step(.30, .62, ax) * _step(-.1, -.5, y)
    cut = torch.minimum(cut, torch.maximum(z + .12, y - .15 - .35 * q["med"]) * .8 + .02)
    wob = torch.sin(13 * x + 3 * z) * torch.sin(12 * y + 2) * torch.sin(11 * z + 1) * cl
    h = _ell(x, y + .33, z + .17, .755 * w + v, .85 + v, .92 + v) - wob
    h = _smax(h, cut - v * .5, .05 + v * .4)
    lg = _ell(x, y - .30, z + .42, .80 * w + v + .04, 1.28 + 0 * w, .52 + v)
    lg = torch.minimum(lg, _ell(ax - .72 * w - v * .5, y - .40, z + .05, .15 + v * .5, .95 + 0 * w, .30 + 0 * w))
    lg = lg + .012 * torch.sin(40 * ax + 6 * torch.sin(3 * y))
    h = torch.where(q["long"] > .5, _smin(h, lg, .12), h)
    h = torch.where(q["bald"] > .5, h * 0 + 9, h)
    cap = _smax(_ell(x, y + .36, z + .15, .80 * w + .03, .88 + 0 * w, .98 + 0 * w), (y + .42 + (z - .6) * .35), .05)
    h = torch.where(q["hat"] > .5, torch.minimum(torch.where(q["long"] > .5, h + .03, h + .12), cap), h)
    return d, h, body


def rotation(yaw, pitch, roll):
    """(m, 3, 3): from a head's coordinates to the picture's. Positive yaw turns the face to the picture's right."""
    cy, sy, cp, sp, cr, sr = torch.cos(yaw), torch.sin(yaw), torch.cos(pitch), torch.sin(pitch), torch.cos(roll), torch.sin(roll)
    o, e = torch.zeros_like(yaw), torch.ones_like(yaw)
    ry = torch.stack([cy, o, sy, o, e, o, -sy, o, cy], -1).view(-1, 3, 3)
    rx = torch.stack([e, o, o, o, cp, sp, o, -sp, cp], -1).view(-1, 3, 3)
    rz = torch.stack([cr, -sr, o, sr, cr, o, o, o, e], -1).view(-1, 3, 3)
    return rz @ rx @ ry


def pose_of(q, m):
    """Rotation and centre of head and body, scale. q: identity rows; m: motion rows, (m,) each."""
    k = q["scale"] / .5
    head = rotation(q["yaw0"] + m["yaw"], q["pitch0"] + m["pitch"], q["roll0"] + m["rot"])
    body = rotation(q["yaw0"] * .5 + m["yaw"] * .12, q["pitch0"] * .2, q["roll0"] * .3 + m["rot"] * .15)
    c = torch.stack([q["cx"] + m["dx"] * k, q["cy"] + m["dy"] * k, torch.zeros_like(q["cx"])], 1)
    b = torch.stack([q["cx"] + m["dx"] * k * .4, q["cy"] + m["dy"] * k * .3, torch.zeros_like(q["cx"])], 1)
    return head, c, body, b


def project(idt, points, motion=None):
    """points (n, k, 3) in the head's coordinates -> (n, k, 2) in -1..1 of the picture."""
    n = idt["scale"].shape[0]
    m = motion or {k: v[:, 0] for k, v in still_motion(n).items()}
    R, c, _, _ = pose_of(idt, m)
    w = points @ R.transpose(1, 2) * idt["scale"][:, None, None] + c[:, None]
    dist = idt["dist"][:, None]
    return w[..., :2] * (dist / (dist - w[..., 2]))[..., None]


def mouth_shape(q, o, wd):
    """Parameters of the mouth that follow from identity, mood, opening and width (any shape that broadcasts)."""
    smile = (q["smile0"] + q["smile_mood"]).clamp(-1.1, 1.2)
    show = (q["show0"] * (1 - .5 * (q["smile_mood"] < 0).float())).clamp(0, 1)
    mw = q["mw"] * (.80 + .38 * wd + q["wide0"] * .25 + .14 * smile.clamp_min(0)) * (1 - .10 * o)
    gape = q["mh"] * o
    part = show * .085                                   # parted lips of a smile that shows teeth
    return dict(smile=smile, show=show, mw=mw, gape=gape, lipup=.22 * gape + part * .45 * (1 - .3 * o), liplow=.78 * gape + part * .55 * (1 - .6 * o), jawdrop=q["drop"] * o)


# ----------------------------------------------------------------------------- noise

_NOISE = {}


def _noise_map(dev):
    """(1, 4, 256, 256), periodic, about -1 to 1: fine, medium, coarse, strands."""
    if str(dev) not in _NOISE:
        g = torch.Generator().manual_seed(4)
        n = torch.randn(4, 256, 256, generator=g)
        f = torch.fft.fft2(n)
        k = torch.fft.fftfreq(256) * 256
        r = torch.sqrt(k[:, None] ** 2 + k[None] ** 2)
        band = lambda lo, hi: torch.exp(-(r / hi) ** 2) * (1 - torch.exp(-(r / lo) ** 2))
        strand = torch.exp(-(k[:, None] / 5) ** 2) * torch.exp(-(k[None] / 60) ** 2) * (1 - torch.exp(-(k[None] / 6) ** 2))
        w = torch.stack([band(20, 60), band(6, 16), band(1.5, 4), strand.expand(256, 256)])
        x = torch.fft.ifft2(f * w).real
        x = x / x.flatten(1).std(1)[:, None, None] / 1.8
        _NOISE[str(dev)] = x.clamp(-1.6, 1.6)[None].to(dev)
    return _NOISE[str(dev)]


def _noise(u, v, which):
    """Noise number @which at (m, h, w) coordinates; one unit is one period."""
    t = _noise_map(u.device)[:, which:which + 1]
    gx = torch.remainder(u, 1.0) * (2 - 2 / 256.) - 1
    gy = torch.remainder(v, 1.0) * (2 - 2 / 256.) - 1
    m, h, w = u.shape
    return F.grid_sample(t, torch.stack([gx, gy], -1).view(1, m * h, w, 2), mode="bilinear", padding_mode="reflection", align_corners=True).view(m, h, w)


# ----------------------------------------------------------------------------- the renderer

_fast = {}


def compile_distances():
    """Fuses the distance functions (torch.compile), which takes about a minute once; for a GPU."""
    if not _fast:
        _fast.update(walk=torch.compile(walk, dynamic=True), parts=torch.compile(parts_at, dynamic=True))


def _cov(d, aa):
    return (.5 - d / aa).clamp(0, 1)


def _ell2(x, y, a, b):
    k0 = torch.sqrt((x / a) ** 2 + (y / b) ** 2 + 1e-9)
    k1 = torch.sqrt((x / (a * a)) ** 2 + (y / (b * b)) ** 2 + 1e-9)
    return k0 * (k0 - 1.0) / k1


def render(idt, opening, width, motion, back, size=SIZE, chunk=64):
    """idt: rows of identities (M, ...); opening, width and motion's values (M,); back (M, 3, size, size) in 0..1. Returns (M, 3, size, size) in 0..1 and the opacity of the person."""
    imgs, alphas = [], []
    for s in range(0, opening.shape[0], chunk):
        cut = lambda v: v[s:s + chunk]
        i, a = _render({k: cut(v) for k, v in idt.items()}, cut(opening), cut(width), {k: cut(v) for k, v in motion.items()}, cut(back), size)
        imgs.append(i), alphas.append(a)
    return torch.cat(imgs), torch.cat(alphas)


def _render(idt, o, wd, m, back, size):
    dev, M = o.device, o.shape[0]
    go, parts = _fast.get("walk", walk), _fast.get("parts", parts_at)
    R, c, Rb, cb = pose_of(idt, m)
    one = lambda v: v[:, None, None]
    q = {k: one(v) for k, v in idt.items() if v.dim() == 1}
    col = {k: v[:, :, None, None] for k, v in idt.items() if v.dim() == 2}
    smood, frown, raised, lids, wide, warm = (one(v) for v in idt["mood"].unbind(1))
    q["smile_mood"] = smood
    o, wd = one(o), one(wd)
    ms = mouth_shape(q, o, wd)
    geo = {k: q[k] for k in GEO if k in q}
    geo.update(mw_=ms["mw"], lipup=ms["lipup"], liplow=ms["liplow"], jawdrop=ms["jawdrop"], smile_=ms["smile"])
    S, dist = q["scale"], q["dist"]

    pose = torch.cat([R.reshape(M, 9), c, Rb.reshape(M, 9), cb, idt["scale"][:, None], idt["dist"][:, None]], 1)
    pack = torch.cat([torch.stack([geo[k].expand(M, 1, 1) for k in GEO], 1), pose[:, :, None, None]], 1).contiguous()
    named = dict(zip(POSE, pack[:, len(GEO):].unbind(1)))

    def scene(wx, wy, wz):
        d, h, _ = parts(wx.contiguous(), wy.contiguous(), wz.contiguous(), pack)
        return torch.minimum(d, h)

    def rays(n):
        lin = (torch.arange(n, device=dev, dtype=torch.float32) + .5) / n * 2 - 1
        Y, X = torch.meshgrid(lin, lin, indexing="ij")
        X, Y = X[None].expand(M, n, n), Y[None].expand(M, n, n)
        k = torch.rsqrt(X * X + Y * Y + dist * dist)
        return (X * k).contiguous(), (Y * k).contiguous(), (-dist * k).contiguous()                   # from (0, 0, dist)

    # Sphere tracing at half the resolution, then a few steps from the nearest of the neighbours.
    half, px = size // 2, 2. / size
    rx, ry, rz = rays(half)
    t = dist - 1.15 * S + 0 * rx
    state = (t, torch.full_like(t, 9.), t, torch.zeros_like(t), torch.zeros_like(t))
    limit = torch.tensor([.9, .35 * px, .13, -9.], device=dev)
    for _ in range(20):
        state = go(*state, rx, ry, rz, pack, limit[0], limit[1])
    t = torch.minimum(state[0], dist + 1.3 * S)
    full = lambda v: F.interpolate(v, (size, size), mode="bilinear", align_corners=False)[:, 0]
    late = full(F.max_pool2d(t[:, None], 3, 1, 1)) - .01 * S
    core = full(-F.max_pool2d((state[1][:, None] > 1.2 * px).float(), 3, 1, 1) + 1)       # 1: the neighbours are hit as well
    t = full(-F.max_pool2d(-t[:, None], 3, 1, 1)) - .02 * S
    rx, ry, rz = rays(size)
    state = (t, torch.full_like(t, 9.), t, torch.zeros_like(t), torch.zeros_like(t))
    for k in range(10):
        state = go(*state, rx, ry, rz, pack, limit[2], limit[3])
        if k == 5:                                       # what passed an edge goes on at the surface behind it
            on = (state[1] > .3 * px) & (late > state[0])
            state = (torch.where(on, late, state[0]), *state[1:4], torch.where(on, torch.zeros_like(late), state[4]))
    near, t = state[1], state[2]
    for k in (1, 2):                                     # single pixels that found another surface take their neighbours'
        e = F.pad(t[:, None], (1, 1, 0, 0) if k == 1 else (0, 0, 1, 1), mode="replicate")[:, 0]
        a_, b_ = (e[:, :, :-2], e[:, :, 2:]) if k == 1 else (e[:, :-2], e[:, 2:])
        mid = torch.maximum(torch.minimum(a_, b_), torch.minimum(torch.maximum(a_, b_), t))
        t = torch.where((t - mid).abs() > .04 * S, mid, t)
    alpha = torch.maximum((1.05 - near / px * .85).clamp(0, 1), (core * 4 - 3).clamp(0, 1))
    P = [rx * t, ry * t, dist + rz * t]
    ds, dh, db = [d / S for d in parts(*[v.contiguous() for v in P], pack)]
    d0, e = torch.minimum(ds, dh) * S, .004
    nrm = [scene(P[0] + e, P[1], P[2]) - d0, scene(P[0], P[1] + e, P[2]) - d0, scene(P[0], P[1], P[2] + e) - d0]
    x, y, z = places(*P, named, "h")
    bx, by, bz = places(*P, named, "b")
    aa = px / S * 1.3                                    # a pixel in the head's coordinates
    ax, sx = x.abs(), torch.sign(x)
    # ------------------------------------------------------------------------ materials
    hairm = _cov((dh - ds), aa * 1.2)
    neckl = by - (q["neckline"] - .22 * bx * bx - q["vneck"] * (.45 - bx.abs()).clamp_min(0))
    clothm = _cov(-neckl, aa * 1.5) * _step(.0, -.02, db - ds - .03) * (1 - hairm)
    ymo = y - ms["jawdrop"] * _step(q["mouth"] - .02, q["mouth"] + .2, y)      # skin below the mouth moves with the jaw
    fine, med, coarse = _noise(x * .55 + q["tex"], ymo * .55 + z * .3, 0), _noise(x * .7 + q["tex2"], ymo * .7 + z * .35, 1), _noise(x * .9 + q["tex"], ymo * .9 + z * .4, 2)
    # lips and the opening: curves of x
    u = x / ms["mw"]
    inr = (1 - u * u).clamp_min(0)
    prof, prof2 = inr.clamp_min(1e-4) ** .62, inr.clamp_min(1e-4) ** .45
    corner = ms["smile"] * .075 * (u * u).clamp(0, 1.6) - ms["smile"] * .012
    ym = y - q["mouth"] + corner
    # the curve of the jaw turns with the depth: beyond the corners there is no mouth
    top, bot = -ms["lipup"] * prof, ms["liplow"] * prof
    bow = 1 - .30 * torch.exp(-(x / .035) ** 2) + .12 * torch.exp(-((ax - .06) / .05) ** 2)
    upper, lower = top - q["lu"] * 1.25 * prof2 * bow * (1 - .25 * o), bot + q["ll"] * 1.25 * prof2 * (1 - .15 * o)
    front = _step(.15, .4, z)
    closed = (1 - _step(.004, .02, ms["lipup"] + ms["liplow"]))
    inner = _cov(torch.maximum(top - ym, ym - bot), aa) * (1 - closed) * front * (ax < ms["mw"]).float()
    lips = _cov(torch.maximum(upper - ym, ym - lower), aa * 1.8) * front * (ax < ms["mw"] * 1.02).float()
    # relief of the lips and of the folds of the skin, as heights
    rel_u = ((ym - upper) / (top - upper - 1e-3)).clamp(0, 1)
    rel_l = ((lower - ym) / (lower - bot + 1e-3)).clamp(0, 1)
    # ------------------------------------------------------------------------ normals
    relief = fine * .0005 * (1 + q["age"]) + med * .0012 * q["age"]
    hair_uv = torch.where((q["long"] > .5) & (y > -.1), x * 1.6, torch.atan2(x, -(y + .1)) * .55 + z * .25 * q["part"])
    strand = _noise(hair_uv * .9 + q["tex"], torch.sqrt(x * x + y * y + z * z) * .25 + .3 * y + q["tex2"], 3)
    rough = torch.where(q["curl"] > 0, _noise(x * 1.4 + z * .5, y * 1.4 + z * .4 + q["tex2"], 1) * 1.2, strand)
    N = list(nrm)
    ln = torch.rsqrt(N[0] ** 2 + N[1] ** 2 + N[2] ** 2 + 1e-12)
    N = [v * ln for v in N]
    away = (-(N[0] * -rx + N[1] * -ry + N[2] * -rz)).clamp_min(0) * 1.05       # at edges normals may not point away
    N = [N[0] - rx * away, N[1] - ry * away, N[2] - rz * away]

    def gradient(h):
        gx = F.pad((h[..., 2:] - h[..., :-2]) / (2 * px), (1, 1, 0, 0))
        gy = F.pad((h[..., 2:, :] - h[..., :-2, :]) / (2 * px), (0, 0, 1, 1))
        return gx, gy
    face = (1 - hairm) * (1 - clothm)
    gx, gy = gradient(relief * S * 1.6)
    bump = face * (1 - inner) * (_step(.25, .6, N[2]))
    N = [N[0] - gx * bump, N[1] - gy * bump, N[2]]
    ln = torch.rsqrt(N[0] ** 2 + N[1] ** 2 + N[2] ** 2 + 1e-12)
    N = [v * ln for v in N]
    # ------------------------------------------------------------------------ albedo
    c3 = lambda a, b_, c_: torch.tensor([a, b_, c_], device=dev).view(1, 3, 1, 1)
    mix = lambda base, colour, a: base + (colour - base) * a[:, None]
    photo = 1 - one((idt["style"] == 4).float())         # flat pictures have no texture
    live = 1 - one((idt["style"] == 2).float())          # statues have no colours
    alb = col["skin"] * (1 + photo * (.018 * fine + .028 * med + .05 * coarse))[:, None]
    redm = torch.exp(-((ax - .36) ** 2 + (y - .22) ** 2) / .035) + .8 * torch.exp(-(x ** 2 + (y - .30) ** 2) / .012) + .3 * _step(.68, .78, ax) * _step(.3, .15, y)
    alb = mix(alb, alb * c3(1.12, .78, .74), (redm * (q["red"] + .5 * q["rouge"] + warm * 1.2) * live).clamp(0, 1))
    alb = mix(alb, alb * c3(.62, .50, .42), (_step(.55, 1.0, _noise(x * 1.3 + q["tex"], y * 1.3, 0)) * q["freckle"] * torch.exp(-((y - .15) / .3) ** 2) * live * photo))
    # folds: nose to mouth, under the eyes, forehead
    nl = torch.exp(-((ax - .155 - (y - .36).clamp_min(0) * .55 - .05 * ms["smile"].clamp_min(0)) / .022) ** 2) * _step(.33, .42, y) * _step(.72, .50, y)
    fore = (torch.sin((y + .55 - .1 * x * x) * 75) * .5 + .5) ** 4 * _step(-.3, -.4, y) * _step(.4, .15, ax)
    crow = (torch.sin(torch.atan2(y - q["ey"], ax - .36) * 14) * .5 + .5) ** 3 * torch.exp(-((ax - .5) / .07) ** 2 - ((y - q["ey"]) / .12) ** 2)
    folds = nl * (.25 + .55 * q["fold"] + .5 * ms["smile"].clamp_min(0) * .6) + (fore * .35 + crow * .4) * q["age"]
    bags = torch.exp(-(((ax - q["ex"]) / .12) ** 2 + ((y - q["ey"] - .115) / .018) ** 2)) * (.15 + .35 * q["age"])
    alb = mix(alb, alb * c3(.50, .40, .36), ((folds + bags) * front * photo).clamp(0, .7))
    philt = torch.exp(-(x / .022) ** 2) * _step(.40, .45, y) * _step(.54, .50, y)
    alb = alb * (1 - .12 * philt * photo * front)[:, None]
    # beard and stubble
    jawline = _step(.30, .62, ymo + .55 * (ax - .25)) * _step(1.25, 1.05, ymo) * _step(-.32, -.1, z)
    sideb = _step(.5, .62, ax) * _step(-.3, 0., y) * _step(-.22, -.08, z) * _step(.28, .1, z)
    bare = 1 - torch.exp(-((x / .24) ** 2 + ((ymo - q["mouth"] - .015) / .12) ** 4))
    mst = torch.exp(-((ymo - q["mouth"] + .105 - .10 * ax) / .048) ** 4) * _step(q["mw"] * 1.25, q["mw"] * .9, ax) * front
    bmask = (jawline * bare + sideb * .8).clamp(0, 1) * (1 - lips)
    bn = .6 * _noise(x * 1.3 + q["tex2"], ymo * .8 + .6 * z, 1) + .25 * fine
    hairy = (bmask * (q["beard"] > 0).float() * (.5 + .5 * q["beard"]) + mst * q["moust"] * (1 - lips)) * live
    hairy = (hairy * (1.15 + .5 * bn)).clamp(0, .97)
    alb = mix(alb, alb * .55 + c3(.02, .025, .03), (bmask + mst).clamp(0, 1) * q["stubble"] * (.8 + .4 * bn) * live * .8)
    alb = mix(alb, col["hair"] * (1 + .45 * photo * bn)[:, None] + .006, hairy)
    # brows
    e_x, e_y = ax - q["ex"], y - q["ey"]
    tilt = -frown * .28 - q["frown0"] * .2
    arch = q["by"] + raised * 1.4 + q["barch"] * (1 - (e_x / .16) ** 2) - tilt * e_x * 1.1 - .25 * frown.clamp_min(0) * torch.exp(-((e_x + .12) / .1) ** 2) * .2
    thick = q["bth"] * (1.15 - 2.2 * e_x.clamp(-.1, .3))
    brow = _cov((e_y + arch).abs() - thick, aa * 2.2) * _step(-.20, -.15, e_x) * _step(.23, .15, e_x) * front
    brow = (brow * (.85 + .45 * photo * _noise(x * 2.2, y * .9 + sx * .1, 0))).clamp(0, .95)
    alb = mix(alb, col["hair"] * .8 + .004, brow * (.35 + .65 * live))
    # lips
    lipc = col["lip"] * (1 + .10 * photo * _noise(x * 2.6, y * .5, 0))[:, None]
    alb = mix(alb, lipc * .80, lips * (ym < (top + bot) * .5).float())
    alb = mix(alb, lipc, lips * (ym >= (top + bot) * .5).float())
    seam = torch.exp(-((ym - .0) / (.011 + aa * .35)) ** 2) * _step(1.08, .9, u.abs()) * front * (1 - _step(.004, .025, ms["lipup"] + ms["liplow"]))
    corners = torch.exp(-((ax - ms["mw"]) / .025) ** 2 - (ym / .022) ** 2) * front
    # nostrils
    nyl = .355 + q["nlen"]
    nostril = _cov(_ell2(ax - .052, y - nyl, .030 + 0 * S, .017 + 0 * S), aa * 1.6) * _step(.72, .8, z)
    alb = mix(alb, alb * c3(.16, .09, .08), nostril)
    # make-up of the eyes
    alb = mix(alb, col["cloth2"] * .4 + alb * .3, torch.exp(-((e_x / .15) ** 2 + ((e_y + .07) / .05) ** 2)) * q["shadow"] * live * front)
    # hair, clothes, hat
    gloss = 1 + photo * q["streak"] * rough
    hatm = (q["hat"] * (y < -.30 - (z - .6) * .35).float())
    hcol = col["hair"] * gloss[:, None].clamp_min(.25) * (1 + .25 * photo * coarse)[:, None]
    knit = 1 + .2 * torch.sin(60 * x) * torch.sin(45 * y) * photo
    hcol = mix(hcol, col["hatc"] * knit[:, None], hatm)
    ccol = col["cloth"] * (1 + .18 * photo * (_noise(bx * .5, by * .5, 2) + .5 * _noise(bx, by, 0)))[:, None]
    ccol = mix(ccol, col["cloth2"], (torch.sin(by * q["stripe"] * 3) > .3).float() * (q["stripe"] > 0).float())
    ccol = mix(ccol, col["cloth2"], _cov((neckl - .10).abs() - .07, aa * 1.5) * q["collar"])
    alb = mix(mix(alb, ccol, clothm), hcol, hairm)
    # ------------------------------------------------------------------------ light
    L = torch.nn.functional.normalize(idt["key"], dim=1)
    l = [one(L[:, k]) for k in range(3)]
    ndl = N[0] * l[0] + N[1] * l[1] + N[2] * l[2]
    # soft shadow and ambient occlusion, at half the resolution
    lo = lambda v: F.avg_pool2d(v[:, None], 2)[:, 0]
    up = lambda v: F.interpolate(v[:, None], (size, size), mode="bilinear", align_corners=False)[:, 0]
    Q, Nl = [lo(v) for v in P], [lo(v) for v in N]
    shade, far = torch.ones_like(Q[0]), .05
    for k in range(5):
        off = far * S
        d = scene(*[Q[i] + Nl[i] * .025 * S + l[i] * off for i in range(3)])
        shade = torch.minimum(shade, (.5 + d / (off * (.18 + .5 * (1 - q["hard"])))).clamp(0, 1))
        far *= 1.8
    occ = (.45 + .55 * scene(*[Q[i] + Nl[i] * .10 * S for i in range(3)]) / (.10 * S)).clamp(0, 1) * (.6 + .4 * scene(*[Q[i] + Nl[i] * .30 * S for i in range(3)]) / (.30 * S)).clamp(0, 1)
    shade, occ = up(shade), up(occ)
    skinm = (1 - hairm) * (1 - clothm)
    wrap = torch.stack([.30 * skinm * live, .14 * skinm * live, .10 * skinm * live], 1)
    diff = ((ndl[:, None] + wrap) / (1 + wrap)).clamp(0, 1) * (shade[:, None] * (1 - .25 * wrap) + .25 * wrap)
    sky = (.65 - .35 * N[1] + .15 * N[2])
    light = diff * col["keyc"] + (q["amb"] * sky * occ)[:, None] * col["ambc"]
    rimn = (1 - N[2]).clamp(0, 1) ** 2.5 * (N[0] * q["rims"]).clamp_min(0) * q["rim"]
    light = light + rimn[:, None] * (1.3 - .3 * col["keyc"])
    V = [-rx, -ry, -rz]
    H = [l[i] + V[i] for i in range(3)]
    hn = torch.rsqrt(H[0] ** 2 + H[1] ** 2 + H[2] ** 2 + 1e-9)
    ndh = ((N[0] * H[0] + N[1] * H[1] + N[2] * H[2]) * hn).clamp(0, 1)
    wet = lips * (1 - inner)
    spec = (ndh ** 22 * .12 * q["shine"] * skinm * (1 + .5 * fine) * (1 - hairy) * (1 - lips) + ndh ** 40 * .30 * wet * (.4 + q["shine"]) + ndh ** 18 * .07 * hairm * (1 + rough) * (1 - hatm)) * shade * photo
    if True:                                             # flat pictures: light in two steps
        flat = one((idt["style"] == 4).float())[:, None]
        lum = light.mean(1, keepdim=True)
        stepped = (.62 + .38 * _step(.42, .46, lum) + .12 * _step(.95, 1., lum)) * 1.0
        light = light + (stepped * (light.mean((1, 2, 3), keepdim=True) * 0 + 1) - light) * flat
    img = alb * light
    img = img * (1 - .55 * seam - .35 * corners)[:, None].clamp(0, 1)
    # upper lip is in its own shade, the lower one catches light
    img = img * (1 + photo[:, None] * (lips * (-.16 * (1 - rel_u) * (ym < top).float() + (.16 * torch.sin(math.pi * rel_l) - .05) * (ym > bot).float()))[:, None])
    under = torch.exp(-((ym - lower - .035) / .028) ** 2) * _step(1.1, .5, u.abs()) * front
    img = img * (1 - .22 * under * photo)[:, None]
    img = img + spec[:, None] * col["keyc"]
    # ---------------------------------------------------------------- the inside of the mouth

    lm = light.mean((2, 3), keepdim=True) * .5 + light * .3
    ins = (col["inside"] * live[:, None] + col["skin"] * .25 * (1 - live[:, None])) * lm
    jaw_y = ms["liplow"] * .98
    tx = x / (1 - .25 * (x / .25) ** 2).clamp_min(.5)
    gapl = (torch.sin(tx * math.pi / .062) ** 2)
    side = (1 - (x / (ms["mw"] * 1.02)) ** 2).clamp(0, 1)
    tcol = torch.stack([q["tooth"], q["tooth"] * .94, q["tooth"] * .84], 1) ** 1.6 * live[:, None] + col["skin"] * (1 - live[:, None])
    tshade = (.42 + .58 * side) * (1 - q["gap"] * .5 * (1 - gapl) ** 6)
    tlen = .105 + .02 * torch.cos(tx * math.pi / .062 * .5) - .06 * (x / .25) ** 2
    ut_y = -ms["lipup"] - .045 + .25 * ms["show"] * .05         # upper teeth do not move
    ut = _cov(ym - (ut_y + tlen), aa) * _step(.0, .012, ym - (ut_y - .02))
    lt = _cov(-(ym - (jaw_y - .028 - .035 * ms["show"])), aa) * _step(1.0, .85, u.abs() * 1.25)
    lt_on = ((o - .25) * 3).clamp(0, 1) * .75 + ms["show"] * (1 - o).clamp(0, 1)
    tongue = _cov(_ell2(x, ym - jaw_y + .015, ms["mw"] * .62, ms["gape"] * .42 + .003), aa * 2) * ((o - .2) * 4).clamp(0, 1)
    ins = mix(ins, (c3(.55, .16, .16) * live[:, None] + col["skin"] * .5 * (1 - live[:, None])) * lm * (1.0 + .3 * (ym / (ms["gape"] + .05)))[:, None].clamp(.3, 1.3), tongue)
    ins = mix(ins, tcol * lm * 1.05 * (tshade * .85)[:, None], lt * lt_on.clamp(0, 1))
    ins = mix(ins, tcol * lm * 1.35 * tshade[:, None], ut * _step(.01, .05, ms["lipup"] + ms["liplow"]))
    img = mix(img, ins * (.55 + .45 * _step(0, .035, ym - top) * _step(1.02, .8, u.abs()))[:, None], inner)
    # ------------------------------------------------------------------------ eyes
    lidq = (one(m["blink"]) + (q["lid0"] + lids + .25 * ms["smile"].clamp_min(0) * .5) * (1 - one(m["blink"]))).clamp(0, 1)
    ew, eh = q["ew"], q["eh"] * (1 + wide * 1.5)
    v = e_x / ew
    arc = (1 - v * v).clamp_min(0)
    up_ = eh * arc.clamp_min(1e-4) ** .6 * (1 + .18 * (-v))
    lw_ = eh * .62 * arc.clamp_min(1e-4) ** .75
    slant = -q["etilt"] * v - .012 * v
    yy = e_y - slant
    lid_top = -up_ + (up_ + lw_ * .80) * lidq
    inside_eye = (v.abs() < 1).float() * _step(.3, .5, z)
    eye = _cov(torch.maximum(lid_top - yy, yy - lw_), aa) * inside_eye
    eye = eye * (1 - _step(.88, .97, lidq))
    gx_, gy_ = (one(m["gx"]) + q["gazex"] - (one(m["yaw"]) + q["yaw0"]) * .35) * .07, (one(m["gy"]) + q["gazey"]) * .05
    # both eyes look to the same side
    ix, iy = e_x - sx * gx_.clamp(-.045, .045), yy - gy_.clamp(-.02, .02) + .006
    ri = .062
    rr = torch.sqrt(ix * ix + iy * iy + 1e-9)
    nx, ny = (e_x * sx) / .17, yy / .17
    nzv = torch.sqrt((1 - nx * nx - ny * ny).clamp_min(.05))
    el = (nx * l[0] + ny * l[1] + nzv * l[2]).clamp(0, 1) * .75 + .35
    white = c3(.80, .76, .73) * (live * .95 + .05)[:, None] + col["skin"] * .75 * (1 - live)[:, None]
    white = mix(white, white * c3(1., .55, .5), (torch.exp(-((v + .95) / .14) ** 2) * .8 * live).clamp(0, 1))
    eyec = white
    irisc = col["iris"] * (.75 + .9 * (rr / ri) ** 2 * (1 - (rr / ri) ** 8) + .25 * photo * torch.sin(torch.atan2(iy, ix) * 17))[:, None].clamp_min(.1)
    eyec = mix(eyec, irisc * (.3 + .7 * live)[:, None] + col["skin"] * .35 * (1 - live)[:, None], _cov(rr - ri, aa * 1.4))
    eyec = mix(eyec, c3(.01, .01, .01).expand_as(eyec), _cov(rr - ri * .45, aa * 1.2) * live)
    env = light.mean((2, 3), keepdim=True) * .55 + .45 * F.avg_pool2d(light, 9, 1, 4)
    eyec = eyec * env * el[:, None] * (.45 + .55 * _step(0, .045, yy - lid_top))[:, None]
    hx, hy = ix - l[0] * .025 * sx * 1., iy - (l[1] * .8 - .2) * .03
    eyec = mix(eyec, torch.ones_like(eyec) * env.clamp(.3, 1.2) * 1.1, _cov(_ball(hx, hy, 0 * hx, .013), aa * 1.3) * live * .9)
    # lids: fold above, lash lines
    fold_y = lid_top - .030 - .012 * q["crease"]
    foldm = torch.exp(-((yy - fold_y) / (.010 + aa * .3)) ** 2) * (v.abs() < 1.12).float() * _step(1.12, .9, v.abs()) * inside_edge(z)
    img = img * (1 - .32 * foldm * (.4 + .6 * q["crease"]) * (1 - .7 * lidq))[:, None]
    img = mix(img, eyec, eye)
    lash = torch.exp(-((yy - lid_top) / (.009 + aa * .32)) ** 2) * _step(1.10, .98, v.abs()) * inside_edge(z)
    img = img * (1 - (.80 * lash * q["lash"].clamp(0, 1) * live + .35 * lash * (1 - live)).clamp(0, .92))[:, None]
    low = torch.exp(-((yy - lw_) / (.008 + aa * .3)) ** 2) * _step(1.05, .9, v.abs()) * inside_edge(z) * (1 - lidq)
    img = img * (1 - .30 * low)[:, None]
    # hair that hangs in front of the face hides what was drawn on it
    front_of = hairm
    img = mix(img, alb * light + spec[:, None] * col["keyc"], front_of)
    # ---------------------------------------------------------------- glasses: in a plane

    o_h = places(torch.zeros_like(rx), torch.zeros_like(rx), dist + 0 * rx, named, "h")
    d_h = [x - o_h[0], y - o_h[1], z - o_h[2]]
    tg = (.84 - o_h[2]) / d_h[2]
    gxp, gyp = o_h[0] + d_h[0] * tg, o_h[1] + d_h[1] * tg
    ge_x, ge_y = gxp.abs() - q["ex"] - .005, gyp - q["ey"] - .02
    box = torch.sqrt((ge_x / q["gr"]) ** 4 + (ge_y / (q["gr"] * q["gy"] * .85)) ** 4 + 1e-9) ** .5 - 1
    ring = _cov((box * q["gr"] * .8).abs() - .013, aa * 1.3)
    bridge = _cov(torch.maximum((gyp - q["ey"] + .02).abs() - .014, gxp.abs() - q["ex"] + q["gr"]), aa * 1.3)
    arms = _cov(torch.maximum((gyp - q["ey"] + .03).abs() - .014, torch.maximum(q["ex"] + q["gr"] - gxp.abs(), gxp.abs() - .74)), aa * 1.3) * (alpha > .5).float()
    lens = _cov(box * q["gr"], aa)
    gl = q["glasses"] * (tg > 0).float() * (1 - hairm * (z > .7).float())
    img = img * (1 - .85 * lens * q["tint"] * gl * (q["tint"] > .3).float())[:, None]
    img = img + (lens * gl * .10 * _step(.02, .0, (gxp * .7 + gyp - q["ey"] + .02).abs() - .03) * photo)[:, None]
    img = mix(img, col["frame"] * (lm + .15) * 1.2, ((ring + bridge + arms).clamp(0, 1) * gl))
    # ------------------------------------------------------------------------ on the background
    tone = (col["skin"] * torch.tensor([.3, .59, .11], device=dev).view(1, 3, 1, 1)).sum(1, keepdim=True)
    img = (img * q["gain"][:, None] * (1.25 - .5 * tone)).clamp(0, 4)     # pale skins are exposed less
    img = img / (1 + .35 * img) * 1.25                    # shoulder of the film
    img = img.clamp(0, 1) ** (1 / 2.2)
    a = alpha
    out = back + (img - back) * a[:, None]
    out = post(out, a, back, idt, x, y, z, (hairm, clothm, inner, eye, lips, brow), size)
    return (out * idt["light"][:, :, None, None]).clamp(0, 1), a


def inside_edge(z):
    return _step(.3, .5, z)


# ----------------------------------------------------------------------------- styles

def _blur(x, k):
    w = torch.exp(-(torch.arange(-k, k + 1, device=x.device, dtype=x.dtype) / (k * .6)) ** 2)
    w = (w / w.sum()).view(1, 1, 1, -1)
    n, c, h, wd = x.shape
    y = F.conv2d(F.pad(x.reshape(n * c, 1, h, wd), (k, k, 0, 0), mode="replicate"), w)
    return F.conv2d(F.pad(y, (0, 0, k, k), mode="replicate"), w.transpose(2, 3)).view(n, c, h, wd)


def kuwahara(x, r):
    """The mean of that of four square neighbourhoods that varies least: flat strokes with sharp edges."""
    k = r + 1
    p = F.pad(x, (r, r, r, r), mode="replicate")
    m, v = F.avg_pool2d(p, k, 1), F.avg_pool2d(p * p, k, 1)
    v = (v - m * m).sum(1, keepdim=True)
    n, h = x.shape[0], x.shape[2]
    cut = lambda t, i, j: t[:, :, i * r:i * r + h, j * r:j * r + h]
    ms = torch.stack([cut(m, i, j) for i in (0, 1) for j in (0, 1)])
    vs = torch.stack([cut(v, i, j) for i in (0, 1) for j in (0, 1)])
    w = (-vs / (vs.amin(0, keepdim=True) + 3e-4)).softmax(0)
    return (ms * w).sum(0)


def _edges(x):
    gx = F.pad(x[..., 2:] - x[..., :-2], (1, 1, 0, 0), mode="replicate")
    gy = F.pad(x[..., 2:, :] - x[..., :-2, :], (0, 0, 1, 1), mode="replicate")
    return torch.sqrt(gx * gx + gy * gy + 1e-8)


def post(img, alpha, back, idt, x, y, z, parts, size):
    """Applies each row's style to the finished pictures."""
    st = idt["style"]
    one = lambda v: v[:, None, None, None]
    out = img
    gray = lambda t: (t * torch.tensor([.3, .59, .11], device=t.device).view(1, 3, 1, 1)).sum(1, keepdim=True)
    sel = lambda i: (st == i).nonzero()[:, 0]
    ph = (st <= 2).nonzero()[:, 0]
    res = out.clone()
    if len(ph):
        p = out[ph]
        soft = one(idt["soft"][ph])
        p = p + (_blur(p, 1) - p) * soft
        p = p.clamp(0, 1) ** one(idt["gamma"][ph])
        g = gray(p)
        sat = one(torch.where(st[ph] == 1, torch.zeros_like(st[ph]), idt["sat"][ph]))
        p = g + (p - g) * sat + one(idt["lift"][ph])
        at = torch.arange(size, device=p.device)
        i, j = ((idt[k][ph] * 25).long()[:, None] + at & 255 for k in ("tex", "tex2"))
        n = _noise_map(p.device)[0, 0][i[:, :, None], j[:, None, :]][:, None]          # the same grain in all frames of a clip
        res[ph] = (p + n * one(idt["grain"][ph])).clamp(0, 1)
    i = sel(3)
    if len(i):
        p = kuwahara(out[i], 2)
        canvas = _noise_map(p.device)[:, 3:4, :size, :size] * .5 + _noise_map(p.device)[:, 0:1, :size, :size] * .5
        p = (p - .5) * 1.1 + .5
        g = gray(p)
        p = g + (p - g) * (1 + .5 * one(idt["tone"][i]))
        res[i] = (p * (1 + .05 * canvas)).clamp(0, 1)
    for k, i in ((4, sel(4)), (5, sel(5))):
        if not len(i):
            continue
        h, c, inn, eye, lips, brow = (t[i] for t in parts)
        a = alpha[i]
        ids = torch.stack([a, h * a, c * a, inn * .9, eye * .8, lips * .6], 1)
        depth = (z[i] * a)[:, None]
        line = _edges(ids).amax(1, keepdim=True) * 1.1
        line = torch.maximum(line, (_edges(depth) * 1.6 - .25).clamp(0, 1) * a[:, None])
        if k == 4:
            strength = one(torch.where(idt["tone"][i] < .4, torch.zeros_like(idt["tone"][i]), idt["tone"][i]))
            p = out[i]
            p = (p + kuwahara(p, 1)) * .5
            ink = one(idt["gain"][i]) * .12
            res[i] = (p + (ink - p) * (line.clamp(0, 1) * strength)).clamp(0, 1)
        else:
            g = gray(out[i])
            det = (_edges(_blur(g, 1)) * 4.5 - .35).clamp(0, 1)
            ink = torch.maximum(line * .95, det * .8).clamp(0, 1)
            ink = torch.maximum(ink, (brow[:, None] * .6 + inn[:, None] * (g < .25).float() * .85))
            d = torch.remainder(torch.arange(size, device=g.device)[None] + torch.arange(size, device=g.device)[:, None], 4)[None, None] < 1.5
            ink = torch.maximum(ink, (d & (g < .35)).float() * .55 * one((idt["tone"][i] > .5).float()))
            paper = one(.86 + .12 * idt["tone"][i]) * torch.stack([torch.ones_like(st[i]), .97 + 0 * st[i], .88 + .11 * idt["soft"][i]], 1)[:, :, None, None]
            colour = out[i] * .35 + .65
            paper = torch.where(one(idt["age"][i]) > .5, paper * colour, paper.expand_as(out[i]))
            res[i] = (paper * (1 - ink * .88)).clamp(0, 1)
    return res


# ----------------------------------------------------------------------------- clips, boxes

def render_clips(idt, op, wd, motion, back, dev="cpu", size=SIZE, chunk=64):
    """(N, T) drivers, motion as make_motion() gives, back (N, 3, size, size) in 0..1 -> (N, T, 3, size, size) uint8."""
    N, T = op.shape
    rows = torch.arange(N * T, device=dev) // T
    own = {k: v.to(dev) for k, v in idt.items()}
    mo = {k: v.reshape(-1).to(dev) for k, v in motion.items()}
    o, w, back = op.reshape(-1).to(dev), wd.reshape(-1).to(dev), back.to(dev)
    out = torch.empty(N * T, 3, size, size, dtype=torch.uint8, device=dev)
    with torch.no_grad():
        for s in range(0, N * T, chunk):
            r = rows[s:s + chunk]
            im, _ = _render({k: v[r] for k, v in own.items()}, o[s:s + chunk], w[s:s + chunk], {k: v[s:s + chunk] for k, v in mo.items()}, back[r], size)
            out[s:s + chunk] = (im * 255).round().to(torch.uint8)
    return out.view(N, T, 3, size, size)


def reference_frame(idt, back, dev="cpu", size=SIZE):
    n = idt["scale"].shape[0]
    none = torch.zeros(n, dtype=torch.long)
    z = torch.zeros(n, 1)
    return render_clips(set_scene(idt, none, none), z, z + .5, still_motion(n), back, dev, size)[:, 0]


def _pixels(b, size):
    return ((b + 1) / 2 * size).clamp(0, size).round()


def _around(p):
    return torch.cat([p.amin(1), p.amax(1)], 1)


def _points(idt, rows):
    n = idt["scale"].shape[0]
    return torch.stack([torch.stack([v if torch.is_tensor(v) else torch.full((n,), float(v)) for v in r], 1) for r in rows], 1)


def face_box(idt, size=SIZE, area=1.0):
    """(n, 4) x1 y1 x2 y2 in pixels: the head from the hairline to the chin, scaled as upstream's get_facemask(area)."""
    w, t = idt["wide"] * .74, idt["tall"]
    p = _around(project(idt, _points(idt, [(-w, 0., .0), (w, 0., .0), (0., -.86, .5), (0., 1.0 * t, .5), (0., .30, .93)])))
    c, h = (p[:, :2] + p[:, 2:]) / 2, (p[:, 2:] - p[:, :2]) / 2 * area
    return _pixels(torch.cat([c - h, c + h], 1), size)


def mouth_box(idt, size=SIZE, pad=.05):
    my, w = idt["mouth"], idt["mw"] * 1.15
    y1, y2 = my - .13, my + idt["mh"] + idt["ll"] + .06
    p = _around(project(idt, _points(idt, [(-w, y1, .62), (w, y1, .62), (-w, y2, .62), (w, y2, .62), (0., my, .80)])))
    return _pixels(p + torch.tensor([-pad, -pad, pad, pad]) * .6, size)


def eye_boxes(idt, size=SIZE, pad=.045):
    out = []
    for s in (-1, 1):
        e, w, h = idt["ex"] * s, idt["ew"] * 1.15, .13
        p = _around(project(idt, _points(idt, [(e - w, idt["ey"] - h, .62), (e + w, idt["ey"] + h, .62), (e - w, idt["ey"] + h, .62), (e + w, idt["ey"] - h, .62)])))
        out.append(_pixels(p + torch.tensor([-pad, -pad, pad, pad]) * .5, size))
    return out


def landmarks(idt, motion=None):
    """(n, 5, 2) in -1..1: left and right eye, tip of the nose, corners of the mouth, as the face detector's points."""
    n = idt["scale"].shape[0]
    mw = idt["mw"] * (.99 + .14 * idt["smile0"].clamp_min(0))
    ym = idt["mouth"] - .06 * idt["smile0"]
    return project(idt, _points(idt, [(-idt["ex"], idt["ey"], .68), (idt["ex"], idt["ey"], .68), (0., .30 + idt["nlen"], .96), (-mw, ym, .62), (mw, ym, .62)]), motion)
