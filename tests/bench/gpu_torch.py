#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The released transformer in PyTorch, written from its description, as the baseline of the GPU benchmark.

    gpu_torch.py [--rows WxH[/offload],...] [--ceilings] [--double N] [--single N]

Prints one JSON object a line. A row is one forward of batch 1 with random weights: resident in bf16, or with each
block moved to the device before it and back behind it, as upstream's low-memory path does through diffusers (pageable
memory, one block at a time, the allocator's cache emptied in between). Peak memory is what the driver says.
Transformer can be imported: with float32 weights and without autocast it is the reference of the numbers.
"""
import os
import sys

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tools"))
import need  # noqa: E402

need.imports(__file__)

import argparse
import contextlib
import json
import math
import statistics
import threading
import time

import torch
import torch.nn.functional as F

RELEASED = {"hidden_size": 3072, "num_heads": 24, "mlp_width_ratio": 4, "in_channels": 16, "out_channels": 16,
            "depth_double_blocks": 20, "depth_single_blocks": 40, "rope_dim_list": [16, 56, 56], "rope_theta": 256,
            "text_states_dim": 4096, "text_states_dim_2": 768, "refiner_depth": 2, "frequency_embedding_size": 256,
            "audio_proj": {"seq_len": 10, "blocks": 5, "channels": 384, "intermediate_dim": 1024, "context_tokens": 4},
            "audio_adapter_dim": 1024, "double_stream_list": list(range(1, 20, 2))}
FRAMES, TEXT, TEXT_USED = 33, 831, 650
FLOAT32 = ("audio_proj.", "before_proj.", "audio_adapter_blocks.", "final_layer.linear.")  # upstream's exceptions to bf16


def shapes(c):
    """Name -> shape of every parameter of the configuration c."""
    d, m, f = c["hidden_size"], int(c["hidden_size"] * c["mlp_width_ratio"]), c["frequency_embedding_size"]
    head, a, p = d // c["num_heads"], c["audio_adapter_dim"], c["audio_proj"]
    out = {}

    def linear(name, rows, cols, bias=True):
        out[name + ".weight"] = (rows, cols)
        if bias:
            out[name + ".bias"] = (rows,)

    def norm(name, width):
        out[name + ".weight"] = out[name + ".bias"] = (width,)

    for name in ("img_in", "ref_in"):
        out[name + ".proj.weight"], out[name + ".proj.bias"] = (d, c["in_channels"], 1, 2, 2), (d,)
    for name, width in (("time_in", d), ("fps_proj", d), ("motion_exp", d // 4), ("motion_pose", d // 4),
                        ("txt_in.t_embedder", d)):
        linear(name + ".mlp.0", width, f)
        linear(name + ".mlp.2", width, width)
    linear("vector_in.in_layer", d, c["text_states_dim_2"])
    linear("vector_in.out_layer", d, d)
    linear("before_proj", d, d)
    linear("txt_in.input_embedder", d, c["text_states_dim"])
    linear("txt_in.c_embedder.linear_1", d, c["text_states_dim"])
    linear("txt_in.c_embedder.linear_2", d, d)
    for i in range(c["refiner_depth"]):
        b = f"txt_in.individual_token_refiner.blocks.{i}."
        norm(b + "norm1", d)
        norm(b + "norm2", d)
        for name, rows, cols in (("self_attn_qkv", 3 * d, d), ("self_attn_proj", d, d), ("mlp.fc1", m, d),
                                 ("mlp.fc2", d, m), ("adaLN_modulation.1", 2 * d, d)):
            linear(b + name, rows, cols)
    for i in range(c["depth_double_blocks"]):
        for s in ("img", "txt"):
            b = f"double_blocks.{i}.{s}_"
            for name, rows, cols in (("mod.linear", 6 * d, d), ("attn_qkv", 3 * d, d), ("attn_proj", d, d),
                                     ("mlp.fc1", m, d), ("mlp.fc2", d, m)):
                linear(b + name, rows, cols)
            out[b + "attn_q_norm.weight"] = out[b + "attn_k_norm.weight"] = (head,)
    for i in range(c["depth_single_blocks"]):
        b = f"single_blocks.{i}."
        linear(b + "linear1", 3 * d + m, d)
        linear(b + "linear2", d, d + m)
        linear(b + "modulation.linear", 3 * d, d)
        out[b + "q_norm.weight"] = out[b + "k_norm.weight"] = (head,)
    linear("final_layer.linear", 4 * c["out_channels"], d)
    linear("final_layer.adaLN_modulation.1", 2 * d, d)
    linear("audio_proj.proj1", p["intermediate_dim"], p["seq_len"] * p["blocks"] * p["channels"])
    linear("audio_proj.proj2", p["intermediate_dim"], p["intermediate_dim"])
    linear("audio_proj.proj3", p["context_tokens"] * d, p["intermediate_dim"])
    norm("audio_proj.norm", d)
    for i, _ in enumerate(c["double_stream_list"]):
        b = f"audio_adapter_blocks.{i}."
        norm(b + "norm1", d)
        norm(b + "norm2", d)
        linear(b + "to_q", a, d, False)
        linear(b + "to_kv", 2 * a, d, False)
        linear(b + "to_out", d, a, False)
    return out


def random_weights(c, device, seed):
    """Random parameters made on the device, matrices scaled so that activations stay near one."""
    g = torch.Generator(device).manual_seed(seed)
    out = {}
    for name, shape in shapes(c).items():
        kind = torch.float32 if name.startswith(FLOAT32) else torch.bfloat16
        r = torch.randn(shape, generator=g, device=device, dtype=kind)
        if len(shape) > 1:
            r *= 0.7 / math.sqrt(math.prod(shape[1:]))
        elif name.endswith("weight"):
            r = 1 + 0.05 * r
        else:
            r *= 0.05
        out[name] = r
    return out


def rope_tables(c, frames, th, tw, device):
    """cos and sin [tokens, head width] in float32; one frame at t = -1 stands in front."""
    grid = torch.meshgrid(torch.arange(-1, frames), torch.arange(th), torch.arange(tw), indexing="ij")
    parts = []
    for at, d in zip(grid, c["rope_dim_list"]):
        w = 1 / c["rope_theta"] ** (torch.arange(0, d, 2).float() / d)
        parts.append(torch.outer(at.reshape(-1).float(), w).repeat_interleave(2, 1))
    angle = torch.cat(parts, 1)
    return angle.cos().to(device), angle.sin().to(device)


def attention(q, k, v, used):
    """q, k, v [tokens, heads, width]; the first @used tokens attend to each other, the others among themselves."""
    out = []
    for a, b in ((0, used), (used, len(q))):
        if b > a:
            o = F.scaled_dot_product_attention(*(x[None, a:b].transpose(1, 2) for x in (q, k, v)))
            out.append(o[0].transpose(0, 1).flatten(1))
    return torch.cat(out)


class Transformer:
    """forward() of batch 1. taps, where a dict, gets what each block put out. offload: weights wait on the host."""

    def __init__(self, config, weights, offload=None):
        self.c, self.w, self.offload, self.taps = config, weights, offload, None
        self.d, self.heads = config["hidden_size"], config["num_heads"]

    def tidy(self):
        if self.offload:
            torch.cuda.empty_cache()

    @contextlib.contextmanager
    def block(self, prefix):
        """The block's weights are on the device inside; copied back behind it, as a module's .to("cpu") does."""
        names = [n for n in self.w if n.startswith(prefix)] if self.offload else []
        for n in names:
            self.w[n] = self.w[n].to(self.offload)
        yield
        for n in names:
            self.w[n] = self.w[n].to("cpu")
        if names:
            self.tidy()

    def tap(self, name, value):
        if self.taps is not None:
            self.taps[name] = value.float().cpu()

    def linear(self, name, x):
        return F.linear(x, self.w[name + ".weight"], self.w.get(name + ".bias"))

    def norm(self, x, name=None, eps=1e-6):
        if name is None:
            return F.layer_norm(x, (self.d,), eps=eps)
        return F.layer_norm(x, (self.d,), self.w[name + ".weight"], self.w[name + ".bias"], eps)

    def modulated(self, x, shift, scale):
        return self.norm(x) * (1 + scale) + shift

    def rms(self, x, name):
        y = x.float() * torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + 1e-6)
        return y.to(x.dtype) * self.w[name + ".weight"]

    def mlp(self, name, x):
        h = self.linear(name + ".fc1", x)
        h = F.gelu(h, approximate="tanh")
        return self.linear(name + ".fc2", h)

    def embed_number(self, name, t):
        half = self.c["frequency_embedding_size"] // 2
        f = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float32, device=t.device) / half)
        a = t.float()[:, None] * f
        e = torch.cat([a.cos(), a.sin()], 1).to(self.w[name + ".mlp.0.weight"].dtype)
        return self.linear(name + ".mlp.2", F.silu(self.linear(name + ".mlp.0", e)))

    def patches(self, name, x):
        """[channels, frames, h, w] -> [tokens, width]"""
        y = F.conv3d(x[None], self.w[name + ".proj.weight"], self.w[name + ".proj.bias"], stride=(1, 2, 2))
        return y[0].flatten(1).transpose(0, 1)

    def turn(self, x, cos, sin):
        y = x.float()
        pairs = torch.stack([-y[..., 1::2], y[..., ::2]], -1).flatten(-2)
        return (y * cos[:, None] + pairs * sin[:, None]).to(x.dtype)

    def refine(self, text, t, mask):
        m = mask.float()[:, None]
        mean = (text * m).sum(0, keepdim=True) / m.sum()
        cond = F.silu(self.linear("txt_in.c_embedder.linear_1", mean))
        cond = F.silu(self.embed_number("txt_in.t_embedder", t) + self.linear("txt_in.c_embedder.linear_2", cond))
        see = mask.bool()[:, None] & mask.bool()[None]
        see[:, 0] = True
        x = self.linear("txt_in.input_embedder", text)
        for i in range(self.c["refiner_depth"]):
            b = f"txt_in.individual_token_refiner.blocks.{i}."
            g1, g2 = self.linear(b + "adaLN_modulation.1", cond).chunk(2, -1)
            qkv = self.linear(b + "self_attn_qkv", self.norm(x, b + "norm1"))
            q, k, v = qkv.view(1, len(x), 3, self.heads, -1).permute(2, 0, 3, 1, 4)
            o = F.scaled_dot_product_attention(q, k, v, attn_mask=see[None, None])
            x = x + self.linear(b + "self_attn_proj", o[0].transpose(0, 1).flatten(1)) * g1
            h = F.silu(self.linear(b + "mlp.fc1", self.norm(x, b + "norm2")))
            x = x + self.linear(b + "mlp.fc2", h) * g2
        return x

    def qkv(self, y, q_norm, k_norm):
        q, k, v = y.view(len(y), 3, self.heads, -1).unbind(1)
        return self.rms(q, q_norm).to(v.dtype), self.rms(k, k_norm).to(v.dtype), v

    def double(self, i, img, txt, act, rope, used):
        b, n = f"double_blocks.{i}.", len(img)
        mods = {s: self.linear(f"{b}{s}_mod.linear", act).chunk(6, -1) for s in ("img", "txt")}
        parts = []
        for s, x in (("img", img), ("txt", txt)):
            y = self.linear(f"{b}{s}_attn_qkv", self.modulated(x, mods[s][0], mods[s][1]))
            q, k, v = self.qkv(y, f"{b}{s}_attn_q_norm", f"{b}{s}_attn_k_norm")
            if s == "img":
                q, k = self.turn(q, *rope), self.turn(k, *rope)
            parts.append((q, k, v))
            self.tidy()
        o = attention(*(torch.cat(p) for p in zip(*parts)), used)
        del parts
        out = []
        for s, x, a in (("img", img, o[:n]), ("txt", txt, o[n:])):
            mod = mods[s]
            x = x + self.linear(f"{b}{s}_attn_proj", a) * mod[2]
            x = x + self.mlp(f"{b}{s}_mlp", self.modulated(x, mod[3], mod[4])) * mod[5]
            out.append(x)
            self.tidy()
        self.tap(f"double_{i}.img", out[0])
        self.tap(f"double_{i}.txt", out[1])
        return out

    def single(self, i, x, act, rope, used):
        b, n = f"single_blocks.{i}.", len(rope[0])
        shift, scale, gate = self.linear(b + "modulation.linear", act).chunk(3, -1)
        y, h = self.linear(b + "linear1", self.modulated(x, shift, scale)).split(
            [3 * self.d, int(self.d * self.c["mlp_width_ratio"])], -1)
        q, k, v = self.qkv(y, b + "q_norm", b + "k_norm")
        q, k = (torch.cat([self.turn(a[:n], *rope), a[n:]]) for a in (q, k))
        self.tidy()
        z = torch.cat([attention(q, k, v, used), F.gelu(h, approximate="tanh")], -1)
        del y, h, q, k, v
        self.tidy()
        x = x + self.linear(b + "linear2", z) * gate
        self.tap(f"single_{i}", x)
        return x

    def adapter(self, i, img, audio, face):
        """img [tokens of the video, width], audio [frames, 16, width], face [tokens of the video, 1]"""
        b, s = f"audio_adapter_blocks.{i}.", self.c["audio_adapter_dim"] ** -0.25
        q = self.linear(b + "to_q", self.norm(img.view(len(audio), -1, self.d), b + "norm2", 1e-5))
        k, v = self.linear(b + "to_kv", self.norm(audio, b + "norm1", 1e-5)).chunk(2, -1)
        weight = (q * s) @ (k * s).transpose(-2, -1)
        out = self.linear(b + "to_out", weight.float().softmax(-1).to(weight.dtype) @ v)
        self.tap(f"adapter_{i}", out)
        return out.flatten(0, 1) * face

    def vector(self, t, pooled, motion_exp, motion_pose, fps):
        """The vector [1, width] that modulates every block."""
        vec = self.embed_number("time_in", t)
        vec = vec + self.embed_number("motion_exp", motion_exp).view(1, -1)
        vec = vec + self.embed_number("motion_pose", motion_pose).view(1, -1)
        vec = vec + self.embed_number("fps_proj", fps)
        return vec + self.linear("vector_in.out_layer", F.silu(self.linear("vector_in.in_layer", pooled[None])))

    def audio_tokens(self, audio):
        """[frames of pixels, ...] -> [latent frames, 16, width]: four frames each, the first thrice more in front."""
        a = torch.relu(self.linear("audio_proj.proj1", audio.flatten(1)))
        a = self.linear("audio_proj.proj3", torch.relu(self.linear("audio_proj.proj2", a)))
        a = self.norm(a.view(len(a), -1, self.d), "audio_proj.norm", 1e-5)
        return torch.cat([a[:1].repeat(3, 1, 1), a]).view((len(a) + 3) // 4, -1, self.d)

    def forward(self, x, t, ref, text, mask, pooled, audio, face, motion_exp, motion_pose, fps):
        """x, ref [channels, frames, h, w]; t, fps [1]; text [tokens, width], mask [tokens]; pooled [width];
        audio [4 frames - 3, window, blocks, channels]; face [h, w]; motion_* [4]. The velocity, shaped as x."""
        with self.block(("img_in", "ref_in", "time_in", "fps_proj", "motion_", "vector_in", "before_proj", "txt_in",
                         "audio_", "final_layer")):
            frames, th, tw = x.shape[1], x.shape[2] // 2, x.shape[3] // 2
            vec = self.vector(t, pooled, motion_exp, motion_pose, fps)
            self.tap("vec", vec)
            act = F.silu(vec)
            audio = self.audio_tokens(audio)
            txt = self.refine(text, t, mask)
            self.tap("txt_in", txt)
            img = self.linear("before_proj", self.patches("ref_in", ref)) + self.patches("img_in", x)
            img = torch.cat([self.patches("img_in", ref[:, :1]), img])
            mine = face[::2, ::2].reshape(1, -1).repeat(frames, 1).view(-1, 1).to(img.dtype)
            rope, used = rope_tables(self.c, frames, th, tw, x.device), len(img) + int(mask.sum())
            for i in range(self.c["depth_double_blocks"]):
                with self.block(f"double_blocks.{i}."):
                    img, txt = self.double(i, img, txt, act, rope, used)
                if i in self.c["double_stream_list"]:
                    heard = self.adapter(self.c["double_stream_list"].index(i), img[th * tw:], audio, mine)
                    img = img + torch.cat([torch.zeros_like(img[:th * tw]), heard])
                self.tap(f"double_{i}", img)
            n = len(img)
            y = torch.cat([img, txt])
            del img, txt
            for i in range(self.c["depth_single_blocks"]):
                with self.block(f"single_blocks.{i}."):
                    y = self.single(i, y, act, rope, used)
            shift, scale = self.linear("final_layer.adaLN_modulation.1", act).chunk(2, -1)
            y = self.linear("final_layer.linear", self.modulated(y[th * tw:n], shift, scale))
            y = y.view(frames, th, tw, -1, 2, 2).permute(3, 0, 1, 4, 2, 5)
            return y.reshape(-1, frames, 2 * th, 2 * tw)


def random_inputs(c, width, height, device, frames=FRAMES, text=TEXT, used=TEXT_USED, seed=7):
    g = torch.Generator("cpu").manual_seed(seed)
    p, h, w = c["audio_proj"], height // 8, width // 8
    r = lambda *s: torch.randn(s, generator=g)  # noqa: E731
    mask = torch.zeros(text)
    mask[:used] = 1
    out = {"x": r(c["in_channels"], frames, h, w), "t": torch.tensor([1000.]), "ref": r(c["in_channels"], frames, h, w),
           "text": r(text, c["text_states_dim"]), "mask": mask, "pooled": r(c["text_states_dim_2"]),
           "audio": r(4 * frames - 3, p["seq_len"], p["blocks"], p["channels"]), "face": torch.ones(h, w),
           "motion_exp": torch.full((4,), 30), "motion_pose": torch.full((4,), 25), "fps": torch.tensor([25.])}
    return {k: v.to(device) for k, v in out.items()}


class Peak:
    """The most memory in use on the device meanwhile, as its driver says, in MiB."""

    def __enter__(self):
        self.mib, self.quit = 0, threading.Event()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def watch(self):
        while not self.quit.wait(0.002):
            self.look()

    def look(self):
        free, total = torch.cuda.mem_get_info()
        self.mib = max(self.mib, (total - free) / 2**20)

    def __exit__(self, *_):
        self.quit.set()
        self.thread.join()
        self.look()


def seconds(work, runs, warm_up=None):
    """Median of @runs on the device behind one run, or @warm_up, that is not counted."""
    times = []
    (warm_up or work)()
    for _ in range(runs):
        a, b = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        a.record()
        work()
        b.record()
        b.synchronize()
        times.append(a.elapsed_time(b) / 1e3)
    return statistics.median(times)


def report(**row):
    print(json.dumps(row), flush=True)


def ceilings(sizes):
    n = 8192
    a, b = (torch.randn(n, n, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    report(ceiling="gemm bf16", tflops=2 * n**3 / seconds(lambda: a @ b.T, 20) / 1e12)
    one = torch.ones((), device="cuda")
    a8, b8 = a.to(torch.float8_e4m3fn), b.to(torch.float8_e4m3fn)
    report(ceiling="gemm fp8", tflops=2 * n**3 / 1e12 / seconds(
        lambda: torch._scaled_mm(a8, b8.T, scale_a=one, scale_b=one, out_dtype=torch.bfloat16), 20))
    del a, b, a8, b8
    for width, height in sizes:
        tokens = (FRAMES + 1) * (width // 16) * (height // 16) + TEXT_USED
        q, k, v = (torch.randn(1, tokens, 24, 128, device="cuda", dtype=torch.bfloat16).transpose(1, 2) for _ in range(3))
        t = seconds(lambda: F.scaled_dot_product_attention(q, k, v), 3)
        report(ceiling=f"attention {width}x{height}", tokens=tokens, tflops=4 * tokens**2 * 3072 / t / 1e12)
    on = torch.empty(1 << 30, device="cuda", dtype=torch.uint8)
    for name, off in (("pageable", torch.ones(1 << 30, dtype=torch.uint8)),
                      ("pinned", torch.ones(1 << 30, dtype=torch.uint8).pin_memory())):
        report(ceiling=f"copy {name}", gbytes=2**30 / 1e9 / seconds(lambda: on.copy_(off, non_blocking=True), 3))


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--rows", default="384x384,512x512,704x768", help="WxH or WxH/offload, with commas between")
    p.add_argument("--ceilings", action="store_true")
    p.add_argument("--double", type=int, default=20)
    p.add_argument("--single", type=int, default=40)
    o = p.parse_args()
    if not torch.cuda.is_available():
        sys.exit("gpu_torch.py measures on a CUDA device; this PyTorch sees none")
    c = dict(RELEASED, depth_double_blocks=o.double, depth_single_blocks=o.single,
             double_stream_list=list(range(1, o.double, 2)))
    rows = [(*map(int, r.split("/")[0].split("x")), r.endswith("/offload"), r) for r in o.rows.split(",") if r]
    report(torch=torch.__version__, cudnn=torch.backends.cudnn.version(), device=torch.cuda.get_device_name(),
           double=o.double, single=o.single)
    from torch.nn.attention import SDPBackend, sdpa_kernel
    # the refiner's attention has a mask, which not every backend takes
    order = [SDPBackend.CUDNN_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
    failed = 0
    with torch.no_grad(), sdpa_kernel(order, set_priority=True):
        if o.ceilings:
            ceilings(sorted({r[:2] for r in rows}))
            torch.cuda.empty_cache()
        weights = random_weights(c, "cuda", 1)
        for width, height, offload, name in sorted(rows, key=lambda r: r[2]):
            if offload and weights["img_in.proj.weight"].is_cuda:
                weights = {k: v.to("cpu") for k, v in weights.items()}
                torch.cuda.empty_cache()
            net = Transformer(c, weights, "cuda" if offload else None)
            given = random_inputs(c, width, height, "cuda")
            try:
                with torch.autocast("cuda", torch.bfloat16):
                    if offload:
                        torch.cuda.synchronize()
                        with Peak() as peak:
                            start = time.monotonic()
                            v = net.forward(**given)
                            torch.cuda.synchronize()
                            t, runs = time.monotonic() - start, 1
                    else:
                        runs, kept = 3, []
                        few = Transformer(dict(c, depth_double_blocks=min(2, o.double),
                                               depth_single_blocks=min(1, o.single)), weights)
                        t = seconds(lambda: kept.append(net.forward(**given)), runs, lambda: few.forward(**given))
                        v = kept[-1]
                        del few, kept  # and with them the weights on the device
                        with Peak() as peak:  # one look: the allocator gave nothing back
                            pass
                report(row=name, seconds=t, runs=runs, driver_mib=peak.mib, finite=bool(torch.isfinite(v).all()),
                       rms=float(v.float().pow(2).mean().sqrt()))
                del v
            except (RuntimeError, torch.cuda.OutOfMemoryError) as e:
                failed = 1
                report(row=name, error=str(e).splitlines()[0])
            del net, given
            torch.cuda.empty_cache()
    return failed


if __name__ == "__main__":
    need.cuda()
    sys.exit(main())
