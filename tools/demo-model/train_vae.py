#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Trains the VAE on rendered clips. python3 train_vae.py --data data --out OUT --seconds 260 [--mix default --backgrounds FILE.npz] [--init FILE]"""
import os
import sys

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import need  # noqa: E402

need.imports(__file__)

import argparse, json, math, subprocess, time
import torch
import torch.nn.functional as F
import models
from models import *
from data import *
import scenes

def batch(n, T, seed, speech, dev, g, size, mixed=None):
    """Clips (n, T, 3, size, size) uint8 and the weights of the loss (n, 1, size, size): of drawn faces, or of scenes.Scenes."""
    idt = make_identities(n, seed)
    wav = speech.sample(n, [T / FPS + 1.0] * n, g, n_samples=int((T / FPS + 1.0) * SR) + SPF)
    op, wd = mouth_targets(normalise(wav), T)
    pose = torch.rand(n, generator=g) * 50
    mood, light = torch.randint(0, len(MOODS), (n,), generator=g), torch.randint(0, len(LIGHTS), (n,), generator=g)
    if mixed:
        light = light * (torch.rand(n, generator=g) < .5)
        c = mixed.clips(n, seed, op, wd, pose, mood, light)
        return c["frames"], scenes.focus(c, size, dev)
    bl, dx, dy, rot = make_motion(n, T, seed + 1, pose=pose)
    return render_clips(set_scene(idt, mood, light), op, wd, bl, dx, dy, rot, dev, size), focus(idt, size).to(dev)

def vary(x, w):
    """Clips (n, 3, T, h, w) in [-1, 1] and the weights of the loss: half of them mirrored, two thirds in other colours (gain and contrast of each channel), so that a pool lasts longer."""
    r = lambda k: torch.rand(x.shape[0], k, 1, 1, 1, device=x.device)
    side = r(1) < .5
    x, w = torch.where(side, x.flip(-1), x), torch.where(side, w.flip(-1), w)
    gain = 1 + (r(1) - .5) * .5 + (r(3) - .5) * .3
    return torch.where(r(1) < .66, ((x + 1) * gain - 1 + (r(1) - .5) * .3).clamp(-1, 1), x), w

def loss_fn(vae, x, kl_w, wmap=None, frozen=False):
    with torch.set_grad_enabled(not frozen):
        m, lv = vae.encode(x)
    z = m + torch.exp(0.5 * lv) * torch.randn_like(m)
    y = vae.decode(z).float()
    d = (y - x).abs()
    if wmap is not None:
        d = d * wmap
    gx = ((y[..., 1:] - y[..., :-1]) - (x[..., 1:] - x[..., :-1])).abs().mean()
    gy = ((y[..., 1:, :] - y[..., :-1, :]) - (x[..., 1:, :] - x[..., :-1, :])).abs().mean()
    gt = 0 if y.shape[2] == 1 else ((y[:, :, 1:] - y[:, :, :-1]) - (x[:, :, 1:] - x[:, :, :-1])).abs().mean()
    m, lv = m.float(), lv.float()
    kl = 0.5 * (m * m + lv.exp() - 1 - lv).mean()
    mse = ((y - x) ** 2).mean()
    return d.mean() + ((y - x) ** 2 * (1 if wmap is None else wmap)).mean() * 4 + 0.5 * (gx + gy) + 0.5 * gt + kl_w * kl, d.mean(), mse, kl

