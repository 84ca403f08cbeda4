# SPDX-License-Identifier: LGPL-2.1-or-later
"""Golden tensors of upstream's AutoencoderKLCausal3D, whole and in tiles: make_vae.py UPSTREAM"""
import os
import sys

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import need  # noqa: E402

need.arguments(1, "make_vae.py UPSTREAM")
need.imports(__file__)

import torch
import common

common.use_upstream(sys.argv[1])
from hymm_sp.vae.autoencoder_kl_causal_3d import AutoencoderKLCausal3D  # noqa: E402


def build(seed, channels, layers, causal, latent, sample_size=256, sample_tsize=64):
    """The class at its smallest, and the config keys that describe it."""
    n = len(channels)
    vae = AutoencoderKLCausal3D(
        in_channels=3, out_channels=3, down_block_types=("DownEncoderBlockCausal3D",) * n,
        up_block_types=("UpDecoderBlockCausal3D",) * n, block_out_channels=channels, layers_per_block=layers, act_fn="silu",
        latent_channels=latent, norm_num_groups=4, sample_size=sample_size, sample_tsize=sample_tsize, scaling_factor=0.476986,
        spatial_compression_ratio=8, time_compression_ratio=4, mid_block_add_attention=True, mid_block_causal_attn=causal)
    config = {"in_channels": 3, "out_channels": 3, "latent_channels": latent, "block_out_channels": list(channels),
              "layers_per_block": layers, "norm_num_groups": 4, "act_fn": "silu", "spatial_compression_ratio": 8,
              "time_compression_ratio": 4, "mid_block_add_attention": True, "mid_block_causal_attn": causal,
              "sample_size": sample_size, "sample_tsize": sample_tsize, "scaling_factor": 0.476986, "shift_factor": None}
    return common.randomise(vae, seed), config


def moments(vae, x):
    return vae.encode(x, return_dict=False)[0].parameters


def whole(prefix, seed, channels, layers, causal):
    """Untiled encodes and decodes at odd sizes."""
    o = {}
    vae, config = build(seed, channels, layers, causal, 4)
    for frames in (1, 9):
        x = common.rand(1, 3, frames, 24, 40, seed=seed + frames)
        o[f"in.encode_{frames}"], o[f"out.encode_{frames}"] = x, moments(vae, x)
    for frames in (1, 3, 5):
        z = common.rand(1, 4, frames, 5, 3, seed=seed + 20 + frames)
        o[f"in.decode_{frames}"], o[f"out.decode_{frames}"] = z, vae.decode(z, return_dict=False)[0]
    o.update(common.weights(vae))
    if causal:  # the same weights without the mask
        full, _ = build(seed, channels, layers, False, 4)
        o["out.encode_9_full_attention"] = moments(full, o["in.encode_9"])
        o["out.decode_3_full_attention"] = full.decode(o["in.decode_3"], return_dict=False)[0]
    common.save(f"vae{prefix}.safetensors", o, {"vae": config})


def tiles():
    """sample_size 32: latent tile 4, step 3, blend 8 pixels; sample_tsize 16: latent tile 4 + 1, step 3, blend 4 frames.

    Smaller temporal tiles do not add up in upstream's arithmetic: its integer steps only fit when sample_tsize is a
    multiple of 16 and sample_size one of 32.
    """
    o = {}
    vae, config = build(77, (4, 4, 8, 8), 1, True, 4, 32, 16)
    vae.enable_tiling()
    for name, shape in (("all_axes", (8, 7, 5)), ("space", (2, 5, 6)), ("time", (7, 2, 3))):
        z = common.rand(1, 4, *shape, seed=78 + shape[0])
        o[f"in.decode_{name}"], o[f"out.decode_{name}"] = z, vae.decode(z.clone(), return_dict=False)[0]
    for name, shape in (("all_axes", (21, 40, 48)), ("space", (1, 56, 72)), ("time", (29, 16, 24))):
        x = common.rand(1, 3, *shape, seed=90 + shape[0])
        o[f"in.encode_{name}"], o[f"out.encode_{name}"] = x, moments(vae, x.clone())
    o.update(common.weights(vae))
    common.save("vae_tiles.safetensors", o, {"vae": config})


with torch.no_grad():
    whole("", 50, (8, 8, 16, 16), 1, True)
    whole("_layers2_full_attention", 60, (4, 8, 8, 12), 2, False)
    tiles()
