import copy
from typing import Any

import pytest

from wsrpc.naming import Api


def echo(method: str, params: Any) -> tuple[str, Any]:
    return method, params


@pytest.fixture
def api() -> Api:
    return Api(echo)


def test_positional_arguments_become_an_array(api: Api) -> None:
    assert api.add(2, 3) == ("add", [2, 3])


def test_keywords_become_an_object(api: Api) -> None:
    assert api.add(a=2, timeout=3) == ("add", {"a": 2, "timeout": 3})


def test_no_arguments_are_no_params(api: Api) -> None:
    assert api.ping() == ("ping", None)


def test_attributes_make_dotted_names(api: Api) -> None:
    assert api.Page.frame.navigate(url="x") == ("Page.frame.navigate", {"url": "x"})


def test_positional_and_keyword_arguments_do_not_mix(api: Api) -> None:
    with pytest.raises(TypeError, match=r"Page\.navigate\(\) takes positional or keyword arguments, not both"):
        api.Page.navigate("x", wait=True)


@pytest.mark.parametrize("name", ["_private", "__wrapped__", "_repr_html_", "_ipython_canary_method_should_not_exist_"])
def test_names_that_notebooks_probe_for_do_not_exist(api: Api, name: str) -> None:
    assert not hasattr(api, name)
    assert not hasattr(api.Page, name)


def test_a_call_must_name_a_method(api: Api) -> None:
    with pytest.raises(TypeError, match="name a method"):
        api(1)


def test_it_can_be_copied(api: Api) -> None:
    assert copy.copy(api.Page).navigate() == ("Page.navigate", None)


def test_the_repr_shows_the_name(api: Api) -> None:
    assert (repr(api), repr(api.Page.navigate)) == ("<Api>", "<Api Page.navigate>")
