import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.config.model_spec import ModelSpec, parse_model_spec, read_params
from evalkit.errors import EvalkitError, InputError, UnknownNameError
from evalkit.records import Record


class Params(Record, frozen=True, kw_only=True):
    base_url: str = ""
    concurrency: int = 4


def test_provider_name_and_parameters_are_told_apart():
    spec = parse_model_spec("vllm/meta-llama/Llama-3.1-8B?base_url=http://localhost:8000/v1&seed=1")
    assert spec == ModelSpec(
        provider="vllm",
        name="meta-llama/Llama-3.1-8B",
        params={"base_url": "http://localhost:8000/v1", "seed": "1"},
    )


def test_the_label_is_the_alias_where_there_is_one():
    assert parse_model_spec("openai/gpt-4o").label == "openai/gpt-4o"
    assert ModelSpec(provider="openai", name="gpt-4o", alias="omni").label == "omni"


@pytest.mark.parametrize("path", ["/models/mine", "./mine", "../models/mine/", "~/mine"])
def test_a_local_folder_is_called_by_its_last_part(path):
    assert parse_model_spec(f"hf/{path}").label == "hf/mine"


@pytest.mark.parametrize("text", ["", "gpt-4o", "openai/", "/gpt-4o", "?a=b"])
def test_what_is_not_provider_slash_name_is_refused(text):
    with pytest.raises(InputError, match="provider/name"):
        parse_model_spec(text)


def test_a_parameter_without_a_value_is_refused():
    with pytest.raises(InputError, match="key=value"):
        parse_model_spec("openai/gpt-4o?seed")


def test_a_parameter_given_twice_is_refused():
    with pytest.raises(InputError, match="'seed' twice"):
        parse_model_spec("openai/gpt-4o?seed=1&seed=2")


@given(st.text())
def test_any_text_is_either_a_spec_or_refused_in_words(text):
    try:
        assert parse_model_spec(text).provider
    except EvalkitError as error:
        assert str(error)


def test_parameters_are_read_as_their_types():
    spec = parse_model_spec("server/m?concurrency=8")
    assert read_params(spec, Params) == Params(concurrency=8)


def test_an_unknown_parameter_offers_the_nearest():
    with pytest.raises(UnknownNameError, match=r"'concurency'.*Did you mean 'concurrency'"):
        read_params(parse_model_spec("server/m?concurency=8"), Params)


def test_a_parameter_of_the_wrong_type_is_named():
    with pytest.raises(InputError, match=r"server/m.*concurrency"):
        read_params(parse_model_spec("server/m?concurrency=many"), Params)
