# SPDX-License-Identifier: LGPL-2.1-or-later
"""The three networks of HunyuanVideo-Avatar, at any size, with the parameter names of the published checkpoints.

  AutoencoderKLCausal3D        (hymm_sp/vae)         names: encoder.down_blocks.0.resnets.0.conv1.conv.weight ...
  WhisperEncoder               (HF whisper)          names: model.encoder.layers.0.self_attn.q_proj.weight ... (prefix added on saving)
  HYVideoDiffusionTransformer  (models_audio.py)     names: double_blocks.0.img_attn_qkv.weight, audio_adapter_blocks.0.to_q.weight ...
Works with torch 1.13 (CPU, fp32) and later.
"""
import json, math, struct
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

_HAS_SDPA = hasattr(F, "scaled_dot_product_attention")

def sdpa(q, k, v, mask=None):
    """(B, H, S, D) attention; mask: bool, True = attend."""
    if _HAS_SDPA:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    out = []
    for i in range(0, q.shape[2], 1024):                      # in pieces, to hold little memory
        w = (q[:, :, i:i + 1024] @ k.transpose(-1, -2)) / math.sqrt(q.shape[-1])
        if mask is not None:
            m = mask if mask.shape[-2] == 1 else mask[..., i:i + 1024, :]
            w = w.masked_fill(~m, float("-inf"))
        out.append(w.softmax(-1) @ v)
    return torch.cat(out, 2)

# ============================================================================ VAE

def _rep_pad(x, w, h, t):
    """replicate: w both sides, h both sides, t in front (by slices: quick backward)."""
    if w:
        x = torch.cat([x[..., :1]] * w + [x] + [x[..., -1:]] * w, -1)
    if h:
        x = torch.cat([x[..., :1, :]] * h + [x] + [x[..., -1:, :]] * h, -2)
    if t:
        x = torch.cat([x[:, :, :1]] * t + [x], 2)
    return x

class Guard:
    """Steps of an optimizer with clipped gradients that leave out those that are not finite; can be captured in a CUDA graph if the optimizer is fused."""

    def __init__(self, opt, params, clip):
        self.opt, self.params, self.clip = opt, params, clip
        self.fused = opt.defaults.get("fused")
        if self.fused:
            opt.grad_scale, opt.found_inf = (f((), device=params[0].device) for f in (torch.ones, torch.zeros))

    def step(self):
        norm = torch.nn.utils.clip_grad_norm_(self.params, self.clip)
        if self.fused:
            self.opt.found_inf.copy_((~torch.isfinite(norm)).float())
            self.opt.step()
        elif torch.isfinite(norm):
            self.opt.step()
        for p in self.params:
            if p.grad is not None: p.grad.zero_()


FOLD = False            # True: compute the 3D convolutions as 2D ones over 3 stacked frames (the same result, faster on a GPU in bf16)

class CausalConv3d(nn.Module):
    def __init__(self, ci, co, kernel_size=3, stride=1):
        super().__init__()
        self.k, self.stride = kernel_size, (stride,) * 3 if isinstance(stride, int) else tuple(stride)
        self.conv = nn.Conv3d(ci, co, kernel_size, stride=stride)

    def forward(self, x):
        if self.k == 1:
            return self.conv(x)
        x = _rep_pad(x, self.k // 2, self.k // 2, self.k - 1)
        if not FOLD:
            return self.conv(x)
        B, C, T, H, W = x.shape
        st = self.stride[0]
        n = (T - 3) // st + 1
        y = torch.cat([x[:, :, i:i + (n - 1) * st + 1:st] for i in range(3)], 1)              # (B, 3C, n, H, W)
        y = y.transpose(1, 2).reshape(B * n, 3 * C, H, W).contiguous(memory_format=torch.channels_last)
        w = self.conv.weight.permute(0, 2, 1, 3, 4).reshape(-1, 3 * C, 3, 3).contiguous(memory_format=torch.channels_last)
        y = F.conv2d(y, w.to(y.dtype), self.conv.bias.to(y.dtype), stride=self.stride[1:])
        return y.view(B, n, *y.shape[1:]).transpose(1, 2)

def gn(norm, x):
    """Group norm, in bf16 if x is bf16 (autocast would use fp32, with twice the traffic)."""
    if x.dtype != torch.bfloat16:
        return norm(x)
    with torch.autocast(x.device.type, enabled=False):
        return F.group_norm(x, norm.num_groups, norm.weight.to(x.dtype), norm.bias.to(x.dtype), norm.eps)

def _rep(x, dim, n):
    """Repeats every slice along dim n times (nearest upsampling)."""
    y = x.unsqueeze(dim + 1)
    return y.expand(*y.shape[:dim + 1], n, *y.shape[dim + 2:]).flatten(dim, dim + 1)

class ResnetBlockCausal3D(nn.Module):
    def __init__(self, ci, co, groups):
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, ci, eps=1e-6)
        self.conv1 = CausalConv3d(ci, co)
        self.norm2 = nn.GroupNorm(groups, co, eps=1e-6)
        self.conv2 = CausalConv3d(co, co)
        self.conv_shortcut = CausalConv3d(ci, co, 1) if ci != co else None

    def forward(self, x):
        h = self.conv1(F.silu(gn(self.norm1, x)))
        h = self.conv2(F.silu(gn(self.norm2, h)))
        return (x if self.conv_shortcut is None else self.conv_shortcut(x)) + h

