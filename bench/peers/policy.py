"""Updates and sampling of a policy by transformers and torch: a line of JSON in, one out.

    python policy.py POLICY --threads 1
    python policy.py POLICY --device cuda --dtype bfloat16 [--recompute]

    {"load": path, "responses": 32}           →  {"logProbs": mean}   sequences of a JSON file, with their pixels beside it in f32
    {"work": "update"}                        →  {"seconds": [CPU of all threads, wall], "peakBytes": of a GPU}
    {"work": "generate", "n": 8, "tokens": 32}  →  the same

The first line out tells versions. Wants torch, transformers and safetensors.
"""

import argparse
import json
import os
import sys
import time

from tuned import tuned

cli = argparse.ArgumentParser()
cli.add_argument("policy")
cli.add_argument("--threads", type=int, default=1)
cli.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
cli.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
cli.add_argument("--recompute", action="store_true", help="activations of layers are computed again in the backward pass")
options = cli.parse_args()
tuned(options.threads, options.device)
answers = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)

import torch
import torch.nn.functional as F
import transformers

torch.set_num_threads(options.threads)
model = transformers.Qwen3VLForConditionalGeneration.from_pretrained(
    options.policy, dtype=getattr(torch, options.dtype), attn_implementation="sdpa"
).to(options.device)
if options.recompute:
    model.gradient_checkpointing_enable()
model.generation_config.eos_token_id = None  # every response gets all its tokens
model.generation_config.pad_token_id = 0
# the weights stay what they are, so that both sides go on computing the same numbers
optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, weight_decay=0.01, fused=True)


def read(path):
    with open(path) as file:
        batch = json.load(file)
    ids = torch.tensor(batch["ids"], device=options.device)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    inputs["mm_token_type_ids"] = (ids == model.config.image_token_id).int()
    if batch["grids"]:
        grids = torch.tensor(batch["grids"], device=options.device)
        pixels = torch.frombuffer(bytearray(open(path + ".f32", "rb").read()), dtype=torch.float32).to(options.device)
        inputs |= {"image_grid_thw": grids, "pixel_values": pixels.view(int(grids.prod(-1).sum()), -1)}
    return inputs


def scores(inputs, responses):
    logits = model(**inputs, logits_to_keep=responses + 1, use_cache=False).logits[:, :-1]
    log_p = F.log_softmax(logits.float(), -1)
    return log_p.gather(-1, inputs["input_ids"][:, -responses:, None])[..., 0], -(log_p.exp() * log_p).sum(-1)


def update(inputs, responses):
    optimizer.zero_grad(set_to_none=True)
    log_probs, entropy = scores(inputs, responses)
    ratio = torch.exp(log_probs - log_probs.detach())
    advantages = torch.linspace(-1, 1, len(ratio), device=options.device)[:, None]
    loss = -torch.min(ratio * advantages, ratio.clamp(0.8, 1.28) * advantages).mean() - 1e-3 * entropy.mean()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()


def generate(inputs, n, tokens):
    prompt = inputs["input_ids"].shape[1]
    out = model.generate(**inputs, max_new_tokens=tokens, do_sample=True, temperature=1.0, top_p=1.0, top_k=0, num_return_sequences=n)
    assert out.shape == (len(inputs["input_ids"]) * n, prompt + tokens), out.shape


def answer(what):
    answers.write(json.dumps(what) + "\n")


def finish():
    """Waits for the device, which works behind."""
    if options.device == "cuda":
        torch.cuda.synchronize()


answer({"versions": {"torch": torch.__version__, "transformers": transformers.__version__}})
inputs, responses = None, 0
for line in sys.stdin:
    ask = json.loads(line)
    if "load" in ask:
        inputs, responses = read(ask["load"]), ask["responses"]
        with torch.no_grad():
            answer({"logProbs": float(scores(inputs, responses)[0].mean()) if responses else 0})
        continue
    finish()
    begin = time.process_time(), time.perf_counter()
    if ask["work"] == "update":
        model.train()
        update(inputs, responses)
    else:
        model.eval()
        with torch.no_grad():
            generate(inputs, ask["n"], ask["tokens"])
    finish()
    seconds = [time.process_time() - begin[0], time.perf_counter() - begin[1]]
    answer({"seconds": seconds, "peakBytes": torch.cuda.max_memory_allocated() if options.device == "cuda" else 0})
