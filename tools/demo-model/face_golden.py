# SPDX-License-Identifier: LGPL-2.1-or-later
"""Writes the faces that PyTorch finds with the demo's face detector on the pictures of tests/golden/face.c to tests/golden/image/demo_faces.txt.

    python3 tools/demo-model/face_golden.py     (torch, numpy, Pillow; no training)
"""
import os
import sys

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import need  # noqa: E402

need.imports(__file__)

import numpy as np
import torch
from PIL import Image
import face_net as N
from train_face import FILE, HERE

ROOT = os.path.normpath(os.path.join(HERE, "..", ".."))
OUT = os.path.join(ROOT, "tests", "golden", "image", "demo_faces.txt")


def load(*path):
    return np.array(Image.open(os.path.join(ROOT, *path)).convert("RGB"))


def fitted(path):
    """Scales to 128 x 128 like the engine: Lanczos, rows first (with Pillow 13 and later only in two steps)."""
    image = Image.open(os.path.join(ROOT, path)).convert("RGB")
    return np.array(image.resize((128, image.height), Image.LANCZOS).resize((128, 128), Image.LANCZOS))


def ground(side):
    """A colour gradient with two rings, like eyes."""
    y, x = np.mgrid[:side, :side]
    img = np.stack((60 + x * 120 // side, 150 - y * 90 // side, 90 + (x + y) * 50 // side), 2)
    for cx in (side * 3 // 8, side * 5 // 8):
        d = (x - cx) ** 2 + (y - side // 2) ** 2
        for r, colour in ((side // 10, 240), (side // 16, 90), (side // 32, 20)):
            img[d < r * r] = colour
    return img.astype(np.uint8)


def corner(reference):
    """The reference at a quarter of its width in the lower right corner: means of 4 x 4 pixels, rounded down."""
    img = ground(128)
    img[:] = img[:1].copy()
    img[96:, 96:] = reference.astype(np.int64).reshape(32, 4, 32, 4, 3).sum((1, 3)) // 16
    return img


def pictures():
    yield "portrait", fitted("samples/portrait.png")
    yield "portrait-512", load("samples", "portrait.png")
    yield "golden", load("tests", "golden", "demo", "reference.png")
    for i in range(3):
        yield f"heldout-{i}", load("tests", "golden", "demo", "heldout", f"reference_{i}.png")
    yield "corner", corner(load("tests", "golden", "demo", "heldout", "reference_0.png"))
    yield "rings", ground(160)


@torch.no_grad()
def main():
    torch.set_num_threads(1)
    net = torch.jit.load(FILE)
    with open(OUT, "w") as f:
        f.write("# picture, faces; of each x y width height, score, five points, as tools/demo-model/face_golden.py finds them\n")
        for name, rgb in pictures():
            faces = N.detect(net, torch.from_numpy(rgb).permute(2, 0, 1)).double()
            f.write(f"{name} {len(faces)}\n")
            for face in faces:
                face[2:4] -= face[:2]
                f.write(" ".join(f"{v:.6g}" for v in face.tolist()) + "\n")


if __name__ == "__main__":
    main()
