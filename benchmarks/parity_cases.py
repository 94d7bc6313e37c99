"""What is compared: lm-eval tasks that cover the output types, groups and chat templates."""

from typing import Literal

from evalkit.records import Record
from evalkit.tasks.protocol import Prompting


class Case(Record, frozen=True, kw_only=True):
    """One name as lm-eval's command line and evalkit are both asked to run it."""

    name: str
    style: Literal["text", "chat"] = "text"
    multiturn: bool = True
    shots: int | None = None
    system: str = ""
    max_tokens: int | None = None
    limit: int = 40

    @property
    def label(self) -> str:
        shots = "" if self.shots is None else f"-{self.shots}shot"
        style = self.style if self.style == "text" or self.multiturn else "chat-one-turn"
        return f"{self.name}-{style}{shots}{'-system' if self.system else ''}"

    @property
    def prompting(self) -> Prompting:
        return Prompting(
            style=self.style,
            num_fewshot=self.shots,
            multiturn=self.multiturn if self.style == "chat" else None,
            system=self.system,
            sampling={} if self.max_tokens is None else {"max_tokens": self.max_tokens},
        )

    @property
    def flags(self) -> list[str]:
        """The flags of lm-eval's command line."""
        flags = ["--tasks", self.name, "--limit", str(self.limit)]
        if self.shots is not None:
            flags += ["--num_fewshot", str(self.shots)]
        if self.style == "chat":
            flags += ["--apply_chat_template"]
            flags += [] if self.multiturn else ["--fewshot_as_multiturn", "false"]
        if self.system:
            flags += ["--system_instruction", self.system]
        # left padding may turn a near tie of a greedy answer; right padding changes nothing
        flags += ["--batch_size", "8" if self.max_tokens is None else "1"]
        if self.max_tokens is not None:
            flags += ["--gen_kwargs", f"max_gen_toks={self.max_tokens}"]
        return flags


#: The short ones first. Answers are cut at 64 tokens or fewer where a task allows hundreds:
#: the same for both, and in time.
CASES = (
    Case(name="arc_easy"),
    Case(name="parity_licence"),
    Case(name="parity_licence_whole"),
    Case(name="lambada_openai"),
    Case(name="copa"),
    Case(name="winogrande", shots=2),
    Case(name="boolq", style="chat", shots=1, multiturn=False),
    Case(name="triviaqa", max_tokens=16),
    Case(name="parity_unequal"),
    Case(name="xcopa_it"),
    Case(name="winogrande", style="chat", shots=1),
    Case(name="gsm8k", style="chat", shots=1, multiturn=False, max_tokens=48),
    Case(name="blimp_adjunct_island"),
    Case(name="wsc273"),
    Case(name="parity_mmlu"),
    Case(name="piqa", shots=1),
    Case(name="arc_easy", style="chat", shots=2),
    Case(name="parity_mmlu", style="chat", shots=1, system="Answer with care."),
    Case(name="commonsense_qa"),
    Case(name="webqs"),
    Case(name="truthfulqa_mc2"),
    Case(name="nq_open", shots=3, max_tokens=16),
    Case(name="mgsm_direct_en", max_tokens=32),
    Case(name="bbh_cot_fewshot_boolean_expressions", max_tokens=48),
    Case(name="mgsm_direct_en", style="chat", shots=2, max_tokens=32),
    Case(name="gsm8k", shots=2, max_tokens=48),
)
