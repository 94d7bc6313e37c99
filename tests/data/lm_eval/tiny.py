"""Functions that the tiny definitions name."""

import random


def shuffle_choices(dataset):
    def shuffled(doc):
        choices = random.sample(doc["choices"], len(doc["choices"]))
        return {"choices": choices, "label": choices.index(doc["answer"])}

    return dataset.map(shuffled, load_from_cache_file=False)


def rank_among_all(resps, docs):
    """A filter that needs the whole task: keeps the longest response, blanks the others."""
    longest = max(len(resp) for inst in resps for resp in inst)
    return [[resp if len(resp) == longest else "[short]" for resp in inst] for inst in resps]


def half_of_the_mean(items):
    return sum(items) / len(items) / 2