class AttnBlock(nn.Module):
    """diffusers' Attention as the old VAE attention block: group norm over all tokens, one head, residual."""
    def __init__(self, c, groups):
        super().__init__()
        self.group_norm = nn.GroupNorm(groups, c, eps=1e-6)
        self.to_q, self.to_k, self.to_v = nn.Linear(c, c), nn.Linear(c, c), nn.Linear(c, c)
        self.to_out = nn.ModuleList([nn.Linear(c, c)])

    def forward(self, x, mask):                              # (B, N, C)
        h = self.group_norm(x.transpose(1, 2)).transpose(1, 2)
        q, k, v = (f(h)[:, None] for f in (self.to_q, self.to_k, self.to_v))
        return x + self.to_out[0](sdpa(q, k, v, mask)[:, 0])

class MidBlock(nn.Module):
    def __init__(self, c, groups, causal):
        super().__init__()
        self.causal = causal
        self.attentions = nn.ModuleList([AttnBlock(c, groups)])
        self.resnets = nn.ModuleList([ResnetBlockCausal3D(c, c, groups), ResnetBlockCausal3D(c, c, groups)])

    def forward(self, x):
        x = self.resnets[0](x)
        B, C, T, H, W = x.shape
        mask = None
        if self.causal and T > 1:
            f = _rep(torch.arange(T, device=x.device), 0, H * W)
            mask = (f[:, None] >= f[None, :])[None, None]
        y = x.permute(0, 2, 3, 4, 1).reshape(B, T * H * W, C)
        y = self.attentions[0](y, mask)
        return self.resnets[1](y.view(B, T, H, W, C).permute(0, 4, 1, 2, 3))

class Down(nn.Module):
    def __init__(self, c, stride):
        super().__init__()
        self.conv = CausalConv3d(c, c, 3, stride)

    def forward(self, x):
        return self.conv(x)

class Up(nn.Module):
    def __init__(self, c, factor):
        super().__init__()
        self.factor = factor
        self.conv = CausalConv3d(c, c)

    def forward(self, x):
        ft, fh, fw = self.factor
        x = _rep(_rep(x, 3, fh), 4, fw) if fh > 1 else x
        if ft > 1 and x.shape[2] > 1:
            x = torch.cat([x[:, :, :1], _rep(x[:, :, 1:], 2, ft)], 2)
        return self.conv(x)

class Block(nn.Module):
    def __init__(self, ci, co, n, groups, down=None, up=None):
        super().__init__()
        self.resnets = nn.ModuleList([ResnetBlockCausal3D(ci if i == 0 else co, co, groups) for i in range(n)])
        if down:
            self.downsamplers = nn.ModuleList([Down(co, down)])
        if up:
            self.upsamplers = nn.ModuleList([Up(co, up)])

    def forward(self, x):
        for r in self.resnets:
            x = r(x)
        for d in getattr(self, "downsamplers", []):
            x = d(x)
        for u in getattr(self, "upsamplers", []):
            x = u(x)
        return x

class EncoderCausal3D(nn.Module):
    def __init__(self, c):
        super().__init__()
        ch, g = c["block_out_channels"], c["norm_num_groups"]
        ns, nt = int(math.log2(c["spatial_compression_ratio"])), int(math.log2(c["time_compression_ratio"]))
        self.conv_in = CausalConv3d(c["in_channels"], ch[0])
        self.down_blocks = nn.ModuleList()
        for i, co in enumerate(ch):
            last = i == len(ch) - 1
            s, t = i < ns, i >= len(ch) - 1 - nt and not last
            self.down_blocks.append(Block(ch[max(0, i - 1)], co, c["layers_per_block"], g,
                                          down=(2 if t else 1, 2 if s else 1, 2 if s else 1) if (s or t) else None))
        self.mid_block = MidBlock(ch[-1], g, c["mid_block_causal_attn"])
        self.conv_norm_out = nn.GroupNorm(g, ch[-1], eps=1e-6)
        self.conv_out = CausalConv3d(ch[-1], 2 * c["latent_channels"])

    def forward(self, x):
        x = self.conv_in(x)
        for b in self.down_blocks:
            x = b(x)
        return self.conv_out(F.silu(gn(self.conv_norm_out, self.mid_block(x))))

