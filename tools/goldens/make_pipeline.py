# SPDX-License-Identifier: LGPL-2.1-or-later
"""A complete small run of upstream's program: make_pipeline.py UPSTREAM AVATAR_RANDOM

sample_gpu_poor.main() runs from the command line's arguments to the frames that it hands to imageio, on weights that
AVATAR_RANDOM writes in the layout of the release from tests/golden/upstream/pipeline.json, on a CPU, all networks in float32.
tests/golden/pipeline.c makes the same weights, portrait, audio and noise, so that none of them is in the golden file.

A copy of upstream's text in a temporary folder is run, with what is written into it replaced: "cuda"; the sizes (sizes() below).
Replaced at run time, because it needs a GPU, an unavailable file, or a GPU's random generator: flash_attn (common.py); the face
detector, which BOX replaces (its program is not in the file); librosa.load, by wave; imageio and ffmpeg at the end; torch's noise.
What upstream computes between its networks in 16 bits is in 16 bits here: inputs of networks are converted to float32, outputs to upstream's
dtype (float16 of the text encoders and the VAE, bfloat16 of the transformer); LLaMA's frequencies are rounded to
float16, and exp() of the posterior is float32, as autocast on a GPU has it.

Needs transformers 4.45.1, diffusers 0.33, accelerate, torchvision, pandas, and Pillow below 12.2.

Keys: CASE.NAME of the tensors below; a name with /N holds every N-th value of the flattened tensor only.
"""
import os
import sys

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import need  # noqa: E402

need.imports(__file__)

import csv
import json
import pathlib
import shutil
import struct
import subprocess
import tempfile
import types
import wave

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import common
from check_random_files import values

CONFIG = pathlib.Path(common.OUT) / "pipeline.json"
PROMPT = "A young woman with a red scarf speaks softly, then laughs."
BOX = (17.5, 20.25, 11.0, 13.5)  # face on the fitted portrait: x, y, width, height
CASES = {"three": {"frames": 129, "steps": 3}, "fifty": {"frames": 40, "steps": 50}, "two": {"frames": 140, "steps": 2}}
SOURCE = (104, 150)  # portrait size in pixels; becomes 48 x 64


