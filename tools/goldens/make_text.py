# SPDX-License-Identifier: LGPL-2.1-or-later
"""Golden tensors of the text encoders: transformers' LLaVA and CLIP, built small with random weights, in float32.

    venv/bin/pip install torch transformers==4.45.1 pillow numpy && venv/bin/python tools/goldens/make_text.py

What upstream does around them (hymm_sp/text_encoder/__init__.py, data_kits/audio_dataset.py, the pipeline's prompt masks) is done
here: one <image> id, padding to a length, the 575 (here IMAGE - 1) ones behind the mask, hidden_states[-3], the crop; and inv_freq as
.to(float16) leaves it. transformers merges the picture in its old way because there is one <image> for several rows (4.45 to 4.47).
"""
import os
import sys

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import need  # noqa: E402

need.imports(__file__)

import numpy as np
import torch
import transformers
from PIL import Image
from transformers import CLIPTextConfig, CLIPTextModel, CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

import common

VOCAB, IMAGE_ID, PAD_ID = 60, 57, 58
LENGTH, CROP, SIDE, PATCH = 20, 5, 42, 14
ROWS = (SIDE // PATCH) ** 2
LLAVA = {"image_token_index": IMAGE_ID, "pad_token_id": PAD_ID,
         "text_config": {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2,
                         "intermediate_size": 48, "vocab_size": VOCAB, "rms_norm_eps": 1e-5, "rope_theta": 500000.0},
         "vision_config": {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 3, "intermediate_size": 40,
                           "image_size": SIDE, "patch_size": PATCH}}
CLIP = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 40, "vocab_size": 50,
        "max_position_embeddings": 12}
CASES = {"short": 9, "one_pad": LENGTH - 1, "full": LENGTH}  # ids with BOS and <image>
MEAN, STD = (0.48145466, 0.4578275, 0.4082107), (0.26862954, 0.26130258, 0.27577711)


def randomise(mod, seed):
    """Attention must look about, positions must matter: wide enough queries and keys."""
    common.randomise(mod, seed)
    with torch.no_grad():
        for name, p in mod.named_parameters():
            if "q_proj.weight" in name or "k_proj.weight" in name:
                p.mul_(3)
            if "embed" in name:
                p.copy_(common.rand(*p.shape, seed=seed + len(name)))
            if "scale" in name and p.dim() == 0:
                p.fill_(1)
    return mod


def make_llava():
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**LLAVA["vision_config"]), text_config=LlamaConfig(**LLAVA["text_config"], pad_token_id=PAD_ID),
        image_token_index=IMAGE_ID, pad_token_id=PAD_ID, image_seq_length=ROWS, vision_feature_layer=-2, vision_feature_select_strategy="default",
        attn_implementation="eager")
    return randomise(LlavaForConditionalGeneration._from_config(config, attn_implementation="eager"), 1)


def picture():
    """A portrait of another shape, as upstream's transform makes it: stretched, bilinear with antialiasing."""
    g = np.random.Generator(np.random.PCG64(5))
    small = g.integers(0, 256, (9, 7, 3), dtype=np.uint8)
    image = np.array(Image.fromarray(small).resize((80, 96), Image.BICUBIC))
    square = np.array(Image.fromarray(image).resize((SIDE, SIDE), Image.BILINEAR))
    pixels = (torch.tensor(square).permute(2, 0, 1).float() / 255 - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    return torch.tensor(image), pixels[None]


def round_frequencies(model):
    for m in model.modules():
        if hasattr(m, "inv_freq"):
            m.inv_freq = m.inv_freq.half().float()


def run_llava(model, ids, n, pixels):
    """Upstream's encode(): states and mask behind the crop."""
    full = torch.full((1, LENGTH), PAD_ID)
    full[0, :n] = ids
    mask = torch.zeros(1, LENGTH, dtype=torch.long)
    mask[0, :n] = 1
    longer = torch.cat([mask, torch.ones(1, ROWS - 1, dtype=torch.long)], 1)
    out = model(input_ids=full, attention_mask=longer, output_hidden_states=True, pixel_values=pixels)
    return out.hidden_states[-3][0, CROP:], longer[0, CROP:]


def main():
    torch.set_num_threads(1)
    tensors = {}
    image, pixels = picture()
    tensors["in.image"] = image
    tensors["out.pixels"] = pixels[0]
    llava = make_llava()
    for k, v in llava.state_dict().items():
        if not k.startswith(("language_model.lm_head", "language_model.model.norm", "language_model.model.layers.2", "language_model.model.layers.3",
                             "vision_tower.vision_model.post_layernorm", "vision_tower.vision_model.encoder.layers.2")):
            tensors[f"llava.{k}"] = v
    tower = llava.vision_tower(pixels, output_hidden_states=True).hidden_states[-2]
    tensors["out.tower"] = tower[0]
    tensors["out.features"] = llava.multi_modal_projector(tower[:, 1:])[0]
    g = torch.Generator().manual_seed(3)
    for exact in (True, False):
        if not exact:
            round_frequencies(llava)
        for name, n in CASES.items():
            if exact and name != "short":
                continue
            ids = tensors.get(f"in.ids_{name}")
            if ids is None:
                ids = torch.randint(0, 55, (n,), generator=g)
                ids[n - 1] = IMAGE_ID
                tensors[f"in.ids_{name}"] = ids
            states, mask = run_llava(llava, ids.long(), n, pixels)
            tensors[f"out.states_{name}{'_exact' if exact else ''}"] = states
            tensors[f"out.mask_{name}"] = mask
    clip = randomise(CLIPTextModel._from_config(CLIPTextConfig(**CLIP, eos_token_id=2), attn_implementation="eager"), 2)
    for k, v in clip.state_dict().items():
        tensors[f"clip.{k.removeprefix('text_model.')}"] = v
    for name, n in {"a": 4, "b": 12}.items():  # the first end of text is row n - 1
        ids = torch.full((12,), 49)
        ids[: n - 1] = torch.randint(0, 48, (n - 1,), generator=g)
        tensors[f"in.clip_{name}"] = ids
        tensors[f"out.pooled_{name}"] = clip(input_ids=ids[None]).pooler_output[0]
    common.save("text.safetensors", tensors, {
        "llava": LLAVA, "clip": CLIP, "length": LENGTH, "crop": CROP, "image_tokens": ROWS, "transformers": transformers.__version__, "torch": torch.__version__})


if __name__ == "__main__":
    with torch.no_grad():
        main()