class DecoderCausal3D(nn.Module):
    def __init__(self, c):
        super().__init__()
        ch, g = c["block_out_channels"][::-1], c["norm_num_groups"]
        ns, nt = int(math.log2(c["spatial_compression_ratio"])), int(math.log2(c["time_compression_ratio"]))
        self.conv_in = CausalConv3d(c["latent_channels"], ch[0])
        self.mid_block = MidBlock(ch[0], g, c["mid_block_causal_attn"])
        self.up_blocks = nn.ModuleList()
        for i, co in enumerate(ch):
            last = i == len(ch) - 1
            s, t = i < ns, i >= len(ch) - 1 - nt and not last
            self.up_blocks.append(Block(ch[max(0, i - 1)], co, c["layers_per_block"] + 1, g,
                                        up=(2 if t else 1, 2 if s else 1, 2 if s else 1) if (s or t) else None))
        self.conv_norm_out = nn.GroupNorm(g, ch[-1], eps=1e-6)
        self.conv_out = CausalConv3d(ch[-1], c["out_channels"])

    def forward(self, z):
        x = self.mid_block(self.conv_in(z))
        for b in self.up_blocks:
            x = b(x)
        return self.conv_out(F.silu(gn(self.conv_norm_out, x)))

class AutoencoderKLCausal3D(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.config = c
        self.encoder, self.decoder = EncoderCausal3D(c), DecoderCausal3D(c)
        z = c["latent_channels"]
        self.quant_conv, self.post_quant_conv = nn.Conv3d(2 * z, 2 * z, 1), nn.Conv3d(z, z, 1)

    def encode(self, x):
        """(B, 3, T, H, W) in [-1, 1] -> mean, log variance."""
        m, lv = self.quant_conv(self.encoder(x)).chunk(2, 1)
        return m, lv.clamp(-30, 20)

    def decode(self, z):
        return self.decoder(self.post_quant_conv(z))

def decode_tiled(vae, z, tile=17, stride=12, blend=16):
    """Upstream's temporal tiling: tiles of 17 latent frames, 12 apart, the first decoded frame of later ones dropped, 16 frames blended."""
    L = z.shape[2]
    if L < tile:
        return vae.decode(z)
    out, prev, keep = [], None, 4 * stride
    for i in range(0, L, stride):
        if i and i == L - 1:
            break
        d = vae.decode(z[:, :, i:i + tile])
        if i:
            d = d[:, :, 1:]
            e = min(prev.shape[2], d.shape[2], blend)
            w = (torch.arange(e, device=d.device, dtype=d.dtype) / e).view(1, 1, -1, 1, 1)
            d = torch.cat([prev[:, :, -e:] * (1 - w) + d[:, :, :e] * w, d[:, :, e:]], 2)
        out.append(d[:, :, :keep + (i == 0)]); prev = d
    return torch.cat(out, 2)

def vae_decoder_flops(c, frames, size, seconds):
    """multiply-adds of the decoder (convolutions and the mid attention), as FLOP per second of video (2 per multiply-add)."""
    ch = c["block_out_channels"][::-1]
    L, s = (frames - 1) // 4 + 1, size // 8
    mac, T, S = 0, L, s
    conv = lambda ci, co, k=27: ci * co * k * T * S * S
    mac += conv(c["latent_channels"], ch[0]) + 4 * conv(ch[0], ch[0]) + conv(ch[0], ch[0], 4)
    n = T * S * S
    mac += 2 * ch[0] * n * (n + S * S) // 2
    for i, co in enumerate(ch):
        ci = ch[max(0, i - 1)]
        for j in range(c["layers_per_block"] + 1):
            a = ci if j == 0 else co
            mac += conv(a, co) + conv(co, co) + (conv(a, co, 1) if a != co else 0)
        if i < 3:
            S *= 2
        if i in (1, 2):
            T = 2 * T - 1
        if i < 3:
            mac += conv(co, co)
    mac += conv(ch[-1], 3)
    return 2 * mac / seconds

# ============================================================================ Whisper encoder

def sinusoids(length, channels):
    inc = math.log(10000) / (channels // 2 - 1)
    t = torch.arange(length, dtype=torch.float32)[:, None] * torch.exp(-inc * torch.arange(channels // 2, dtype=torch.float32))[None]
    return torch.cat([t.sin(), t.cos()], 1)

class WhisperAttention(nn.Module):
    def __init__(self, d, heads):
        super().__init__()
        self.heads = heads
        self.k_proj = nn.Linear(d, d, bias=False)
        self.v_proj, self.q_proj, self.out_proj = nn.Linear(d, d), nn.Linear(d, d), nn.Linear(d, d)

    def forward(self, x):
        B, S, D = x.shape
        q, k, v = (p(x).view(B, S, self.heads, -1).transpose(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj))
        return self.out_proj(sdpa(q, k, v).transpose(1, 2).reshape(B, S, D))

class WhisperLayer(nn.Module):
    def __init__(self, d, heads, ffn):
        super().__init__()
        self.self_attn = WhisperAttention(d, heads)
        self.self_attn_layer_norm = nn.LayerNorm(d)
        self.fc1, self.fc2 = nn.Linear(d, ffn), nn.Linear(ffn, d)
        self.final_layer_norm = nn.LayerNorm(d)

    def forward(self, x):
        x = x + self.self_attn(self.self_attn_layer_norm(x))
        return x + self.fc2(F.gelu(self.fc1(self.final_layer_norm(x))))

class WhisperEncoder(nn.Module):
    def __init__(self, c):
        super().__init__()
        d = c["d_model"]
        self.conv1 = nn.Conv1d(c["num_mel_bins"], d, 3, padding=1)
        self.conv2 = nn.Conv1d(d, d, 3, stride=2, padding=1)
        self.embed_positions = nn.Embedding(c["max_source_positions"], d)
        self.embed_positions.weight.data.copy_(sinusoids(c["max_source_positions"], d))
        self.embed_positions.weight.requires_grad_(False)
        self.layers = nn.ModuleList([WhisperLayer(d, c["encoder_attention_heads"], c["encoder_ffn_dim"]) for _ in range(c["encoder_layers"])])
        self.layer_norm = nn.LayerNorm(d)

    def forward(self, mel):
        """(B, 80, 3000) -> (B, 1500, layers + 1, d): the embeddings, every layer's output, the last one after layer_norm."""
        x = F.gelu(self.conv2(F.gelu(self.conv1(mel)))).transpose(1, 2) + self.embed_positions.weight
        hs = []
        for l in self.layers:
            hs.append(x)
            x = l(x)
        hs.append(self.layer_norm(x))
        return torch.stack(hs, 2)

def audio_windows(feats, start, n):
    """feats (B, 1500, K, C), start (B,) first frame, n frames -> (B, n, 10, K, C): 4 zero steps in front, steps 2f .. 2f+9 of that."""
    B, S, K, C = feats.shape
    f = torch.cat([torch.zeros_like(feats[:, :4]), feats, torch.zeros_like(feats[:, :8])], 1)
    i = (start[:, None, None] + torch.arange(n, device=feats.device)[None, :, None]) * 2 + torch.arange(10, device=feats.device)[None, None]
    i = i.clamp_max(f.shape[1] - 1).view(B, n * 10)
    f = f.reshape(B, -1, K * C)
    return torch.gather(f, 1, i[:, :, None].expand(-1, -1, K * C)).view(B, n, 10, K, C)

# ============================================================================ the denoiser

class RMSNorm(nn.Module):
    def __init__(self, d, eps=1e-6):
        super().__init__()
        self.eps, self.weight = eps, nn.Parameter(torch.ones(d))

    def forward(self, x):
        y = x.float()
        return (y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + self.eps)).type_as(x) * self.weight

class PatchEmbed(nn.Module):
    def __init__(self, patch, ci, d):
        super().__init__()
        self.proj = nn.Conv3d(ci, d, patch, stride=patch)
        nn.init.xavier_uniform_(self.proj.weight.view(d, -1)); nn.init.zeros_(self.proj.bias)

    def forward(self, x):
        return self.proj(x).flatten(2).transpose(1, 2)

def timestep_embedding(t, dim, max_period=10000.0):
    half = dim // 2
    fr = torch.exp(-math.log(max_period) * torch.arange(half, dtype=torch.float32, device=t.device) / half)
    a = t[:, None].float() * fr[None]
    return torch.cat([a.cos(), a.sin()], -1)

class TimestepEmbedder(nn.Module):
    def __init__(self, d, freq=256):
        super().__init__()
        self.freq = freq
        self.mlp = nn.Sequential(nn.Linear(freq, d), nn.SiLU(), nn.Linear(d, d))
        nn.init.normal_(self.mlp[0].weight, std=.02); nn.init.normal_(self.mlp[2].weight, std=.02)

    def forward(self, t):
        return self.mlp(timestep_embedding(t, self.freq).to(self.mlp[0].weight.dtype))

class TextProjection(nn.Module):
    def __init__(self, ci, d):
        super().__init__()
        self.linear_1, self.linear_2 = nn.Linear(ci, d), nn.Linear(d, d)

    def forward(self, x):
        return self.linear_2(F.silu(self.linear_1(x)))

class MLPEmbedder(nn.Module):
    def __init__(self, ci, d):
        super().__init__()
        self.in_layer, self.out_layer = nn.Linear(ci, d), nn.Linear(d, d)

    def forward(self, x):
        return self.out_layer(F.silu(self.in_layer(x)))

class MLP(nn.Module):
    def __init__(self, d, h, act):
        super().__init__()
        self.fc1, self.fc2, self.act = nn.Linear(d, h), nn.Linear(h, d), act

    def forward(self, x):
        x = self.fc1(x)
        return self.fc2(F.gelu(x, approximate="tanh") if self.act == "gelu_tanh" else F.silu(x))

class Modulate(nn.Module):
    def __init__(self, d, n):
        super().__init__()
        self.linear = nn.Linear(d, n * d)
        nn.init.zeros_(self.linear.weight); nn.init.zeros_(self.linear.bias)

    def forward(self, v):
        return self.linear(F.silu(v))

def _adaln(d):
    m = nn.Sequential(nn.SiLU(), nn.Linear(d, 2 * d))
    nn.init.zeros_(m[1].weight); nn.init.zeros_(m[1].bias)
    return m

class RefinerBlock(nn.Module):
    def __init__(self, d, heads, ratio=4.0):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(d, eps=1e-6), nn.LayerNorm(d, eps=1e-6)
        self.self_attn_qkv, self.self_attn_proj = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.mlp = MLP(d, int(d * ratio), "silu")
        self.adaLN_modulation = _adaln(d)

    def forward(self, x, c, mask):
        g1, g2 = self.adaLN_modulation(c).chunk(2, 1)
        B, L, D = x.shape
        q, k, v = self.self_attn_qkv(self.norm1(x)).view(B, L, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        a = sdpa(q, k, v, mask).transpose(1, 2).reshape(B, L, D)
        x = x + self.self_attn_proj(a) * g1[:, None]
        return x + self.mlp(self.norm2(x)) * g2[:, None]

class Refiner(nn.Module):
    def __init__(self, d, heads, depth):
        super().__init__()
        self.blocks = nn.ModuleList([RefinerBlock(d, heads) for _ in range(depth)])

class SingleTokenRefiner(nn.Module):
    def __init__(self, ci, d, heads, depth):
        super().__init__()
        self.input_embedder = nn.Linear(ci, d)
        self.t_embedder = TimestepEmbedder(d)
        self.c_embedder = TextProjection(ci, d)
        self.individual_token_refiner = Refiner(d, heads, depth)

    def forward(self, x, t, mask=None):
        """mask (B, L) bool, True = a real token; None = all are real."""
        am = None
        if mask is None:
            c = x.mean(1)
        else:
            mf = mask.to(x.dtype)[:, :, None]
            c = (x * mf).sum(1) / mf.sum(1)
            am = mask[:, None, :, None] & mask[:, None, None, :]
            am[..., 0] = True
        c = self.t_embedder(t) + self.c_embedder(c)
        x = self.input_embedder(x)
        for b in self.individual_token_refiner.blocks:
            x = b(x, c, am)
        return x

class FinalLayer(nn.Module):
    def __init__(self, d, n):
        super().__init__()
        self.linear = nn.Linear(d, n)
        nn.init.zeros_(self.linear.weight); nn.init.zeros_(self.linear.bias)
        self.adaLN_modulation = _adaln(d)

    def forward(self, x, c):
        sh, sc = self.adaLN_modulation(c).chunk(2, 1)
        return self.linear(_ln(x) * (1 + sc[:, None]) + sh[:, None])

def _ln(x):
    return F.layer_norm(x, (x.shape[-1],), eps=1e-6)

def rope(x, cos, sin):
    """x (B, H, S, D); cos, sin (S, D) with every value repeated twice; pairs (2i, 2i+1)."""
    y = x.float()
    r = torch.stack([-y[..., 1::2], y[..., 0::2]], -1).flatten(-2)
    return (y * cos + r * sin).type_as(x)

def rope_tables(dims, L, H, W, theta=256.0, bias=-1.0):
    """Rows in token order: first the reference frame at time = bias, then L frames of H x W."""
    t = torch.cat([torch.tensor([bias]), torch.arange(L, dtype=torch.float32)])
    g = torch.meshgrid(t, torch.arange(H, dtype=torch.float32), torch.arange(W, dtype=torch.float32), indexing="ij")
    co, si = [], []
    for d, p in zip(dims, g):
        f = 1.0 / theta ** (torch.arange(0, d, 2).float() / d)
        a = torch.outer(p.reshape(-1), f)
        co.append(a.cos().repeat_interleave(2, 1)); si.append(a.sin().repeat_interleave(2, 1))
    return torch.cat(co, 1), torch.cat(si, 1)

class DoubleStreamBlock(nn.Module):
    def __init__(self, d, heads, ratio):
        super().__init__()
        self.heads, h = heads, int(d * ratio)
        for s in ("img", "txt"):
            setattr(self, s + "_mod", Modulate(d, 6))
            setattr(self, s + "_attn_qkv", nn.Linear(d, 3 * d))
            setattr(self, s + "_attn_q_norm", RMSNorm(d // heads))
            setattr(self, s + "_attn_k_norm", RMSNorm(d // heads))
            setattr(self, s + "_attn_proj", nn.Linear(d, d))
            setattr(self, s + "_mlp", MLP(d, h, "gelu_tanh"))

    def _qkv(self, s, x, sh, sc):
        B, L, D = x.shape
        y = _ln(x) * (1 + sc[:, None]) + sh[:, None]
        q, k, v = getattr(self, s + "_attn_qkv")(y).view(B, L, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        return getattr(self, s + "_attn_q_norm")(q).to(v), getattr(self, s + "_attn_k_norm")(k).to(v), v

    def forward(self, img, txt, vec, cos, sin, mask):
        im, tm = self.img_mod(vec).chunk(6, -1), self.txt_mod(vec).chunk(6, -1)
        iq, ik, iv = self._qkv("img", img, im[0], im[1])
        tq, tk, tv = self._qkv("txt", txt, tm[0], tm[1])
        iq, ik = rope(iq, cos, sin), rope(ik, cos, sin)
        a = sdpa(torch.cat([iq, tq], 2), torch.cat([ik, tk], 2), torch.cat([iv, tv], 2), mask).transpose(1, 2)
        a = a.reshape(a.shape[0], a.shape[1], -1)
        n = img.shape[1]
        out = []
        for s, x, y, m in (("img", img, a[:, :n], im), ("txt", txt, a[:, n:], tm)):
            x = x + getattr(self, s + "_attn_proj")(y) * m[2][:, None]
            x = x + getattr(self, s + "_mlp")(_ln(x) * (1 + m[4][:, None]) + m[3][:, None]) * m[5][:, None]
            out.append(x)
        return out

class SingleStreamBlock(nn.Module):
    def __init__(self, d, heads, ratio):
        super().__init__()
        self.heads, self.d, h = heads, d, int(d * ratio)
        self.linear1, self.linear2 = nn.Linear(d, 3 * d + h), nn.Linear(d + h, d)
        self.q_norm, self.k_norm = RMSNorm(d // heads), RMSNorm(d // heads)
        self.modulation = Modulate(d, 3)

    def forward(self, x, vec, n_img, cos, sin, mask):
        B, S, D = x.shape
        sh, sc, g = self.modulation(vec).chunk(3, -1)
        y = self.linear1(_ln(x) * (1 + sc[:, None]) + sh[:, None])
        q, k, v = y[..., :3 * D].reshape(B, S, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        q, k = self.q_norm(q).to(v), self.k_norm(k).to(v)
        q = torch.cat([rope(q[:, :, :n_img], cos, sin), q[:, :, n_img:]], 2)
        k = torch.cat([rope(k[:, :, :n_img], cos, sin), k[:, :, n_img:]], 2)
        a = sdpa(q, k, v, mask).transpose(1, 2).reshape(B, S, D)
        return x + self.linear2(torch.cat([a, F.gelu(y[..., 3 * D:], approximate="tanh")], -1)) * g[:, None]

class AudioProjNet2(nn.Module):
    def __init__(self, seq_len, blocks, channels, intermediate_dim, output_dim, context_tokens):
        super().__init__()
        self.m, self.c = context_tokens, output_dim
        self.proj1 = nn.Linear(seq_len * blocks * channels, intermediate_dim)
        self.proj2 = nn.Linear(intermediate_dim, intermediate_dim)
        self.proj3 = nn.Linear(intermediate_dim, context_tokens * output_dim)
        self.norm = nn.LayerNorm(output_dim)

    def forward(self, a):                                      # (B, F, w, b, c) -> (B, F, m, D)
        x = F.relu(self.proj2(F.relu(self.proj1(a.flatten(2)))))
        return self.norm(self.proj3(x).view(a.shape[0], a.shape[1], self.m, self.c))

class PerceiverAttentionCA(nn.Module):
    def __init__(self, d, inner):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.to_q, self.to_kv, self.to_out = nn.Linear(d, inner, bias=False), nn.Linear(d, 2 * inner, bias=False), nn.Linear(inner, d, bias=False)
        nn.init.zeros_(self.to_out.weight)

    def forward(self, x, latents):                             # x (B, T, 16, D) audio, latents (B, T, hw, D)
        q = self.to_q(self.norm2(latents))
        k, v = self.to_kv(self.norm1(x)).chunk(2, -1)
        return self.to_out(sdpa(q, k, v))

class HYVideoDiffusionTransformer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.config = c
        d, heads, r = c["hidden_size"], c["num_heads"], c["mlp_width_ratio"]
        self.d, self.patch, self.c_out = d, c["patch_size"], c["out_channels"]
        self.img_in, self.ref_in = PatchEmbed(self.patch, c["in_channels"], d), PatchEmbed(self.patch, c["in_channels"], d)
        self.txt_in = SingleTokenRefiner(c["text_states_dim"], d, heads, c["refiner_depth"])
        self.time_in = TimestepEmbedder(d)
        self.vector_in = MLPEmbedder(c["text_states_dim_2"], d)
        self.double_blocks = nn.ModuleList([DoubleStreamBlock(d, heads, r) for _ in range(c["depth_double_blocks"])])
        self.single_blocks = nn.ModuleList([SingleStreamBlock(d, heads, r) for _ in range(c["depth_single_blocks"])])
        self.final_layer = FinalLayer(d, self.patch[0] * self.patch[1] * self.patch[2] * self.c_out)
        a = c["audio_proj"]
        self.audio_proj = AudioProjNet2(a["seq_len"], a["blocks"], a["channels"], a["intermediate_dim"], d, a["context_tokens"])
        self.motion_exp, self.motion_pose = TimestepEmbedder(d // 4), TimestepEmbedder(d // 4)
        self.fps_proj = TimestepEmbedder(d)
        self.before_proj = nn.Linear(d, d)
        self.stream = {i: j for j, i in enumerate(c["double_stream_list"])}
        self.audio_adapter_blocks = nn.ModuleList([PerceiverAttentionCA(d, c["audio_adapter_dim"]) for _ in self.stream])

    def forward(self, x, t, ref_latents, text_states, text_states_2, audio_prompts, motion_exp, motion_pose, fps, face_mask,
                cos, sin, text_mask=None, text_used=None, taps=None):
        """x (B, C, L, h, w); t (B,) in 0..1000; audio_prompts (B, 4L-3, 10, K, C); face_mask (B, 1, 1 or L, h, w); cos, sin with the
        reference frame's rows in front; text_mask (B, n) bool or None: rows that the refiner uses; text_used: number of leading refined rows that
        the blocks use (upstream: the mask's sum). Returns the velocity (B, C, L, h, w)."""
        B, _, L, h, w = x.shape
        H, W = h // self.patch[1], w // self.patch[2]
        vec = self.time_in(t) + self.motion_exp(motion_exp.reshape(-1)).view(B, -1) + self.motion_pose(motion_pose.reshape(-1)).view(B, -1)
        vec = vec + self.fps_proj(fps) + self.vector_in(text_states_2)
        audio = self.audio_proj(audio_prompts)
        audio16 = torch.cat([audio[:, :1].repeat(1, 3, 1, 1), audio], 1).reshape(B, L, -1, self.d)
        ref_first = self.img_in(ref_latents[:, :, :1])
        img = self.before_proj(self.ref_in(ref_latents)) + self.img_in(x)
        txt = self.txt_in(text_states, t, text_mask)[:, :text_used]
        n_ref = ref_first.shape[1]
        img = torch.cat([ref_first, img], 1)
        n_img = img.shape[1]
        fm = F.interpolate(face_mask.expand(-1, -1, L, -1, -1).float(), size=[L, H, W], mode="nearest").reshape(B, -1, 1).to(img.dtype)
        if taps is not None:
            taps.update(vec=vec, audio_proj=audio, txt_in=txt, img_in=img)
        for i, b in enumerate(self.double_blocks):
            img, txt = b(img, txt, vec, cos, sin, None)
            if i in self.stream:
                y = self.audio_adapter_blocks[self.stream[i]](audio16, img[:, n_ref:].reshape(B, L, -1, self.d)).reshape(B, -1, self.d)
                img = torch.cat([img[:, :n_ref], img[:, n_ref:] + y * fm], 1)
            if taps is not None:
                taps[f"double_{i}_img"] = img
        z = torch.cat([img, txt], 1)
        for i, b in enumerate(self.single_blocks):
            z = b(z, vec, n_img, cos, sin, None)
            if taps is not None and i in (0, len(self.single_blocks) - 1):
                taps[f"single_{i}"] = z
        y = self.final_layer(z[:, n_ref:n_img], vec)
        pt, ph, pw = self.patch
        y = y.view(B, L, H, W, self.c_out, pt, ph, pw).permute(0, 4, 1, 5, 2, 6, 3, 7)
        return y.reshape(B, self.c_out, L * pt, H * ph, W * pw)

# ============================================================================ sampling

def sigmas_for(steps, shift):
    s = torch.linspace(1, 0, steps + 1)
    return shift * s / (1 + (shift - 1) * s)

def guidance_at(i, steps, start):
    """upstream's schedule of the guidance scale (first 10 steps, then the rest)."""
    return (1 - i / steps) * (start - 2) + 2 if i < 10 else (1 - i / steps) * (6.5 - 3.5) + 3.5

@torch.no_grad()
def sample(model, noise, cond, steps, shift, cfg=1.0, uncond=None, keep=None):
    """Euler from sigma 1 to 0; the model gives d x / d sigma (noise minus data)."""
    sg = sigmas_for(steps, shift)
    x = noise.float()
    for i in range(steps):
        t = (sg[i] * 1000).to(x.device).expand(x.shape[0]).float()
        if cfg > 1 and uncond is not None:
            fm = 0.6 if i < 10 else 1.0
            c = dict(cond, face_mask=cond["face_mask"] * fm); u = dict(uncond, face_mask=uncond["face_mask"] * fm)
            vu, vc = model(x, t, **u), model(x, t, **c)
            v = vu + guidance_at(i, steps, cfg) * (vc - vu)
        else:
            v = model(x, t, **cond)
        x = x + v.float() * (sg[i + 1] - sg[i]).item()
        if keep is not None:
            keep.append(x.clone())
    return x

# ======================================================= safetensors (reader and writer)

_DT = {"F32": (torch.float32, np.float32), "F16": (torch.float16, np.float16), "U8": (torch.uint8, np.uint8), "I64": (torch.int64, np.int64), "I32": (torch.int32, np.int32)}
_NAME = {v[0]: k for k, v in _DT.items()}

def save_safetensors(path, tensors, meta=None):
    hdr, off, blobs = {}, 0, []
    if meta:
        hdr["__metadata__"] = {k: str(v) for k, v in meta.items()}
    for k in sorted(tensors):
        t = tensors[k].detach().cpu().contiguous()
        b = t.numpy().tobytes()
        hdr[k] = {"dtype": _NAME[t.dtype], "shape": list(t.shape), "data_offsets": [off, off + len(b)]}
        off += len(b); blobs.append(b)
    h = json.dumps(hdr, separators=(",", ":")).encode()
    h += b" " * (-len(h) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(h))); f.write(h)
        for b in blobs:
            f.write(b)

def load_safetensors(path):
    raw = open(path, "rb").read()
    n = struct.unpack("<Q", raw[:8])[0]
    hdr = json.loads(raw[8:8 + n]); hdr.pop("__metadata__", None)
    out = {}
    for k, v in hdr.items():
        a, b = v["data_offsets"]
        out[k] = torch.from_numpy(np.frombuffer(raw[8 + n + a:8 + n + b], dtype=_DT[v["dtype"]][1]).reshape(v["shape"]).copy())
    return out

def read_config(folder):
    """Configuration of a folder in the layout of the release (tree.py)."""
    return json.load(open(folder + "/ckpts/hunyuan-video-t2v-720p/transformers/avatar-config.json"))

def load_all(folder, cfg, dev="cpu"):
    """VAE, denoiser and Whisper of a folder in the layout of the release (tree.py), fp32, eval."""
    vae, dit, wh = AutoencoderKLCausal3D(cfg["vae"]), HYVideoDiffusionTransformer(cfg["transformer"]), WhisperEncoder(cfg["whisper"])
    video = folder + "/ckpts/hunyuan-video-t2v-720p/"
    vae.load_state_dict({k: v.float() for k, v in torch.load(video + "vae/pytorch_model.pt").items()})
    dit.load_state_dict({k: v.float() for k, v in torch.load(video + "transformers/mp_rank_00_model_states.pt")["module"].items()})
    wh.load_state_dict({k.replace("model.encoder.", ""): v.float() for k, v in load_safetensors(folder + "/ckpts/whisper-tiny/model.safetensors").items()})
    return [m.to(dev).eval() for m in (vae, dit, wh)]
