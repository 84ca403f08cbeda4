# SPDX-License-Identifier: LGPL-2.1-or-later
"""The two text encoders of HunyuanVideo-Avatar at any size, with the names of the published checkpoints, and upstream's processing around them.

  Llava   LlavaForConditionalGeneration (CLIP vision tower, projector, LLaMA): language_model.model.layers.0.self_attn.q_proj.weight ...
  Clip    CLIPTextModel: text_model.encoder.layers.0.self_attn.q_proj.weight ...
  Texts   both with their tokenizers and upstream's template, crop, padding and masks: prompts -> inputs of the denoiser

Details kept from upstream (hymm_sp/text_encoder, transformers 4.45): the picture replaces the last id; padding rows are zeros at
position 1 that attend to all other rows; hidden_states[-3] without a norm; LLaMA's frequencies rounded to float16; the mask's
ones for the picture stand at its end.
"""
import json, os
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from models import load_safetensors, sdpa

TEMPLATE = ("<|start_header_id|>system<|end_header_id|>\n\nDescribe the video by detailing the following aspects: 1. The main content and theme of the video."
            "2. The color, shape, size, texture, quantity, text, and spatial relationships of the objects.3. Actions, events, behaviors temporal relationships, "
            "physical movement changes of the objects.4. background environment, light, style and atmosphere.5. camera angles, movements, and transitions used in "
            "the video:<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n{}<|eot_id|>")
QUALITY = "Authentic, Realistic, Natural, High-quality, Lens-Fixed, "
SUFFIX = "\nThe person looks like<image>"
NEGATIVE = ("Aerial view, aerial view, overexposed, low quality, deformation, a poor composition, bad hands, bad teeth, bad eyes, bad limbs, distortion, "
            "blurring, Lens changes")
MEAN, STD = (0.48145466, 0.4578275, 0.4082107), (0.26862954, 0.26130258, 0.27577711)
LLAMA_SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
CLIP_SPLIT = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"

# ============================================================================ networks

class ClipAttention(nn.Module):
    def __init__(self, d, heads):
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(d, d) for _ in range(4))

    def forward(self, x, mask):
        B, S, D = x.shape
        q, k, v = (p(x).view(B, S, self.heads, -1).transpose(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj))
        return self.out_proj(sdpa(q, k, v, mask).transpose(1, 2).reshape(B, S, D))

class ClipMLP(nn.Module):
    def __init__(self, d, h):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(d, h), nn.Linear(h, d)

    def forward(self, x):
        x = self.fc1(x)
        return self.fc2(x * torch.sigmoid(1.702 * x))          # quick GELU

class ClipLayer(nn.Module):
    def __init__(self, c):
        super().__init__()
        d = c["hidden_size"]
        self.layer_norm1, self.layer_norm2 = nn.LayerNorm(d, eps=1e-5), nn.LayerNorm(d, eps=1e-5)
        self.self_attn, self.mlp = ClipAttention(d, c["num_attention_heads"]), ClipMLP(d, c["intermediate_size"])

    def forward(self, x, mask=None):
        x = x + self.self_attn(self.layer_norm1(x), mask)
        return x + self.mlp(self.layer_norm2(x))

