# SPDX-License-Identifier: LGPL-2.1-or-later
"""Schedules, windows, guidance and the step cache, as upstream's own pipeline loop runs them: make_sampler.py UPSTREAM

The pipeline's __call__ runs unchanged with a stand-in transformer that only records what it is given. Latents hold their
own frame index, audio features their own row (padding rows -1), text states -1 (negative) or 1 (positive); the stand-in
answers zero velocity, so frames keep their index, and fills cache_out with step * 16 + window, so that a cached call shows
which call each token came from. Restated from sample_inference_audio.py: the audio length given to the pipeline (129, or
min(n, 400) + 5).
"""
import os
import sys

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import need  # noqa: E402

need.arguments(1, "make_sampler.py UPSTREAM")
need.imports(__file__)

import json
import types

import torch
import common

common.use_upstream(sys.argv[1])
common.module("hymm_sp.text_encoder", TextEncoder=object)
from hymm_sp.diffusion.pipelines.pipeline_hunyuan_video_audio import HunyuanVideoAudioPipeline  # noqa: E402
from hymm_sp.diffusion.schedulers import FlowMatchDiscreteScheduler  # noqa: E402


class Recorder:
    config = types.SimpleNamespace(in_channels=16)

    def __init__(self, pipe):
        self.pipe, self.calls, self.cache_out, self.step, self.window, self.t = pipe, [], None, -1, 0, None

    def __call__(self, x, t, ref_latents=None, text_states=None, text_mask=None, is_cache=False, audio_prompts=None, face_mask=None, **_):
        if t[0] != self.t:
            self.t, self.step, self.window = t[0].clone(), self.step + 1, -1
        self.window += 1
        p = self.pipe
        call = {"step": self.step, "window": self.window, "t": float(t[0]), "guidance": p._guidance_scale, "cached": is_cache,
                "face_mask": float(face_mask.max()), "uncond_text": int(text_states[0].flatten()[0]), "cond_text": int(text_states[1].flatten()[0]),
                "latents": [int(v) for v in x[1, 0, :, 0, 0]], "audio": [int(v) - 1 for v in audio_prompts[1].flatten()],
                "uncond_audio": float(audio_prompts[0].abs().max()), "audio_frames_uncond": audio_prompts.shape[1]}
        assert torch.equal(x[0], x[1])
        n = x.shape[2]
        if is_cache:
            owner = self.cache_out[1, :, 0]
            call["cache_ref"], call["cache_img"], call["cache_txt"] = int(owner[0]), [int(v) for v in owner[1:1 + n]], int(owner[1 + n])
        else:
            self.cache_out = torch.full((2, 1 + n + text_states.shape[1], 3072), float(self.step * 16 + self.window))
        self.calls.append(call)
        return {"x": torch.zeros_like(x)}


class Pipe(HunyuanVideoAudioPipeline):
    _execution_device = torch.device("cpu")

    def __init__(self, steps, shift):
        self.scheduler = FlowMatchDiscreteScheduler(shift=shift, reverse=True, solver="euler")
        self.args = types.SimpleNamespace(precision="fp32", vae_precision="fp32", val_disable_autocast=False)
        self.text_encoder, self.text_encoder_2, self.vae_scale_factor = None, object(), 8
        self.vae = types.SimpleNamespace(config=types.SimpleNamespace(scaling_factor=1.0), enable_tiling=lambda: None,
                                         disable_tiling=lambda: None, decode=lambda z, **_: (z,))
        self.transformer, self._progress_bar_config, self.drawn = Recorder(self), {"disable": True}, []

    config = types.SimpleNamespace()

    def encode_prompt_audio_text_base(self, **_):
        m = torch.ones(1, 2, dtype=torch.int64)
        return torch.ones(1, 2, 4), -torch.ones(1, 2, 4), m, m

    def check_inputs(self, *a, **k):
        pass

    def maybe_free_model_hooks(self):
        pass

    def prepare_latents(self, b, c, height, width, frame, *a):
        self.drawn.append(frame)
        z = super().prepare_latents(b, c, height, width, frame, *a)
        return torch.arange(frame, dtype=torch.float32).view(1, 1, -1, 1, 1).expand_as(z).clone()


def given_frames(n):
    n = min(n, 400)
    return 129 if n <= 129 else n + 5


