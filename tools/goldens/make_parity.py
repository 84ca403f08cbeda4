# SPDX-License-Identifier: LGPL-2.1-or-later
"""Upstream's roundings between its networks: make_parity.py UPSTREAM

The pipeline's __call__ and its scheduler run unchanged in the dtypes of a released run, float16 latents and bfloat16
velocities, with a fake transformer that returns random velocities and records its input latents; the posterior
is upstream's own class on float16 moments. Reimplemented, because they are lines of scripts: the portrait's and the frames'
arithmetic (sample_inference_audio.py, sample_gpu_poor.py). On a GPU autocast makes exp() float32, which it does not
on a CPU: torch.exp is replaced by that.

    in.noise.CASE [16, P0, 2, 2]; in.velocity.CASE [calls, 2 * 16 (uncond, cond), 33, 2, 2]; out.x.CASE [calls, 16, 33, 2, 2];
    out.latents.CASE [16, kept, 2, 2]; calls are in order of steps, then windows
    in.moments [2, 4, 24], in.eps [4, 24], out.sample [4, 24] (times the scaling factor); out.pixels [256]
    in.frames, out.bytes; out.sigmas.STEPS [STEPS + 1], out.times.STEPS [STEPS] (the last bits are those of torch >= 2
    on a processor with AVX2: they differ without, and did in 1.13)
"""
import os
import sys

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import need  # noqa: E402

need.arguments(1, "make_parity.py UPSTREAM")
need.imports(__file__)

import types

import torch
import common

common.use_upstream(sys.argv[1])
common.module("hymm_sp.text_encoder", TextEncoder=object)
import hymm_sp.vae.vae as vae  # noqa: E402
from hymm_sp.diffusion.pipelines.pipeline_hunyuan_video_audio import HunyuanVideoAudioPipeline  # noqa: E402
from hymm_sp.diffusion.schedulers import FlowMatchDiscreteScheduler  # noqa: E402

SCALING = 0.476986


class Transformer:
    config = types.SimpleNamespace(in_channels=16)

    def __init__(self, seed):
        self.generator, self.given, self.answered = torch.Generator().manual_seed(seed), [], []

    def __call__(self, x, t, text_states=None, **_):
        assert x.dtype == torch.float16 and torch.equal(x[0], x[1])
        v = (2 * torch.randn(x.shape, generator=self.generator)).to(torch.bfloat16)
        self.given.append(x[1].clone())
        self.answered.append(v.clone())
        self.cache_out = torch.zeros(2, 1 + x.shape[2] + text_states.shape[1], 3072, dtype=torch.bfloat16)
        return {"x": v}


class Pipe(HunyuanVideoAudioPipeline):
    _execution_device = torch.device("cpu")
    config = types.SimpleNamespace()

    def __init__(self, seed):
        self.scheduler = FlowMatchDiscreteScheduler(shift=5.0, reverse=True, solver="euler")
        self.args = types.SimpleNamespace(precision="bf16", vae_precision="fp16", val_disable_autocast=True)
        self.text_encoder, self.text_encoder_2, self.vae_scale_factor = None, object(), 8
        self.vae = types.SimpleNamespace(config=types.SimpleNamespace(scaling_factor=1.0), enable_tiling=lambda: None,
                                         disable_tiling=lambda: None, decode=self.keep)
        self.transformer, self._progress_bar_config = Transformer(seed), {"disable": True}

    def keep(self, z, **_):
        self.latents = z
        return (z,)

    def encode_prompt_audio_text_base(self, **_):
        m = torch.ones(1, 2, dtype=torch.int64)
        return torch.ones(1, 2, 4, dtype=torch.float16), -torch.ones(1, 2, 4, dtype=torch.float16), m, m

    def check_inputs(self, *a, **k):
        pass

    def maybe_free_model_hooks(self):
        pass

    def prepare_latents(self, *a):
        self.noise = super().prepare_latents(*a)
        assert self.noise.dtype == torch.float16
        return self.noise


def run(rows, seed, steps):
    """@rows: number of rows of audio that the pipeline gets: 129, or the frames of audio + 5."""
    pipe = Pipe(seed)
    audio = torch.zeros(1, rows, 1, 1, 1)
    z = torch.zeros(1, 16, 33, 2, 2)
    pipe(prompt="p", ref_latents=z, uncond_ref_latents=z, pixel_value_llava=None, uncond_pixel_value_llava=None,
         face_masks=torch.ones(1, 1, 1, 2, 2), audio_prompts=audio, uncond_audio_prompts=torch.zeros_like(audio[:, :129]),
         motion_exp=torch.full((1, 4), 30), motion_pose=torch.full((1, 4), 25), fps=torch.tensor([25.0]), height=16, width=16,
         frame=129, num_inference_steps=steps, guidance_scale=7.5, negative_prompt="n", output_type="pil", return_dict=False,
         generator=torch.Generator().manual_seed(seed), freqs_cis=(None, None), n_tokens=1, vae_ver="884-16c-hy0801", enable_tiling=True)
    return pipe


out = {}
for case, rows, steps in ("one", 129, 3), ("two", 135, 2):
    pipe = run(rows, rows, steps)
    out[f"in.noise.{case}"] = pipe.noise[0]
    out[f"in.velocity.{case}"] = torch.stack(pipe.transformer.answered).flatten(1, 2)
    out[f"out.x.{case}"] = torch.stack(pipe.transformer.given)
    out[f"out.latents.{case}"] = pipe.latents[0]

for steps in 1, 8, 30, 50:
    s = FlowMatchDiscreteScheduler(shift=5.0, reverse=True, solver="euler")
    s.set_timesteps(steps, device="cpu")
    out[f"out.sigmas.{steps}"], out[f"out.times.{steps}"] = s.sigmas, s.timesteps

exp = torch.exp
vae.torch.exp = lambda x: exp(x.float())
moments = common.rand(1, 8, 1, 4, 6, seed=1, scale=3.0)
moments[:, 4:] = common.rand(1, 4, 1, 4, 6, seed=2, scale=12.0)  # beyond both ends of the clamp
moments = moments.to(torch.float16)
eps = common.rand(1, 4, 1, 4, 6, seed=3).to(torch.float16)
vae.randn_tensor = lambda shape, dtype=None, **_: eps.to(dtype)
sample = vae.DiagonalGaussianDistribution(moments).sample()
assert sample.dtype == torch.float32
sample.mul_(SCALING)
out["in.moments"], out["in.eps"], out["out.sample"] = moments.reshape(2, 4, 24), eps.reshape(4, 24), sample.reshape(4, 24)

out["out.pixels"] = torch.arange(256).to(torch.float16) / 127.5 - 1.0
frames = (1.3 * common.rand(3000, seed=4)).to(torch.float16)
out["in.frames"] = frames
out["out.bytes"] = torch.from_numpy(((frames / 2 + 0.5).clamp(0, 1).cpu().float() * 255.0).numpy().astype("uint8"))
common.save("parity.safetensors", out, {"steps": {"one": 3, "two": 2}, "shift": 5.0, "cfg": 7.5, "scaling_factor": SCALING, "frames": {"one": 100, "two": 130}})
