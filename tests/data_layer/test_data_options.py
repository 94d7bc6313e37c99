import pytest

from evalkit.data.options import data_options
from evalkit.errors import InputError


def test_flags_win_over_the_environment():
    environ = {"EVALKIT_MIRROR": "/env", "EVALKIT_OFFLINE": "1"}
    options = data_options("/flag", False, environ)
    assert (options.mirror, options.offline) == ("/flag", False)


def test_an_empty_flag_switches_the_mirror_of_the_environment_off():
    assert data_options("", None, {"EVALKIT_MIRROR": "/env"}).mirror == ""


@pytest.mark.parametrize("name", ["EVALKIT_OFFLINE", "HF_HUB_OFFLINE"])
@pytest.mark.parametrize(("value", "offline"), [("1", True), ("TRUE", True), ("0", False)])
def test_offline_is_read_from_the_environment(name, value, offline):
    assert data_options(None, None, {name: value}).offline is offline


def test_an_unclear_switch_is_refused():
    with pytest.raises(InputError, match="EVALKIT_OFFLINE='perhaps' is neither true nor false"):
        data_options(None, None, {"EVALKIT_OFFLINE": "perhaps"})
