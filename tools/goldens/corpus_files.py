# SPDX-License-Identifier: LGPL-2.1-or-later
"""The corpora of the fuzz targets `component`, `inspect`, `cache`, `layout` and `tied`: configurations, indices and other files around the weights.

    python3 tools/goldens/corpus_files.py     (torch >= 2.1; the files here are of torch 2.15)
"""
import os
import sys

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import need  # noqa: E402

need.imports(__file__)

import base64
import hashlib
import io
import json
import pathlib
import struct

import torch

ROOT = pathlib.Path(__file__).parents[2]
CORPUS = ROOT / "tests" / "fuzz" / "corpus"
DTYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int8: "I8", torch.uint8: "U8",
          torch.float8_e4m3fn: "F8_E4M3"}
COMPONENTS = ["transformer", "vae", "whisper", "text", "llava", "clip"]
SCALES, STRICT = 1, 2


def safetensors(tensors, metadata=None):
    table, data = {}, b""
    if metadata:
        table["__metadata__"] = metadata
    for key, t in tensors.items():
        raw = bytes(t.contiguous().reshape(-1).view(torch.uint8).tolist())
        table[key] = {"dtype": DTYPES[t.dtype], "shape": list(t.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(table, separators=(",", ":")).encode()
    return struct.pack("<Q", len(text)) + text + data


def torch_file(value):
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def write(target, name, data):
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def values(shape, dtype=torch.float32):
    n = 1
    for size in shape:
        n *= size
    return (torch.arange(n) % 9 / 4 - 1).to(dtype).reshape(shape)


def linear(shapes, name, into, out, bias=True):
    shapes[name + ".weight"] = (out, into)
    if bias:
        shapes[name + ".bias"] = (out,)


def norm(shapes, name, n):
    shapes[name + ".weight"] = shapes[name + ".bias"] = (n,)


def whisper():
    shapes = {"conv1.weight": (4, 2, 3), "conv1.bias": (4,), "conv2.weight": (4, 4, 3), "conv2.bias": (4,),
              "embed_positions.weight": (3, 4)}
    for name in "q", "k", "v", "out":
        linear(shapes, f"layers.0.self_attn.{name}_proj", 4, 4, name != "k")
    norm(shapes, "layers.0.self_attn_layer_norm", 4)
    linear(shapes, "layers.0.fc1", 4, 8)
    linear(shapes, "layers.0.fc2", 8, 4)
    norm(shapes, "layers.0.final_layer_norm", 4)
    norm(shapes, "layer_norm", 4)
    return shapes


def clip_layers(shapes, prefix, mlp):
    norm(shapes, prefix + "layer_norm1", 4)
    norm(shapes, prefix + "layer_norm2", 4)
    for name in "q", "k", "v", "out":
        linear(shapes, f"{prefix}self_attn.{name}_proj", 4, 4)
    linear(shapes, prefix + "mlp.fc1", 4, mlp)
    linear(shapes, prefix + "mlp.fc2", mlp, 4)


def clip():
    shapes = {"embeddings.token_embedding.weight": (5, 4), "embeddings.position_embedding.weight": (3, 4)}
    clip_layers(shapes, "encoder.layers.0.", 8)
    norm(shapes, "final_layer_norm", 4)
    return shapes


def llava():
    tower = "model.vision_tower.vision_model."
    shapes = {tower + "embeddings.class_embedding": (4,), tower + "embeddings.patch_embedding.weight": (4, 3, 1, 1),
              tower + "embeddings.position_embedding.weight": (2, 4)}
    norm(shapes, tower + "pre_layrnorm", 4)
    clip_layers(shapes, tower + "encoder.layers.0.", 4)
    linear(shapes, "model.multi_modal_projector.linear_1", 4, 4)
    linear(shapes, "model.multi_modal_projector.linear_2", 4, 4)
    shapes["model.language_model.embed_tokens.weight"] = (4, 4)
    layer = "model.language_model.layers.0."
    for name in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj",
                 "mlp.up_proj", "mlp.down_proj"):
        linear(shapes, layer + name, 4, 4, False)
    for name in "input_layernorm", "post_attention_layernorm":
        shapes[f"{layer}{name}.weight"] = (4,)
    return shapes


def tensors(shapes, dtype=torch.float16, prefix="", matrices=None):
    """Matrices as `matrices` of their module's name and shape, or all as `dtype`."""
    out = {}
    for name, shape in shapes.items():
        if matrices and len(shape) == 2 and name.endswith("proj.weight"):
            out.update(matrices(prefix + name[:-len(".weight")], shape))
        else:
            out[prefix + name] = values(shape, dtype)
    return out


def component(name, kind, flags, weights, scales=b""):
    write("component", name, struct.pack("<BBI", COMPONENTS.index(kind), flags, len(weights)) + weights + scales)


def quanto(module, shape):
    return {module + ".weight._data": values(shape, torch.int8), module + ".weight._scale": values((shape[0], 1)),
            module + ".input_scale": values((1,)), module + ".output_scale": values((1,))}


def fp8(module, shape):
    return {module + ".weight": values(shape, torch.float8_e4m3fn)}


def scaled(module, shape):
    return {**fp8(module, shape), module + ".scale_weight": values((1,))}


def inverse(module, shape):
    return {**fp8(module, shape), module + ".weight_scale_inv": values((1,))}


def unnamed(module, shape):
    return {**fp8(module, shape), module + ".scales": values((1,))}


def shifted(module, shape):
    return {module + ".weight._data": values(shape, torch.uint8), module + ".weight._scale": values((shape[0], 1)),
            module + ".weight._shift": values((shape[0], 1))}


def components():
    shapes = whisper()
    modules = [name[:-len(".weight")] for name, shape in shapes.items() if name.endswith("proj.weight")]
    eight_bit = safetensors(tensors(shapes, matrices=fp8))
    plain = tensors(shapes, prefix="model.encoder.")
    component("whisper", "whisper", 0, safetensors({**plain, "model.decoder.x": values((1,))}))
    component("whisper_strict", "whisper", STRICT, safetensors({**plain, "model.encoder.unknown": values((1,))}))
    component("whisper_twice", "whisper", 0, safetensors({**plain, "layer_norm.bias": values((4,))}))
    component("whisper_quanto", "whisper", STRICT, safetensors(tensors(shapes, torch.bfloat16, matrices=quanto)))
    component("whisper_shift", "whisper", 0, safetensors(tensors(shapes, matrices=shifted)))
    component("whisper_scaled", "whisper", STRICT, safetensors(tensors(shapes, matrices=scaled)))
    component("whisper_inverse", "whisper", STRICT, safetensors(tensors(shapes, matrices=inverse)))
    component("whisper_unnamed", "whisper", 0, safetensors(tensors(shapes, matrices=unnamed)))
    component("whisper_map", "whisper", SCALES, eight_bit, torch_file({name: torch.tensor(0.5) for name in modules}))
    component("whisper_rows", "whisper", SCALES, eight_bit, safetensors({name: values((4,)) for name in modules}))
    component("whisper_few", "whisper", SCALES, eight_bit, safetensors({modules[0]: values((1,)), "layers.0.fc1": values((1,))}))
    component("clip", "clip", 0, safetensors(tensors(clip(), prefix="text_model.")))
    component("llava", "llava", 0, safetensors({**tensors(llava()), "lm_head.weight": values((4, 4))}))
    component("text", "text", 0, safetensors(tensors({"byte_embed": (256, 4), "byte_embed_2": (256, 4), "pos_embed": (2, 4)},
                                                     torch.float8_e4m3fn)))


def inspected():
    one = {"x": values((2, 2))}
    lora = {"double_blocks.0.img_attn_proj.lora_A.weight": values((1, 4)),
            "double_blocks.0.img_attn_proj.lora_B.weight": values((4, 1))}
    write("inspect", "empty", b"")
    write("inspect", "pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    write("inspect", "page", b"<!DOCTYPE html><html>")
    write("inspect", "tar", bytes(257) + b"ustar" + bytes(250))
    write("inspect", "unknown.safetensors", safetensors(one))
    write("inspect", "lora.safetensors", safetensors(lora))
    write("inspect", "lora.pt", torch_file(lora))
    write("inspect", "transformer.safetensors", safetensors({"model.double_blocks.0.x": values((2,)),
                                                             "_padding.0": values((3,), torch.uint8)}))
    write("inspect", "scales.safetensors", safetensors({"layers.0.self_attn.q_proj.scale_weight": values((1,), torch.float16)}))
    write("inspect", "none.safetensors", safetensors({}))
    write("inspect", "bare.zip", b"PK\5\6" + bytes(18))
    write("inspect", "gguf", b"GGUF" + struct.pack("<IQQ", 3, 0, 0))


def cached():
    def entry(change=None, dtype=torch.float32):
        states, pooled = values((6,)), values((4,))
        digest = hashlib.sha256(struct.pack("<10f", *states.tolist(), *pooled.tolist())).digest()
        made = {"states": states.to(dtype), "pooled": pooled, "sum": torch.tensor(list(digest), dtype=torch.uint8)}
        return safetensors({**made, **(change or {})})

    write("cache", "whole", entry())
    write("cache", "other_sum", entry({"sum": torch.zeros(32, dtype=torch.uint8)}))
    write("cache", "short", entry({"pooled": values((3,))}))
    write("cache", "square", entry({"states": values((2, 3))}))
    write("cache", "half", entry(dtype=torch.float16))
    write("cache", "none", b"")


def laid_out():
    released = json.loads((CORPUS / "config" / "released.json").read_text())
    demo = json.loads((CORPUS / "config" / "demo.json").read_text())
    vae = {"_class_name": "AutoencoderKLCausal3D", "block_out_channels": [32, 64], "sample_size": 64, "latent_channels": 16}
    speech = {"d_model": 64, "encoder_layers": 2, "encoder_attention_heads": 2, "num_mel_bins": 80}
    language = {"text_config": {"hidden_size": 4096}, "image_token_index": 128257}
    clip_text = {"text_config": {"hidden_size": 768}, "projection_dim": 768}

    def write_all(name, *texts):
        write("layout", name, b"\0".join(json.dumps(t).encode() if t is not None else b"" for t in texts))

    write_all("none", None)
    write_all("released", released)
    write_all("demo", demo)
    write_all("vae", None, vae)
    write_all("whisper", None, None, speech)
    write_all("encoders", None, None, None, language, clip_text)
    write_all("all", demo, vae, speech, language, clip_text)
    write_all("odd", {"vae": 3, "whisper": {}}, {"vae": None}, [], "", {})


def tied():
    write("tied", "save_model", b'{"lm_head.weight":"model.embed.weight","format":"pt"}')
    write("tied", "map", b'{"a.weight":["b.weight","c.weight"],"d":[],"e":[1,null,[]],"f":"g"}')
    write("tied", "mmgp", json.dumps({"tied_weights_map_base64": base64.b64encode(b'{"a":["b"]}').decode()}).encode())
    write("tied", "odd", b'{"tied_weights_map_base64":"!!!!","x":{"y":[]},"z":1e9}')


components()
inspected()
cached()
laid_out()
tied()