if __name__ == "__main__":
    ap = argparse.ArgumentParser()
    ap.add_argument("--data", default="data"); ap.add_argument("--out", default="out")
    ap.add_argument("--config", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "config.json"))
    ap.add_argument("--seconds", type=float, default=260); ap.add_argument("--frames", type=int, default=68)
    ap.add_argument("--size", type=int, default=128); ap.add_argument("--lr", type=float, default=1.5e-3); ap.add_argument("--kl", type=float, default=5e-4)
    ap.add_argument("--init", default=""); ap.add_argument("--pool", type=int, default=2400); ap.add_argument("--pool-seconds", type=float, default=0, help="end of rendering, even if the pool is not full; 0: none")
    ap.add_argument("--steps", type=int, default=100000); ap.add_argument("--fold", type=int, default=0, help="also time folded convolutions and take the quicker")
    ap.add_argument("--decoder-only", action="store_true", help="keep the encoder, and so the latents and the denoiser, as they are")
    ap.add_argument("--mix", default="", help="kinds of clips and their odds as in scenes.py; default: scenes.VAE_MIX; empty: drawn faces only")
    ap.add_argument("--backgrounds", default="", help="file of backgrounds.py"); ap.add_argument("--stills", default="", help="folder of pictures with landmarks (scenes.load_stills)")
    ap.add_argument("--compile", type=int, default=1, help="fuse the renderer of heads on a GPU"); ap.add_argument("--clip", type=int, default=33, help="frames of the shorter clips of the pool")
    ap.add_argument("--seed", type=int, default=0); ap.add_argument("--lengths", default="65:1,33:2,17:4,5:12,1:48", help="frames and number of the cuts of a batch")
    ap.add_argument("--measure", type=int, default=1, help="0: no measurement at the end")
    ap.add_argument("--renderers", type=int, default=0, help="processes that render the pool; each keeps only a part of the GPU busy"); ap.add_argument("--pool-file", default="", help="for these processes")
    a = ap.parse_args()
    t00 = time.time()
    dev = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(a.seed)
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = True; torch.backends.cudnn.allow_tf32 = True
    os.makedirs(a.out, exist_ok=True)
    cfg = json.load(open(a.config))
    vae = AutoencoderKLCausal3D(cfg["vae"]).to(dev)
    ema = AutoencoderKLCausal3D(cfg["vae"]).to(dev); ema.load_state_dict(vae.state_dict())
    speech, g = Speech(a.data, "train", dev), torch.Generator().manual_seed(1 + a.seed)
    mix = scenes.VAE_MIX if a.mix == "default" else a.mix
    mixed = scenes.Scenes(mix, a.backgrounds, a.stills, dev, a.size, compiled=dev == "cuda" and a.compile) if mix else None
    ac = lambda: torch.autocast(dev, torch.bfloat16, enabled=dev == "cuda")
    x4 = lambda fr: (fr.float() / 127.5 - 1).transpose(1, 2).contiguous()
    if a.init:
        vae.load_state_dict({k: v.float() for k, v in load_safetensors(a.init).items()}); ema.load_state_dict(vae.state_dict())
    # a pool of rendered clips in the GPU's memory; short cuts of it are the batches
    def make_pool(count, T, per, seed, share):
        out, wm, left, end = [], [], count, time.time() + share * a.pool_seconds
        while left > 0 and not (out and a.pool_seconds and time.time() > end):
            n = min(left, per if dev == "cuda" else 4)
            fr, w = batch(n, T, seed + left * 2 + a.seed * 1000003, speech, dev, g, a.size, mixed)
            out.append(fr); wm.append(w.half()); left -= n
        return torch.cat(out), torch.cat(wm)
    def make_pools():
        return [*make_pool(a.pool, a.clip, 40, 100, .65), *make_pool(max(2, a.pool // 5), 73 if dev == "cuda" else a.clip, 16, 100000, .35)]
    if a.pool_file:
        while not os.path.exists(a.out + "/render"): time.sleep(.1)
        torch.save([v.cpu() for v in make_pools()], a.pool_file + ".part")
        os.rename(a.pool_file + ".part", a.pool_file)
        sys.exit(0)
    if a.renderers:                                     # the pool's place; fill() puts the clips there
        files = [f"{a.out}/pool-{k}.pt" for k in range(a.renderers)]
        own = [v for v in sys.argv[1:] if not v.startswith("--renderers=")]
        work = [subprocess.Popen([sys.executable, "-u", os.path.abspath(__file__), *own, "--pool-file", f, "--seed", str(a.seed + 101 * (k + 1)), "--renderers", "0"]) for k, f in enumerate(files)]
        long = 73 if dev == "cuda" else a.clip
        place = lambda n, T: (torch.randint(0, 256, (n, T, 3, a.size, a.size), dtype=torch.uint8, device=dev), torch.ones(n, 1, a.size, a.size, dtype=torch.half, device=dev))
        pool, boxes, pool_l, boxes_l = *place(a.pool, a.clip), *place(max(2, a.pool // 5), long)
    else:
        pool, boxes, pool_l, boxes_l = make_pools()

    def fill():
        """Waits for the renderers; repeats their clips if they are fewer than the pool's."""
        open(a.out + "/render", "w").close()
        done = [p.wait() for p in work]
        got = [torch.load(f) for f, s in zip(files, done) if s == 0]
        if not got:
            raise SystemExit("error: no renderer ended well; found their messages above")
        for i, v in enumerate((pool, boxes, pool_l, boxes_l)):
            part = torch.cat([g[i] for g in got]).to(dev)
            print("rendered", tuple(part.shape), flush=True)
            for s in range(0, len(v), len(part)): v[s:s + len(part)] = part[:len(v) - s]
    if dev == "cuda": torch.cuda.synchronize()
    print("pool", tuple(pool.shape), tuple(pool_l.shape), "at", round(time.time() - t00, 1), "s", flush=True)
    trained = [k for k, _ in vae.named_parameters() if not a.decoder_only or k.startswith(("decoder.", "post_quant_conv."))]
    vp, ep = [dict(vae.named_parameters())[k] for k in trained], [dict(ema.named_parameters())[k] for k in trained]
    for k, p in vae.named_parameters(): p.requires_grad_(k in set(trained))
    opt = torch.optim.AdamW(vp, lr=a.lr, betas=(.9, .99), weight_decay=1e-4)
    lr_t = torch.tensor(a.lr, device=dev)
    stat = torch.zeros(4, device=dev)
    if dev == "cuda":
        opt = torch.optim.AdamW(vp, lr=lr_t, betas=(.9, .99), weight_decay=1e-4, fused=True, capturable=True)
    guard = Guard(opt, vp, .5)

    def one(T, n):
        P, Bx = (pool_l, boxes_l) if T > a.clip else (pool, boxes)
        i = torch.randint(0, P.shape[0], (n, 1), device=dev)
        s = torch.randint(0, P.shape[1] - T + 1, (n, 1), device=dev) + torch.arange(T, device=dev)[None]
        x, w = vary(x4(P[i, s]), Bx[i[:, 0]].float()[:, :, None])
        with torch.autocast(dev, torch.bfloat16, enabled=dev == "cuda", cache_enabled=False):
            l, l1, mse, kl = loss_fn(vae, x, a.kl, w, a.decoder_only)
        l.backward()
        guard.step()
        stat.copy_(torch.stack([l.detach(), l1.detach(), mse.detach(), kl.detach()]).float())

    shapes = [tuple(int(v) for v in p.split(":")) for p in a.lengths.split(",")] if dev == "cuda" else [(9, 1), (1, 1)]    # single pictures teach detail, long cuts the norms of a whole tile
    odds = torch.tensor([1.5 if T > 16 else 1. for T, _ in shapes])
    graphs = {}
    if dev == "cuda":
        best = {}
        def capture(fold):
            models.FOLD, gs, mem = fold, {}, None
            lr_t.fill_(1e-8)
            side = torch.cuda.Stream(); side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for sh in shapes:
                    for _ in range(3): one(*sh)
            torch.cuda.current_stream().wait_stream(side); torch.cuda.synchronize()
            for sh in shapes:
                gr = torch.cuda.CUDAGraph()
                with torch.cuda.graph(gr, pool=mem): one(*sh)
                mem = mem or gr.pool(); gs[sh] = gr
            torch.cuda.synchronize()
            for sh in shapes:
                gs[sh].replay(); torch.cuda.synchronize(); tt = time.time()
                for _ in range(4): gs[sh].replay()
                torch.cuda.synchronize()
                ms = (time.time() - tt) / 4 * 1000
                print("fold", fold, "graph", sh, round(ms, 1), "ms at", round(time.time() - t00, 1), "s", flush=True)
                if sh not in best or ms < best[sh]: best[sh] = ms; graphs[sh] = gs[sh]
        for fold in ((False, True) if a.fold else (False,)):
            try: capture(fold)
            except Exception as e:
                print("fold", fold, "failed", repr(e)[:300], flush=True)
        models.FOLD = False
    if a.renderers:
        fill()
        print("training starts at", round(time.time() - t00, 1), "s", flush=True)
    t0, step, hist, saved = time.time(), 0, [], time.time()
    span = a.seconds - (t0 - t00) - (12 if a.measure else 1)
    while step < a.steps:
        if step % 10 == 0:
            if dev == "cuda": torch.cuda.synchronize()
            el = time.time() - t0
            if el > span: break
            p = el / span
            lr = a.lr * min(1, (step + 1) / 200) * (0.5 * (1 + math.cos(math.pi * p)) * .99 + .01)
            lr_t.fill_(lr)
            if dev != "cuda":
                for q in opt.param_groups: q["lr"] = lr
        sh = shapes[int(torch.multinomial(odds, 1))]
        graphs[sh].replay() if graphs else one(*sh)
        if step % 5 == 0:
            d = min(.99, (1 + step) / (10 + step))
            with torch.no_grad():
                torch._foreach_lerp_(ep, vp, 1 - d) if dev == "cuda" else [e.lerp_(v, 1 - d) for e, v in zip(ep, vp)]
        if step % 1000 == 1:
            l, l1, mse, kl = stat.tolist()
            print(f"step {step} {el:.0f}s loss {l:.4f} L1w {l1:.4f} psnr {10 * math.log10(4 / mse):.2f} kl {kl:.3f} lr {lr:.1e}", flush=True)
            hist.append([step, round(el, 1), l, mse, kl])
        step += 1
        if time.time() - saved > 100:
            save_safetensors(a.out + "/vae.safetensors", {k: v.half() for k, v in ema.state_dict().items()}); saved = time.time()
    ema.eval()
    save_safetensors(a.out + "/vae.safetensors", {k: v.half() for k, v in ema.state_dict().items()})
    print("trained", step, "steps", round(time.time() - t00, 1), "s", flush=True)
    if not a.measure:
        json.dump(dict(scaling_factor=cfg["vae"]["scaling_factor"], steps=step, hist=hist, seconds=time.time() - t00), open(a.out + "/vae_log.json", "w"))
        sys.exit(0)
    # held-out faces: PSNR at several lengths, scale of the latents
    st, res = Speech(a.data, "test", dev), {}
    sq = s1 = cnt = 0
    with torch.no_grad():
        for T in ([1, 17, 65] if dev == "cuda" else [9]):
            fr, _ = batch(4, T, 900001, st, dev, torch.Generator().manual_seed(9), a.size, None)
            x = x4(fr)
            with ac(): m, lv = ema.encode(x)
            y = ema.decode(m.float()).float().clamp(-1, 1) if dev == "cpu" else None
            if y is None:
                with ac(): y = ema.decode(m).float().clamp(-1, 1)
            res[T] = 10 * math.log10(4 / ((y - x) ** 2).mean().item())
            if T in (65, 9):
                sq += (m.float() ** 2).sum().item(); s1 += m.float().sum().item(); cnt += m.numel()
                chan = m.float().std((0, 2, 3, 4)).tolist(); psd = (0.5 * lv.float()).exp().mean((0, 2, 3, 4)).tolist()
            last = (x, y)
    if mixed:                                           # the same of every kind; the latents' scale is that of the mix
        sq = s1 = cnt = 0
        for kind in ("cartoon", "photo", "painted", "flat", "line", "warp", "texture") if dev == "cuda" else ("photo", "texture"):
            held = scenes.Scenes(kind, a.backgrounds, "", dev, a.size, "test", limit=200)
            fr, _ = batch(4 if dev == "cuda" else 1, 33 if dev == "cuda" else 5, 900001, st, dev, torch.Generator().manual_seed(9), a.size, held)
            with torch.no_grad(), ac():
                m, _ = ema.encode(x4(fr)); y = ema.decode(m).float().clamp(-1, 1)
            sq += (m.float() ** 2).sum().item(); s1 += m.float().sum().item(); cnt += m.numel()
            res[kind] = 10 * math.log10(4 / ((y - x4(fr)) ** 2).mean().item())
    std = math.sqrt(sq / cnt - (s1 / cnt) ** 2)
    print("held-out PSNR", {k: round(v, 2) for k, v in res.items()}, "latent mean %.4f std %.4f scaling_factor %.5f" % (s1 / cnt, std, 1 / std))
    print("channel std", [round(v, 2) for v in chan]); print("posterior std", [round(v, 2) for v in psd])
    json.dump(dict(scaling_factor=cfg["vae"]["scaling_factor"] if a.decoder_only else 1 / std, psnr=res, steps=step, hist=hist, seconds=time.time() - t00), open(a.out + "/vae_log.json", "w"))
    from PIL import Image
    x, y = [((v[0].transpose(0, 1)[::max(1, v.shape[2] // 12)][:12].clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).cpu() for v in last]
    im = torch.cat([torch.cat(list(x), 2), torch.cat(list(y), 2)], 1).permute(1, 2, 0).numpy()
    Image.fromarray(im).resize((im.shape[1] * 2, im.shape[0] * 2), 0).save(a.out + "/vae_sheet.png")
    print("done", step, "steps", round(time.time() - t00, 1), "s")
