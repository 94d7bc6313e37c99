"""A task written as a Python class: two requests of different kinds a document."""

from lm_eval.api.instance import Instance
from lm_eval.api.task import ConfigurableTask

ROWS = "DATA/facts_test.jsonl"


class AnswerOrNone(ConfigurableTask):
    VERSION = 1
    DATASET_PATH = "json"

    def __init__(self, config=None):
        super().__init__(
            config={
                "task": "tiny_python",
                "metadata": {"version": 1},
                "dataset_kwargs": {"data_files": {"validation": ROWS}},
            }
        )

    def has_training_docs(self):
        return False

    def has_validation_docs(self):
        return True

    def has_test_docs(self):
        return False

    def validation_docs(self):
        return self.dataset["validation"]

    def doc_to_text(self, doc, *_):
        return "Question: " + doc["question"] + "\nAnswer:"

    def doc_to_target(self, doc, *_):
        return " " + doc["answer"]

    def construct_requests(self, doc, ctx, chat_template=None, apply_chat_template=False, **kwargs):
        return [
            Instance("generate_until", doc, (ctx, {"until": ["\n"]}), 0, **kwargs),
            Instance("loglikelihood", doc, (ctx, " none"), 0, **kwargs),
        ]

    def process_results(self, doc, results):
        text, (logprob, _) = results
        scores = {"exact": float(doc["answer"] in text), "none": logprob}
        return scores if doc["topic"] != "time" else {"exact": scores["exact"]}

    def aggregation(self):
        from lm_eval.api.metrics import mean

        return {"exact": mean, "none": mean}

    def higher_is_better(self):
        return {"exact": True, "none": False}
