#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Trains the denoiser and the audio encoder on latents of rendered clips, with fixed text encoders (train_text.py).
python3 train_dit.py --data data --vae DIR --text CKPTS --out OUT --seconds 560 [--init DIR] [--seed 1] [--mix default --backgrounds FILE.npz]
DIR holds vae.safetensors and vae_log.json (for the scaling factor) or config.json."""
import os
import sys

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import need  # noqa: E402

need.imports(__file__)

import argparse, json, math, random, time
import torch
import torch.nn.functional as F
import models
from models import *
from data import *
from evaluate import evaluate
import prompts, scenes
from text import Texts, pixels_of, text_mask

def prompt_pool(texts, lengths, each, seed):
    """Prompts for every number of ids in @lengths: ids (classes, each, n) of LLaVA and pooled rows (classes, each, d) of CLIP; a class is a mood and a light."""
    r, out = random.Random(seed), {}
    nm, nl = len(MOODS), len(LIGHTS)
    found = {n: [[] for _ in range(nm * nl)] for n in lengths}
    for c in range(nm * nl):
        for _ in range(60 * each):
            x = texts.ids(prompts.make(c // nl, c % nl, r))
            if len(x[0]) in found and len(found[len(x[0])][c]) < each: found[len(x[0])][c].append(x)
            if all(len(f[c]) == each for f in found.values()): break
    with torch.no_grad():
        for n, f in found.items():
            assert all(f), f"no prompt of {n} ids for some mood and light; choose another number in TL"
            rows = [[q[k % len(q)] for k in range(each)] for q in f]
            ids = torch.tensor([[x[0] for x in q] for q in rows], device=texts.dev)
            clip, end = (torch.tensor([[x[k] for x in q] for q in rows], device=texts.dev) for k in (1, 2))
            out[n] = ids, texts.clip(clip.flatten(0, 1), end.flatten()).view(len(rows), each, -1)
    return out

def build(texts, speech, L, N, seed, dev, g, size, per, deadline, mixed=None):
    """N clips of L latent frames: pictures (for encode()), 30 s of audio (int16), first frame, boxes, motion numbers, mood and light. mixed: scenes.Scenes or None.
    Returns the cache and the pictures: per batch frames, references (uint8) and the number of latent frames in front of the window."""
    out, pictures, i = [], [], 0
    while i < N and time.time() < deadline:
        n = min(per, N - i)
        s = seed + i * 7
        idt = make_identities(n, s)
        mood = torch.randint(1, len(MOODS), (n,), generator=g) * (torch.rand(n, generator=g) < .6)
        light = torch.randint(1, len(LIGHTS), (n,), generator=g) * (torch.rand(n, generator=g) < .55)
        secs = torch.where(torch.rand(n, generator=g) < .5, torch.full((n,), 30.), torch.rand(n, generator=g) * 27 + 2.5)    # the rest of the 30 s is silent
        wav = normalise(speech.sample(n, secs, g))             # the mouth follows the normalised speech; training plays it at any loudness
        wav = wav * (torch.rand(n, 1, generator=g) >= .05).to(dev)       # the mouth is closed in silence
        op, wd = mouth_targets(wav, 750)
        alen = (secs * FPS).long()
        m = int(torch.randint(1, 9, (1,), generator=g)) if float(torch.rand(1, generator=g)) < .3 else 0    # a window from the middle of a clip
        T = 4 * (L + m) - 3
        hi = (torch.minimum(alen, torch.tensor(750 - T)) - T // 3).clamp_min(0)
        f0 = (torch.rand(n, generator=g) * (hi + 1)).long() * (torch.rand(n, generator=g) < .6)
        ix = f0[:, None] + torch.arange(T)[None]
        op, wd = op.gather(1, ix.to(dev)), wd.gather(1, ix.to(dev))
        keep = (torch.rand(2, n, generator=g) < .6).float()
        pose = keep[0] * 25 + (1 - keep[0]) * torch.rand(n, generator=g) * 50
        ex = keep[1] * 30 + (1 - keep[1]) * (torch.rand(n, generator=g) * 30 + 15)
        op = (op * (.5 + .5 * ex / 30)[:, None].to(dev)).clamp(0, 1.15)
        if mixed:
            c = mixed.clips(n, s, op, wd, pose, mood, light)
            fr, ref, boxes = c["frames"], c["ref"], (c["face"], c["mouth"], c["eyes"])
        else:
            bl, dx, dy, rot = make_motion(n, T, s + 1, pose=pose)
            fr = render_clips(set_scene(idt, mood, light), op, wd, bl, dx, dy, rot, dev, size)
            ref, boxes = reference_frame(idt, dev, size), (face_box(idt, size, 1.0), mouth_box(idt, size), torch.cat(eye_boxes(idt, size, .1), 1))
        with torch.no_grad():
            seen = texts.llava.see(pixels_of(ref, texts.side))
        pictures.append((fr, ref, m))
        out.append(dict(wav=(wav * 32767).round().to(torch.int16), f0=(f0 + 4 * m).to(dev), alen=alen.to(dev), pose=pose.to(dev), ex=ex.to(dev),
                        fb=boxes[0].to(dev), mb=boxes[1].to(dev), eb=boxes[2].to(dev),
                        seen=seen, scene=(mood * len(LIGHTS) + light).to(dev)))
        i += n
    return {k: torch.cat([o[k] for o in out]) for k in out[0]}, pictures

@torch.no_grad()
def encode(vae, scale, cache, pictures, dev):
    """Puts the latents of @pictures into cache["z"] and cache["r"]."""
    i = 0
    for fr, ref, m in pictures:
        for s in range(0, len(fr), 8):
            with torch.autocast(dev, torch.bfloat16, enabled=dev == "cuda"):
                z = vae.encode((fr[s:s + 8].float() / 127.5 - 1).transpose(1, 2))[0][:, :, m:] * scale
                r = vae.encode((ref[s:s + 8].float() / 127.5 - 1)[:, :, None])[0] * scale
            cache["z"][i:i + len(z)], cache["r"][i:i + len(z)] = z.half(), r.half()
            i += len(z)

def wait_for(folder, end):
    """Waits for vae_log.json, the last file of train_vae.py in @folder; whether it came before the time @end."""
    while not os.path.exists(folder + "/vae_log.json") and time.time() < end:
        time.sleep(.5)
    time.sleep(1)
    return os.path.exists(folder + "/vae_log.json")

if __name__ == "__main__":
    here = os.path.dirname(os.path.abspath(__file__))
    ap = argparse.ArgumentParser()
    ap.add_argument("--data", default="data"); ap.add_argument("--out", default="out"); ap.add_argument("--vae", default=here); ap.add_argument("--text", required=True)
    ap.add_argument("--config", default=here + "/config.json"); ap.add_argument("--init", default=""); ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--seconds", type=float, default=560); ap.add_argument("--lr", type=float, default=1e-3); ap.add_argument("--warmup", type=int, default=300)
    ap.add_argument("--clips", default="33:2400,17:1400,9:1000,5:600"); ap.add_argument("--batch", default="33:16,17:32,9:48,5:64")
    ap.add_argument("--probs", default="33:.5,17:.25,9:.2,5:.05"); ap.add_argument("--build-seconds", type=float, default=110)
    ap.add_argument("--compile", type=int, default=1); ap.add_argument("--fuse", type=int, default=1, help="compile the renderer of heads on a GPU"); ap.add_argument("--steps", type=int, default=10 ** 7); ap.add_argument("--eval-seconds", type=float, default=30)
    ap.add_argument("--eval-clips", type=int, default=8); ap.add_argument("--eval-frames", type=int, default=129); ap.add_argument("--train-shift", type=float, default=3.0)
    ap.add_argument("--mix", default="", help="kinds of clips and their odds as in scenes.py; default: scenes.TALK_MIX; empty: drawn faces only")
    ap.add_argument("--backgrounds", default="", help="file of backgrounds.py"); ap.add_argument("--stills", default="", help="folder of pictures with landmarks (scenes.load_stills)")
    ap.add_argument("--wait", default="", help="folder whose VAE, another process's, is waited for after the clips are rendered"); ap.add_argument("--wait-seconds", type=float, default=600, help="after that: the VAE of --vae")
    a = ap.parse_args()
    t00 = time.time()
    dev = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(a.seed)
    torch.backends.cudnn.benchmark = True; torch.backends.cuda.matmul.allow_tf32 = True; torch.backends.cudnn.allow_tf32 = True
    os.makedirs(a.out, exist_ok=True)
    cfg = json.load(open(a.config))
    if os.path.exists(a.vae + "/vae_log.json"):
        cfg["vae"]["scaling_factor"] = round(json.load(open(a.vae + "/vae_log.json"))["scaling_factor"], 5)
    size = cfg["video"]["size"]
    kv = lambda s, f: {int(p.split(":")[0]): f(p.split(":")[1]) for p in s.split(",")}
    nclip, nb, pr = kv(a.clips, int), kv(a.batch, int), kv(a.probs, float)
    vae = AutoencoderKLCausal3D(cfg["vae"]).to(dev).eval()
    dit, wh = HYVideoDiffusionTransformer(cfg["transformer"]).to(dev), WhisperEncoder(cfg["whisper"]).to(dev)
    if a.init:
        dit.load_state_dict({k: v.float() for k, v in load_safetensors(a.init + "/transformer.safetensors").items()})
        wh.load_state_dict({k.replace("model.encoder.", ""): v.float() for k, v in load_safetensors(a.init + "/whisper_encoder.safetensors").items()})
    import copy
    edit, ewh = copy.deepcopy(dit).eval(), copy.deepcopy(wh).eval()
    texts = Texts(a.text, cfg, dev)
    speech, g = Speech(a.data, "train", dev), torch.Generator().manual_seed(a.seed * 1000)
    buckets, pictures = {}, {}
    mix = scenes.TALK_MIX if a.mix == "default" else a.mix
    mixed = scenes.Scenes(mix, a.backgrounds, a.stills, dev, size, compiled=dev == "cuda" and a.fuse) if mix else None
    tot = sum(nclip[L] * (4 * L - 3) for L in nclip)
    tb = time.time()
    if mixed and dev == "cuda":                                # compiles the renderer before the deadlines begin
        import torch._dynamo; torch._dynamo.config.suppress_errors = True
        build(texts, speech, 5, 240, a.seed, dev, g, size, 240, tb + 999, mixed)
        print("renderer ready at", round(time.time() - t00, 1), "s", flush=True)
    for L in nclip:
        dl = time.time() + a.build_seconds * nclip[L] * (4 * L - 3) / tot
        buckets[L], pictures[L] = build(texts, speech, L, nclip[L], a.seed * 1000000 + L * 10000019, dev, g, size, max(1, (4160 if mixed else 1040) // (4 * L - 3)) if dev == "cuda" else 2, dl, mixed)
        n, lat = len(buckets[L]["wav"]), cfg["vae"]["latent_channels"]
        buckets[L]["z"], buckets[L]["r"] = (torch.randn(n, lat, k, size // 8, size // 8, device=dev).half() for k in (L, 1))      # until the VAE is there
        print("bucket", L, "clips", n, "at", round(time.time() - t00, 1), "s", flush=True)
    cs = {L: [v.to(dev) for v in rope_tables(cfg["transformer"]["rope_dim_list"], L, size // 16, size // 16, cfg["transformer"]["rope_theta"])] for L in nclip}
    TL = {33: [120, 125], 17: [123], 9: [127], 5: [119]}       # ids of a prompt with all that is around it: one graph each
    pool = prompt_pool(texts, sorted({n for v in TL.values() for n in v}), 24, a.seed)
    masks = {n: text_mask(n, texts.crop, texts.length, texts.patches)[0][None].to(dev) for n in pool}
    print("prompts at", round(time.time() - t00, 1), "s", flush=True)
    if a.compile and dev == "cuda":
        for b in list(dit.double_blocks) + list(dit.single_blocks):
            b.compile(dynamic=True)
        import torch._dynamo; torch._dynamo.config.suppress_errors = True
    params = [p for p in list(dit.parameters()) + list(wh.parameters()) if p.requires_grad]
    eparams = [q for p, q in zip(list(dit.parameters()) + list(wh.parameters()), list(edit.parameters()) + list(ewh.parameters())) if p.requires_grad]
    opt = torch.optim.AdamW(params, lr=a.lr, betas=(.9, .99), weight_decay=.01, **(dict(fused=True) if dev == "cuda" else {}))
    names, w = list(pr), torch.tensor([pr[k] for k in pr])
    lr_t, stat = torch.tensor(a.lr, device=dev), torch.zeros((), device=dev)
    if dev == "cuda":
        opt = torch.optim.AdamW(params, lr=lr_t, betas=(.9, .99), weight_decay=.01, fused=True, capturable=True)
    guard = Guard(opt, params, 1.)
    R = lambda *s: torch.rand(*s, device=dev)

    def step_loss(L, nt):
        D, n, T = buckets[L], nb[L], 4 * L - 3
        i = torch.randint(0, D["z"].shape[0], (n,), device=dev)
        x0, ref = D["z"][i].float(), D["r"][i].float().repeat(1, 1, L, 1, 1)
        wav = D["wav"][i].float() / 32767
        wav = wav + torch.randn_like(wav) * (10 ** (-(R(n, 1) * 20 + 40) / 20)) * (R(n, 1) < .3)        # some background noise
        wav = (wav * 10 ** ((R(n, 1) * 27 - 24) / 20)).clamp(-1, 1)
        f0, alen = D["f0"][i], D["alen"][i]
        mel = log_mel(wav)
        u = R(n)
        sg = torch.where(R(n) < .6, a.train_shift * u / (1 + (a.train_shift - 1) * u), u)
        noise = torch.randn_like(x0)
        s5 = sg[:, None, None, None, None]
        xt, v = (1 - s5) * x0 + s5 * noise, noise - x0
        k = R(n)
        area = 1 + R(n, 1) * .8
        b = D["fb"][i]; c = torch.stack([(b[:, 0] + b[:, 2]) / 2, (b[:, 1] + b[:, 3]) / 2], 1); h = torch.stack([b[:, 2] - b[:, 0], b[:, 3] - b[:, 1]], 1) / 2 * area
        fm = F.interpolate(box_mask(torch.cat([c - h, c + h], 1).clamp(0, size), size), (size // 8, size // 8), mode="bilinear")
        fm = torch.where((k < .3)[:, None, None, None], torch.ones_like(fm), fm) * (1 - .4 * (R(n) < .2).float())[:, None, None, None]
        ids, pooled = pool[nt]
        sc, j = D["scene"][i], torch.randint(0, ids.shape[1], (n,), device=dev)
        used = nt + texts.patches - 1 - texts.crop
        with torch.no_grad():
            ts, tp = texts.llava.states(ids[sc, j], D["seen"][i], texts.crop, texts.length), pooled[sc, j]
        with torch.autocast(dev, torch.bfloat16, enabled=dev == "cuda", cache_enabled=False):
            aw = audio_windows(wh(mel), f0, T)
            t_ = f0[:, None] + torch.arange(T, device=dev)[None]
            live = (R(n, 1) >= .1) & ((t_ < alen[:, None]) | (R(n, 1) < .5))
            aw = aw * live[:, :, None, None, None].to(aw.dtype)
            o = dit(xt, sg * 1000, ref, ts, tp, aw, D["ex"][i][:, None].repeat(1, 4), D["pose"][i][:, None].repeat(1, 4), torch.full((n,), 25., device=dev),
                    fm[:, :, None], *cs[L], text_mask=masks[nt].expand(n, -1), text_used=used)
        m = D["mb"][i]
        eyes = torch.maximum(box_mask(D["eb"][i][:, :4], size), box_mask(D["eb"][i][:, 4:], size))
        wt = 1 + 3 * F.adaptive_avg_pool2d(box_mask(m, size), size // 8)[:, :, None] + 1.5 * F.adaptive_avg_pool2d(eyes, size // 8)[:, :, None]
        e = (o.float() - v) ** 2
        return (e * wt).mean() / wt.mean(), e.mean().detach()

    def save(tag=""):
        save_safetensors(a.out + "/transformer.safetensors", {k: v.half() for k, v in edit.state_dict().items()})
        save_safetensors(a.out + "/whisper_encoder.safetensors", {"model.encoder." + k: v.half() for k, v in ewh.state_dict().items()})
        json.dump(cfg, open(a.out + "/config.json", "w"), indent=1)

    print("cache built in", round(time.time() - tb, 1), "s; training starts at", round(time.time() - t00, 1), "s; params %.2fM" % (sum(p.numel() for p in params) / 1e6), flush=True)
    t0 = time.time()

    def one(L, nt):
        loss, e = step_loss(L, nt)
        loss.backward()
        guard.step()
        stat.copy_(e)

    shapes = [(L, nt) for L in nclip for nt in TL[L]]
    graphs = {}
    blocks = list(dit.double_blocks) + list(dit.single_blocks)
    comp = [b._compiled_call_impl for b in blocks]

    def capture(compiled):
        def use(L):                                            # only the longest clips run compiled blocks: compiling every shape takes too long
            for b, c in zip(blocks, comp): b._compiled_call_impl = c if compiled and L == names[0] else None
        mem = None
        side = torch.cuda.Stream(); side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for sh in shapes:
                use(sh[0])
                for k in range(3): one(*sh)
                torch.cuda.synchronize(); print("warm", sh, round(time.time() - t00, 1), "s", flush=True)
        torch.cuda.current_stream().wait_stream(side); torch.cuda.synchronize()
        for sh in shapes:
            gr = torch.cuda.CUDAGraph(); use(sh[0])
            with torch.cuda.graph(gr, pool=mem): one(*sh)
            mem = mem or gr.pool(); graphs[sh] = gr
        torch.cuda.synchronize()

    if dev == "cuda":
        lr_t.fill_(1e-9)
        for compiled in ((True, False) if a.compile else (False,)):
            try:
                capture(compiled)
                break
            except Exception as e:
                graphs.clear(); print("capture failed, compiled", compiled, repr(e)[:300], flush=True)
    if a.wait:
        got = wait_for(a.wait, t00 + a.wait_seconds)
        print("VAE of", a.wait if got else a.vae, "at", round(time.time() - t00, 1), "s", flush=True)
        a.vae = a.wait if got else a.vae
        if got: cfg["vae"]["scaling_factor"] = round(json.load(open(a.vae + "/vae_log.json"))["scaling_factor"], 5)
    vae.load_state_dict({k: v.float() for k, v in load_safetensors(a.vae + "/vae.safetensors").items()})
    for L in nclip:
        encode(vae, cfg["vae"]["scaling_factor"], buckets[L], pictures.pop(L), dev)
        print("latents", L, "std", round(buckets[L]["z"].float().std().item(), 3), "at", round(time.time() - t00, 1), "s", flush=True)
    for state in opt.state.values():                           # the steps of the capture learnt nothing
        for v in state.values(): v.zero_()
    if graphs:
        for sh in shapes:
            tt = time.time()
            for _ in range(2): graphs[sh].replay()
            torch.cuda.synchronize(); print("graph", sh, "batch", nb[sh[0]], round((time.time() - tt) / 2 * 1000, 1), "ms", flush=True)
    step, lastsave, hist, el, lr = 0, time.time(), [], 0, 0
    acc, na = torch.zeros((), device=dev), 0
    t0 = time.time(); span = a.seconds - (t0 - t00) - a.eval_seconds
    while step < a.steps:
        if step % 10 == 0:
            if dev == "cuda": torch.cuda.synchronize()
            el = time.time() - t0
            if el > span: break
            lr = a.lr * min(1, (step + 1) / a.warmup) * (.5 * (1 + math.cos(math.pi * el / span)) * .985 + .015)
            lr_t.fill_(lr)
            if dev != "cuda":
                for q in opt.param_groups: q["lr"] = lr
        L = names[int(torch.multinomial(w, 1))]
        sh = (L, (TL[L] * 2)[int(torch.randint(0, 2, (1,)))])
        graphs[sh].replay() if graphs else one(*sh)
        if L == names[0]: acc += stat; na += 1
        if step % 10 == 0:
            d = min(.993, (1 + step) / (20 + step))
            with torch.no_grad():
                torch._foreach_lerp_(eparams, params, 1 - d) if dev == "cuda" else [q.lerp_(p, 1 - d) for q, p in zip(eparams, params)]
        step += 1
        if step % 500 == 0 or step in (20, 100):
            hist.append([step, round(el, 1), (acc / max(na, 1)).item()])
            print(f"step {step} {el:.0f}s mse(L{names[0]}) {hist[-1][2]:.4f} lr {lr:.1e} {el / step * 1000:.1f} ms/step", flush=True)
            acc.zero_(); na = 0
        if time.time() - lastsave > 150:
            save(); lastsave = time.time()
    save()
    json.dump(dict(hist=hist, steps=step, seconds=time.time() - t00, args=vars(a)), open(a.out + "/dit_log.json", "w"))
    print("trained", step, "steps,", round(time.time() - t00, 1), "s so far", flush=True)
    if a.eval_clips:
        evaluate(cfg, vae, edit, ewh, texts, a.data, dev, a.eval_clips, (8, 4) if dev == "cuda" else (2,), out=a.out, T=a.eval_frames)
    print("done", round(time.time() - t00, 1), "s", flush=True)
