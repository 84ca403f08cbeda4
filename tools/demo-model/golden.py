#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Writes the golden set (fp32, CPU): python3 golden.py --weights . --data data --out golden [--seconds 5.16]"""
import os
import sys

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import need  # noqa: E402

need.imports(__file__)

import argparse, json, time, wave
import numpy as np
import torch
from models import *
from data import *
from evaluate import conditions, corr
from text import Texts

if __name__ == "__main__":
    here = os.path.dirname(os.path.abspath(__file__))
    ap = argparse.ArgumentParser()
    ap.add_argument("--weights", default=here); ap.add_argument("--data", default="data"); ap.add_argument("--out", default=here + "/golden")
    ap.add_argument("--frames", type=int, default=129); ap.add_argument("--steps", type=int, default=8); ap.add_argument("--seed", type=int, default=5000000)
    ap.add_argument("--at", type=float, default=31.0, help="second of the test speech"); ap.add_argument("--text", default="a cartoon face talks")
    a = ap.parse_args()
    t0 = time.time()
    os.makedirs(a.out, exist_ok=True)
    cfg = read_config(a.weights)
    vae, dit, wh = load_all(a.weights, cfg)
    texts = Texts(a.weights + "/ckpts", cfg)
    T, L, size, d = a.frames, (a.frames - 1) // 4 + 1, cfg["video"]["size"], cfg["defaults"]
    steps = a.steps or d["infer_steps"]
    idt = make_identities(1, a.seed)
    raw = np.load(a.data + "/speech_test.npy")
    s = int(a.at * SR); pcm = raw[s:s + T * SPF]
    pcm = np.round(pcm * (.7 * 32767 / np.abs(pcm.astype(np.int32)).max()))
    with wave.open(a.out + "/speech.wav", "wb") as w:
        w.setnchannels(1); w.setsampwidth(2); w.setframerate(SR); w.writeframes(pcm.astype("<i2").tobytes())
    wav = torch.from_numpy(pcm.astype(np.float32) / 32768.0)[None]
    with torch.no_grad():
        c, u, ref, mel, feats = conditions(cfg, vae, wh, texts, idt, wav, T, "cpu", a.text)
        noise = torch.randn(1, cfg["transformer"]["in_channels"], L, size // 8, size // 8, generator=torch.Generator().manual_seed(1024))
        keep, taps = [], {}
        v0 = dit(noise, torch.tensor([1000.0]), taps=taps, **c)
        z = sample(dit, noise, c, steps, d["flow_shift"], 1.0, None, keep)
        print("denoised", round(time.time() - t0, 1), "s", flush=True)
        # one step of classifier-free guidance, with upstream's face mask factor of the first steps
        vu = dit(noise, torch.tensor([1000.0]), **dict(u, face_mask=u["face_mask"] * .6))
        vc = dit(noise, torch.tensor([1000.0]), **dict(c, face_mask=c["face_mask"] * .6))
        y = decode_tiled(vae, z / cfg["vae"]["scaling_factor"])          # tiles of 17 latent frames, stride 12, 16 frames blended
        fr = ((y[0].clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).transpose(0, 1)          # (T, 3, H, W)
        small = vae.decode(keep[-1][:, :, :3] / cfg["vae"]["scaling_factor"])                      # a short decode, floats
    from PIL import Image
    Image.fromarray(ref[0].permute(1, 2, 0).numpy()).save(a.out + "/reference.png")
    op, _ = mouth_targets(wav, T)
    m = measure_opening(fr, mouth_box(idt, size)[0])
    o = dict(mel=mel[0, :, :2 * T + 60].contiguous(), whisper_hidden=feats[0, :2 * T + 16].contiguous(), audio_prompts=c["audio_prompts"][0], audio_proj=taps["audio_proj"][0],
             text_states=c["text_states"][0], text_states_2=c["text_states_2"][0], text_mask=c["text_mask"][0].float(), text_ids=torch.tensor(texts.ids(a.text)[0]).float(),
             text_states_uncond=u["text_states"][0], text_states_2_uncond=u["text_states_2"][0], face_mask=c["face_mask"][0, 0], ref_latent=c["ref_latents"][0, :, 0],
             vec=taps["vec"][0], txt_in=taps["txt_in"][0], rope_cos=c["cos"][:130].contiguous(), rope_sin=c["sin"][:130].contiguous(), sigmas=sigmas_for(steps, d["flow_shift"]),
             noise=noise[0], velocity_step0=v0[0], velocity_step0_cfg_uncond=vu[0], velocity_step0_cfg_cond=vc[0],
             decode3_in=keep[-1][0, :, :3].contiguous(), decode3_out=small[0], true_opening=op[0], measured_opening=m)
    for k in ("img_in", "double_0_img", "double_1_img", "single_0"):
        o["tap_" + k] = taps[k][0, :192].contiguous()
    for i, x in enumerate(keep):
        o[f"latents_after_step_{i + 1}"] = x[0]
    # big ones, cut to keep the set small
    o["audio_prompts"] = o["audio_prompts"][:24].contiguous()
    o["features"] = o["audio_prompts"]
    save_safetensors(a.out + "/tensors.safetensors", {k: v.detach().float() for k, v in o.items()}, dict(text=a.text, steps=steps, shift=d["flow_shift"], cfg=1.0, frames=T, seed=a.seed))
    save_safetensors(a.out + "/frames.safetensors", {"frames": fr[::4].contiguous()}, dict(note="every 4th frame, T x 3 x H x W, uint8"))
    json.dump(dict(corr_measured_vs_true_opening=corr(m, op[0]), frames=T, steps=steps, text=a.text, text_used=c["text_used"], face_box=[int(v) for v in face_box(idt, size, d["face_mask_area"])[0]], decode="tile 17 latents, stride 12, blend 16 frames", tensors={k: list(v.shape) for k, v in o.items()}, seconds=round(time.time() - t0, 1)),
              open(a.out + "/golden.json", "w"), indent=1)
    print("corr", corr(m, op[0]), "total", round(time.time() - t0, 1), "s")
