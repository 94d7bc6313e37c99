"""A language model of lm-eval's interface whose answers are hashes of the whole prompt."""

import hashlib
from collections import Counter

from lm_eval.api.model import LM

from evalkit.records import Message, Response


def render(history, add_generation_prompt=True):
    """A chat template."""
    text = "".join(f"<{turn['role']}>{turn['content']}</>" for turn in history)
    return text + "<assistant>" if add_generation_prompt else text.removesuffix("</>")


def rendered(prompt):
    """A request's prompt as a model renders it."""
    if isinstance(prompt, str):
        return prompt
    assert all(isinstance(turn, Message) for turn in prompt)
    history = [{"role": turn.role, "content": turn.content} for turn in prompt]
    return render(history, add_generation_prompt=prompt[-1].role != "assistant")


def _number(*parts):
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "big")


def say(prompt, repeat):
    seed = _number("text", prompt, repeat)
    forms = ("I make it {n}. #### {n}", "First 3, so {n}", "#### {n} and done", "no idea", "honey")
    return forms[seed % len(forms)].format(n=seed // 7 % 40)


def weigh(prompt, continuation):
    seed = _number("weight", prompt, continuation)
    return -(seed % 5000) / 100 - 0.01, seed % 3 == 0


class HashModel(LM):
    """Answers by a hash of the whole prompt, so that a changed prompt changes every score."""

    tokenizer_name = "hash"

    def loglikelihood(self, requests, disable_tqdm=False):
        return [weigh(*request.args) for request in requests]

    def loglikelihood_rolling(self, requests, disable_tqdm=False):
        return [weigh(request.args[0], "")[0] for request in requests]

    def generate_until(self, requests, disable_tqdm=False):
        asked = Counter()
        answers = []
        for request in requests:
            answers.append(say(request.args[0], asked[request.args[0]]))
            asked[request.args[0]] += 1
        return answers

    def apply_chat_template(self, chat_history, add_generation_prompt=True):
        return render(chat_history, add_generation_prompt)


def answer(request):
    """What `HashModel` says to a request of ours."""
    prompt = rendered(request.prompt)
    if request.kind == "generate":
        return Response(text=say(prompt, request.repeat))
    logprob, greedy = weigh(prompt, request.continuation)
    return Response(logprob=logprob, greedy=greedy)
