# SPDX-License-Identifier: LGPL-2.1-or-later
"""Helpers of the make_*.py scripts: importing upstream's modules on a CPU, random weights, and writing safetensors.

Replaced, because they need a GPU or newer torch: flash_attn_varlen_func (plain softmax attention per segment of
cu_seqlens), get_cu_seqlens' device="cuda", F.scaled_dot_product_attention where torch lacks it. The rest is upstream's code.
"""
import importlib.machinery
import json
import math
import os
import struct
import sys
import types

os.environ.setdefault("DISABLE_SP", "1")  # the path without torch.distributed
os.environ.setdefault("USE_TF", "0")
os.environ.setdefault("USE_FLAX", "0")
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402

OUT = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tests", "golden", "upstream"))


def varlen_attention(q, k, v, cu_q, cu_k, max_q, max_k):
    """flash_attn_varlen_func(q [tokens, heads, dim], ...): one full attention per segment."""
    out = torch.zeros_like(q)
    for i in range(len(cu_q) - 1):
        a, b, c, d = int(cu_q[i]), int(cu_q[i + 1]), int(cu_k[i]), int(cu_k[i + 1])
        if b > a:
            s = torch.einsum("qhd,khd->hqk", q[a:b], k[c:d]) / math.sqrt(q.shape[-1])
            out[a:b] = torch.einsum("hqk,khd->qhd", s.softmax(-1), v[c:d])
    return out


def sdpa(q, k, v, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None):
    s = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    if attn_mask is not None:
        s = s.masked_fill(~attn_mask, float("-inf")) if attn_mask.dtype == torch.bool else s + attn_mask
    return s.softmax(-1) @ v


def module(name, **things):
    m = types.ModuleType(name)
    m.__spec__ = importlib.machinery.ModuleSpec(name, None)
    m.__dict__.update(things)
    sys.modules[name] = m
    return m


def use_upstream(path):
    """Puts the upstream checkout on sys.path and replaces imports that are unavailable here."""
    if not os.path.isdir(os.path.join(path, "hymm_sp")):
        sys.exit(f"{path}: no hymm_sp folder: give the path of a HunyuanVideo-Avatar checkout")
    sys.path.insert(0, path)
    torch.set_num_threads(1)
    for name in ["float8_e4m3fn", "float8_e5m2"] + [f"uint{n}" for n in (1, 2, 3, 4, 5, 6, 7, 16, 32, 64)]:
        if not hasattr(torch, name):
            setattr(torch, name, name)  # diffusers only lists these types
    if not hasattr(torch, "compiler"):
        torch.compiler = types.SimpleNamespace(disable=lambda f=None, **_: f)
    face = module("flash_attn.flash_attn_interface", flash_attn_varlen_func=varlen_attention)
    module("flash_attn", flash_attn_interface=face, flash_attn_qkvpacked_func=None, flash_attn_kvpacked_func=None,
           flash_attn_varlen_kvpacked_func=None)
    module("flash_attn.bert_padding", index_first_axis=None)
    if not hasattr(F, "scaled_dot_product_attention"):
        import hymm_sp.modules.attn_layers as al
        al.F = types.SimpleNamespace(**{**vars(F), "scaled_dot_product_attention": sdpa})
    zeros = torch.zeros
    torch.zeros = lambda *a, **k: zeros(*a, **{n: v for n, v in k.items() if not (n == "device" and v == "cuda")})


def randomise(mod, seed, std=0.1):
    """Every parameter N(0, std), matrices scaled so that signals keep a magnitude of about one, norm weights around 1."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in sorted(mod.named_parameters()):
            r = torch.randn(p.shape, generator=g)
            if p.dim() > 1:
                p.copy_(r * min(0.3, 1.2 / math.sqrt(p[0].numel())))
            elif name.endswith("weight"):
                p.copy_(1 + 0.15 * r)
            else:
                p.copy_(std * r)
    return mod.eval().requires_grad_(False)


def weights(mod, prefix=""):
    return {f"weights.{prefix}{k}": v for k, v in mod.state_dict().items()}


def rand(*shape, seed, scale=1.0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale


def save(name, tensors, config):
    """F32 safetensors, keys sorted, sizes in __metadata__.config as JSON."""
    os.makedirs(OUT, exist_ok=True)
    head, blobs, at = {"__metadata__": {"config": json.dumps(config, sort_keys=True)}}, [], 0
    for k in sorted(tensors):
        t = tensors[k].detach().to(torch.float32).contiguous()
        if not torch.isfinite(t).all():
            sys.exit(f"{name}: {k} is not finite")
        b = t.numpy().tobytes()
        head[k] = {"dtype": "F32", "shape": list(t.shape), "data_offsets": [at, at + len(b)]}
        at += len(b)
        blobs.append(b)
    h = json.dumps(head).encode()
    h += b" " * (-len(h) % 8)
    path = os.path.join(OUT, name)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(h)) + h + b"".join(blobs))
    print(path, os.path.getsize(path), "bytes", len(tensors), "tensors")
    for k in sorted(tensors):
        if not k.startswith("weights."):
            t = tensors[k].float()
            print(f"  {k} {list(t.shape)} rms {t.pow(2).mean().sqrt():.4g}")
