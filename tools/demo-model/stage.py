#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Training in stages on a machine with a GPU and no network; each continues from the weights of the last.

  python3 stage.py pack --data data --backgrounds FILE.npz --out DIR           packs speech and backgrounds for the machine (no GPU)
  python3 stage.py vae  --inputs DIR --last LAST --out OUT [--seconds 440]     VAE
  python3 stage.py talk --inputs DIR --last LAST --out OUT [--seconds 440]     denoiser and Whisper, with LAST's VAE; text encoders of models/demo
  python3 stage.py face --inputs DIR --last LAST --out OUT [--seconds 300]     face detector
  python3 stage.py measure --inputs DIR --last LAST --out OUT                  portraits.py with LAST's weights
  python3 stage.py speed --inputs DIR --out OUT                                frames per second of the renderer

LAST is the folder of OUT's files of all stages so far (copied into one); what it lacks comes from models/demo. OUT gets one folder of at most 6 files and log.txt.
--round N varies identities, noise and order of a repeated stage. --tiny: a few steps, to test the script without a GPU.
"""
import os
import sys

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import need  # noqa: E402

need.imports(__file__)

import argparse, json, shutil, subprocess, time
import numpy as np
import torch
from models import load_safetensors, read_config, save_safetensors

HERE = os.path.dirname(os.path.abspath(__file__))
DEMO = os.path.normpath(os.path.join(HERE, "..", "..", "models", "demo"))
VIDEO = DEMO + "/ckpts/hunyuan-video-t2v-720p/"


def pack(a):
    """Speech as 8 bits (mu-law), which zlib halves."""
    os.makedirs(a.out, exist_ok=True)
    out = {}
    for split in ("train", "test"):
        x = np.load(f"{a.data}/speech_{split}.npy")[:a.speech * 16000].astype(np.float32) / 32768
        out[split] = np.round((np.sign(x) * np.log1p(255 * np.abs(x)) / np.log(256) + 1) * 127.5).astype(np.uint8)
    np.savez_compressed(a.out + "/speech.npz", **out)
    f = np.load(a.backgrounds)
    ends = np.cumsum(f["sizes"])
    own = np.arange(len(ends))[::max(1, -(-len(ends) // a.crops))]
    np.savez(a.out + "/backgrounds.npz", data=np.concatenate([f["data"][ends[i] - f["sizes"][i]:ends[i]] for i in own]), sizes=f["sizes"][own], side=f["side"])
    if a.astronaut:
        shutil.copy(a.astronaut, a.out + "/astronaut.png")
    for f in sorted(os.listdir(a.out)):
        if os.path.isfile(f"{a.out}/{f}"):
            print(f, os.path.getsize(f"{a.out}/{f}"), "bytes")


def unpack(a, work):
    data = np.load(a.inputs + "/speech.npz")
    for split in ("train", "test"):
        y = data[split].astype(np.float32) / 127.5 - 1
        x = np.sign(y) * (np.exp(np.abs(y) * np.log(256)) - 1) / 255
        np.save(f"{work}/speech_{split}.npy", np.round(x * 32767).astype(np.int16))


def gather(a, work):
    """All weights that a stage starts from: LAST's, otherwise the demo's."""
    last = lambda name: os.path.join(a.last, name) if a.last and os.path.exists(os.path.join(a.last, name)) else None
    cfg = read_config(DEMO)
    if last("vae_log.json"):
        cfg["vae"]["scaling_factor"] = round(json.load(open(last("vae_log.json")))["scaling_factor"], 5)
        shutil.copy(last("vae_log.json"), work)
    json.dump(cfg, open(work + "/config.json", "w"), indent=1)
    parts = {"vae.safetensors": lambda: torch.load(VIDEO + "vae/pytorch_model.pt"), "transformer.safetensors": lambda: torch.load(VIDEO + "transformers/mp_rank_00_model_states.pt")["module"],
             "whisper_encoder.safetensors": lambda: load_safetensors(DEMO + "/ckpts/whisper-tiny/model.safetensors")}
    for name, old in parts.items():
        if last(name):
            shutil.copy(last(name), work)
        else:
            save_safetensors(f"{work}/{name}", old())
        print(f"{name}: {last(name) or 'models/demo'}", flush=True)
    return last


def run(a, script, *args):
    command = [sys.executable, "-u", os.path.join(HERE, script)] + [str(v) for v in args]
    line = " ".join(command[2:])
    with open(a.out + "/log.txt", "a") as log:
        log.write(line + "\n")
        log.flush()
        print(line, flush=True)
        p = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for text in p.stdout:
            log.write(text)
            log.flush()
            print(text, end="", flush=True)
        if p.wait():
            sys.exit(f"error: {script}: status {p.returncode}; found in {a.out}/log.txt")


def speed(a):
    """Frames per second of the renderer of heads, eager and fused."""
    import heads as H
    dev = "cuda" if torch.cuda.is_available() else "cpu"
    n = 4 if dev == "cpu" else 64
    T = 1 if a.tiny else 2 if dev == "cpu" else 16
    idt, motion = H.make_identities(n, 1), H.make_motion(n, T, 2)
    back, op = torch.rand(n, 3, 128, 128), torch.rand(n, T)
    for fused in ((False,) if a.tiny or dev == "cpu" else (False, True)):
        if fused:
            H.compile_distances()
        for k in range(2 if dev == "cuda" else 1):
            t = time.time()
            H.render_clips(idt, op, op, motion, back, dev, chunk=256 if dev == "cuda" else 2)
            if dev == "cuda":
                torch.cuda.synchronize()
            print(f"heads on {dev}, {'fused' if fused else 'eager'}, call {k}: {n * T / (time.time() - t):.1f} frames/s", flush=True)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("stage", choices=("pack", "vae", "talk", "face", "measure", "speed")); ap.add_argument("--out", required=True); ap.add_argument("--inputs", default=""); ap.add_argument("--last", default="")
    ap.add_argument("--data", default="data"); ap.add_argument("--backgrounds", default=""); ap.add_argument("--astronaut", default="")
    ap.add_argument("--speech", type=int, default=900, help="seconds of speech to pack"); ap.add_argument("--crops", type=int, default=1500, help="crops to pack")
    ap.add_argument("--seconds", type=float, default=0); ap.add_argument("--round", type=int, default=0); ap.add_argument("--tiny", action="store_true"); ap.add_argument("--mix", default="default")
    ap.add_argument("--lr", type=float, default=0); ap.add_argument("--pool", type=int, default=0); ap.add_argument("--decoder-only", action="store_true"); ap.add_argument("--steps", type=int, default=4)
    ap.add_argument("--fuse", type=int, default=1, help="0: do not compile the renderer, which takes about a minute"); ap.add_argument("--build-seconds", type=float, default=85, help="rendering, for vae and talk")
    ap.add_argument("--wait", default="", help="for talk: OUT of a vae stage that runs at the same time"); ap.add_argument("--wait-seconds", type=float, default=560); ap.add_argument("--fold", type=int, default=0, help="for vae: also time folded convolutions")
    ap.add_argument("--renderers", type=int, default=0, help="processes that render, for vae"); ap.add_argument("--measure", type=int, default=1); ap.add_argument("--lengths", default="65:1,33:2,17:4,5:12,1:48")
    ap.add_argument("--heads", type=int, default=6, help="heads of each style that are measured")
    a = ap.parse_args()
    if a.stage == "pack":
        return pack(a)
    os.makedirs(a.out, exist_ok=True)
    if a.stage == "speed":
        return speed(a)
    work = os.path.join("/tmp", f"stage-{os.getpid()}")
    os.makedirs(work)
    try:
        unpack(a, work)
        last = gather(a, work)
        bg = a.inputs + "/backgrounds.npz"
        mixed = ["--mix", a.mix, "--backgrounds", bg]
        result = work + "/result"
        if a.stage == "vae":
            run(a, "train_vae.py", "--data", work, "--out", result, "--config", work + "/config.json", "--init", work + "/vae.safetensors", "--seconds", a.seconds or 440, "--lr", a.lr or 1.2e-3, "--seed", a.round,
                "--pool", a.pool or (4 if a.tiny else 2000), "--pool-seconds", a.build_seconds, "--compile", a.fuse, "--fold", a.fold, "--renderers", a.renderers, "--measure", a.measure, "--lengths", a.lengths, *mixed, *(["--decoder-only", "--kl", 0] if a.decoder_only else []), *(["--steps", 2, "--clip", 9] if a.tiny else []))
            keep = ["vae.safetensors", "vae_log.json", "vae_sheet.png"]
        elif a.stage == "talk":
            size = ["--steps", 2, "--clips", "5:2", "--batch", "5:1", "--probs", "5:1", "--build-seconds", 60, "--eval-clips", 0] if a.tiny else ["--build-seconds", a.build_seconds, "--eval-clips", 0, "--eval-seconds", 6]
            run(a, "train_dit.py", "--data", work, "--out", result, "--config", work + "/config.json", "--vae", work, "--init", work, "--text", DEMO + "/ckpts", "--seconds", a.seconds or 440, "--lr", a.lr or 8e-4,
                "--warmup", 200, "--seed", 11 + a.round, "--fuse", a.fuse, *size, *mixed, *(["--wait", a.wait, "--wait-seconds", a.wait_seconds] if a.wait else []))
            keep = ["transformer.safetensors", "whisper_encoder.safetensors", "config.json", "dit_log.json", "contact_sheet.png"]
        elif a.stage == "face":
            os.makedirs(result)
            many = ["--people", 2, "--heads", 2, "--steps", 2, "--batch", 2] if a.tiny else ["--people", 600, "--heads", 2400, "--steps", 6000, "--workers", max(1, os.cpu_count() - 5), "--threads", 4]
            run(a, "train_face.py", "--out", result + "/detface.pt", "--state", result + "/face_state.pt", "--backgrounds", bg, "--seconds", a.seconds or 300, "--seed", 11 + a.round, "--held-heads", 1 if a.tiny else 50, "--share", .01 if a.tiny else .5,
                *many, *(["--init", last("face_state.pt")] if last("face_state.pt") else []), *(["--lr", a.lr] if a.lr else []))
            keep = ["detface.pt", "face_state.pt"]
        else:
            tree = work + "/demo"
            shutil.copytree(DEMO, tree)
            run(a, "tree.py", "--vae", work, "--dit", work, "--text", DEMO + "/ckpts", "--out", tree)
            if last("detface.pt"):
                shutil.copy(last("detface.pt"), tree + "/ckpts/det_align/detface.pt")
            photo = a.inputs + "/astronaut.png"
            run(a, "portraits.py", "--weights", tree, "--data", work, "--out", result, "--backgrounds", bg, "--steps", a.steps, *(["--astronaut", photo] if os.path.exists(photo) else []),
                *(["--frames", 5, "--heads", 0, "--cartoons", 1] if a.tiny else ["--heads", a.heads, "--cartoons", 4, "--styles", "photo,painted,flat,line"]))
            keep = ["portraits.json", "portraits.png"]
        for name in keep:
            if os.path.exists(f"{result}/{name}"):
                shutil.copy(f"{result}/{name}", a.out)
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
