import pytest

from evalkit.models.prices import Price, cost, known_prices, price_of
from evalkit.records import Usage


@pytest.mark.parametrize(
    ("provider", "name", "model"),
    [
        ("openai", "gpt-4o", "gpt-4o"),
        ("openai", "gpt-4o-2024-08-06", "gpt-4o"),
        ("openai", "gpt-4o-2024-05-13", "gpt-4o-2024-05-13"),
        ("anthropic", "claude-3-5-sonnet-latest", "claude-3-5-sonnet"),
        ("anthropic", "claude-haiku-4-5-20251001", "claude-haiku-4-5"),
        ("anthropic", "claude-opus-4-0", "claude-opus-4"),
    ],
)
def test_a_snapshot_has_the_price_of_its_model(provider, name, model):
    price = price_of(provider, name)
    assert price is not None
    assert price.model == model


@pytest.mark.parametrize(
    ("provider", "name"), [("openai", "gpt-99"), ("server", "gpt-4o"), ("openai", "gpt-4o-turbo")]
)
def test_an_unknown_model_has_no_price(provider, name):
    assert price_of(provider, name) is None


def test_every_price_is_whole_dated_and_sourced():
    for price in known_prices().values():
        assert 0 < price.input <= price.output
        assert price.cached_input is None or price.cached_input < price.input
        assert price.cache_write is None or price.cache_write > price.input
        assert price.context_length
        assert price.max_output_tokens
        assert price.source.startswith("https://")
        assert price.date >= "2026"


PRICE = Price(
    provider="p",
    model="m",
    input=2.0,
    output=10.0,
    cached_input=0.5,
    cache_write=2.5,
    long_input_over=1_000_000,
    long_input_factor=2.0,
    long_output_factor=1.5,
)


def test_a_million_of_each_costs_its_price():
    assert cost(PRICE, Usage(input_tokens=1_000_000)) == pytest.approx(2.0)
    assert cost(PRICE, Usage(output_tokens=1_000_000)) == pytest.approx(10.0)


def test_cached_and_written_tokens_have_their_own_prices():
    usage = Usage(input_tokens=1000, cached_tokens=600, cache_write_tokens=300)
    assert cost(PRICE, usage) == pytest.approx((100 * 2 + 600 * 0.5 + 300 * 2.5) / 1e6)


def test_without_a_cache_price_cached_tokens_cost_as_others():
    plain = Price(provider="p", model="m", input=2.0, output=10.0)
    assert cost(plain, Usage(input_tokens=10, cached_tokens=5)) == pytest.approx(20 / 1e6)


def test_a_long_prompt_makes_the_whole_request_dearer():
    usage = Usage(input_tokens=2_000_000, output_tokens=1_000_000)
    assert cost(PRICE, usage) == pytest.approx(2 * 2.0 * 2.0 + 10.0 * 1.5)
