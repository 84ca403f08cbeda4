#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Held-out evaluation: voices and identities never seen in training.
python3 evaluate.py --weights . --data data --out OUT [--clips 8] [--steps 4,8,20]"""
import os
import sys

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import need  # noqa: E402

need.imports(__file__)

import argparse, contextlib, json, math, time
import numpy as np
import torch
from models import *
from data import *
from text import NEGATIVE, Texts

def conditions(cfg, vae, wh, texts, idt, wav, T, dev, text="a cartoon face talks", mask_area=None):
    """Arguments of the denoiser for clips that start at frame 0 of wav (B, n): the conditional and the unconditional dict, ..."""
    size, area = cfg["video"]["size"], mask_area or cfg["defaults"]["face_mask_area"]
    return conditions_of(cfg, vae, wh, texts, reference_frame(idt, dev, size), face_box(idt, size, area), wav, T, dev, text)

def conditions_of(cfg, vae, wh, texts, ref, box, wav, T, dev, text="a cartoon face talks"):
    """The same of portraits ref (n, 3, size, size) uint8 on dev; box (n, 4): pixels of the face's mask."""
    n, L = ref.shape[0], (T - 1) // 4 + 1
    size, d = cfg["video"]["size"], cfg["defaults"]
    z = vae.encode((ref.float() / 127.5 - 1)[:, :, None])[0] * cfg["vae"]["scaling_factor"]    # a still video is the same in every latent frame
    mel = log_mel(wav.to(dev))
    f = wh(mel)
    aw = audio_windows(f, torch.zeros(n, dtype=torch.long, device=dev), T)
    said = [texts.encode(text, ref[i]) for i in range(n)]
    fm = box_mask(box.to(dev), size)
    fm = F.interpolate(fm, (size // 8, size // 8), mode="bilinear")[:, :, None]
    cos, sin = rope_tables(cfg["transformer"]["rope_dim_list"], L, size // 16, size // 16, cfg["transformer"]["rope_theta"])
    full = lambda v, k: torch.full((n, k), float(v), device=dev)
    c = dict(ref_latents=z.repeat(1, 1, L, 1, 1), **together(said), audio_prompts=aw,
             motion_exp=full(d["motion_exp"], 4), motion_pose=full(d["motion_pose"], 4), fps=full(d["fps"], 1)[:, 0], face_mask=fm,
             cos=cos.to(dev), sin=sin.to(dev))
    u = dict(c, audio_prompts=torch.zeros_like(aw), **together([texts.encode(NEGATIVE, ref[i], False) for i in range(n)]))
    return c, u, ref, mel, f

def together(said):
    """Arguments of the denoiser from Texts.encode() of one prompt with several portraits."""
    return dict(text_states=torch.stack([x[0] for x in said]), text_mask=torch.stack([x[1] for x in said]), text_used=said[0][2], text_states_2=torch.stack([x[3] for x in said]))

def corr(a, b):
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / (a.norm() * b.norm() + 1e-9))

def grad_mag(f):
    f = f.float()
    return ((f[..., 1:] - f[..., :-1]).abs().mean() + (f[..., 1:, :] - f[..., :-1, :]).abs().mean()).item()

@torch.no_grad()
def evaluate(cfg, vae, dit, wh, texts, data, dev, clips=8, steps=(8, 4), shifts=(None,), cfgs=(1.0,), T=129, seed=5000000, out=None, sheet_rows=6, autocast=False, gain=1.0, text="a cartoon face talks"):
    size = cfg["video"]["size"]
    g = torch.Generator().manual_seed(77)
    idt = make_identities(clips, seed)
    speech = Speech(data, "test", dev)
    wav = speech.sample(clips, [T / FPS] * clips, g)
    wav = normalise(wav)
    op, wd = mouth_targets(wav, T)
    bl, dx, dy, rot = make_motion(clips, T, seed + 1)
    true = render_clips(idt, op, wd, bl, dx, dy, rot, dev, size)
    mb = mouth_box(idt, size)
    c, u, ref, mel, f = conditions(cfg, vae, wh, texts, idt, wav * gain, T, dev, text)
    noise = torch.randn(clips, cfg["transformer"]["in_channels"], (T - 1) // 4 + 1, size // 8, size // 8, generator=g).to(dev)
    meas = lambda fr: torch.stack([measure_opening(fr[i], mb[i]) for i in range(clips)])
    op = op.cpu()
    out_mask = 1 - box_mask(mb.to(dev), size)[:, None]
    def outside(fr):                                            # mean colour error outside the mouth box against the reference, 0..255
        return float(((fr.float() - ref[:, None].float()).abs() * out_mask).sum() / (out_mask.sum() * 3 * fr.shape[1]))
    def colour(fr):                                             # error of the mean colour of the whole picture, 0..255
        return float((fr.float().mean((1, 3, 4)) - ref.float().mean((2, 3))).abs().mean())
    res = dict(true=dict(corr=float(np.mean([corr(m, o) for m, o in zip(meas(true).cpu(), op)])), outside=outside(true), colour=colour(true), grad=grad_mag(true)))
    x = (true.float() / 127.5 - 1).transpose(1, 2)
    def dec(z):
        o = []
        for i in range(z.shape[0]):
            with (torch.autocast("cuda", torch.bfloat16) if autocast and dev == "cuda" else contextlib.nullcontext()):
                y = decode_tiled(vae, z[i:i + 1].float() / cfg["vae"]["scaling_factor"])
            o.append(((y.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).transpose(1, 2))
        return torch.cat(o)
    rec = dec(torch.cat([vae.encode(x[i:i + 1])[0] for i in range(clips)]) * cfg["vae"]["scaling_factor"])
    res["vae"] = dict(corr=float(np.mean([corr(m, o) for m, o in zip(meas(rec).cpu(), op)])), outside=outside(rec), colour=colour(rec), grad=grad_mag(rec),
                      psnr=10 * math.log10(255 ** 2 / ((rec.float() - true.float()) ** 2).mean().item()))
    shown = None
    for st in steps:
        for sh in shifts:
            for cf in cfgs:
                sh_ = cfg["defaults"]["flow_shift"] if sh is None else sh
                t0 = time.time()
                with (torch.autocast("cuda", torch.bfloat16) if autocast and dev == "cuda" else contextlib.nullcontext()):
                    z = sample(dit, noise, c, st, sh_, cf, u)
                gen = dec(z)
                m = meas(gen).cpu()
                cs = [corr(a, o) for a, o in zip(m, op)]
                true_m = meas(true).cpu()
                r = dict(corr=float(np.mean(cs)), corr_min=float(min(cs)), corr_all=corr(m.flatten(), true_m.flatten()), amp=float(m.std() / true_m.std()), outside=outside(gen), colour=colour(gen),
                         grad_ratio=grad_mag(gen) / res["true"]["grad"], per_clip=[round(v, 3) for v in cs], seconds=round(time.time() - t0, 2))
                res[f"steps{st}_shift{sh_}_cfg{cf}"] = r
                print(f"steps {st} shift {sh_} cfg {cf}:", {k: (round(v, 3) if isinstance(v, float) else v) for k, v in r.items()}, flush=True)
                if shown is None:
                    shown = gen
    print("true", {k: round(v, 3) for k, v in res["true"].items()}, "vae", {k: round(v, 3) for k, v in res["vae"].items()}, flush=True)
    if out:
        from PIL import Image
        rows = []
        for i in range(min(sheet_rows, clips)):
            for v in (true, shown):
                rows.append(torch.cat([ref[i]] + list(v[i, ::8]), 2))
        im = torch.cat(rows, 1).permute(1, 2, 0).cpu().numpy()
        Image.fromarray(im).save(out + "/contact_sheet.png")
        json.dump(res, open(out + "/eval.json", "w"), indent=1)
    return res

if __name__ == "__main__":
    ap = argparse.ArgumentParser()
    here = os.path.dirname(os.path.abspath(__file__))
    ap.add_argument("--weights", default=here); ap.add_argument("--data", default="data"); ap.add_argument("--out", default="eval")
    ap.add_argument("--clips", type=int, default=8); ap.add_argument("--steps", default="8,4"); ap.add_argument("--shifts", default=""); ap.add_argument("--cfgs", default="1.0")
    ap.add_argument("--frames", type=int, default=129); ap.add_argument("--gain-db", type=float, default=0, help="loudness of what the model hears")
    a = ap.parse_args()
    os.makedirs(a.out, exist_ok=True)
    cfg = read_config(a.weights)
    dev = "cuda" if torch.cuda.is_available() else "cpu"
    vae, dit, wh = load_all(a.weights, cfg, dev)
    evaluate(cfg, vae, dit, wh, Texts(a.weights + "/ckpts", cfg, dev), a.data, dev, a.clips, [int(v) for v in a.steps.split(",")], [float(v) for v in a.shifts.split(",")] if a.shifts else (None,),
             [float(v) for v in a.cfgs.split(",")], a.frames, out=a.out, gain=10 ** (a.gain_db / 20))
