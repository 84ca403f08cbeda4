# SPDX-License-Identifier: LGPL-2.1-or-later
"""Trains the demo's face detector, writes it in the format of the released det_align/detface.pt, and measures it on held-out faces.

    python3 tools/demo-model/train_face.py                  # all steps: models/demo/ckpts/det_align/detface.pt (torch, numpy, Pillow)
    python3 tools/demo-model/train_face.py --measure FILE   # measurement only, of any such file
"""
import os
import sys

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import need  # noqa: E402

need.imports(__file__)

import argparse, copy, math, time, warnings
import torch
import torch.nn.functional as F
import face_net as N
import face_pictures as P

HERE = os.path.dirname(os.path.abspath(__file__))
FILE = os.path.join(HERE, "..", "..", "models", "demo", "ckpts", "det_align", "detface.pt")
WIDTHS = (8, 16, 24, 32, 48)
HELD_OUT = 7000000     # seeds of the people and pictures that are measured on
ANCHOR_RATIO = 2.      # maximum ratio of the sizes of a head and its anchors


def ciou(a, b):
    """[n, 4] centres and sizes; complete IoU (Zheng et al. 2020)."""
    half = lambda t: (t[:, :2] - t[:, 2:] / 2, t[:, :2] + t[:, 2:] / 2)
    (a1, a2), (b1, b2) = half(a), half(b)
    wh = (torch.minimum(a2, b2) - torch.maximum(a1, b1)).clamp(0)
    inter = wh[:, 0] * wh[:, 1]
    iou = inter / (a[:, 2] * a[:, 3] + b[:, 2] * b[:, 3] - inter + 1e-7)
    hull = torch.maximum(a2, b2) - torch.minimum(a1, b1)
    rho = ((a[:, :2] - b[:, :2]) ** 2).sum(1) / ((hull ** 2).sum(1) + 1e-7)
    v = 4 / math.pi ** 2 * (torch.atan(b[:, 2] / b[:, 3]) - torch.atan(a[:, 2] / (a[:, 3] + 1e-7))) ** 2
    return iou, iou - rho - v * (v / (1 - iou + v + 1e-7)).detach()


def assign(rows, grid, h, w):
    """YOLOv5's assignment: for each head all anchors near its size, in its cell and the two nearest. Indices (picture, anchor, y, x), heads."""
    stride, anchors = N.STRIDES[grid], torch.tensor(N.ANCHORS[grid])
    size, centre = rows[:, 3:5] - rows[:, 1:3], (rows[:, 3:5] + rows[:, 1:3]) / 2 / stride
    ratio = size[:, None] / anchors[None]
    which = torch.maximum(ratio, 1 / ratio).amax(2) < ANCHOR_RATIO
    out = []
    for t, a in which.nonzero().tolist():
        cx, cy = centre[t].tolist()
        x, y = math.floor(cx), math.floor(cy)
        for i, j in ((x, y), (x + (1 if cx - x > .5 else -1), y), (x, y + (1 if cy - y > .5 else -1))):
            if 0 <= i < w and 0 <= j < h:
                out.append((int(rows[t, 0]), a, j, i, t))
    return torch.tensor(out, dtype=torch.long).view(-1, 5)


