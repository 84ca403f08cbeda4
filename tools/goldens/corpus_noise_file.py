# SPDX-License-Identifier: LGPL-2.1-or-later
"""Files of noise for a video of [2, T, 2, 3] latents, good and bad: the corpus of the fuzz target `noise-file`, which the unit tests
read as well.

    python3 tools/goldens/corpus_noise_file.py     (torch >= 2.1 and numpy; the files here are of torch 2.15)
"""
import os
import sys

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import need  # noqa: E402

need.imports(__file__)

import json
import pathlib
import struct

import torch

CORPUS = pathlib.Path(__file__).parents[2] / "tests" / "fuzz" / "corpus" / "noise-file"
DTYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int8: "I8"}


def count(*shape, dtype=torch.float16):
    n = 1
    for k in shape:
        n *= k
    return (torch.arange(n) / 4).to(dtype).reshape(shape)


def safetensors(name, **tensors):
    table, data = {}, b""
    for key, t in tensors.items():
        raw = t.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        table[key] = {"dtype": DTYPES[t.dtype], "shape": list(t.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(table).encode()
    (CORPUS / name).write_bytes(struct.pack("<Q", len(text)) + text + data)


CORPUS.mkdir(exist_ok=True)
torch.save(count(1, 2, 3, 2, 3), CORPUS / "alone.pt")
torch.save({"noise": count(2, 2, 2, 3, dtype=torch.bfloat16)}, CORPUS / "dict.pt")
torch.save(count(1, 2, 3, 2, 3).transpose(1, 2), CORPUS / "turned.pt")
torch.save({"a": count(2, 2, 2, 3), "b": count(1)}, CORPUS / "two.pt")
safetensors("good.safetensors", latents=count(2, 2, 2, 3, dtype=torch.float32))
safetensors("few.safetensors", latents=count(2, 1, 2, 3))
safetensors("other.safetensors", latents=count(2, 2, 3, 2))
safetensors("batch.safetensors", latents=count(2, 2, 2, 2, 3))
safetensors("flat.safetensors", latents=count(24))
safetensors("whole.safetensors", latents=count(2, 2, 2, 3, dtype=torch.int8))
safetensors("none.safetensors")
bad = count(2, 2, 2, 3)
bad[1, 1, 1, 1] = float("inf")
safetensors("infinite.safetensors", latents=bad)
