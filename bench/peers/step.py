"""The step of step.bench.ts, by TRL: one optimizer update of GRPO for every line read, one JSON line in answer.

    python step.py POLICY PROMPTS --rollouts 8 --tokens 32 --threads 1

POLICY is a checkpoint folder, PROMPTS a JSON file of [{"text": …, "image": path}, …]. The first line out tells versions and
memory, each later one seconds by phase, {"phase": [CPU of all threads, wall]}, and the peak of memory so far in MB.

Wants torch (the CPU build), transformers, trl, datasets, accelerate, peft, safetensors and pillow; no torchvision.
"""

import argparse
import json
import os
import sys
import time

from tuned import tuned

cli = argparse.ArgumentParser()
cli.add_argument("policy")
cli.add_argument("prompts")
cli.add_argument("--rollouts", type=int, default=8)
cli.add_argument("--tokens", type=int, default=32)
cli.add_argument("--threads", type=int, default=1)
options = cli.parse_args()

tuned(options.threads)
# libraries print to the standard output when they like; what is said there is ours alone
answers = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)

import torch
import transformers
import trl
from datasets import Dataset
from PIL import Image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil


def memory(key):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith(key))


class Phases:
    """Seconds by phase of the step under way."""

    def __init__(self):
        self.spent, self.open = {}, set()

    def timed(self, phase, work):
        """The same function, its time added to the phase; not twice where it calls another of the phase."""

        def run(*args, **kwargs):
            if phase in self.open:
                return work(*args, **kwargs)
            begin = self.now()
            self.open.add(phase)
            try:
                return work(*args, **kwargs)
            finally:
                self.open.remove(phase)
                self.add(phase, begin)

        return run

    def add(self, phase, begin):
        cpu, wall = self.spent.get(phase, (0.0, 0.0))
        end = self.now()
        self.spent[phase] = (cpu + end[0] - begin[0], wall + end[1] - begin[1])

    @staticmethod
    def now():
        return time.process_time(), time.perf_counter()


phases = Phases()


class PictureProcessor(transformers.Qwen3VLProcessor):
    """Text and pictures. The one of videos needs torchvision and is left out."""

    def check_argument_for_proper_class(self, argument_name, argument):
        if argument_name != "video_processor":
            return super().check_argument_for_proper_class(argument_name, argument)

    def __call__(self, *args, **kwargs):
        return phases.timed("prompts", super().__call__)(*args, **kwargs)


class Closed(Exception):
    """Nobody asks for another step."""


class Steps(transformers.TrainerCallback):
    """Begins a step when a line comes in, and answers when it has ended."""

    def on_step_begin(self, *_, **__):
        if not sys.stdin.readline():
            raise Closed
        phases.spent.clear()
        self.begin = phases.now()

    def on_pre_optimizer_step(self, *_, **__):
        self.update = phases.now()

    def on_optimizer_step(self, *_, **__):
        phases.add("optimizer", self.update)

    def on_step_end(self, *_, **__):
        phases.add("step", self.begin)
        answer({"phases": phases.spent, "tokens": tokens_of.count, "memoryMb": memory("VmHWM:")})


def answer(what):
    answers.write(json.dumps(what) + "\n")


def tokens_of(completion_ids, **_):
    """A reward that tells rollouts apart, whatever was sampled."""
    tokens_of.count = sum(map(len, completion_ids))
    return [float(sum(ids) % 2) for ids in completion_ids]


torch.set_num_threads(options.threads)
tokenizer = transformers.AutoTokenizer.from_pretrained(options.policy)
with open(os.path.join(options.policy, "chat_template.json")) as file:
    template = json.load(file)["chat_template"]
pictures = Qwen2VLImageProcessorPil.from_pretrained(options.policy)
processor = PictureProcessor(image_processor=pictures, tokenizer=tokenizer, chat_template=template)
with open(options.prompts) as file:
    prompts = json.load(file)

trainer = trl.GRPOTrainer(
    model=options.policy,
    processing_class=processor,
    reward_funcs=tokens_of,
    train_dataset=Dataset.from_dict(
        {
            "prompt": [[{"role": "user", "content": prompt["text"]}] for prompt in prompts],
            "image": [Image.open(prompt["image"]) for prompt in prompts],
        }
    ),
    args=trl.GRPOConfig(
        output_dir=os.path.join(os.path.dirname(options.prompts), "trl"),
        max_steps=1_000_000,
        num_generations=options.rollouts,
        per_device_train_batch_size=options.rollouts * len(prompts),
        gradient_accumulation_steps=1,
        max_completion_length=options.tokens,
        # no response may end early, and none may hold a placeholder of a picture
        generation_kwargs={"suppress_tokens": sorted(tokenizer.all_special_ids)},
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        beta=0.0,
        learning_rate=1e-6,
        lr_scheduler_type="constant",
        weight_decay=0.01,
        max_grad_norm=1.0,
        bf16=False,
        gradient_checkpointing=False,  # it would be slower
        use_cpu=True,
        model_init_kwargs={"dtype": "float32", "attn_implementation": "sdpa"},
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
    ),
    callbacks=[Steps()],
)
trainer._tokenize_prompts = phases.timed("prompts", trainer._tokenize_prompts)
trainer._generate_single_turn = phases.timed("rollout", trainer._generate_single_turn)
trainer._get_per_token_logps_and_entropies = phases.timed("forward", trainer._get_per_token_logps_and_entropies)
trainer.accelerator.backward = phases.timed("backward", trainer.accelerator.backward)
trainer.accelerator.clip_grad_norm_ = phases.timed("optimizer", trainer.accelerator.clip_grad_norm_)

versions = {"torch": torch.__version__, "transformers": transformers.__version__, "TRL": trl.__version__}
answer({"versions": versions, "memoryMb": memory("VmRSS:")})
try:
    trainer.train()
except Closed:
    pass