class ClipEncoder(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.layers = nn.ModuleList([ClipLayer(c) for _ in range(c["num_hidden_layers"])])

class TextEmbeddings(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.token_embedding, self.position_embedding = nn.Embedding(c["vocab_size"], c["hidden_size"]), nn.Embedding(c["max_position_embeddings"], c["hidden_size"])

class ClipText(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.embeddings, self.encoder, self.final_layer_norm = TextEmbeddings(c), ClipEncoder(c), nn.LayerNorm(c["hidden_size"], eps=1e-5)

class Clip(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.text_model = ClipText(c)

    def forward(self, ids, eos):
        """ids (B, n), eos (B,) the first end of text -> its rows after the last norm (B, d)."""
        m, n = self.text_model, ids.shape[1]
        x = m.embeddings.token_embedding(ids) + m.embeddings.position_embedding.weight[:n]
        mask = torch.ones(n, n, dtype=torch.bool, device=ids.device).tril()
        for l in m.encoder.layers:
            x = l(x, mask)
        return m.final_layer_norm(x)[torch.arange(len(eos), device=ids.device), eos]

class VisionEmbeddings(nn.Module):
    def __init__(self, c):
        super().__init__()
        d, n = c["hidden_size"], (c["image_size"] // c["patch_size"]) ** 2 + 1
        self.class_embedding = nn.Parameter(torch.randn(d) * d ** -.5)
        self.patch_embedding = nn.Conv2d(3, d, c["patch_size"], c["patch_size"], bias=False)
        self.position_embedding = nn.Embedding(n, d)
        nn.init.normal_(self.position_embedding.weight, std=.1)

class VisionModel(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.embeddings, self.pre_layrnorm, self.encoder = VisionEmbeddings(c), nn.LayerNorm(c["hidden_size"], eps=1e-5), ClipEncoder(c)
        self.post_layernorm = nn.LayerNorm(c["hidden_size"], eps=1e-5)

class VisionTower(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.vision_model = VisionModel(c)

    def forward(self, pixels, whole=False):
        """pixels (B, 3, side, side), normalised -> hidden_states[-2] (B, 1 + patches, d); whole: also the pooled row after all layers."""
        m = self.vision_model
        e = m.embeddings
        x = e.patch_embedding(pixels).flatten(2).transpose(1, 2)
        x = torch.cat([e.class_embedding.expand(x.shape[0], 1, -1), x], 1) + e.position_embedding.weight
        x = m.pre_layrnorm(x)
        for l in list(m.encoder.layers)[:-1]:
            x = l(x)
        return (x, m.post_layernorm(m.encoder.layers[-1](x)[:, 0])) if whole else x

class Projector(nn.Module):
    def __init__(self, v, d):
        super().__init__()
        self.linear_1, self.linear_2 = nn.Linear(v, d), nn.Linear(d, d)

    def forward(self, x):
        return self.linear_2(F.gelu(self.linear_1(x)))

class LlamaNorm(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d))

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * self.weight

class LlamaAttention(nn.Module):
    def __init__(self, c):
        super().__init__()
        d, self.heads, self.kv = c["hidden_size"], c["num_attention_heads"], c["num_key_value_heads"]
        self.head = d // self.heads
        lin = lambda a, b: nn.Linear(a, b, bias=False)
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = lin(d, d), lin(d, self.kv * self.head), lin(d, self.kv * self.head), lin(d, d)

    def forward(self, x, cos, sin, mask):
        B, S, D = x.shape
        q, k, v = (p(x).view(B, S, -1, self.head).transpose(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj))
        turn = lambda y: torch.cat([-y[..., self.head // 2:], y[..., :self.head // 2]], -1)
        q, k = q * cos + turn(q) * sin, k * cos + turn(k) * sin
        k, v = (y.repeat_interleave(self.heads // self.kv, 1) for y in (k, v))
        return self.o_proj(sdpa(q, k, v, mask).transpose(1, 2).reshape(B, S, D))

class LlamaMLP(nn.Module):
    def __init__(self, d, h):
        super().__init__()
        self.gate_proj, self.up_proj, self.down_proj = nn.Linear(d, h, bias=False), nn.Linear(d, h, bias=False), nn.Linear(h, d, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))

class LlamaLayer(nn.Module):
    def __init__(self, c):
        super().__init__()
        d = c["hidden_size"]
        self.input_layernorm, self.post_attention_layernorm = LlamaNorm(d), LlamaNorm(d)
        self.self_attn, self.mlp = LlamaAttention(c), LlamaMLP(d, c["intermediate_size"])

    def forward(self, x, cos, sin, mask):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, mask)
        return x + self.mlp(self.post_attention_layernorm(x))

class LlamaModel(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.embed_tokens = nn.Embedding(c["vocab_size"], c["hidden_size"])
        self.layers, self.norm = nn.ModuleList([LlamaLayer(c) for _ in range(c["num_hidden_layers"])]), LlamaNorm(c["hidden_size"])

class LanguageModel(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.model, self.lm_head = LlamaModel(c), nn.Linear(c["hidden_size"], c["vocab_size"], bias=False)

class Llava(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c, t, v = c, c["text_config"], c["vision_config"]
        self.vision_tower, self.multi_modal_projector = VisionTower(v), Projector(v["hidden_size"], t["hidden_size"])
        self.language_model = LanguageModel(t)
        head = t["hidden_size"] // t["num_attention_heads"]
        f = (1.0 / t["rope_theta"] ** (torch.arange(0, head, 2).float() / head)).half().float()        # .to(float16) converts it too
        self.register_buffer("freq", f, persistent=False)

    def see(self, pixels):
        """(B, 3, side, side) -> rows of the picture (B, patches, hidden)."""
        return self.multi_modal_projector(self.vision_tower(pixels)[:, 1:])

    def run(self, ids, seen, layers):
        """ids (B, n) without padding, the picture's last; seen (B, p, hidden). The residual streams after each of the first @layers, whose
        rows are: text, picture, one of padding."""
        m = self.language_model.model
        x = torch.cat([m.embed_tokens(ids[:, :-1]), seen], 1)
        n = x.shape[1]
        x = torch.cat([x, torch.zeros_like(x[:, :1])], 1)
        p = torch.cat([torch.arange(n, device=x.device), torch.ones(1, dtype=torch.long, device=x.device)])
        a = torch.cat([p[:, None] * self.freq] * 2, 1)
        mask = torch.ones(n + 1, n + 1, dtype=torch.bool, device=x.device).tril()
        mask = mask & (torch.arange(n + 1, device=x.device) < n)       # no row attends to the padding
        out = []
        for i in range(layers):
            x = m.layers[i](x, a.cos(), a.sin(), mask)
            out.append(x)
        return out

    def states(self, ids, seen, crop, length):
        """hidden_states[-3] after the crop, padded as ids of @length are: (B, length - 1 + p - crop, hidden)."""
        x = self.run(ids, seen, len(self.language_model.model.layers) - 2)[-1]
        return torch.cat([x[:, crop:-1], x[:, -1:].expand(-1, length - ids.shape[1], -1)], 1)

def text_mask(n, crop, length, p):
    """Mask of upstream's pipeline for n ids: (length - 1 + p - crop,) bool, and the number of used rows."""
    m = torch.zeros(length + p - 1, dtype=torch.bool)
    m[:n] = True
    m[length:] = True
    return m[crop:], n + p - 1 - crop

def pixels_of(frames, side):
    """frames (B, 3, H, W) uint8 -> the tower's pixels. Exact only where Pillow did the scaling: see square()."""
    x = F.interpolate(frames.float(), (side, side), mode="bilinear", antialias=True, align_corners=False).round().clamp(0, 255) if frames.shape[-1] != side else frames.float()
    return (x / 255 - torch.tensor(MEAN, device=x.device)[:, None, None]) / torch.tensor(STD, device=x.device)[:, None, None]

def square(frame, side):
    """One picture (3, H, W) uint8, stretched by Pillow."""
    from PIL import Image
    im = Image.fromarray(frame.permute(1, 2, 0).cpu().numpy()).resize((side, side), Image.BILINEAR)
    return torch.from_numpy(np.array(im)).permute(2, 0, 1)

# ========================================================== tokenizers (Hugging Face's tokenizers)

def clip_tokenizer(vocab, merges):
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
    t = Tokenizer(models.BPE(vocab=vocab, merges=merges, end_of_word_suffix="</w>", continuing_subword_prefix="", unk_token="<|endoftext|>"))
    t.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(CLIP_SPLIT), "removed", invert=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    return t

class Texts:
    """The encoders of a folder in the layout of the release (ckpts/llava_llama_image, ckpts/text_encoder_2)."""
    def __init__(self, ckpts, cfg, dev="cpu"):
        from tokenizers import Tokenizer
        a, b = ckpts + "/llava_llama_image", ckpts + "/text_encoder_2"
        self.crop, self.length, self.dev = cfg["text"]["crop_start"], cfg["text"]["max_length"], dev
        self.clip_length = cfg["text"].get("clip_length", 77)
        self.c = json.load(open(a + "/config.json"))
        self.side = self.c["vision_config"]["image_size"]
        self.patches = (self.side // self.c["vision_config"]["patch_size"]) ** 2
        self.llava, self.clip = Llava(self.c), Clip(json.load(open(b + "/config.json")))
        for net, files in ((self.llava, sorted(set(json.load(open(a + "/model.safetensors.index.json"))["weight_map"].values())) if os.path.exists(a + "/model.safetensors.index.json") else ["model.safetensors"]), (self.clip, ["model.safetensors"])):
            w = {}
            for f in files:
                w.update(load_safetensors((a if net is self.llava else b) + "/" + f))
            net.load_state_dict({k: v.float() for k, v in w.items()})
            net.to(dev).eval()
        self.words = Tokenizer.from_file(a + "/tokenizer.json")
        merges = [tuple(l.split(" ")) for l in open(b + "/merges.txt", encoding="utf-8").read().split("\n")[1:] if l]
        self.clip_words = clip_tokenizer(json.load(open(b + "/vocab.json", encoding="utf-8")), merges)
        self.bos, self.end = self.words.token_to_id("<|begin_of_text|>"), self.clip_words.token_to_id("<|endoftext|>")

    def ids(self, prompt, positive=True):
        """ids of LLaVA with template and picture, not padded; of CLIP, and the place of its end."""
        p = (QUALITY if positive else "") + prompt
        a = [self.bos] + self.words.encode(TEMPLATE.replace("{}", p) + SUFFIX, add_special_tokens=False).ids
        if len(a) > self.length:
            tail = self.words.encode(TEMPLATE.split("{}")[1] + SUFFIX, add_special_tokens=False).ids
            a = ([self.bos] + self.words.encode(TEMPLATE.split("{}")[0] + p, add_special_tokens=False).ids)[:self.length - len(tail)] + tail
        b = [self.end - 1] + self.clip_words.encode(p, add_special_tokens=False).ids[:self.clip_length - 2]
        return a, b + [self.end] * (self.clip_length - len(b)), len(b)

    @torch.no_grad()
    def encode(self, prompt, frame, positive=True):
        """Encodes a prompt with a portrait (3, H, W) uint8: text_states (rows, hidden), mask (rows,), used rows, text_states_2 (hidden)."""
        a, b, end = self.ids(prompt, positive)
        seen = self.llava.see(pixels_of(square(frame, self.side)[None].to(self.dev), self.side))
        s = self.llava.states(torch.tensor([a], device=self.dev), seen, self.crop, self.length)[0]
        m, used = text_mask(len(a), self.crop, self.length, self.patches)
        return s, m.to(self.dev), used, self.clip(torch.tensor([b], device=self.dev), torch.tensor([end], device=self.dev))[0]
