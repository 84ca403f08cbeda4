# SPDX-License-Identifier: LGPL-2.1-or-later
"""Loads the released files as upstream does (inference.py, load_state_dict; vae/__init__.py, load_vae), in seconds since SINCE.

    load_torch.py FOLDER cpu|cuda|offload SINCE

FOLDER holds ckpts/. Modules are stood for by trees of empty parameters, whose making takes no part in the time (upstream fills
them with random numbers first, which here is not counted against it). cuda: made and loaded there, as without --cpu-offload;
offload: loaded on the host. Text encoders are left out on both sides. Before the last line: what was held at the peak, "gpu MIB" and
"host MIB" (watch.py). tests/bench/load looks first for what is needed (torch), as this would count.
"""
import pathlib
import sys
import time

if len(sys.argv) != 4:
    sys.exit("error: expected: load_torch.py FOLDER cpu|cuda|offload SINCE")
folder, device, since = pathlib.Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])


def mark(name, less=0.0):
    print(name, f"{time.time() - since - less:.3f}", flush=True)


mark("started")
import torch  # noqa: E402
from watch import Watch  # noqa: E402

torch.set_grad_enabled(False)
where = "cuda" if device == "cuda" else "cpu"
if where == "cuda":
    torch.zeros(1, device="cuda")
mark("imported")
watch = Watch(torch if where == "cuda" else None)
spent = 0.0


def empty(path, key, dtype):
    """A module with the file's parameters; not counted."""
    global spent
    start = time.time()
    state = torch.load(path, map_location="meta", mmap=True, weights_only=True)
    root = torch.nn.Module()
    for name, t in (state[key] if key else state).items():
        module, names = root, name.split(".")
        for part in names[:-1]:
            if part not in module._modules:
                module.add_module(part, torch.nn.Module())
            module = module._modules[part]
        module.register_parameter(names[-1], torch.nn.Parameter(torch.empty(t.shape, dtype=dtype or t.dtype, device=where), requires_grad=False))
    spent += time.time() - start
    return root


video = folder / "ckpts" / "hunyuan-video-t2v-720p"
path = video / "transformers" / "mp_rank_00_model_states.pt"
model = empty(path, "module", torch.bfloat16)
state = torch.load(path, map_location=lambda storage, loc: storage)["module"]
mark("read", spent)
watch.look()
model.load_state_dict(state, strict=False)
if where == "cuda":
    torch.cuda.synchronize()
mark("loaded", spent)
path = video / "vae" / "pytorch_model.pt"
vae = empty(path, None, None)
vae.load_state_dict(torch.load(path, map_location=where))
vae = vae.to(torch.float16).to(where)
if where == "cuda":
    torch.cuda.synchronize()
now = time.time() - since - spent
watch.look()
if watch.gpu:
    print("gpu", f"{watch.gpu / 2**20:.0f}")
if watch.host:
    print("host", f"{watch.host / 2**20:.0f}")
print("ready", f"{now:.3f}", flush=True)
