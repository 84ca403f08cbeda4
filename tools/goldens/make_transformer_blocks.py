# SPDX-License-Identifier: LGPL-2.1-or-later
"""Golden tensors of each part of upstream's denoiser alone: make_transformer_blocks.py UPSTREAM"""
import os
import sys

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import need  # noqa: E402

need.arguments(1, "make_transformer_blocks.py UPSTREAM")
need.imports(__file__)

import torch
import common

D, HEADS, ROPE, THETA = 48, 2, [8, 8, 8], 256
T, H, W, TXT, TXT_DIM, TXT_DIM2 = 3, 5, 3, 7, 20, 12
AUDIO = dict(seq_len=10, blocks=3, channels=4, intermediate_dim=24, context_tokens=4)
ADAPTER, CH, FREQ = 32, 16, 256

common.use_upstream(sys.argv[1])
from hymm_sp.helpers import get_nd_rotary_pos_embed_new  # noqa: E402
from hymm_sp.modules.activation_layers import get_activation_layer  # noqa: E402
from hymm_sp.modules.audio_adapters import AudioProjNet2, PerceiverAttentionCA  # noqa: E402
from hymm_sp.modules.embed_layers import PatchEmbed, TimestepEmbedder, timestep_embedding  # noqa: E402
from hymm_sp.modules.mlp_layers import FinalLayer, MLPEmbedder  # noqa: E402
from hymm_sp.modules.models_audio import DoubleStreamBlock, HYVideoDiffusionTransformer, SingleStreamBlock  # noqa: E402
from hymm_sp.modules.parallel_states import get_cu_seqlens  # noqa: E402
from hymm_sp.modules.token_refiner import SingleTokenRefiner  # noqa: E402

config = {
    "transformer": {"patch_size": [1, 2, 2], "in_channels": CH, "out_channels": CH, "hidden_size": D, "num_heads": HEADS,
                    "mlp_width_ratio": 4.0, "depth_double_blocks": 1, "depth_single_blocks": 1, "rope_dim_list": ROPE,
                    "rope_theta": THETA, "qkv_bias": True, "qk_norm": True, "text_states_dim": TXT_DIM,
                    "text_states_dim_2": TXT_DIM2, "refiner_depth": 2, "guidance_embed": False, "audio_proj": AUDIO,
                    "audio_adapter_dim": ADAPTER, "double_stream_list": [0], "frequency_embedding_size": FREQ},
    "grid": {"t": T, "h": H, "w": W, "text": TXT, "text_valid": 5}}
o = {}
silu = get_activation_layer("silu")
rand, rnd = common.rand, common.randomise


def keep(mod, prefix):
    o.update(common.weights(mod, prefix))
    return mod


with torch.no_grad():
    cos, sin = get_nd_rotary_pos_embed_new(ROPE, [T, H, W], theta=THETA, use_real=True, theta_rescale_factor=1,
                                           concat_dict={"mode": "timecat", "bias": -1})
    o["out.rope.cos"], o["out.rope.sin"] = cos, sin  # rows: reference frame (t = -1), then t, y, x
    c2, s2 = get_nd_rotary_pos_embed_new([16, 56, 56], [3, 7, 9], theta=THETA, use_real=True, theta_rescale_factor=1,
                                         concat_dict={"mode": "timecat", "bias": -1})
    o["out.rope_real_split.cos"], o["out.rope_real_split.sin"] = c2, s2  # 16|56|56, grid 3x7x9

    n_img, mask = (T + 1) * H * W, torch.tensor([[1, 1, 1, 1, 1, 0, 0]])
    img, txt, vec = rand(1, n_img, D, seed=1), rand(1, TXT, D, seed=2), rand(1, D, seed=3)
    cu, total = get_cu_seqlens(mask, n_img), n_img + TXT
    o["in.block.img"], o["in.block.txt"], o["in.block.vec"], o["in.block.text_mask"] = img, txt, vec, mask
    double = keep(rnd(DoubleStreamBlock(D, HEADS, 4.0, qkv_bias=True), 10), "double_blocks.0.")
    o["out.double.img"], o["out.double.txt"] = double(img, txt, vec, cu, cu, total, total, (cos, sin))
    single = keep(rnd(SingleStreamBlock(D, HEADS, 4.0), 11), "single_blocks.0.")
    x = torch.cat((img, txt), 1)
    o["out.single.x"] = single(x, vec, TXT, cu, cu, total, total, (cos, sin))

    adapter = keep(rnd(PerceiverAttentionCA(dim=D, dim_head=ADAPTER, heads=33), 12), "audio_adapter_blocks.0.")
    o["in.adapter.audio"], o["in.adapter.latents"] = rand(1, T, 16, D, seed=4), rand(1, T, H * W, D, seed=5)
    o["out.adapter"] = adapter(o["in.adapter.audio"], o["in.adapter.latents"])

    proj = keep(rnd(AudioProjNet2(output_dim=D, **AUDIO), 13), "audio_proj.")
    o["in.audio_proj"] = rand(1, 9, 10, AUDIO["blocks"], AUDIO["channels"], seed=6)
    o["out.audio_proj"] = proj(o["in.audio_proj"])

    refiner = keep(rnd(SingleTokenRefiner(TXT_DIM, D, HEADS, depth=2), 14), "txt_in.")
    o["in.refiner.text_states"], o["in.refiner.t"] = rand(1, TXT, TXT_DIM, seed=7), torch.tensor([874.125])
    for name, m in (("hole", [1, 1, 1, 0, 0, 1, 1]), ("ones", [1] * TXT)):
        o[f"in.refiner.mask_{name}"] = torch.tensor([m])
        o[f"out.refiner.mask_{name}"] = refiner(o["in.refiner.text_states"], o["in.refiner.t"], torch.tensor([m]))

    t = torch.tensor([1000.0, 995.9349, 30.0, 25.0, 92.592590, 0.5])
    o["in.timestep.t"], o["out.timestep.sinusoid"] = t, timestep_embedding(t, FREQ)
    o["out.timestep.vec"] = keep(rnd(TimestepEmbedder(D, silu), 15), "time_in.")(t)
    for i, name in enumerate(("motion_exp", "motion_pose")):
        o[f"out.{name}"] = keep(rnd(TimestepEmbedder(D // 4, silu), 16 + i), name + ".")(torch.full((4,), (30, 25)[i])).view(1, -1)
    o["out.fps"] = keep(rnd(TimestepEmbedder(D, silu), 18), "fps_proj.")(torch.tensor([25.0]))
    o["in.vector"] = rand(1, TXT_DIM2, seed=8)
    o["out.vector"] = keep(rnd(MLPEmbedder(TXT_DIM2, D), 19), "vector_in.")(o["in.vector"])

    patch = keep(rnd(PatchEmbed([1, 2, 2], CH, D), 20), "img_in.")
    o["in.patch"] = rand(1, CH, T, 2 * H, 2 * W, seed=9)
    o["out.patch"], _ = patch(o["in.patch"])

    final = keep(rnd(FinalLayer(D, [1, 2, 2], CH, silu), 21), "final_layer.")
    o["in.final.x"] = rand(1, T * H * W, D, seed=22)
    y = final(o["in.final.x"], vec)
    o["out.final"] = y
    class Shape:  # what unpatchify reads of self
        unpatchify_channels, patch_size = CH, [1, 2, 2]
    o["out.final.unpatchified"] = HYVideoDiffusionTransformer.unpatchify(Shape, y, T, H, W)

common.save("transformer_blocks.safetensors", o, config)
