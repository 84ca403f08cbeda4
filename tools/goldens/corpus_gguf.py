# SPDX-License-Identifier: LGPL-2.1-or-later
"""Small GGUF files written by ggml's package, the values of their blocks, and malformed files:
the corpus of the fuzz target `gguf`, which the unit test reads as well.

    python3 tools/goldens/corpus_gguf.py     (gguf and numpy; the files here are of gguf 0.19.0)

Every quantised tensor NAME has its values in NAME.f32.
"""
import os
import sys

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import need  # noqa: E402

need.imports(__file__)

import pathlib
import struct

import gguf
import numpy as np
from gguf.constants import GGMLQuantizationType as Q

CORPUS = pathlib.Path(__file__).parents[2] / "tests" / "fuzz" / "corpus" / "gguf"
# blocks: values, bytes, offsets of the float16 factors
SIZES = {Q.Q4_0: (32, 18, (0,)), Q.Q4_1: (32, 20, (0, 2)), Q.Q5_0: (32, 22, (0,)), Q.Q5_1: (32, 24, (0, 2)),
         Q.Q8_0: (32, 34, (0,)), Q.Q2_K: (256, 84, (80, 82)), Q.Q3_K: (256, 110, (108,)), Q.Q4_K: (256, 144, (0, 2)),
         Q.Q5_K: (256, 176, (0, 2)), Q.Q6_K: (256, 210, (208,))}


def blocks(rng, kind, rows, columns):
    """Random bits, with factors of an ordinary size."""
    values, size, factors = SIZES[kind]
    raw = rng.integers(0, 256, (rows * columns // values, size), dtype=np.uint8)
    for at in factors:
        raw[:, at : at + 2] = rng.uniform(.001, .1, len(raw)).astype("<f2").view(np.uint8).reshape(-1, 2)
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
    w.add_tensor("IQ4_NL", rng.integers(0, 256, (1, 18), dtype=np.uint8), raw_dtype=Q.IQ4_NL)
    finish(w)


def permute(w, heads):
    """llama.cpp's convert_hf_to_gguf.py, LlamaModel.permute()"""
    return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def llama_cpp():
    """LLaVA as written by llama.cpp's converters, with the original of each tensor whose rows they permute as truth.N."""
    rng = np.random.default_rng(2)
    q, k = rng.standard_normal((16, 32), np.float32), rng.standard_normal((8, 32), np.float32)
    w = gguf.GGUFWriter(CORPUS / "llama.gguf", "llama")
    w.add_head_count(4)
    w.add_head_count_kv(2)
    w.add_tensor("token_embd.weight", rng.standard_normal((5, 32), np.float32).astype(np.float16))
    w.add_tensor("output_norm.weight", q[0])
    for i, kind in enumerate((Q.F32, Q.F16, Q.BF16, Q.Q8_0)):
        for name, whole, heads in (("q", q, 4), ("k", k, 2)):
            raw = gguf.quants.quantize(permute(whole, heads), kind)
            w.add_tensor(f"blk.{i}.attn_{name}.weight", raw, raw_dtype=kind)
            truth = gguf.quants.dequantize(gguf.quants.quantize(whole, kind), kind)
            w.add_tensor(f"truth.{i}.{name}", truth.astype(np.float32).reshape(whole.shape))
        w.add_tensor(f"blk.{i}.attn_output.weight", q[:4, :4].copy())
    w.add_tensor("blk.0.ffn_gate.weight", rng.integers(0, 256, (1, 18), dtype=np.uint8), raw_dtype=Q.IQ4_NL)
    finish(w)
    for name, up, down, projector in (("mmproj", "ffn_up", "ffn_down", (1, 2)), ("mmproj_old", "ffn_down", "ffn_up", (0, 2))):
        w = gguf.GGUFWriter(CORPUS / f"{name}.gguf", "clip")
        w.add_tensor("v.class_embd", q[0, :8])
        w.add_tensor("v.patch_embd.weight", rng.standard_normal((8, 3, 2, 2), np.float32).astype(np.float16))
        w.add_tensor("v.position_embd.weight", q[:5, :8].copy())
        w.add_tensor("v.pre_ln.weight", q[0, :8])
        w.add_tensor("v.blk.0.attn_q.weight", q[:8, :8].copy())
        w.add_tensor("v.blk.0.attn_out.bias", q[0, :8])
        w.add_tensor("v.blk.0.ln1.weight", q[0, :8])
        w.add_tensor(f"v.blk.0.{up}.weight", q[:16, :8].copy())
        w.add_tensor(f"v.blk.0.{up}.bias", q[0, :16])
        w.add_tensor(f"v.blk.0.{down}.weight", q[:8, :16].copy())
        w.add_tensor(f"v.blk.0.{down}.bias", q[0, :8])
        for i, j in enumerate(projector):
            w.add_tensor(f"mm.{j}.weight", np.full((2, 8), i, np.float32))
        finish(w)


def finish(w):
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
    # the same bytes under many names, which need memory when expanded
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
    llama = text("general.architecture") + struct.pack("<I", 8) + text("llama")
    q = info("blk.0.attn_q.weight", [4, 8], 0, 0)
    write("llama_no_heads", q, properties=llama, n_properties=1, data=bytes(128))
    for name, heads in (("three", 3), ("eight", 8), ("many", (1 << 32) - 1)):
        count = text("llama.attention.head_count") + struct.pack("<II", 4, heads)
        write(f"llama_{name}_heads", q, properties=llama + count, n_properties=2, data=bytes(128))
    write("llama_twice", q + info("language_model.model.layers.0.self_attn.q_proj.weight", [4, 8], 0, 0), 2,
          properties=llama + text("llama.attention.head_count") + struct.pack("<II", 4, 2), n_properties=2, data=bytes(128))
    shape = text("comfy.gguf.orig_shape.a") + struct.pack("<IIQ", 9, 11, 2)
    for i, sides in enumerate(((2, 2), (-2, -2), (1 << 62, 4), (3, 3), (0, 1 << 62))):
        write(f"shape{i}", one, properties=shape + struct.pack("<qq", *sides), n_properties=1)


CORPUS.mkdir(parents=True, exist_ok=True)
good()
llama_cpp()
hostile()
for path in sorted(CORPUS.iterdir()):
    print(path.name, path.stat().st_size)
