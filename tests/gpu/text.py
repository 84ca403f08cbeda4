#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The text encoders in PyTorch with the same weights, ids and portrait: rows for bench-text's table, and how far bench-text's states and
PyTorch's own in float16 are from PyTorch's in float32.

    bench-text cuda FOLDER DUMP 2048 0 && text.py FOLDER DUMP [DEVICE]

Layers and towers are those of transformers 5. The portrait's place is filled as transformers 4.45 did it, which the released model was
trained and is run with and later ones no longer do: one <image> id for all of the portrait's rows, rows of padding behind them. Weights
are read from the safetensors files of FOLDER/ckpts (llava_llama_image, text_encoder_2). Prints Markdown, and exits with 1 if the dump is
more than 1.2 times as far away as PyTorch in float16.
"""
import os
import sys

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tools"))
import need  # noqa: E402

need.imports(__file__)

import json
import mmap
import pathlib
import struct
import time

import torch
import transformers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPVisionConfig, CLIPVisionModel, LlamaConfig, LlamaModel

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "bench"))
from watch import Watch  # noqa: E402

SKIPPED = 2  # layers of LLaMA that are not run
MEAN, STD = (0.48145466, 0.4578275, 0.4082107), (0.26862954, 0.26130258, 0.27577711)
TYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
FLOOR = 1e-5  # relative errors below do not count


def read_dump(path):
    out = {}
    with open(path, "rb") as f:
        while line := f.readline():
            name, n = line.split()
            out[name.decode()] = torch.frombuffer(bytearray(f.read(4 * int(n))), dtype=torch.float32)
    return out


def read_file(path, device, names):
    """Tensors of a safetensors file; names(name): what it is called here, or None"""
    out = {}
    with open(path, "rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_COPY) as view:
        size, = struct.unpack("<Q", view[:8])
        for name, t in json.loads(view[8:8 + size]).items():
            if name == "__metadata__" or not names(name):
                continue
            start, end = t["data_offsets"]
            flat = torch.frombuffer(view, dtype=torch.uint8, count=end - start, offset=8 + size + start)
            if start % 2 or size % 2:
                flat = flat.clone()
            out[names(name)] = flat.view(TYPES[t["dtype"]]).view(t["shape"]).to(device, torch.float16, copy=True)
            del flat
    return out


def read_folder(folder, device, names):
    index = folder / "model.safetensors.index.json"
    files = sorted(set(json.loads(index.read_text())["weight_map"].values())) if index.exists() else ["model.safetensors"]
    return {k: v for f in files for k, v in read_file(folder / f, device, names).items()}


def filled(model, state, prefix):
    """A module made without memory gets its parameters, whatever it calls itself."""
    own = model.state_dict()
    inner = next((p for p in ("vision_model.", "text_model.") if all(k.startswith(p) for k in own)), "")
    state = {inner + k[len(prefix):]: v for k, v in state.items() if k.startswith(prefix)}
    missing = [k for k in own if k not in state]
    if missing:
        sys.exit(f"{type(model).__name__}: {missing[0]} is not in the files")
    model.load_state_dict({k: state[k] for k in own}, strict=True, assign=True)
    for module in model.modules():  # buffers that are no part of a file
        if getattr(module, "position_ids", None) is not None:
            module.position_ids = torch.arange(module.position_ids.shape[-1], device=next(iter(state.values())).device)[None]
    return model.eval()


class Encoders:
    def __init__(self, folder, device):
        self.device = device
        llava_dir, clip_dir = folder / "ckpts" / "llava_llama_image", folder / "ckpts" / "text_encoder_2"
        config = json.loads((llava_dir / "config.json").read_text())
        self.text = config["text_config"]
        layers = self.text["num_hidden_layers"] - SKIPPED

        def names(name):
            parts = name.removeprefix("model.").replace("language_model.model.", "language_model.").split(".")
            return None if parts[1] == "lm_head" or (parts[1] == "layers" and int(parts[2]) >= layers) else ".".join(parts)

        state = read_folder(llava_dir, device, names)
        clip = read_folder(clip_dir, device, lambda name: name if name.startswith("text_model.") else None)
        with torch.device("meta"):
            self.llama = LlamaModel(LlamaConfig(**{**self.text, "num_hidden_layers": layers, "attn_implementation": "eager"}))
            self.vision = CLIPVisionModel(CLIPVisionConfig(**config["vision_config"], attn_implementation="eager"))
            self.clip = CLIPTextModel(CLIPTextConfig(**json.loads((clip_dir / "config.json").read_text()), attn_implementation="eager"))
        self.llama = filled(self.llama, state, "language_model.")
        self.vision = filled(self.vision, state, "vision_tower.vision_model.")
        self.clip = filled(self.clip, clip, "text_model.")
        self.projector = {k.removeprefix("multi_modal_projector."): v for k, v in state.items() if k.startswith("multi_modal_projector.")}
        head = self.text["hidden_size"] // self.text["num_attention_heads"]
        # upstream casts the whole model to float16, frequencies included
        self.frequencies = (self.text["rope_theta"] ** -(torch.arange(0, head, 2, dtype=torch.float32) / head)).half().float().to(device)
        self.dtype = torch.float16

    def to_float32(self):
        for model in (self.llama, self.vision, self.clip):
            model.float()
        self.projector = {k: v.float() for k, v in self.projector.items()}
        self.dtype = torch.float32

    def features(self, square):
        pixels = (square / 255 - torch.tensor(MEAN, device=self.device)) / torch.tensor(STD, device=self.device)
        states = self.vision(pixels.permute(2, 0, 1)[None].to(self.dtype), output_hidden_states=True).hidden_states
        x, p = states[-2][0, 1:], self.projector
        x = torch.nn.functional.gelu(torch.nn.functional.linear(x, p["linear_1.weight"], p["linear_1.bias"]))
        return torch.nn.functional.linear(x, p["linear_2.weight"], p["linear_2.bias"])

    def llava(self, ids, length, crop, square):
        features = self.features(square)
        n, place, rows = len(ids), len(ids) - 1, len(features)
        valid, all_rows = n - 1 + rows, length - 1 + rows
        x = torch.zeros(1, all_rows, self.text["hidden_size"], dtype=self.dtype, device=self.device)
        x[0, :place] = self.llama.embed_tokens(ids[:place])
        x[0, place:valid] = features
        position = torch.arange(all_rows, device=self.device)
        seen = (position[None] <= position[:, None]) & (position < valid)[None]
        mask = torch.zeros(all_rows, all_rows, dtype=self.dtype, device=self.device).masked_fill(~seen, torch.finfo(self.dtype).min)
        position = torch.where(position < valid, position, 1)
        angles = position[:, None].float() * self.frequencies
        angles = torch.cat([angles, angles], 1)[None]
        turn = angles.cos().to(self.dtype), angles.sin().to(self.dtype)
        for layer in self.llama.layers:
            x = layer(x, attention_mask=mask[None, None], position_ids=position[None], position_embeddings=turn)
            x = x[0] if isinstance(x, tuple) else x
        return x[0, crop:]

    def encode(self, given):
        out = {}
        square = given["square"].to(self.device).view(2 * [int((given["square"].numel() // 3) ** 0.5)] + [3])
        length, crop = (int(v) for v in given["numbers"][:2])
        for i in range(2):
            out[f"states_{i}"] = self.llava(given[f"ids_{i}"].long().to(self.device), length, crop, square)
            out[f"pooled_{i}"] = self.clip(given[f"clip_{i}"].long().to(self.device)[None]).pooler_output[0]
        return {k: v.float().cpu().flatten() for k, v in out.items()}


def timed(function, *args):
    start = time.time()
    return function(*args), time.time() - start


def error(a, truth):
    return float((a.double() - truth.double()).norm() / truth.double().norm())


def main():
    folder, given, device = pathlib.Path(sys.argv[1]), read_dump(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else "cuda"
    torch.set_grad_enabled(False)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    gpu = device.startswith("cuda")
    if gpu:
        torch.zeros(1, device=device)
    watch = Watch(torch if gpu else None)

    def row(name, read, first, again):
        watch.look()
        driver = f"{watch.gpu / 2**20:.0f} MiB" if gpu else ""
        host = f"{watch.host / 2**20:.0f} MiB" if watch.host else ""
        print(f"| PyTorch {torch.__version__}, {name} | {read + first:.2f} s | {again:.2f} s | | {driver} | {host} | |", flush=True)

    encoders, read = timed(Encoders, folder, device)
    half, first = timed(encoders.encode, given)
    half, again = timed(encoders.encode, given)
    row("float16", read, first, again)
    _, convert = timed(encoders.to_float32)
    if gpu:
        torch.cuda.empty_cache()
    watch.reset()
    truth, first = timed(encoders.encode, given)
    truth, again = timed(encoders.encode, given)
    row("float32", read + convert, first, again)

    hidden, rows = encoders.text["hidden_size"], []
    columns = ["states, prompt", "its rows of padding", "pooled", "states, negative prompt", "its rows of padding", "pooled"]
    for name, value in {"gst-avatar": given, "PyTorch, float16": half}.items():
        found = []
        for i in range(2):
            used = len(given[f"ids_{i}"]) - int(given["numbers"][1]) - 1 + (int(given["square"].numel() // 3) // encoders.vision.config.patch_size ** 2)
            found += [error(value[f"states_{i}"], truth[f"states_{i}"]),
                      error(value[f"states_{i}"][used * hidden:], truth[f"states_{i}"][used * hidden:]),
                      error(value[f"pooled_{i}"], truth[f"pooled_{i}"])]
        rows.append(found)
    print(f"\nAway from PyTorch in float32 (transformers {transformers.__version__}), relative L2 error:\n")
    print("| |" + "".join(f" {c} |" for c in columns) + "\n| --- |" + " ---: |" * len(columns))
    for name, found in zip(["gst-avatar", "PyTorch, float16"], rows):
        print(f"| {name} |" + "".join(f" {v:.2e} |" for v in found))
    return not all(a <= max(1.2 * b, FLOOR) for a, b in zip(*rows))


if __name__ == "__main__":
    need.arguments(2, "text.py FOLDER DUMP [DEVICE]")
    if len(sys.argv) < 4:
        need.cuda()
    sys.exit(main())
