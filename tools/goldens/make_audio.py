# SPDX-License-Identifier: LGPL-2.1-or-later
"""Golden tensors of the audio side: make_audio.py UPSTREAM

Mel and Whisper encoder are the classes of transformers that upstream calls; the windows are upstream's encode_audio.
"""
import os
import sys

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import need  # noqa: E402

need.arguments(1, "make_audio.py UPSTREAM")
need.imports(__file__)

import json
import math
import types

import numpy as np
import torch
import common

common.use_upstream(sys.argv[1])
for name in ("cv2", "decord", "librosa"):
    common.module(name)  # imported by audio_preprocessor, not used by encode_audio
from transformers import WhisperConfig, WhisperFeatureExtractor  # noqa: E402
from transformers.models.whisper.modeling_whisper import WhisperEncoder  # noqa: E402
from hymm_sp.data_kits.audio_preprocessor import encode_audio  # noqa: E402

WHISPER = {"num_mel_bins": 80, "d_model": 16, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 40,
           "max_source_positions": 1500, "activation_function": "gelu"}
MELS, STEPS = 140, 40


def speechlike(seconds):
    """Noise, tones and a silent gap, at different loudness."""
    n = int(seconds * 16000)
    t = np.arange(n) / 16000
    r = np.random.default_rng(5)
    y = 0.3 * np.sin(2 * math.pi * 220 * t) + 0.2 * np.sin(2 * math.pi * 1330 * t * (1 + 0.1 * t)) + 0.1 * np.sin(2 * math.pi * 6100 * t)
    y = y * (0.2 + 0.8 * np.abs(np.sin(2 * math.pi * 2.5 * t))) + 0.02 * r.standard_normal(n)
    y[int(0.5 * n):int(0.6 * n)] = 0
    return y.astype(np.float32)


def encoder():
    config = WhisperConfig(vocab_size=8, decoder_layers=1, decoder_attention_heads=1, decoder_ffn_dim=8, dropout=0.0, attention_dropout=0.0,
                           pad_token_id=0, bos_token_id=1, eos_token_id=2, **WHISPER)
    config._attn_implementation = "eager"
    return common.randomise(WhisperEncoder(config), 200, std=0.2)


with torch.no_grad():
    extract, enc, o = WhisperFeatureExtractor(), encoder(), {}
    audio = speechlike(1.3)
    mel = extract(audio, sampling_rate=16000, return_tensors="pt").input_features
    silent = extract(np.zeros(16000, np.float32), sampling_rate=16000, return_tensors="pt").input_features
    o["in.audio"], o["out.mel"], o["out.mel_tail"] = torch.from_numpy(audio), mel[0, :, :MELS], mel[0, :, -4:]
    o["out.mel_of_silence"] = silent[0, :, :4]
    assert (silent == silent[0, 0, 0]).all()
    o["in.mel_fp16"] = mel[0, :, :MELS].half().float()
    for name, m in (("fp32", mel), ("fp16", mel.half().float())):  # upstream rounds the mel to fp16 first
        states = enc(m, output_hidden_states=True).hidden_states
        assert len(states) == WHISPER["encoder_layers"] + 1
        o[f"out.hidden_{name}"] = torch.stack(states, dim=2)[0, :STEPS]  # [step, state, channel]
    o["out.hidden_fp32_tail"] = torch.stack(enc(mel, output_hidden_states=True).hidden_states, dim=2)[0, -4:]
    o.update(common.weights(enc, "model.encoder."))
    common.save("whisper.safetensors", o, {"whisper": WHISPER})

    # windows: rows of a made-up feature array, [1500, states, channels]
    feats = [common.rand(1, 1500, 4, seed=300 + i) for i in range(3)]
    fake = types.SimpleNamespace(encoder=lambda m, output_hidden_states: types.SimpleNamespace(hidden_states=feats))
    o, index = {}, {"states": 3, "channels": 4, "kept_rows": 64, "cases": []}
    o["in.features"] = torch.stack(feats, dim=2)[0, :64]  # the first rows are all that the kept frames read
    for name, fps, frames, kept in (("fps25", 25, 40, 24), ("fps12_5", 12.5, 40, 12), ("cut_at_400", 25, 547, 1)):
        w = encode_audio(fake, torch.zeros(80, 3000), fps, num_frames=frames)
        o[f"out.{name}"] = w[0, :kept]
        index["cases"].append({"name": name, "fps": fps, "audio_frames": frames, "frames_out": w.shape[1], "kept": kept, "shape": list(w.shape)})
    rows = [torch.arange(1, 1501, dtype=torch.float32).view(1, -1, 1)]
    fake.encoder = lambda m, output_hidden_states: types.SimpleNamespace(hidden_states=rows)
    for case in index["cases"]:
        w = encode_audio(fake, torch.zeros(80, 3000), case["fps"], num_frames=case["audio_frames"])
        case["rows"] = [[int(f[0]) - 1, int(f[-1]) - 1] for f in w[0].flatten(1)]  # first, last feature row; -1: a zero row
    common.save("audio_windows.safetensors", o, index | {"cases": [{k: v for k, v in c.items() if k != "rows"} for c in index["cases"]]})
    with open(os.path.join(common.OUT, "audio_windows.json"), "w") as f:
        json.dump(index, f, separators=(",", ":"))
        f.write("\n")
