# SPDX-License-Identifier: LGPL-2.1-or-later
"""Small GGUF files as ggml's own package writes them, what its own code makes of their blocks, and files that try to break a reader:
the corpus of the fuzz target `gguf`, which the unit test reads as well.

    python3 tools/goldens/corpus_gguf.py     (gguf and numpy; the files here are of gguf 0.19.0)

Every quantised tensor NAME has its values beside it as NAME.f32.
"""
import pathlib
import struct

import gguf
import numpy as np
from gguf.constants import GGMLQuantizationType as Q

CORPUS = pathlib.Path(__file__).parents[2] / "tests" / "fuzz" / "corpus" / "gguf"
SIZES = {Q.Q4_0: (32, 18), Q.Q8_0: (32, 34), Q.Q4_K: (256, 144), Q.Q6_K: (256, 210)}


def blocks(rng, kind, rows, columns):
    """Random bits, with factors of an ordinary size."""
    values, size = SIZES[kind]
    raw = rng.integers(0, 256, (rows * columns // values, size), dtype=np.uint8)
    factor = rng.uniform(.001, .1, len(raw)).astype("<f2").view(np.uint8).reshape(-1, 2)
    raw[:, 208:] = factor if kind == Q.Q6_K else raw[:, 208:]
    if kind != Q.Q6_K:
        raw[:, :2] = factor
    if kind == Q.Q4_K:
        raw[:, 2:4] = factor[::-1]
    return raw.reshape(rows, -1)


def good():
    rng = np.random.default_rng(1)
    w = gguf.GGUFWriter(CORPUS / "kinds.gguf", "hyvid")
    w.add_quantization_version(2)
    w.add_array("some.numbers", [1, 2, 3])
    w.add_array("some.texts", ["a", "bc"])
    w.add_float64("a.number", 1.5)
    plain = np.arange(6, dtype=np.float32).reshape(2, 3)
    w.add_tensor("f32", plain)
    w.add_tensor("f16", plain.astype(np.float16))
    w.add_tensor("bf16", (plain.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8), raw_shape=(2, 6), raw_dtype=Q.BF16)
    w.add_tensor("i32", np.arange(4, dtype=np.int32))
    w.add_tensor("i8", np.arange(4, dtype=np.int8))
    w.add_tensor("short", np.arange(4, dtype=np.int16))
    w.add_array("comfy.gguf.orig_shape.flat", [2, 1, 3, 2, 1])
    w.add_tensor("flat", np.arange(12, dtype=np.float32).reshape(4, 3))
    for kind in SIZES:
        raw = blocks(rng, kind, 3, 512)
        w.add_tensor(kind.name, raw, raw_dtype=kind)
        w.add_tensor(kind.name + ".f32", gguf.quants.dequantize(raw, kind).astype(np.float32).reshape(3, 512))
    raw = rng.integers(0, 256, (1, 176), dtype=np.uint8)
    w.add_tensor("Q5_K", raw, raw_dtype=Q.Q5_K)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def text(value):
    return struct.pack("<Q", len(value)) + value.encode()


def info(name, shape, kind, offset):
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


def write(name, tensors=b"", n_tensors=None, properties=b"", n_properties=0, version=3, data=bytes(64), cut=None):
    n = n_tensors if n_tensors is not None else 1
    head = b"GGUF" + struct.pack("<IQQ", version, n, n_properties) + properties + tensors
    whole = head + bytes(-len(head) % 32) + data
    (CORPUS / name).write_bytes(whole[:cut])


def hostile():
    one = info("a", [4], 0, 0)
    write("one", one)
    write("version2", one, version=2)
    write("version1", one, version=1)
    write("version4", one, version=4)
    write("short", one, cut=30)
    write("truncated", one, data=bytes(15))
    write("many_tensors", one, n_tensors=1 << 62)
    write("many_properties", one, n_properties=1 << 62)
    write("long_name", struct.pack("<Q", 1 << 63) + b"abc")
    write("bad_name", struct.pack("<Q", 2) + b"\xff\xfe" + one[9:])
    write("huge", info("a", [1 << 62, 1 << 62], 0, 0) + info("b", [4], 0, 0), 2)
    write("huger", info("a", [(1 << 64) - 1], 0, 0) + info("b", [4], 0, 0), 2)
    write("far", info("a", [4], 0, (1 << 64) - 8))
    write("far_shape", info("a", [1 << 40], 8, 0))
    write("twice", one + one, 2)
    write("overlap", one + info("b", [4], 0, 4), 2)
    write("wide", info("a", [1] * 9, 0, 0))
    write("none", info("a", [0, 4], 8, 0) + info("b", [0], 8, 0), 2)
    write("empty", info("a", [0, 1 << 40, 1 << 40], 0, 0) + info("b", [4], 0, 0), 2)
    write("half_block", info("a", [16], 8, 0))
    write("unknown", info("a", [4], 99, 0))
    write("no_dimensions", info("a", [], 0, 0))
    write("dimensions", text("a") + struct.pack("<I", 1 << 31))
    # the same bytes by many names, which take room where they are expanded
    many = b"".join(info(f"t{i}", [32], 2, 0) for i in range(64))
    write("same", many, 64)
    key = text("general.alignment") + struct.pack("<I", 4)
    write("alignment0", one, properties=key + struct.pack("<I", 0), n_properties=1)
    write("alignment", one, properties=key + struct.pack("<I", 1 << 31), n_properties=1)
    array = text("x") + struct.pack("<I", 9)
    write("nested", one, properties=array + struct.pack("<IQ", 9, 1 << 40), n_properties=1)
    write("long_array", one, properties=array + struct.pack("<IQ", 8, 1 << 60), n_properties=1)
    write("longer_array", one, properties=array + struct.pack("<IQ", 12, 1 << 61), n_properties=1)
    write("type", one, properties=text("x") + struct.pack("<I", 77), n_properties=1)
    shape = text("comfy.gguf.orig_shape.a") + struct.pack("<IIQ", 9, 11, 2)
    for i, sides in enumerate(((2, 2), (-2, -2), (1 << 62, 4), (3, 3), (0, 1 << 62))):
        write(f"shape{i}", one, properties=shape + struct.pack("<qq", *sides), n_properties=1)


CORPUS.mkdir(parents=True, exist_ok=True)
good()
hostile()
for path in sorted(CORPUS.iterdir()):
    print(path.name, path.stat().st_size)
