# SPDX-License-Identifier: LGPL-2.1-or-later
"""Golden tensors of whole forwards of upstream's HYVideoDiffusionTransformer: make_transformer_forward.py UPSTREAM

models_audio.py has its sizes written into the code. It is run from its own text with just these replaced:
3072 (width) -> D, AudioProjNet2's blocks, channels and intermediate_dim, the adapters' dim_head, the list of double
blocks that have an adapter, and the count of 16 audio tokens per latent frame stays 4 x context_tokens.
"""
import os
import sys

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import need  # noqa: E402

need.arguments(1, "make_transformer_forward.py UPSTREAM")
need.imports(__file__)

import types

import torch
import common

D, HEADS, ROPE, THETA = 32, 2, [4, 6, 6], 256
T, H8, W8, TXT, TXT_VALID = 3, 6, 10, 9, 7
BLOCKS, CHANNELS, INTER, ADAPTER, ADAPTED = 3, 4, 24, 24, [1, 3]
DOUBLE, SINGLE, TXT_DIM, TXT_DIM2 = 4, 3, 20, 12

common.use_upstream(sys.argv[1])
import hymm_sp.modules  # noqa: E402
from hymm_sp.helpers import get_nd_rotary_pos_embed_new  # noqa: E402

path = os.path.join(sys.argv[1], "hymm_sp", "modules", "models_audio.py")
text = open(path).read()
head, body = text.split("class HYVideoDiffusionTransformer", 1)
body = body.split("# " + "HunyuanVideo Configs", 1)[0].rsplit("####", 1)[0]  # the table of sizes behind the class
for old, new, count in (
        ("seq_len=10, blocks=5, channels=384, intermediate_dim=1024, output_dim=3072",
         f"seq_len=10, blocks={BLOCKS}, channels={CHANNELS}, intermediate_dim={INTER}, output_dim={D}", 1),
        ("dim=3072, dim_head=1024", f"dim={D}, dim_head={ADAPTER}", 1),
        ("self.double_stream_list = [1, 3, 5, 7, 9, 11, 13, 15, 17, 19]", f"self.double_stream_list = {ADAPTED}", 1),
        ("ot, -1, 3072)", f"ot, -1, {D})", 1), ("ot, 16, 3072)", f"ot, 16, {D})", 1), ("(bsz, -1, 3072)", f"(bsz, -1, {D})", 1)):
    assert body.count(old) == count, (old, body.count(old))
    body = body.replace(old, new)
small = types.ModuleType("hymm_sp.modules.models_audio_small")
small.__package__ = "hymm_sp.modules"
sys.modules[small.__name__] = small
exec(compile(head + "class HYVideoDiffusionTransformer" + body, path, "exec"), small.__dict__)

config = {"transformer": {
    "patch_size": [1, 2, 2], "in_channels": 16, "out_channels": 16, "hidden_size": D, "num_heads": HEADS, "mlp_width_ratio": 4.0,
    "depth_double_blocks": DOUBLE, "depth_single_blocks": SINGLE, "rope_dim_list": ROPE, "rope_theta": THETA, "qkv_bias": True,
    "qk_norm": True, "text_states_dim": TXT_DIM, "text_states_dim_2": TXT_DIM2, "refiner_depth": 2, "guidance_embed": False,
    "audio_proj": {"seq_len": 10, "blocks": BLOCKS, "channels": CHANNELS, "intermediate_dim": INTER, "context_tokens": 4},
    "audio_adapter_dim": ADAPTER, "double_stream_list": ADAPTED, "frequency_embedding_size": 256},
    "defaults": {"motion_pose": 25, "motion_exp": 30, "fps": 25},
    "grid": {"t": T, "h8": H8, "w8": W8, "text": TXT, "text_valid": TXT_VALID}}
args = types.SimpleNamespace(text_projection="single_refiner", text_states_dim=TXT_DIM, use_attention_mask=True, text_states_dim_2=TXT_DIM2)
rand = common.rand
o = {}
with torch.no_grad():
    net = common.randomise(small.HYVideoDiffusionTransformer(
        args, in_channels=16, out_channels=16, hidden_size=D, num_heads=HEADS, depth_double_blocks=DOUBLE,
        depth_single_blocks=SINGLE, rope_dim_list=ROPE), 100)
    assert net.double_stream_list == ADAPTED and len(net.audio_adapter_blocks) == len(ADAPTED)
    cos, sin = get_nd_rotary_pos_embed_new(ROPE, [T, H8 // 2, W8 // 2], theta=THETA, use_real=True, theta_rescale_factor=1,
                                           concat_dict={"mode": "timecat", "bias": -1})
    mask = torch.tensor([[1, 1, 1, 0, 0, 1, 1, 1, 1]])  # zeros in the middle, as upstream's misaligned mask has them
    face = torch.zeros(1, 1, 1, H8, W8)
    face[..., 2:, 1:8] = torch.tensor([0.25, 1.0, 0.5, 1.0, 0.0, 1.0, 0.5])
    c = {"x": rand(1, 16, T, H8, W8, seed=1), "ref_latents": rand(1, 16, T, H8, W8, seed=2), "text_states": rand(1, TXT, TXT_DIM, seed=3),
         "text_mask": mask, "text_states_2": rand(1, TXT_DIM2, seed=4), "audio_prompts": rand(1, 4 * T - 3, 10, BLOCKS, CHANNELS, seed=5),
         "face_mask": face, "motion_exp": torch.full((1, 4), 30), "motion_pose": torch.full((1, 4), 25), "fps": torch.tensor([25.0])}
    o.update({f"in.{k}": v for k, v in c.items()})
    x = c.pop("x")
    c.update(freqs_cos=cos, freqs_sin=sin)
    taps = {}
    for n, b in enumerate(net.double_blocks):
        b.register_forward_hook(lambda m, i, y, n=n: taps.update({f"double_{n}.img": y[0], f"double_{n}.txt": y[1]}))
    for n, b in enumerate(net.single_blocks):
        b.register_forward_hook(lambda m, i, y, n=n: taps.update({f"single_{n}": y}))
        b.register_forward_hook(lambda m, i, y: taps.update({"vec": i[1]}))
    for n, b in enumerate(net.audio_adapter_blocks):
        b.register_forward_hook(lambda m, i, y, n=n: taps.update({f"adapter_{n}": y}))
    net.txt_in.register_forward_hook(lambda m, i, y: taps.update({"txt_in": y}))
    net.audio_proj.register_forward_hook(lambda m, i, y: taps.update({"audio_proj": y}))

    o["in.t"] = torch.tensor([1000.0])
    o["out.full"] = net(x, o["in.t"], return_dict=True, is_cache=False, **c)["x"]
    o["out.cache_out"] = net.cache_out  # the input of the last single block: reference, video, text
    o.update({f"out.full.{k}": v for k, v in taps.items()})
    o["in.cached.t"] = torch.tensor([874.125])
    o["out.cached"] = net(rand(1, 16, T, H8, W8, seed=6), o["in.cached.t"], return_dict=True, is_cache=True, **c)["x"]  # another x: it must not matter
    o["out.full_at_cached_t"] = net(x, o["in.cached.t"], return_dict=True, **c)["x"]
    c["face_mask"] = face * 0.6
    o["out.full_face_0.6"] = net(x, o["in.t"], return_dict=True, **c)["x"]
    c["face_mask"], c["audio_prompts"] = face, torch.zeros_like(c["audio_prompts"])
    o["out.full_no_audio"] = net(x, o["in.t"], return_dict=True, **c)["x"]
o.update(common.weights(net))
common.save("transformer_forward.safetensors", o, config)
