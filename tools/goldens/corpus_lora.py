# SPDX-License-Identifier: LGPL-2.1-or-later
"""The corpus of the fuzz target `lora`: one file a dialect, for a transformer of width 4.

    python3 tools/goldens/corpus_lora.py     (torch)
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

CORPUS = pathlib.Path(__file__).parents[2] / "tests" / "fuzz" / "corpus" / "lora"
WIDTH, MLP, RANK = 4, 8, 2


def save(name, tensors):
    table, data = {}, b""
    for key, shape in tensors.items():
        n = 4
        for size in shape:
            n *= size
        table[key] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + n]}
        data += struct.pack(f"<{n // 4}f", *(i * 0.5 for i in range(n // 4)))
    header = json.dumps(table, separators=(",", ":")).encode()
    (CORPUS / name).write_bytes(struct.pack("<Q", len(header)) + header + data)


def pair(name, rows, cols, down, up):
    return {name + down: [RANK, cols], name + up: [rows, RANK]}


CORPUS.mkdir(parents=True, exist_ok=True)
save("original", pair("diffusion_model.double_blocks.0.img_attn_qkv", 3 * WIDTH, WIDTH, ".lora_A.weight", ".lora_B.weight"))
save("kohya", {**pair("lora_unet_double_blocks_0_img_attn_qkv", 3 * WIDTH, WIDTH, ".lora_down.weight", ".lora_up.weight"),
               "lora_unet_double_blocks_0_img_attn_qkv.alpha": []})
save("comfy", pair("diffusion_model.double_blocks.0.img_attn.qkv", 3 * WIDTH, WIDTH, ".lora_A.weight", ".lora_B.weight"))
save("diffusers", {
    **pair("transformer.transformer_blocks.0.attn.to_k", WIDTH, WIDTH, ".lora_A.default.weight", ".lora_B.default.weight"),
    **pair("transformer.single_transformer_blocks.1.proj_mlp", MLP, WIDTH, ".lora.down.weight", ".lora.up.weight")})
save("diff", {"single_blocks.1.linear1.diff": [3 * WIDTH + MLP, WIDTH], "single_blocks.1.linear1.diff_b": [3 * WIDTH + MLP]})
save("dora", {"single_blocks.1.linear1.dora_scale": [1]})
save("half", {"single_blocks.1.linear1.lora_A.weight": [RANK, WIDTH]})
torch.save({"double_blocks.0.img_attn_qkv.lora_A.weight": torch.ones(RANK, WIDTH),
            "double_blocks.0.img_attn_qkv.lora_B.weight": torch.ones(3 * WIDTH, RANK)}, CORPUS / "torch")
