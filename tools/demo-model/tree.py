#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Writes trained components in the layout of the HunyuanVideo-Avatar release.  python3 tree.py --vae DIR --dit DIR --text CKPTS --out models/demo

DIR holds vae.safetensors; transformer.safetensors, whisper_encoder.safetensors and config.json; CKPTS is train_text.py's folder. The face detector
(ckpts/det_align, train_face.py) is not changed."""
import os
import sys

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import need  # noqa: E402

need.imports(__file__)

import argparse, json, shutil
import torch
from models import load_safetensors, save_safetensors

VIDEO = "ckpts/hunyuan-video-t2v-720p/"

if __name__ == "__main__":
    ap = argparse.ArgumentParser()
    for o in ("vae", "dit", "text", "out"): ap.add_argument("--" + o, required=True)
    a = ap.parse_args()
    cfg = json.load(open(a.dit + "/config.json"))
    for d in (VIDEO + "transformers", VIDEO + "vae", "ckpts/whisper-tiny"): os.makedirs(f"{a.out}/{d}", exist_ok=True)
    torch.save({"module": load_safetensors(a.dit + "/transformer.safetensors")}, f"{a.out}/{VIDEO}transformers/mp_rank_00_model_states.pt")
    torch.save(load_safetensors(a.vae + "/vae.safetensors"), f"{a.out}/{VIDEO}vae/pytorch_model.pt")
    json.dump(cfg, open(f"{a.out}/{VIDEO}transformers/avatar-config.json", "w"), indent=1)
    v = cfg["vae"]
    n = len(v["block_out_channels"])
    json.dump(dict(_class_name="AutoencoderKLCausal3D", act_fn=v["act_fn"], block_out_channels=v["block_out_channels"], down_block_types=["DownEncoderBlockCausal3D"] * n,
                   up_block_types=["UpDecoderBlockCausal3D"] * n, in_channels=3, out_channels=3, latent_channels=v["latent_channels"], layers_per_block=v["layers_per_block"],
                   mid_block_add_attention=True, mid_block_causal_attn=True, norm_num_groups=v["norm_num_groups"], sample_size=v["sample_size"], sample_tsize=v["sample_tsize"],
                   scaling_factor=v["scaling_factor"], spatial_compression_ratio=8, time_compression_ratio=4), open(f"{a.out}/{VIDEO}vae/config.json", "w"), indent=1)
    w = cfg["whisper"]
    save_safetensors(f"{a.out}/ckpts/whisper-tiny/model.safetensors", load_safetensors(a.dit + "/whisper_encoder.safetensors"), {"format": "pt"})
    json.dump(dict(model_type="whisper", activation_function=w["activation_function"], d_model=w["d_model"], encoder_layers=w["encoder_layers"], encoder_attention_heads=w["encoder_attention_heads"],
                   encoder_ffn_dim=w["encoder_ffn_dim"], num_mel_bins=w["num_mel_bins"], max_source_positions=w["max_source_positions"]), open(f"{a.out}/ckpts/whisper-tiny/config.json", "w"), indent=1)
    for d in ("llava_llama_image", "text_encoder_2"): shutil.copytree(f"{a.text}/{d}", f"{a.out}/ckpts/{d}", dirs_exist_ok=True)
