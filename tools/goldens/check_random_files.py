# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reads the output of avatar-random with torch and compares every value with the generator.

    python3 tools/goldens/check_random_files.py FOLDER [SEED]

FOLDER is the argument of avatar-random. Needs torch and numpy. Exits non-zero at the first difference.
"""
import os
import sys

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import need  # noqa: E402

need.imports(__file__)

import json
import math
import mmap
import pathlib
import struct

import numpy as np
import torch

MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15


def mix(z):
    z = np.asarray(z, dtype=np.uint64)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def str_hash(name):
    h = 5381
    for c in name.encode():
        h = (h * 33 + c) & 0xFFFFFFFF
    return h


def law(name, shape):
    matrix = len(shape) >= 2
    width = math.sqrt(3 / (math.prod(shape) / shape[0])) * 0.7 if matrix else 0.05
    centre = 1.0 if not matrix and name.endswith((".weight", ".running_var")) else 0.0
    return np.float32(centre), np.float32(width)


def values(name, shape, seed, width=None):
    n = math.prod(shape)
    centre, own = law(name, shape)
    width = own if width is None else np.float32(width)
    stream = mix((str_hash(name) + seed * GOLDEN) & MASK)
    index = np.arange(0, n, 4, dtype=np.uint64)
    bits = mix(stream + index * np.uint64(GOLDEN))
    drawn = bits.astype("<u8").view("<i2")[:n].astype(np.float32)
    return torch.from_numpy(centre + drawn * np.float32(width / np.float32(32768))).reshape(shape)


def compare(path, tensors, seed):
    for name, found in tensors.items():
        want = values(name, list(found.shape), seed, 448 if found.dtype == torch.float8_e4m3fn else None)
        if not torch.equal(want.to(found.dtype).view(torch.uint8), found.contiguous().view(torch.uint8)):
            sys.exit(f"{path}: {name} {found.dtype} {tuple(found.shape)} differs from the generator")
    print(f"{path}: {len(tensors)} tensors agree")


def load(path):
    torch.serialization.set_default_mmap_options(mmap.MAP_SHARED)  # a private map may not exceed memory
    return torch.load(path, weights_only=True, map_location="cpu", mmap=True)


def check_map(path, scales, seed, tensors):
    for name, scale in scales.items():
        weight = tensors[name + ".weight"]
        _, width = law(name + ".weight", list(weight.shape))
        if weight.dtype != torch.float8_e4m3fn or scale.item() != width / np.float32(448):
            sys.exit(f"{path}: scale of {name} is {scale}, expected {width / 448}")
    n_fp8 = sum(t.dtype == torch.float8_e4m3fn for t in tensors.values())
    if n_fp8 != len(scales):
        sys.exit(f"{path}: {len(scales)} scales for {n_fp8} tensors")
    print(f"{path}: {len(scales)} scales agree")


def safetensors(path):
    data = path.read_bytes()
    n = struct.unpack("<Q", data[:8])[0]
    dtypes = {"F32": torch.float32, "BF16": torch.bfloat16, "F8_E4M3": torch.float8_e4m3fn}
    out = {}
    for name, entry in json.loads(data[8:8 + n]).items():
        start, end = entry["data_offsets"]
        raw = torch.frombuffer(bytearray(data[8 + n + start:8 + n + end]), dtype=dtypes[entry["dtype"]])
        out[name] = raw.reshape(entry["shape"])
    return out


def main():
    ckpts = pathlib.Path(sys.argv[1]) / "ckpts"
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    video = ckpts / "hunyuan-video-t2v-720p"
    np.seterr(over="ignore")
    for name in ("mp_rank_00_model_states.pt", "mp_rank_00_model_states_fp8.pt"):
        path = video / "transformers" / name
        if not path.exists():
            continue
        tensors = load(path)["module"]
        compare(path, tensors, seed)
        scales = path.with_name(path.name.replace(".pt", "_map.pt"))
        if scales.exists():
            check_map(scales, load(scales)["module"], seed, tensors)
    path = video / "vae" / "pytorch_model.pt"
    if path.exists():
        compare(path, load(path), seed)
    path = ckpts / "whisper-tiny" / "model.safetensors"
    if path.exists():
        compare(path, safetensors(path), seed)
    path = ckpts / "det_align" / "detface.pt"
    if path.exists():
        compare(path, torch.jit.load(path).state_dict(), seed)


if __name__ == "__main__":
    need.arguments(1, "check_random_files.py FOLDER [SEED]")
    main()
