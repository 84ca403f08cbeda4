# SPDX-License-Identifier: LGPL-2.1-or-later
"""YOLOv5-face (Qi et al. 2021) with the release's module names, of any width; selection of faces as in upstream's DetFace;
and the TorchScript archive. The inputs of forward() are those of upstream's DetFace: the picture and its grids."""
import io, os, zipfile
from typing import List
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

STRIDES = (8, 16, 32)
# Widths and heights in pixels: heads of the demo, 1.2 times as high as wide, from 9 to 128 of 128
# pixels, scaled to 416.
ANCHORS = (((24., 29), (34, 41), (48, 58)), ((66, 79), (90, 108), (122, 146)), ((164, 197), (212, 254), (290, 348)))


class Conv(nn.Module):
    def __init__(self, c1: int, c2: int, k: int = 1, s: int = 1):
        super().__init__()
        self.conv = nn.Conv2d(c1, c2, k, s, k // 2, bias=False)
        self.bn = nn.BatchNorm2d(c2, eps=1e-3, momentum=.03)

    def forward(self, x):
        return F.silu(self.bn(self.conv(x)))


class Stored(nn.Module):
    """A convolution with its bias in float16, computed in the dtype of the picture."""

    def __init__(self, conv: nn.Conv2d):
        super().__init__()
        self.weight, self.bias = nn.Parameter(conv.weight.half()), nn.Parameter(conv.bias.half())
        self.stride, self.padding = conv.stride[0], conv.padding[0]

    def forward(self, x):
        return F.conv2d(x, self.weight.to(x.dtype), self.bias.to(x.dtype), self.stride, self.padding)


class StoredConv(nn.Module):
    """Conv with its norm folded in."""

    def __init__(self, m: Conv):
        super().__init__()
        self.conv = Stored(nn.utils.fuse_conv_bn_eval(m.conv, m.bn))

    def forward(self, x):
        return F.silu(self.conv(x))


class StemBlock(nn.Module):
    def __init__(self, c1, c2):
        super().__init__()
        self.stem_1, self.stem_2a, self.stem_2b, self.stem_3 = Conv(c1, c2, 3, 2), Conv(c2, c2 // 2), Conv(c2 // 2, c2, 3, 2), Conv(c2 * 2, c2)

    def forward(self, x):
        x = self.stem_1(x)
        return self.stem_3(torch.cat((self.stem_2b(self.stem_2a(x)), F.max_pool2d(x, 2, 2)), 1))


class Bottleneck(nn.Module):
    def __init__(self, c: int, shortcut: bool):
        super().__init__()
        self.cv1, self.cv2, self.add = Conv(c, c), Conv(c, c, 3), shortcut

    def forward(self, x):
        return x + self.cv2(self.cv1(x)) if self.add else self.cv2(self.cv1(x))


class C3(nn.Module):
    def __init__(self, c1, c2, shortcut):
        super().__init__()
        self.cv1, self.cv2, self.cv3 = Conv(c1, c2 // 2), Conv(c1, c2 // 2), Conv(c2 // 2 * 2, c2)
        self.m = nn.Sequential(Bottleneck(c2 // 2, shortcut))

    def forward(self, x):
        return self.cv3(torch.cat((self.m(self.cv1(x)), self.cv2(x)), 1))


class SPP(nn.Module):
    def __init__(self, c1, c2):
        super().__init__()
        self.cv1, self.cv2 = Conv(c1, c1 // 2), Conv(c1 // 2 * 4, c2)

    def forward(self, x):
        x = self.cv1(x)
        return self.cv2(torch.cat((x, F.max_pool2d(x, 3, 1, 1), F.max_pool2d(x, 5, 1, 2), F.max_pool2d(x, 7, 1, 3)), 1))


class Detect(nn.Module):
    def __init__(self, channels):
        super().__init__()
        a = torch.tensor(ANCHORS)
        self.register_buffer("anchors", a / torch.tensor(STRIDES).view(3, 1, 1))
        self.register_buffer("anchor_grid", a.clone().view(3, 1, 3, 1, 1, 2))
        self.m = nn.ModuleList([nn.Conv2d(c, 48, 1) for c in channels])
        with torch.no_grad():
            for m in self.m:
                m.weight.mul_(.3)
                m.bias.zero_()
                m.bias.view(3, 16)[:, 4] = -5.  # few cells have a face
                m.bias.view(3, 16)[:, 15] = 2.

    def raw(self, x: List[torch.Tensor]):
        """Raw output [n, 3 anchors, h, w, 16] for each grid."""
        out: List[torch.Tensor] = []
        for i, m in enumerate(self.m):
            y = m(x[i])
            out.append(y.view(y.shape[0], 3, 16, y.shape[2], y.shape[3]).permute(0, 1, 3, 4, 2))
        return out

    def forward(self, x: List[torch.Tensor], grids: List[torch.Tensor]):
        rows: List[torch.Tensor] = []
        for i, y in enumerate(self.raw(x)):
            anchor, stride = self.anchor_grid[i], 8. * 2 ** i
            s = y.sigmoid()
            points = [y[..., 5 + 2 * k:7 + 2 * k] * anchor + grids[i] * stride for k in range(5)]
            row = torch.cat([(s[..., 0:2] * 2. - .5 + grids[i]) * stride, (s[..., 2:4] * 2) ** 2 * anchor, s[..., 4:5]] + points + [s[..., 15:16]], -1)
            rows.append(row.reshape(y.shape[0], -1, 16))
        return torch.cat(rows, 1)


class FaceNet(nn.Module):
    """widths: widths of the stem and of layers 1, 3, 5 and 8; those of the head follow as in yolov5l-face.yaml. Depth 1 everywhere."""

    def __init__(self, widths):
        super().__init__()
        c0, c1, c3, c5, c8 = widths
        none = nn.Identity()  # Upsample and Concat of the yaml, which have no tensors
        self.model = nn.ModuleList([
            StemBlock(3, c0), C3(c0, c1, True), Conv(c1, c3, 3, 2), C3(c3, c3, True), Conv(c3, c5, 3, 2), C3(c5, c5, True),
            Conv(c5, c8, 3, 2), SPP(c8, c8), C3(c8, c8, False), Conv(c8, c5), none, none, C3(2 * c5, c5, False), Conv(c5, c3), none, none,
            C3(2 * c3, c3, False), Conv(c3, c3, 3, 2), none, C3(2 * c3, c5, False), Conv(c5, c5, 3, 2), none, C3(2 * c5, c8, False),
            Detect([c3, c5, c8])])

    def features(self, x):
        m = self.model
        p3 = m[3](m[2](m[1](m[0](x))))
        p4 = m[5](m[4](p3))
        h5 = m[9](m[8](m[7](m[6](p4))))
        h4 = m[13](m[12](torch.cat((F.interpolate(h5, scale_factor=2., mode="nearest"), p4), 1)))
        o3 = m[16](torch.cat((F.interpolate(h4, scale_factor=2., mode="nearest"), p3), 1))
        o4 = m[19](torch.cat((m[17](o3), h4), 1))
        return [o3, o4, m[22](torch.cat((m[20](o4), h5), 1))]

    def forward(self, x, grids: List[torch.Tensor]):
        return self.model[23](self.features(x), grids)


def grids(h, w):
    out = []
    for s in STRIDES:
        y, x = torch.meshgrid(torch.arange(h // s), torch.arange(w // s), indexing="ij")
        out.append(torch.stack((x, y), 2).view(1, 1, h // s, w // s, 2).float())
    return out


def store(net):
    """Folds norms into the convolutions and converts to float16, as in the file. Changes @net."""
    net = net.eval().requires_grad_(False)
    for parent in list(net.modules()):
        for name, m in list(parent.named_children()):
            if isinstance(m, Conv):
                setattr(parent, name, StoredConv(m))
    detect = net.model[23]
    detect.m = nn.ModuleList([Stored(m) for m in detect.m])
    return net.requires_grad_(False)


def save(net, path):
    """Writes the archive of torch.jit.save without the tables of source lines, which are as large as the rest."""
    whole = io.BytesIO()
    torch.jit.save(torch.jit.script(net), whole)
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(path, "w") as new:
        top = old.namelist()[0].split("/")[0]
        for entry in old.infolist():
            if not entry.filename.endswith(".debug_pkl"):
                new.writestr(zipfile.ZipInfo("detface" + entry.filename[len(top):]), old.read(entry), entry.compress_type)
    return os.path.getsize(path)


def iou(a, b):
    """[n, 4], [m, 4] corners -> [n, m]."""
    wh = (torch.minimum(a[:, None, 2:], b[None, :, 2:]) - torch.maximum(a[:, None, :2], b[None, :, :2])).clamp(0)
    inter = wh[..., 0] * wh[..., 1]
    area = lambda z: (z[:, 2] - z[:, 0]) * (z[:, 3] - z[:, 1])
    return inter / (area(a)[:, None] + area(b)[None] - inter)


def select(rows, confidence=.5, overlap=.45):
    """Upstream's non_max_suppression_face(): [faces, 15] x1 y1 x2 y2, score, points, by falling score."""
    x = rows[rows[:, 4] > confidence]
    score = x[:, 15] * x[:, 4]
    x, score = x[score > confidence], score[score > confidence]
    order = score.argsort(descending=True, stable=True)
    x, score = x[order], score[order]
    box = torch.cat((x[:, :2] - x[:, 2:4] / 2, x[:, :2] + x[:, 2:4] / 2), 1)
    over, keep = iou(box, box) > overlap, []
    for i in range(len(x)):
        if not any(over[i, j] for j in keep):
            keep.append(i)
    return torch.cat((box, score[:, None], x[:, 5:15]), 1)[keep]


def linear(rgb, w1, h1):
    """[h, w, 3] uint8 -> [h1, w1, 3]: OpenCV's INTER_LINEAR, byte-identical to OpenCV and the engine."""
    h0, w0 = rgb.shape[:2]
    a = rgb.astype(np.int32)
    if w0 == 2 * w1 and h0 == 2 * h1:
        return ((a[::2, ::2] + a[::2, 1::2] + a[1::2, ::2] + a[1::2, 1::2] + 2) >> 2).astype(np.uint8)

    def axis(before, after, whole_border):
        f = ((np.arange(after) + .5) * (1 / (after / before)) - .5).astype(np.float32)
        at = np.floor(f).astype(np.int64)
        f = (f - np.floor(f)).astype(np.float32)
        if whole_border:
            f[(at < 0) | (at >= before - 1)] = 0
        return at.clip(0, before - 1), (at + 1).clip(0, before - 1), np.rint((1 - f) * 2048).astype(np.int32), np.rint(f * 2048).astype(np.int32)
    at, following, first, second = axis(w0, w1, True)
    rows = a[:, at] * first[:, None] + a[:, following] * second[:, None]
    at, following, first, second = axis(h0, h1, False)
    term = lambda k, weight: (weight[:, None, None] * (rows[k] >> 4)) >> 16
    return ((term(at, first) + term(following, second) + 2) >> 2).astype(np.uint8)


def detect(net, picture):
    """picture (3, h, w) uint8, as fitted -> [faces, 15] in its pixels, found with the shorter side scaled to 416, as in upstream's DetFace."""
    h0, w0 = picture.shape[1:]
    r = 416 / min(h0, w0)
    h1, w1 = int(h0 * r + 31) // 32 * 32, int(w0 * r + 31) // 32 * 32
    seen = torch.from_numpy(linear(picture.permute(1, 2, 0).numpy(), w1, h1)).permute(2, 0, 1)[None].float() / 255
    found = select(net(seen, grids(h1, w1))[0])
    scale = torch.tensor([w0 / w1, h0 / h1])
    return torch.cat((found[:, :4] * scale.repeat(2), found[:, 4:5], found[:, 5:] * scale.repeat(5)), 1)
