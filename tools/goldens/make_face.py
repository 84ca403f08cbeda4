# SPDX-License-Identifier: LGPL-2.1-or-later
"""Goldens of the face detector: a small reimplementation of YOLOv5-face in PyTorch with random weights, saved by torch.jit.save like
the released det_align/detface.pt; its output for a picture; non-maximum suppression by torchvision; OpenCV's INTER_LINEAR.

    python3 tools/goldens/make_face.py     (torch, torchvision, numpy, opencv-python-headless, Pillow for image.py)

Writes tests/fuzz/corpus/detector/{detface.pt,detface_fused.pt} and tests/golden/image/{face.safetensors,opencv.txt}. The files here are of
torch 2.15.0, torchvision 0.29.2, OpenCV 4.9.0 (upstream's; 5.0.0 gives the same), numpy 1.26.
"""
import os
import sys

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import need  # noqa: E402

need.imports(__file__)

import hashlib
import io
import zipfile
from typing import List

import cv2
import numpy as np
import torch
import torchvision
from torch import nn

import common
import image

OUT = os.path.join(common.OUT, "..", "image")
CORPUS = os.path.join(common.OUT, "..", "..", "fuzz", "corpus", "detector")


class Conv(nn.Module):
    def __init__(self, c1: int, c2: int, k: int = 1, s: int = 1):
        super().__init__()
        self.conv = nn.Conv2d(c1, c2, k, s, k // 2, bias=False)
        self.bn = nn.BatchNorm2d(c2, eps=1e-3)
        self.act = nn.SiLU()

    def forward(self, x):
        return self.act(self.bn(self.conv(x)))


class StemBlock(nn.Module):
    def __init__(self, c1, c2):
        super().__init__()
        self.stem_1 = Conv(c1, c2, 3, 2)
        self.stem_2a = Conv(c2, c2 // 2)
        self.stem_2b = Conv(c2 // 2, c2, 3, 2)
        self.stem_2p = nn.MaxPool2d(2, 2, ceil_mode=True)
        self.stem_3 = Conv(c2 * 2, c2)

    def forward(self, x):
        x = self.stem_1(x)
        return self.stem_3(torch.cat((self.stem_2b(self.stem_2a(x)), self.stem_2p(x)), 1))


class Bottleneck(nn.Module):
    def __init__(self, c: int, shortcut: bool):
        super().__init__()
        self.cv1, self.cv2, self.add = Conv(c, c), Conv(c, c, 3), shortcut

    def forward(self, x):
        return x + self.cv2(self.cv1(x)) if self.add else self.cv2(self.cv1(x))


class C3(nn.Module):
    def __init__(self, c1, c2, n, shortcut):
        super().__init__()
        self.cv1, self.cv2, self.cv3 = Conv(c1, c2 // 2), Conv(c1, c2 // 2), Conv(c2 // 2 * 2, c2)
        self.m = nn.Sequential(*[Bottleneck(c2 // 2, shortcut) for _ in range(n)])

    def forward(self, x):
        return self.cv3(torch.cat((self.m(self.cv1(x)), self.cv2(x)), 1))


class SPP(nn.Module):
    def __init__(self, c1, c2):
        super().__init__()
        self.cv1, self.cv2 = Conv(c1, c1 // 2), Conv(c1 // 2 * 4, c2)
        self.m = nn.ModuleList([nn.MaxPool2d(k, 1, k // 2) for k in (3, 5, 7)])

    def forward(self, x):
        x = self.cv1(x)
        return self.cv2(torch.cat([x] + [m(x) for m in self.m], 1))


class Detect(nn.Module):
    def __init__(self, channels):
        super().__init__()
        a = torch.tensor([[4., 5, 8, 10, 13, 16], [23, 29, 43, 55, 73, 105], [146, 217, 231, 300, 335, 433]]).view(3, 3, 2)
        self.register_buffer("anchors", a / torch.tensor([8., 16, 32]).view(3, 1, 1))
        self.register_buffer("anchor_grid", a.clone().view(3, 1, 3, 1, 1, 2))
        self.m = nn.ModuleList([nn.Conv2d(c, 48, 1) for c in channels])

    def forward(self, x: List[torch.Tensor], grids: List[torch.Tensor]):
        rows = []
        for i, m in enumerate(self.m):
            y = m(x[i])
            y = y.view(y.shape[0], 3, 16, y.shape[2], y.shape[3]).permute(0, 1, 3, 4, 2)
            anchor, stride = self.anchor_grid[i], 8 * 2 ** i
            s = y.sigmoid()
            xy = (s[..., 0:2] * 2. - 0.5 + grids[i]) * stride
            wh = (s[..., 2:4] * 2) ** 2 * anchor
            points = [y[..., 5 + 2 * k:7 + 2 * k] * anchor + grids[i] * stride for k in range(5)]
            row = torch.cat([xy, wh, s[..., 4:5]] + points + [s[..., 15:16]], -1)
            rows.append(row.reshape(y.shape[0], -1, 16))
        return torch.cat(rows, 1)


class Model(nn.Module):
    """widths: widths of the stem and of layers 1 to 8; those of the head follow as in yolov5l-face.yaml. depths: layers 1, 3, 5, 8, head."""

    def __init__(self, w, depths):
        super().__init__()
        d1, d3, d5, d8, dh = depths
        c0, c1, c3, c5, c8 = w
        self.model = nn.ModuleList([
            StemBlock(3, c0), C3(c0, c1, d1, True), Conv(c1, c3, 3, 2), C3(c3, c3, d3, True), Conv(c3, c5, 3, 2),
            C3(c5, c5, d5, True), Conv(c5, c8, 3, 2), SPP(c8, c8), C3(c8, c8, d8, False), Conv(c8, c5), nn.Upsample(None, 2, "nearest"),
            nn.Identity(), C3(2 * c5, c5, dh, False), Conv(c5, c3), nn.Upsample(None, 2, "nearest"), nn.Identity(),
            C3(2 * c3, c3, dh, False), Conv(c3, c3, 3, 2), nn.Identity(), C3(2 * c3, c5, dh, False), Conv(c5, c5, 3, 2), nn.Identity(),
            C3(2 * c5, c8, dh, False), Detect([c3, c5, c8])])

    def forward(self, x, grids: List[torch.Tensor]):
        m = self.model
        p3 = m[3](m[2](m[1](m[0](x))))
        p4 = m[5](m[4](p3))
        h5 = m[9](m[8](m[7](m[6](p4))))
        h4 = m[13](m[12](torch.cat((m[10](h5), p4), 1)))
        o3 = m[16](torch.cat((m[14](h4), p3), 1))
        o4 = m[19](torch.cat((m[17](o3), h4), 1))
        o5 = m[22](torch.cat((m[20](o4), h5), 1))
        return m[23]([o3, o4, o5], grids)


def grids(h, w):
    out = []
    for s in (8, 16, 32):
        y, x = torch.meshgrid(torch.arange(h // s), torch.arange(w // s), indexing="ij")
        out.append(torch.stack((x, y), 2).view(1, 1, h // s, w // s, 2).float())
    return out


def randomise(model, seed):
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for m in model.modules():
            if isinstance(m, nn.Conv2d):
                m.weight.copy_(torch.randn(m.weight.shape, generator=g) * 1.6 / m.weight[0].numel() ** .5)
                if m.bias is not None:
                    b = torch.randn(3, 16, generator=g) * .5
                    b[:, 4] -= 2  # few faces
                    b[:, 15] += 2
                    m.bias.copy_(b.view(-1))
            elif isinstance(m, nn.BatchNorm2d):
                n = m.weight.shape
                m.weight.copy_(1 + .2 * torch.randn(n, generator=g))
                m.bias.copy_(.2 * torch.randn(n, generator=g))
                m.running_mean.copy_(.2 * torch.randn(n, generator=g))
                m.running_var.copy_(.5 + torch.rand(n, generator=g))
                m.running_var[0] = .002  # a value for which eps matters
                m.weight[0] *= .05
                m.num_batches_tracked = None
    return model.eval().requires_grad_(False)


def fuse(model):
    """Folds the norms into the convolutions like yolov5's fuse(): conv.bias, and no bn."""
    for m in model.modules():
        if isinstance(m, Conv):
            m.conv = nn.utils.fuse_conv_bn_eval(m.conv, m.bn)
            m.bn = nn.Identity()
    return model


def save(model, name):
    """Writes the archive of torch.jit.save without the tables of source lines, which are half of it."""
    path = os.path.join(CORPUS, name)
    whole = io.BytesIO()
    torch.jit.save(torch.jit.script(model), whole)
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(path, "w") as new:
        for entry in old.infolist():
            if not entry.filename.endswith(".debug_pkl"):
                new.writestr(zipfile.ZipInfo(entry.filename.replace("archive/", name.removesuffix(".pt") + "/")), old.read(entry),
                             entry.compress_type)
    torch.jit.load(path)
    print(name, os.path.getsize(path))


def select(pred):
    """Upstream's non_max_suppression_face() for one class, by torchvision: x1 y1 x2 y2 score and points, by falling score."""
    x = pred[pred[:, 4] > .5]
    score = x[:, 15] * x[:, 4]
    x, score = x[score > .5], score[score > .5]
    box = torch.cat((x[:, :2] - x[:, 2:4] / 2, x[:, :2] + x[:, 2:4] / 2), 1)
    keep = torchvision.ops.nms(box, score, .45)
    near = (torchvision.ops.box_iou(box, box) - .45).abs()
    margin = min([float(v.min()) for v in ((pred[:, 4] - .5).abs(), (score - .5).abs(), near) if v.numel()] + [1.])
    return torch.cat((box, score[:, None], x[:, 5:15]), 1)[keep], margin


def faces(pred, h0, w0, h1, w1):
    """Result of upstream's DetFace.detect(): x y w h score points."""
    rows, margin = select(pred)
    d = rows.double()
    sx, sy = w0 / w1, h0 / h1
    xy = torch.stack((d[:, 0] * sx, d[:, 1] * sy), 1)
    wh = torch.stack((d[:, 2] * sx, d[:, 3] * sy), 1) - xy
    points = d[:, 5:15].view(-1, 5, 2) * torch.tensor([sx, sy]).double()
    return torch.cat((xy, wh, d[:, 4:5], points.view(-1, 10)), 1), margin


def detect(model, rgb):
    h0, w0 = rgb.shape[:2]
    r = 416 / min(h0, w0)
    h1, w1 = int(h0 * r + 31) // 32 * 32, int(w0 * r + 31) // 32 * 32
    seen = cv2.resize(rgb, (w1, h1), interpolation=cv2.INTER_LINEAR)
    x = torch.from_numpy(seen).permute(2, 0, 1)[None].float() / 255
    return faces(model(x, grids(h1, w1))[0], h0, w0, h1, w1)


def made_rows():
    """Chains of boxes that overlap more and less, equal scores, one inside the other, no size, and below either threshold."""
    rng = np.random.default_rng(5)
    rows = rng.uniform(0, 100, (400, 16)).astype(np.float32)
    rows[:, 0:2] = rng.integers(0, 12, (400, 2)) * 16 + rng.uniform(-6, 6, (400, 2))
    rows[:, 2:4] = rng.uniform(10, 60, (400, 2))
    rows[:, 4] = rng.uniform(.3, 1, 400)
    rows[:, 15] = rng.uniform(.4, 1, 400)
    rows[10:20, 4] = rows[10:20, 15] = .9  # ties
    rows[20, :4] = rows[21, :4] = [50, 50, 20, 20]
    rows[22, 2:4] = 0
    rows[23, 2:4] = -5
    return torch.from_numpy(rows)


def opencv_lines():
    rng = np.random.default_rng(3)
    sizes = [(704, 1216, 416, 736), (512, 512, 416, 416), (832, 832, 416, 416), (832, 1000, 416, 500), (128, 128, 416, 416), (1, 1, 32, 64),
             (1, 90, 32, 416), (90, 1, 416, 32), (416, 416, 416, 416), (2, 2, 64, 64), (4000, 3000, 576, 416)]
    sizes += [tuple(int(v) for v in np.exp(rng.uniform(0, np.log(900), 4))) for _ in range(60)]
    for i, (w, h, to_w, to_h) in enumerate(sizes):
        out = cv2.resize(image.picture(w, h, i).reshape(h, w, 3), (to_w, to_h), interpolation=cv2.INTER_LINEAR)
        yield f"{i} {w} {h} {to_w} {to_h} {hashlib.sha256(out.tobytes()).hexdigest()}"


def main():
    torch.set_num_threads(1)
    model = randomise(Model((4, 4, 6, 6, 8), (2, 1, 1, 1, 1)), 7)
    rgb = common.rand(1, 3, 64, 96, seed=2).sigmoid()
    rows = model(rgb, grids(64, 96))
    os.makedirs(CORPUS, exist_ok=True)
    save(model, "detface.pt")
    found, picture = None, None
    for seed in range(100, 200):  # a picture whose result does not depend on the last bits
        picture = image.picture(100, 140, seed).reshape(140, 100, 3)
        found, margin = detect(model, picture)
        if margin > 1e-4 and 3 < len(found) < 100:
            break
    else:
        sys.exit("no picture has faces that are sure")
    print(f"picture {seed}: {len(found)} faces, margin {margin:.2g}")
    made, margin = select(made_rows())
    print(f"made rows: {len(made)} of {len(made_rows())}, margin {margin:.2g}")
    common.OUT = OUT
    common.save("face.safetensors", {
        "in.rgb": rgb[0].permute(1, 2, 0), "out.rows": rows[0], "out.faces": found,
        "in.made": made_rows(), "out.made": made}, {"picture": [100, 140], "seed": seed})
    fused = fuse(model)
    print("fused differs by", float((fused(rgb, grids(64, 96)) - rows).abs().max()))
    save(fused, "detface_fused.pt")
    with open(os.path.join(OUT, "opencv.txt"), "w") as f:
        f.write(f"# OpenCV {cv2.__version__}, INTER_LINEAR: seed width height, width height, SHA-256\n")
        f.writelines(line + "\n" for line in opencv_lines())


if __name__ == "__main__":
    main()