def portrait():
    """Integers only; identical to those of pipeline.c."""
    w, h = SOURCE
    y, x, c = np.mgrid[0:h, 0:w, 0:3]
    return ((x * (3 + c) + y * (5 - c) + (x // 8 % 2) * 60 + (x * y // 32) * (1 + c)) % 256).astype(np.uint8)


def sound(frames):
    i = np.arange(frames * 640, dtype=np.int64)
    return ((i * 37 % 1600 - 800) * (i // 4000 % 5) + (i * i // 64 % 997 - 498) * 3).astype("<i2")


def noise(name, shape):
    return values(name, list(shape), 1, np.sqrt(3.0)).to(torch.float16)


# ------------------------------------------------------ upstream's text, and the folder of weights
def sizes(c):
    t, a = c["transformer"], c["transformer"]["audio_proj"]
    d, side = t["hidden_size"], 14 * int(c["text"]["image_tokens"] ** 0.5)
    return {
        "modules/models_audio.py": [
            ("seq_len=10, blocks=5, channels=384, intermediate_dim=1024, output_dim=3072",
             f"seq_len=10, blocks={a['blocks']}, channels={a['channels']}, intermediate_dim={a['intermediate_dim']}, output_dim={d}", 1),
            ("dim=3072, dim_head=1024", f"dim={d}, dim_head={t['audio_adapter_dim']}", 1),
            ("[1, 3, 5, 7, 9, 11, 13, 15, 17, 19]", str(t["double_stream_list"]), 1),
            ("-1, 3072)", f"-1, {d})", 2), ("16, 3072)", f"16, {d})", 1), ("'hidden_size': 3072", f"'hidden_size': {d}", 1),
            ("'num_heads': 24", f"'num_heads': {t['num_heads']}", 1), ("[16, 56, 56]", str(t["rope_dim_list"]), 2),
            ("'depth_double_blocks': 20", f"'depth_double_blocks': {t['depth_double_blocks']}", 1),
            ("'depth_single_blocks': 40", f"'depth_single_blocks': {t['depth_single_blocks']}", 1)],
        "diffusion/pipelines/pipeline_hunyuan_video_audio.py": [("3072", str(d), 6), ("575", str(c["text"]["image_tokens"] - 1), 4),
                                                                ('"cuda"', '"cpu"', 2)],
        "data_kits/audio_dataset.py": [("(336, 336)", f"({side}, {side})", 1), ("/ 64) * 64", f"/ {c['video']['resize']['multiple']}) * "
                                        f"{c['video']['resize']['multiple']}", 4), ('"cuda"', '"cpu"', 1)],
        "constants.py": [('"crop_start": 95', f'"crop_start": {c["text"]["crop_start"]}', 1)],
        "sample_inference_audio.py": [('"cuda"', '"cpu"', 1)],
        "sample_gpu_poor.py": [('"cuda"', '"cpu"', 3)],
    }


def copy_upstream(upstream, folder, config):
    shutil.copytree(os.path.join(upstream, "hymm_sp"), folder / "hymm_sp", ignore=shutil.ignore_patterns("__pycache__"))
    for name, changes in sizes(config).items():
        path = folder / "hymm_sp" / name
        text = path.read_text()
        for old, new, count in changes:
            if text.count(old) != count:
                sys.exit(f"{name}: {old!r} is there {text.count(old)} times, expected {count}: another version of upstream?")
            text = text.replace(old, new)
        path.write_text(text)


def make_weights(program, folder):
    """Runs avatar-random and adds the data that Hugging Face's loaders require: a mark in safetensors, Whisper's decoder's sizes."""
    subprocess.run([program, "--config", CONFIG, "--parts", "transformer,vae,whisper,llava,clip,detface", folder], check=True,
                   stdout=subprocess.DEVNULL)
    ckpts = folder / "ckpts"
    for path in ckpts.rglob("*.safetensors"):
        save_file(load_file(path), path, metadata={"format": "pt"})
    path = ckpts / "whisper-tiny" / "config.json"
    whisper = json.loads(path.read_text())
    whisper.update(model_type="whisper", decoder_layers=1, decoder_attention_heads=whisper["encoder_attention_heads"], decoder_ffn_dim=8, vocab_size=8,
                   pad_token_id=0, bos_token_id=0, eos_token_id=0, decoder_start_token_id=0)
    path.write_text(json.dumps(whisper))
    (ckpts / "whisper-tiny" / "preprocessor_config.json").write_text(json.dumps({
        "feature_extractor_type": "WhisperFeatureExtractor", "feature_size": 80, "hop_length": 160, "chunk_length": 30, "n_fft": 400,
        "padding_value": 0.0, "sampling_rate": 16000, "return_attention_mask": False, "padding_side": "right"}))


# ------------------------------------------------------------------------ replacements and records
out, now = {}, types.SimpleNamespace(case=None, calls=0, texts=0)


def keep(name, tensor, every=1, cases=None):
    if cases and now.case not in cases:
        return
    t = tensor.detach() if isinstance(tensor, torch.Tensor) else torch.as_tensor(tensor)
    if t.dtype == torch.int64:
        t = t.to(torch.float32)
    out[f"{now.case}.{name}" + (f"/{every}" if every > 1 else "")] = t.flatten()[::every].clone() if every > 1 else t.squeeze(0).clone()


def load_sound(path, sr):
    with wave.open(path) as f:
        assert (f.getframerate(), f.getnchannels(), f.getsampwidth()) == (sr, 1, 2)
        return np.frombuffer(f.readframes(f.getnframes()), "<i2").astype(np.float32) / 32768, sr


def replace_modules():
    common.module("cv2")  # only imported
    common.module("decord", VideoReader=None, cpu=None)
    common.module("librosa", load=load_sound)
    common.module("imageio", mimsave=lambda path, frames, fps: keep("frames", torch.from_numpy(frames), FRAMES_EVERY))
    common.module("hymm_sp.data_kits.face_align.detface", DetFace=lambda **_: types.SimpleNamespace(
        detect=lambda im: (np.array([BOX]), np.zeros((1, 5, 2)), np.ones(1))))


FRAMES_EVERY, LATENTS_EVERY, STEPS = 101, 11, {0, 1, 2, 9, 10, 15, 16, 19, 40, 49}


def record_text(te):
    tokens, encode = te.TextEncoder.text2tokens, te.TextEncoder.encode

    def text2tokens(self, text, **kwargs):
        self.last = tokens(self, text, **kwargs)
        return self.last

    def encode_(self, batch, **kwargs):
        got = encode(self, batch, **kwargs)
        llava = "llava" in self.text_encoder_type
        which = ("negative" if now.texts % 2 else "positive") + (".llava" if llava else ".clip")
        now.texts += 1
        keep(f"{which}.ids", self.last["input_ids"], cases=["three"])
        if llava:
            keep(f"{which}.mask", got.attention_mask, cases=["three"])
            keep(f"{which}.states", got.hidden_state.half(), 3, cases=["three"])
        else:
            keep(f"{which}.pooled", got.hidden_state.half(), cases=["three"])
        return got

    te.TextEncoder.text2tokens, te.TextEncoder.encode = text2tokens, encode_


def record_transformer(model):
    """bfloat16 out, float32 in. Its mask takes the dtype of its tokens."""
    forward = model.HYVideoDiffusionTransformer.forward

    def forward_(self, x, t, *args, is_cache=False, face_mask=None, **kwargs):
        kwargs = {k: v.float() if isinstance(v, torch.Tensor) and v.is_floating_point() else v for k, v in kwargs.items()}
        y = forward(self, x.float(), t, *args, is_cache=is_cache, face_mask=face_mask.bfloat16().float(), **kwargs)
        y["x"] = y["x"].bfloat16()
        windows = 2 if now.case == "two" else 1
        step = now.calls // windows
        if step in STEPS:
            name = f"{step}" + (f".{now.calls % windows}" if windows > 1 else "")
            keep(f"x.{name}", x[1], LATENTS_EVERY if now.case == "three" else 2 * LATENTS_EVERY + 1)
            if now.case == "three" or step in (9, 10, 15, 16):
                keep(f"without.{name}", y["x"][0], 2 * LATENTS_EVERY + 1)
                keep(f"with.{name}", y["x"][1], 2 * LATENTS_EVERY + 1)
        now.calls += 1
        return y

    def hook(name, every, pick=lambda y: y):
        return lambda m, i, y: keep(name, pick(y), every) if now.calls == 0 and now.case == "three" else None

    def watch(net):
        net.audio_proj.register_forward_hook(hook("audio_proj", 29, lambda y: y[1]))
        net.txt_in.register_forward_hook(hook("txt_in", 13, lambda y: y[0]))  # output for the negative prompt
        net.double_blocks[0].register_forward_hook(hook("double_0", 23, lambda y: y[0][1]))
        net.double_blocks[2].register_forward_pre_hook(lambda m, i: hook("double_1", 23, lambda x: x[1])(m, i, i[0]))  # after the adapter
        net.single_blocks[-1].register_forward_pre_hook(lambda m, i: hook("vec", 1)(m, i, i[1]) or hook("cache_out", 23, lambda x: x[1])(m, i, i[0]))

    model.HYVideoDiffusionTransformer.forward = forward_
    return watch


def record_vae(kl, vae):
    """float16 out, float32 in; the noise of the posterior comes from us."""
    exp = torch.exp
    vae.torch = types.SimpleNamespace(**{**vars(torch), "exp": lambda x: exp(x.float())})
    vae.randn_tensor = lambda shape, dtype=None, **_: noise("posterior", shape[1:])[None].to(dtype)
    gaussian = vae.DiagonalGaussianDistribution
    kl.DiagonalGaussianDistribution = lambda moments: gaussian(moments.half())
    encode, decode = kl.AutoencoderKLCausal3D.encode, kl.AutoencoderKLCausal3D.decode

    def decode_(self, z, **kwargs):
        kept = (CASES[now.case]["frames"] + 2) // 4 + 1  # cover the audio; upstream decodes all of the window
        keep("latents", (z[:, :, :kept] * self.config.scaling_factor).half(), LATENTS_EVERY)
        return (decode(self, z, **kwargs)[0].half(),)

    kl.AutoencoderKLCausal3D.encode = lambda self, x, **kwargs: encode(self, x.float(), **kwargs)
    kl.AutoencoderKLCausal3D.decode = decode_


def record_pipeline(pl):
    call = pl.HunyuanVideoAudioPipeline.__call__
    pl.randn_tensor = lambda shape, dtype=None, **_: noise("noise", shape[1:])[None].to(dtype)

    def call_(self, **kwargs):
        if now.case == "three":
            keep("face_mask", kwargs["face_masks"][0, 0, 0])
            keep("ref_latents", kwargs["ref_latents"], LATENTS_EVERY)
            mean, std = (torch.tensor(v)[:, None, None] for v in ((0.48145466, 0.4578275, 0.4082107), (0.26862954, 0.26130258, 0.27577711)))
            square = (kwargs["pixel_value_llava"][0].float() * std + mean) * 255
            keep("square", square.round().to(torch.uint8).permute(1, 2, 0), 5)
        keep("audio_prompts", kwargs["audio_prompts"][0, :129].half(), 41)
        assert kwargs["audio_prompts"].dtype == torch.float16 and kwargs["ref_latents"].dtype == torch.float32
        y = call(self, **kwargs)
        keep("sigmas", self.scheduler.sigmas)
        keep("timesteps", self.scheduler.timesteps)
        return y

    pl.HunyuanVideoAudioPipeline.__call__ = call_


def run(main, folder, case, frames, steps):
    now.case, now.calls, now.texts = case, 0, 0
    with wave.open(str(folder / "sound.wav"), "wb") as f:
        f.setparams((1, 2, 16000, 0, "NONE", ""))
        f.writeframes(sound(frames).tobytes())
    with open(folder / "in.csv", "w", newline="") as f:
        csv.writer(f).writerows([["videoid", "image", "audio", "prompt", "fps"], ["1", folder / "portrait.png", folder / "sound.wav", PROMPT, 25]])
    transformer = folder / "ckpts" / "hunyuan-video-t2v-720p" / "transformers" / "mp_rank_00_model_states.pt"
    c = json.loads(CONFIG.read_text())
    sys.argv = ["sample_gpu_poor", "--ckpt", str(transformer), "--input", str(folder / "in.csv"), "--save-path", str(folder / "out"),
                "--infer-steps", str(steps), "--cfg-scale", "7.5", "--flow-shift-eval-video", "5.0", "--image-size", str(c["video"]["size"]),
                "--seed", "128", "--precision", "fp32", "--vae-precision", "fp32", "--text-encoder-precision", "fp32", "--text-encoder-precision-2", "fp32",
                "--text-states-dim", str(c["transformer"]["text_states_dim"]), "--text-states-dim-2", str(c["transformer"]["text_states_dim_2"]),
                "--text-len", str(c["text"]["max_length"] - c["text"]["crop_start"])]
    main()


def save(path):
    """Writes the tensors unchanged, keys sorted."""
    names = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.uint8: "U8"}
    head, blobs, at = {"__metadata__": {"config": json.dumps({"cases": CASES, "prompt": PROMPT, "box": BOX})}}, [], 0
    for k in sorted(out):
        t = out[k].contiguous()
        b = t.view(torch.uint8).numpy().tobytes() if t.dim() else t.reshape(1).view(torch.uint8).numpy().tobytes()
        head[k] = {"dtype": names[t.dtype], "shape": list(t.shape), "data_offsets": [at, at + len(b)]}
        at += len(b)
        blobs.append(b)
        f = t.float()
        print(f"  {k} {head[k]['dtype']} {list(t.shape)} {len(b)} bytes, rms {f.pow(2).mean().sqrt():.4g}")
    h = json.dumps(head).encode()
    h += b" " * (-len(h) % 8)
    path.write_bytes(struct.pack("<Q", len(h)) + h + b"".join(blobs))
    print(path, path.stat().st_size, "bytes", len(out), "tensors")


def run_all(upstream, program, folder):
    np.seterr(over="ignore")
    os.environ["MODEL_BASE"] = str(folder)
    copy_upstream(upstream, folder, json.loads(CONFIG.read_text()))
    make_weights(program, folder)
    Image.fromarray(portrait()).save(folder / "portrait.png")
    common.use_upstream(str(folder))
    replace_modules()
    import hymm_sp.text_encoder as te
    import hymm_sp.modules.models_audio as model
    import hymm_sp.vae.autoencoder_kl_causal_3d as kl
    import hymm_sp.vae.vae as vae
    import hymm_sp.diffusion.pipelines.pipeline_hunyuan_video_audio as pl
    import hymm_sp.sample_inference_audio as sampling
    import hymm_sp.sample_gpu_poor as program_

    record_text(te)
    watch = record_transformer(model)
    record_vae(kl, vae)
    record_pipeline(pl)
    program_.os = types.SimpleNamespace(**{**vars(os), "system": lambda command: 0})  # ffmpeg
    loaded = sampling.HunyuanVideoSampler.from_pretrained.__func__

    def from_pretrained(cls, *args, **kwargs):
        s = loaded(cls, *args, **kwargs)
        for m in s.text_encoder.model.modules():
            if hasattr(m, "inv_freq"):
                m.inv_freq = m.inv_freq.half().float()
        s.text_encoder.dtype = s.text_encoder_2.dtype = torch.float16  # dtype of their output
        watch(s.model)
        return s

    mask = sampling.get_facemask

    def get_facemask(image, *args, **kwargs):
        keep("fitted", image[0, 0].permute(1, 2, 0).to(torch.uint8), 5, ["three"])
        return mask(image, *args, **kwargs)

    sampling.get_facemask = get_facemask
    sampling.HunyuanVideoSampler.from_pretrained = classmethod(from_pretrained)
    for case, sizes_ in CASES.items():
        run(program_.main, folder, case, **sizes_)


if __name__ == "__main__":
    need.arguments(2, "make_pipeline.py UPSTREAM AVATAR_RANDOM")
    with tempfile.TemporaryDirectory() as temporary:
        run_all(sys.argv[1], os.path.abspath(sys.argv[2]), pathlib.Path(temporary))
    save(pathlib.Path(common.OUT) / "pipeline.safetensors")
