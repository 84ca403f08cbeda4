# SPDX-License-Identifier: LGPL-2.1-or-later
"""The corpus of the fuzz target `lora`: one file for each dialect, for a transformer of width 4.

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


def save(name, tensors, metadata=None, dtypes=("F32",)):
    """@dtypes: list to cycle through; all but F32 have one byte."""
    table, data = {}, b""
    if metadata:
        table["__metadata__"] = metadata
    for i, (key, shape) in enumerate(tensors.items()):
        dtype = dtypes[i % len(dtypes)]
        n = 1
        for size in shape:
            n *= size
        raw = struct.pack(f"<{n}f", *(i * 0.5 for i in range(n))) if dtype == "F32" else bytes(0x20 + i % 8 for i in range(n))
        table[key] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
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
PEFT = pair("base_model.model.transformer_blocks.0.attn.to_q", WIDTH, WIDTH, ".lora_A.style.weight", ".lora_B.style.weight")
CONFIG = {"r": RANK, "lora_alpha": 1, "use_rslora": True, "alpha_pattern": {"attn.to_k": 3}, "rank_pattern": {"^x": 4}}
save("peft", PEFT, {"adapter_config": json.dumps(CONFIG)})
save("adapter_metadata", PEFT, {"lora_adapter_metadata": json.dumps({"transformer." + k: v for k, v in CONFIG.items()})})
save("words", PEFT, {"lora_alpha": "4", "r": "2", "use_rslora": "False", "alpha_pattern": '{"to_q": "1"}'})
save("regular", PEFT, {"lora_alpha": "4", "alpha_pattern": '{"to_.": 1}', "rank_pattern": '{"to_[qk]": 2}'})
save("network_alpha", pair("lora_unet_double_blocks_0_img_attn_qkv", 3 * WIDTH, WIDTH, ".lora_down.weight", ".lora_up.weight"),
     {"ss_network_alpha": "1", "ss_network_dim": "2"})
save("folded", PEFT, {"ss_network_alpha": "1", "ss_network_dim": "2"})
save("onetrainer", {
    **pair("lora_transformer_double_blocks_0_img_attn_qkv_1", WIDTH, WIDTH, ".lora_down.weight", ".lora_up.weight"),
    **pair("lora_transformer_norm_out_linear", 2 * WIDTH, WIDTH, ".lora_down.weight", ".lora_up.weight"),
    **pair("lycoris_single_blocks_1_linear1_3", MLP, WIDTH, ".lora_down.weight", ".lora_up.weight")})
save("twice", {**pair("single_blocks.1.linear1", 3 * WIDTH + MLP, WIDTH, ".lora_A.weight", ".lora_B.weight"),
               **pair("single_transformer_blocks.1.attn.to_q", WIDTH, WIDTH, ".lora_A.weight", ".lora_B.weight")})
save("fp8", PEFT, None, ("F8_E4M3", "F8_E5M2"))
save("left_over", {**PEFT, **pair("blocks.0.q", WIDTH, WIDTH, ".lora_A.weight", ".lora_B.weight"), "seen": [3]}, None,
     ("F32", "F32", "BOOL"))
save("unread", PEFT, None, ("F32", "BOOL"))
save("mid", {**PEFT, "base_model.model.transformer_blocks.0.attn.to_q.lora_mid.weight": [RANK, RANK]})
torch.save({"double_blocks.0.img_attn_qkv.lora_A.weight": torch.ones(RANK, WIDTH),
            "double_blocks.0.img_attn_qkv.lora_B.weight": torch.ones(3 * WIDTH, RANK)}, CORPUS / "torch")
