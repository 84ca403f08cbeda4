#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Makes the tokenizers and trains the two text encoders (on a CPU).  python3 train_text.py --out CKPTS [--seconds 900]

LLaVA learns to predict prompts (next token, all layers) and to represent, in its third layer from the end, whose rows the denoiser gets, the mood and
the light of the prompt and the colours of the portrait; CLIP's last row represents mood and light. The heads that read them are not kept.
Writes CKPTS/llava_llama_image, CKPTS/text_encoder_2 in the layout of the release, and prints text.crop_start."""
import os
import sys

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import need  # noqa: E402

need.imports(__file__)

import argparse, json, math, random, time
import torch
import torch.nn as nn
import torch.nn.functional as F
import prompts
from data import LIGHTS, MOODS, make_identities, make_motion, render, reference_frame, set_scene
from models import save_safetensors
from text import *

LLAVA = {"architectures": ["LlavaForConditionalGeneration"], "model_type": "llava", "projector_hidden_act": "gelu", "vision_feature_layer": -2,
         "vision_feature_select_strategy": "default", "torch_dtype": "float16",
         "text_config": {"model_type": "llama", "hidden_size": 64, "num_hidden_layers": 5, "num_attention_heads": 4, "num_key_value_heads": 2,
                         "intermediate_size": 192, "rms_norm_eps": 1e-05, "rope_theta": 500000.0, "max_position_embeddings": 8192, "hidden_act": "silu"},
         "vision_config": {"model_type": "clip_vision_model", "hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 160,
                           "image_size": 56, "patch_size": 14, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-05}}
CLIP = {"architectures": ["CLIPTextModel"], "model_type": "clip_text_model", "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4,
        "intermediate_size": 96, "max_position_embeddings": 77, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-05, "eos_token_id": 2}
SPECIAL = (["<|begin_of_text|>", "<|end_of_text|>"] + [f"<|reserved_special_token_{i}|>" for i in range(4)]
           + ["<|start_header_id|>", "<|end_header_id|>", "<|reserved_special_token_4|>", "<|eot_id|>", "<unk>", "<image>", "<pad>"])
WORDS, ROOM = 1000, 64                                          # tokens without the special ones; maximum ids of a prompt and the text after it

def corpus(n, seed):
    r = random.Random(seed)
    return [prompts.make(r.randrange(len(MOODS)), r.randrange(len(LIGHTS)), r) for _ in range(n)]

def train_tokenizers(out, texts):
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    plain = [t for t in TEMPLATE.replace("{}", " ").replace("<|", "|>").split("|>")[::2]] + [SUFFIX.replace("<image>", ""), QUALITY, NEGATIVE]
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA_SPLIT), "isolated"), level])
    t.train_from_iterator(texts + plain * 200, trainers.BpeTrainer(vocab_size=WORDS, initial_alphabet=alphabet, show_progress=False))
    j = json.loads(t.to_str())
    j["model"]["ignore_merges"] = True
    n = len(j["model"]["vocab"])
    j["added_tokens"] = [dict(id=n + i, content=s, single_word=False, lstrip=False, rstrip=False, normalized=False, special=True) for i, s in enumerate(SPECIAL)]
    j["decoder"] = dict(type="ByteLevel", add_prefix_space=True, trim_offsets=True, use_regex=True)
    j["model"] = dict(type="BPE", dropout=None, unk_token=None, continuing_subword_prefix=None, end_of_word_suffix=None, fuse_unk=False, byte_fallback=False, ignore_merges=True,
                      vocab=j["model"]["vocab"], merges=[m if isinstance(m, str) else " ".join(m) for m in j["model"]["merges"]])
    a, b = out + "/llava_llama_image", out + "/text_encoder_2"
    os.makedirs(a, exist_ok=True); os.makedirs(b, exist_ok=True)
    json.dump(j, open(a + "/tokenizer.json", "w", encoding="utf-8"), ensure_ascii=False, separators=(",", ":"))
    json.dump(dict(bos_token="<|begin_of_text|>", eos_token="<|end_of_text|>", unk_token="<unk>", pad_token="<pad>", padding_side="right", tokenizer_class="LlamaTokenizer"),
              open(a + "/tokenizer_config.json", "w"), indent=1)
    LLAVA["image_token_index"], LLAVA["pad_token_id"] = n + SPECIAL.index("<image>"), n + SPECIAL.index("<pad>")
    LLAVA["text_config"]["vocab_size"] = n + len(SPECIAL)
    json.dump(LLAVA, open(a + "/config.json", "w"), indent=1)
    c = Tokenizer(models.BPE(end_of_word_suffix="</w>", continuing_subword_prefix=""))
    c.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(CLIP_SPLIT), "removed", invert=True), level])
    c.train_from_iterator([x.lower() for x in texts + [QUALITY, NEGATIVE] * 200],
                          trainers.BpeTrainer(vocab_size=WORDS, initial_alphabet=alphabet, end_of_word_suffix="</w>", show_progress=False))
    merges = [m.split(" ") if isinstance(m, str) else m for m in json.loads(c.to_str())["model"]["merges"]]
    names = alphabet + [x + "</w>" for x in alphabet]
    merges = merges[:WORDS + 256 - len(names)]
    names += [x + y for x, y in merges] + ["<|startoftext|>", "<|endoftext|>"]
    assert len(set(names)) == len(names)
    json.dump({x: i for i, x in enumerate(names)}, open(b + "/vocab.json", "w", encoding="utf-8"), ensure_ascii=False, separators=(",", ":"))
    open(b + "/merges.txt", "w", encoding="utf-8").write("#version: 0.2\n" + "".join(f"{x} {y}\n" for x, y in merges))
    CLIP["vocab_size"] = len(names)
    json.dump(CLIP, open(b + "/config.json", "w"), indent=1)

def portraits(n, seed, side):
    """n portraits as input of the vision tower, their colours (n, 9); n frames, their moods and lights."""
    idt = make_identities(n, seed)
    g = torch.Generator().manual_seed(seed)
    ref = reference_frame(idt)
    mood, light = torch.randint(0, len(MOODS), (n,), generator=g), torch.randint(0, len(LIGHTS), (n,), generator=g)
    z = torch.rand(4, n, generator=g)
    fr = (render(set_scene(idt, mood, light), z[0] * z[0], z[1], z[2] ** 6, (z[3] - .5) * .05, z[3] * 0, (z[0] - .5) * .1) * 255).round().to(torch.uint8)
    return pixels_of(ref, side), torch.cat([idt["skin"], idt["hair"], idt["shirt"]], 1) * 2 - 1, pixels_of(fr, side), mood, light

def save(out, llava, clip):
    w = {k: v.half() for k, v in llava.state_dict().items()}
    a = out + "/llava_llama_image"
    shards = [[k for k in w if not k.startswith("language_model.model.layers.") and not k.startswith("language_model.lm_head")], [k for k in w if k.startswith(("language_model.model.layers.", "language_model.lm_head"))]]
    index = {}
    for i, names in enumerate(shards):
        f = f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors"
        save_safetensors(a + "/" + f, {k: w[k] for k in names}, {"format": "pt"})
        index.update({k: f for k in names})
    json.dump(dict(metadata=dict(total_size=sum(v.numel() * 2 for v in w.values())), weight_map=dict(sorted(index.items()))), open(a + "/model.safetensors.index.json", "w"), indent=1)
    save_safetensors(out + "/text_encoder_2/model.safetensors", {k: v.half() for k, v in clip.state_dict().items()}, {"format": "pt"})

if __name__ == "__main__":
    ap = argparse.ArgumentParser()
    ap.add_argument("--out", default="out"); ap.add_argument("--seconds", type=float, default=900); ap.add_argument("--seed", type=int, default=11)
    ap.add_argument("--batch", type=int, default=32); ap.add_argument("--lr", type=float, default=2e-3); ap.add_argument("--threads", type=int, default=2)
    a = ap.parse_args()
    torch.set_num_threads(a.threads); torch.manual_seed(a.seed)
    train_tokenizers(a.out, corpus(20000, a.seed))
    torch.manual_seed(a.seed)
    llava, clip = Llava(LLAVA), Clip(CLIP)
    for net in (llava, clip):
        for k, p in net.named_parameters():
            if p.dim() == 2: nn.init.normal_(p, std=1.0 if "embed_tokens" in k else .3 if "embedding" in k else p.shape[1] ** -.5 * (.4 if ("o_proj" in k or "down_proj" in k or "out_proj" in k or "fc2" in k) else 1))
    save(a.out, llava, clip)
    first = Texts(a.out, dict(text=dict(crop_start=1, max_length=4096)))
    crop = 1 + len(first.words.encode(TEMPLATE.split("{}")[0], add_special_tokens=False).ids)
    length = crop + ROOM
    print("text.crop_start", crop, "text.max_length", length, flush=True)
    texts = Texts(a.out, dict(text=dict(crop_start=crop, max_length=length)))
    # prompts by their number of ids, so that a batch needs no padding
    r = random.Random(a.seed)
    def some(n):
        by = {}
        for _ in range(n):
            m, l = (r.randrange(len(MOODS)) if r.random() < .75 else 0), (r.randrange(len(LIGHTS)) if r.random() < .75 else 0)
            x, y, e = texts.ids("" if r.random() < .01 and not m and not l else prompts.make(m, l, r))
            by.setdefault(len(x), []).append((x, y, e, m, l))
        x, y, e = texts.ids(NEGATIVE, False)
        by.setdefault(len(x), []).extend([(x, y, e, 0, 0)] * (n // 100))
        return {k: [torch.tensor(c) for c in zip(*v)] for k, v in by.items() if len(v) >= 8}
    train, test = some(16000), some(1500)
    side = LLAVA["vision_config"]["image_size"]
    face, colours, scene, smood, slight = portraits(1600, 900000, side)
    tface, tcolours, tscene, tsmood, tslight = portraits(200, 5000000, side)
    print("data made", flush=True)
    d, dc, dv = 64, 32, 64
    heads = nn.ModuleDict(dict(mood=nn.Linear(d, len(MOODS)), light=nn.Linear(d, len(LIGHTS)), seen=nn.Linear(d, 9), cmood=nn.Linear(dc, len(MOODS)), clight=nn.Linear(dc, len(LIGHTS)),
                               vmood=nn.Linear(dv, len(MOODS)), vlight=nn.Linear(dv, len(LIGHTS))))
    nets = nn.ModuleList([llava, clip, heads])
    opt = torch.optim.AdamW(nets.parameters(), lr=a.lr, betas=(.9, .98), weight_decay=.02)
    lens, weight = list(train), torch.tensor([float(len(train[k][0])) for k in train])
    n_run = len(llava.language_model.model.layers) - 2

    def losses(batch, fi, si, F_, C_, S_, SM_, SL_):
        x, y, e, m, l = batch
        seen = llava.see(F_[fi])
        hs = llava.run(x, seen, n_run + 2)
        st, n = hs[n_run - 1], x.shape[1]
        mean = st[:, crop:-1].mean(1)
        lm = llava.language_model
        logits = lm.lm_head(lm.model.norm(hs[-1][:, crop - 1:n - 2]))
        out = dict(lm=F.cross_entropy(logits.flatten(0, 1), x[:, crop:n - 1].flatten()))
        for k, v, t in (("mood", mean, m), ("light", mean, l)):
            out[k] = F.cross_entropy(heads[k](v), t)
        last = st[:, -2]
        out["last"] = F.cross_entropy(heads["mood"](last), m) + F.cross_entropy(heads["light"](last), l)
        out["seen"] = 2 * F.mse_loss(heads["seen"](st[:, n - 1:-1].mean(1)), C_[fi])
        pooled = clip(y, e)
        out["cmood"], out["clight"] = F.cross_entropy(heads["cmood"](pooled), m), F.cross_entropy(heads["clight"](pooled), l)
        _, v = llava.vision_tower(S_[si], True)
        out["vmood"], out["vlight"] = .5 * F.cross_entropy(heads["vmood"](v), SM_[si]), .5 * F.cross_entropy(heads["vlight"](v), SL_[si])
        out["scale"] = .02 * (st.pow(2).mean(-1) - 1).pow(2).mean()
        right = dict(mood=heads["mood"](mean).argmax(1) == m, light=heads["light"](mean).argmax(1) == l, cmood=heads["cmood"](pooled).argmax(1) == m,
                     clight=heads["clight"](pooled).argmax(1) == l, vmood=heads["vmood"](v).argmax(1) == SM_[si], vlight=heads["vlight"](v).argmax(1) == SL_[si])
        return out, {k: q.float().mean().item() for k, q in right.items()}

    def check():
        nets.eval()
        tot, n = {}, 0
        with torch.no_grad():
            for k, b in test.items():
                b = [c[:64] for c in b]
                g = torch.Generator().manual_seed(k)
                o, right = losses(b, torch.randint(0, len(tface), (len(b[0]),), generator=g), torch.randint(0, len(tface), (len(b[0]),), generator=g), tface, tcolours, tscene, tsmood, tslight)
                for q, v in right.items(): tot[q] = tot.get(q, 0) + v * len(b[0])
                for q in ("lm", "seen"): tot[q] = tot.get(q, 0) + o[q].item() * len(b[0])
                n += len(b[0])
        nets.train()
        return {q: round(v / n, 3) for q, v in tot.items()}

    t0, step = time.time(), 0
    while time.time() - t0 < a.seconds:
        p = (time.time() - t0) / a.seconds
        for q in opt.param_groups: q["lr"] = a.lr * min(1, (step + 1) / 100) * (.5 * (1 + math.cos(math.pi * p)) + .01)
        k = lens[int(torch.multinomial(weight, 1))]
        i = torch.randint(0, len(train[k][0]), (a.batch,))
        o, right = losses([c[i] for c in train[k]], torch.randint(0, len(face), (a.batch,)), torch.randint(0, len(face), (a.batch,)), face, colours, scene, smood, slight)
        opt.zero_grad(); sum(o.values()).backward(); nn.utils.clip_grad_norm_(nets.parameters(), 1.0); opt.step()
        if step % 200 == 0:
            print(f"step {step} {time.time() - t0:.0f}s", {q: round(v.item(), 3) for q, v in o.items()}, flush=True)
        step += 1
        if step % 500 == 0:
            print("held out:", check(), flush=True); save(a.out, llava, clip)
    print("steps", step, "held out:", check())
    save(a.out, llava, clip)
