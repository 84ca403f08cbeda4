# SPDX-License-Identifier: LGPL-2.1-or-later
"""Pictures resampled by Pillow, for tests/unit/image.c and for a check of many more.

    image.py write            # tests/golden/image/pillow.txt, from pictures that the test generates too
    image.py check [N]        # N random sizes through engine/image/resample.c, every byte (needs cc and GLib)
    image.py corpus           # tests/fuzz/corpus/image: odd and extreme files, which the unit test reads as well

Needs numpy and a Pillow that resamples rows before columns, 12.1 or older (9.5, 11.3, 12.0 and 12.1 were checked). From 12.2 on,
very tall pictures, and from 13 on many others, have their columns done first, which rounds differently. Upstream dates from Pillow 11.
"""
import os
import sys

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import need  # noqa: E402

need.imports(__file__)

import ctypes
import hashlib
import shlex
import subprocess
import tempfile

import numpy as np
import PIL
from PIL import Image, ImageCms

ROOT = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
FILTERS = {"bilinear": Image.BILINEAR, "lanczos": Image.LANCZOS}


def picture(width, height, seed):
    """Noise that follows from the seed: all grey levels if it is even; if odd, 0 and 255, whose edges overshoot."""
    n = width * height * 3
    a, c, block = 1664525, 1013904223, 4096
    jump_a, jump_c = np.empty(block, np.uint32), np.empty(block, np.uint32)
    x, y = 1, 0
    for i in range(block):
        x, y = x * a % 2**32, (y * a + c) % 2**32
        jump_a[i], jump_c[i] = x, y
    values, state = np.empty(-(-n // block) * block, np.uint32), np.uint32(seed)
    for i in range(0, n, block):
        values[i:i + block] = jump_a * state + jump_c
        state = values[i + block - 1]
    values = values[:n] >> 24
    return np.where(values < 128, 0, 255).astype(np.uint8) if seed % 2 else values.astype(np.uint8)


def region(rng, width, height):
    """The whole picture, whole pixels of it, or edges between pixels: as float32, the type that Pillow uses."""
    kind = rng.integers(3)
    if kind == 0:
        return (0, 0, width, height)
    edges = []
    for size in (width, height):
        a, b = sorted(rng.uniform(0, size, 2))
        if kind == 1:
            a, b = np.floor(a), np.ceil(b)
        edges.append((float(np.float32(a)), float(np.float32(max(b, min(a + .5, size))))))
    return (edges[0][0], edges[1][0], edges[0][1], edges[1][1])


def side(rng, limit):
    return int(np.exp(rng.uniform(0, np.log(limit))))


def cases(seed, n, limit):
    rng = np.random.default_rng(seed)
    for i in range(n):
        w, h, to_w, to_h = (side(rng, limit) for _ in range(4))
        if i % 8 == 0:
            to_w = w
        if i % 8 == 1:
            to_h = h
        yield dict(seed=int(rng.integers(2**31)), size=(w, h), region=region(rng, w, h), to=(to_w, to_h),
                   filter=list(FILTERS)[int(rng.integers(2))])


def resize(case):
    """[height, width, 3] before and after."""
    data = picture(*case["size"], case["seed"]).reshape(case["size"][1], case["size"][0], 3)
    return data, np.asarray(Image.fromarray(data).resize(case["to"], FILTERS[case["filter"]], box=case["region"]))


def write():
    fixed = [("lanczos", (1000, 750), (704, 960)), ("bilinear", (704, 960), (336, 336)), ("lanczos", (1, 1), (64, 48)),
             ("lanczos", (1, 1500), (40, 30)), ("bilinear", (1500, 1), (30, 40)), ("lanczos", (64, 64), (64, 64)),
             ("lanczos", (37, 53), (1, 1)), ("bilinear", (37, 53), (1, 1))]
    chosen = [dict(seed=i + 1, size=s, region=(0, 0) + s, to=t, filter=f) for i, (f, s, t) in enumerate(fixed)]
    chosen += cases(20, 120, 300)
    path = os.path.join(ROOT, "tests", "golden", "image", "pillow.txt")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        print(f"# Pillow {PIL.__version__}: filter seed width height, left top right bottom, width height, SHA-256", file=f)
        for c in chosen:
            edges = " ".join("%.9g" % v for v in c["region"])
            print(c["filter"], c["seed"], *c["size"], edges, *c["to"], hashlib.sha256(resize(c)[1].tobytes()).hexdigest(), file=f)
    print(f"{path}: {len(chosen)} pictures")


def save(name, image, **options):
    image.save(os.path.join(ROOT, "tests", "fuzz", "corpus", "image", name), **options)


def corpus():
    """Small files; red on the left and blue on the right where there is room, so that the test can recognise the content."""
    rgb = Image.new("RGB", (24, 16), (255, 0, 0))
    rgb.paste((0, 0, 255), (12, 0, 24, 16))
    save("tall.png", Image.new("RGB", (1, 20000), (255, 0, 0)))
    save("wide.png", Image.new("RGB", (20000, 1), (255, 0, 0)))
    save("vast.png", Image.new("1", (16000, 16000)))
    os.truncate(os.path.join(ROOT, "tests", "fuzz", "corpus", "image", "vast.png"), 64)  # its header is enough
    save("dot.png", Image.new("RGB", (1, 1), (255, 0, 0)))
    save("rgba.png", Image.merge("RGBA", (*rgb.split(), Image.linear_gradient("L").resize((24, 16)))))
    save("grey_alpha.png", Image.new("LA", (24, 16), (200, 100)))
    save("grey.png", Image.new("L", (24, 16), 200))
    save("grey16.png", Image.fromarray(np.full((16, 24), 200 * 257, np.uint16)))
    save("palette.png", rgb.quantize(4), transparency=0)
    save("bits.png", Image.new("1", (24, 16), 1))
    save("cmyk.jpg", rgb.convert("CMYK"), quality=95, subsampling=0)
    save("grey.jpg", Image.new("L", (24, 16), 200))
    exif = Image.Exif()
    exif[0x0112] = 6  # on its left side: needs a clockwise rotation
    save("turned.jpg", rgb, quality=95, subsampling=0, exif=exif)
    save("turned.png", rgb, exif=exif)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    save("profile.png", rgb, icc_profile=profile)
    save("profile.jpg", rgb, quality=95, subsampling=0, icc_profile=profile)
    noise = Image.fromarray(picture(40, 24, 2).reshape(24, 40, 3))
    save("noise.jpg", noise, quality=90)
    save("restarts.jpg", noise, quality=90, restart_marker_blocks=2)
    save("progressive.jpg", noise, quality=90, progressive=True)


class OurImage(ctypes.Structure):
    _fields_ = [(n, ctypes.c_uint) for n in ("width", "height", "stride", "channels")] + [("data", ctypes.c_void_p)]


class Region(ctypes.Structure):
    _fields_ = [(n, ctypes.c_float) for n in ("left", "top", "right", "bottom")]


def build(folder):
    library = os.path.join(folder, "resample.so")
    need.programs("cc", "pkg-config")
    flags = shlex.split(subprocess.check_output(["pkg-config", "--cflags", "--libs", "glib-2.0"], text=True))
    subprocess.check_call(["cc", "-std=gnu11", "-O3", "-shared", "-fPIC", "-Wl,-z,lazy", "-I", ROOT, "-I", os.path.join(ROOT, "include"),
                           os.path.join(ROOT, "engine", "image", "resample.c"), "-o", library, *flags, "-lm"])
    ours = ctypes.CDLL(library, mode=os.RTLD_LAZY).avatar_resample
    ours.argtypes = [ctypes.POINTER(OurImage), Region, ctypes.c_int, ctypes.c_uint, ctypes.c_uint, ctypes.c_void_p]
    ours.restype = ctypes.POINTER(OurImage)
    return ours


def check(n):
    glib = ctypes.CDLL("libglib-2.0.so.0")
    glib.g_free.argtypes = [ctypes.c_void_p]
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        ours = build(folder)
        for i, c in enumerate(list(cases(0, n, 600)) + list(cases(1, max(n // 50, 1), 4000))):
            before, after = resize(c)
            source = OurImage(*c["size"], 3 * c["size"][0], 3, before.ctypes.data)
            result = ours(ctypes.byref(source), Region(*c["region"]), list(FILTERS).index(c["filter"]), *c["to"], None)
            got = np.frombuffer(ctypes.string_at(result.contents.data, after.size), np.uint8).reshape(after.shape)
            if (got != after).any():
                wrong += 1
                print(c, "differs in", int((got != after).sum()), "bytes, at most by", int(np.abs(got.astype(int) - after).max()))
            glib.g_free(result.contents.data)
            glib.g_free(ctypes.cast(result, ctypes.c_void_p))
    print(f"Pillow {PIL.__version__}: {i + 1} pictures, {wrong} differ")
    return wrong > 0


def main():
    what = sys.argv[1] if len(sys.argv) > 1 else ""
    if what in ("write", "check") and tuple(int(v) for v in PIL.__version__.split(".")[:2]) > (12, 1):
        sys.exit(f"Pillow {PIL.__version__} changes the order of passes; use pip install 'pillow<12.2'")
    if what == "write":
        write()
    elif what == "corpus":
        corpus()
    elif what == "check":
        sys.exit(check(int(sys.argv[2]) if len(sys.argv) > 2 else 500))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