def loss_of(raw, rows):
    total, parts, n = 0., torch.zeros(4), 0
    for grid, y in enumerate(raw):
        at = assign(rows, grid, y.shape[2], y.shape[3])
        goal = torch.zeros(y.shape[:4])
        if len(at):
            b, a, j, i, t = at.T
            p, anchor, cell = y[b, a, j, i], torch.tensor(N.ANCHORS[grid])[a], torch.stack((i, j), 1).float()
            s, head = p.sigmoid(), rows[t]
            box = torch.cat(((s[:, :2] * 2 - .5 + cell) * N.STRIDES[grid], (s[:, 2:4] * 2) ** 2 * anchor), 1)
            iou, good = ciou(box, torch.cat(((head[:, 1:3] + head[:, 3:5]) / 2, head[:, 3:5] - head[:, 1:3]), 1))
            points = (head[:, 5:].view(-1, 5, 2) - cell[:, None] * N.STRIDES[grid]) / anchor[:, None]
            parts[0] += (1 - good.detach()).sum()
            near = F.smooth_l1_loss(p[:, 5:15].view(-1, 5, 2), points, beta=.05, reduction="sum") / 10
            known = F.binary_cross_entropy_with_logits(p[:, 15], torch.ones(len(p)), reduction="sum")
            total = total + 2 * (1 - good).sum() + 2 * near + .2 * known
            parts[1] += near.detach()
            n += len(at)
            goal[b, a, j, i] = (.4 + .6 * iou.detach()).clamp(0, 1)    # confidence grows with the overlap
        sure = F.binary_cross_entropy_with_logits(y[..., 4], goal, reduction="sum")
        total = total + sure
        parts[2] += sure.detach()
    return total / max(n, len(raw[0])), parts / max(n, 1)


def average(slow, net, keep):
    with torch.no_grad():
        for s, v in zip(slow.state_dict().values(), net.state_dict().values()):
            s.lerp_(v, 1 - keep) if s.is_floating_point() else s.copy_(v)


def train(a):
    torch.manual_seed(a.seed)
    start = time.time()
    people = P.People(a.people, a.seed)
    if a.heads:
        people.add_heads(a.heads, a.seed, a.backgrounds, "cuda" if torch.cuda.is_available() else "cpu")
    painter = P.Painter(people, a.seed)
    print(f"{len(people)} people after {time.time() - start:.0f} s", flush=True)
    net = N.FaceNet(WIDTHS)
    if a.init:
        net.load_state_dict(torch.load(a.init))
    work = None
    if a.workers:                                        # pictures made by other processes, in the same order
        numbers = [range(k * a.batch, (k + 1) * a.batch) for k in range(a.first, a.first + a.steps)]
        work = iter(torch.utils.data.DataLoader(numbers, batch_size=None, num_workers=a.workers, prefetch_factor=4, collate_fn=lambda v: painter.batch(v)))
    slow = copy.deepcopy(net)
    weights = [p for p in net.parameters() if p.dim() > 1]
    others = [p for p in net.parameters() if p.dim() <= 1]
    opt = torch.optim.AdamW([{"params": weights, "weight_decay": .01}, {"params": others, "weight_decay": 0.}], lr=a.lr)
    part = lambda k: min(1, max(k / a.steps, (time.time() - start) / a.seconds if a.seconds else 0))
    rate = lambda k: min(1, (k + 1) / 100) * (.01 + .99 * (.5 + .5 * math.cos(math.pi * part(k))))
    plan = torch.optim.lr_scheduler.LambdaLR(opt, rate)
    seen, shown = torch.zeros(4), 0
    for k in range(a.steps):
        x, rows = next(work) if work else painter.batch(range((a.first + k) * a.batch, (a.first + k + 1) * a.batch))
        if a.seconds and time.time() - start > a.seconds:
            break
        loss, parts = loss_of(net.model[23].raw(net.features(x)), rows)
        opt.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 10.)
        opt.step()
        plan.step()
        average(slow, net, min(.996, (k + 1) / (k + 20)))
        seen, shown = seen + parts, shown + 1
        if (k + 1) % 50 == 0:
            box, points, sure = (seen / shown)[:3].tolist()
            print(f"step {k + 1} {time.time() - start:.0f} s ({time.process_time():.0f} of the processor): box {box:.3f} points {points:.4f} sure {sure:.3f}", flush=True)
            seen, shown = torch.zeros(4), 0
        if (k + 1) % 400 == 0 and k + 1 < a.steps:
            N.save(N.store(copy.deepcopy(slow)), a.out + ".part")
    if a.state:
        torch.save(slow.state_dict(), a.state)
    size = N.save(N.store(slow), a.out)
    if os.path.exists(a.out + ".part"):
        os.remove(a.out + ".part")
    print(f"{a.out}: {size} bytes, {sum(p.numel() for p in net.parameters())} parameters in training")


# ----------------------------------------------------------------------------- measurement