def run(frames, steps, shift=5.0, cfg=7.5):
    pipe = Pipe(steps, shift)
    audio = torch.arange(1, frames + 1, dtype=torch.float32).view(1, -1, 1, 1, 1)
    z = torch.zeros(1, 16, 1, 2, 2)
    out = pipe(prompt="p", ref_latents=z, uncond_ref_latents=z, pixel_value_llava=None, uncond_pixel_value_llava=None,
               face_masks=torch.ones(1, 1, 1, 2, 2), audio_prompts=audio, uncond_audio_prompts=torch.zeros_like(audio[:, :129]),
               motion_exp=torch.full((1, 4), 30), motion_pose=torch.full((1, 4), 25), fps=torch.tensor([25.0]), height=16, width=16,
               frame=129, num_inference_steps=steps, guidance_scale=cfg, negative_prompt="n", output_type="pil", return_dict=False,
               freqs_cis=(None, None), n_tokens=1, vae_ver="884-16c-hy0801", enable_tiling=True)
    return pipe, out


def runs(v):
    """[5, 6, 7, -1, -1, 0, 1] -> [[5, 7], [-1, 2], [0, 1]]: first and last; for padding -1 and how many"""
    r = []
    for k in v:
        if r and k == r[-1][0] == -1:
            r[-1][1] += 1
        elif r and k >= 0 and k == r[-1][1] + 1 and r[-1][0] >= 0:
            r[-1][1] = k
        else:
            r.append([k, k if k >= 0 else 1])
    return r


def spans(v):
    """[16, 16, 17] -> [[2, 16], [1, 17]]"""
    r = []
    for k in v:
        if r and r[-1][1] == k:
            r[-1][0] += 1
        else:
            r.append([1, k])
    return r


E = {"note": "windows: latents and audio as runs [first, last], or [-1, count] for padding rows of zero features; cache codes are "
             "step * 16 + window of the full call a token comes from, cache_img as [count, code]"}
E["schedule"] = []
for steps in (1, 4, 8, 50):
    for shift in (1.0, 3.0, 5.0):
        s = FlowMatchDiscreteScheduler(shift=shift, reverse=True, solver="euler")
        s.set_timesteps(steps, device="cpu")
        E["schedule"].append({"steps": steps, "shift": shift, "timesteps": s.timesteps.tolist(), "sigmas": s.sigmas.tolist()})
E["steps"], E["windows"] = [], []
for steps in (4, 8, 50):
    calls = run(129, steps)[0].transformer.calls
    keys = ("step", "t", "guidance", "cached", "face_mask", "uncond_text", "cond_text", "uncond_audio")
    E["steps"].append({"steps": steps, "shift": 5.0, "cfg": 7.5, "per_step": [{k: c[k] for k in keys} for c in calls]})
for n in (40, 130, 250, 300):
    frames = given_frames(n)
    pipe, _ = run(frames, 50)
    per, last = [], None
    for c in pipe.transformer.calls:
        padded = [k if k < frames else -1 for k in c["audio"]]
        e = {"step": c["step"], "window": c["window"], "latents": runs(c["latents"]), "audio": runs(padded)}
        if c["cached"]:
            e.update(cache_ref=c["cache_ref"], cache_txt=c["cache_txt"], cache_img=spans(c["cache_img"]))
        per.append(e)
    if n == 40:
        per = per[:1]  # every step is the same
    E["windows"].append({"audio_frames": n, "P": max(max(b for _, b in e["latents"]) for e in per) + 1, "audio_rows": frames, "calls": per})
E["lengths"] = []
for n in (1, 40, 129, 130, 250, 251, 378, 379, 400, 401, 547):
    pipe, out = run(given_frames(n), 1)
    P = max(max(c["latents"]) for c in pipe.transformer.calls) + 1
    video = out.shape[2]
    E["lengths"].append({"audio_frames": n, "audio_rows": given_frames(n), "noise_frames": pipe.drawn[0], "P": P, "windows": len(pipe.transformer.calls),
                         "video_latents": video, "decoded_frames": 4 * (video - 1) + 1})
path = os.path.join(common.OUT, "sampler.json")
json.dump(E, open(path, "w"), separators=(",", ":"))
open(path, "a").write("\n")
print(path, os.path.getsize(path), "bytes")
for l in E["lengths"]:
    print(l)
for w in E["windows"]:
    print(w["audio_frames"], w["P"], len(w["calls"]), w["calls"][:6])