def judge(name, net, pictures):
    """The face with the largest overlap for each head; found if it is at least one half."""
    heads, found, overlaps, extra, far = 0, 0, [], 0, []
    for img, at in pictures:
        faces = N.detect(net, img)
        heads += len(at)
        over = N.iou(at[:, :4], faces[:, :4]) if len(at) and len(faces) else torch.zeros(len(at), len(faces))
        best = over.max(1) if len(faces) else None
        hit = 0
        for t in range(len(at) if len(faces) else 0):
            if best.values[t] >= .5:
                hit += 1
                overlaps.append(float(best.values[t]))
                d = (faces[best.indices[t], 5:].view(5, 2) - at[t, 4:].view(5, 2)).norm(dim=1)
                far.append(float(d.mean() / (at[t, 2] - at[t, 0])))
        found, extra = found + hit, extra + len(faces) - hit
    mean = lambda v: sum(v) / max(len(v), 1)
    print(f"{name}: {len(pictures)} pictures, {heads} heads, {found} found ({100 * found / max(heads, 1):.1f} %), mean IoU {mean(overlaps):.3f}, "
          f"worst {min(overlaps, default=0):.3f}, points {100 * mean(far):.1f} % of the head's width off, false alarms {extra}", flush=True)


@torch.no_grad()
def measure(path, heads=0, backgrounds="", share=1.):
    net = torch.jit.load(path)
    part = lambda k: max(1, round(k * share))
    still = P.People(part(100), HELD_OUT, still=True, size=128)
    judge("portraits as rendered", net, [(still.whole[i], still.places[i:i + 1] * 128) for i in range(len(still))])
    painter = P.Painter(P.People(part(100), HELD_OUT + 10), HELD_OUT)
    for kind, n in (("rendered", 200), ("one", 200), ("two", 100), ("none", 200)):
        judge(kind, net, [painter.picture(i, kind) for i in range(part(n))])
    if heads:                                            # rendered heads, by style
        for i, style in enumerate(P.H.STYLES):
            people = P.People(1, HELD_OUT + 20, size=128).add_heads(heads, HELD_OUT + 21 + i, backgrounds, "cuda" if torch.cuda.is_available() else "cpu", True, i)
            judge(f"heads, {style}", net, [(people.whole[k], people.places[k:k + 1] * 128) for k in range(1, len(people))])
    x, g = torch.rand(1, 3, P.SEEN, P.SEEN), N.grids(P.SEEN, P.SEEN)
    for _ in range(3):
        net(x, g)
    start = time.process_time()
    for _ in range(10):
        net(x, g)
    print(f"a forward of {P.SEEN} x {P.SEEN}: {(time.process_time() - start) * 100:.1f} ms of one core")


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--out", default=os.path.normpath(FILE)); ap.add_argument("--measure", default="")
    ap.add_argument("--steps", type=int, default=1000); ap.add_argument("--batch", type=int, default=16); ap.add_argument("--people", type=int, default=600)
    ap.add_argument("--lr", type=float, default=4e-3); ap.add_argument("--seed", type=int, default=11)
    ap.add_argument("--heads", type=int, default=0, help="number of heads.py's heads among the people"); ap.add_argument("--backgrounds", default="")
    ap.add_argument("--workers", type=int, default=0, help="processes that make pictures"); ap.add_argument("--threads", type=int, default=1); ap.add_argument("--seconds", type=float, default=0, help="end of training")
    ap.add_argument("--first", type=int, default=0, help="number of the first batch"); ap.add_argument("--init", default=""); ap.add_argument("--state", default="", help="weights to continue from, to write")
    ap.add_argument("--share", type=float, default=1, help="share of the held-out pictures that are measured")
    ap.add_argument("--held-heads", type=int, default=0, help="heads of each style that are measured")
    a = ap.parse_args()
    warnings.filterwarnings("ignore", message=".*torch.jit.*")
    torch.set_num_threads(a.threads)
    if not a.measure:
        train(a)
    measure(a.measure or a.out, a.held_heads, a.backgrounds, a.share)


if __name__ == "__main__":
    main()
