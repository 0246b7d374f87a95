"""The environment is read in one place, and an unknown name is a typing error."""

from pathlib import Path

import pytest

from llmos.core.env import environment
from llmos.core.errors import UserError


def test_folders_follow_xdg_and_their_own_variables():
    assert environment({"XDG_CACHE_HOME": "/a", "XDG_STATE_HOME": "/b"}).cache == Path("/a/llmos")
    assert environment({"XDG_CACHE_HOME": "/a", "XDG_STATE_HOME": "/b"}).state == Path("/b/llmos")
    assert environment({"XDG_CACHE_HOME": "/a", "LLMOS_CACHE": "/c"}).cache == Path("/c")


def test_an_unknown_name_is_refused_with_the_nearest_one():
    with pytest.raises(UserError, match="LLMOS_THREDS is not known to LLMOS: did you mean LLMOS_THREADS"):
        environment({"LLMOS_THREDS": "2"})


@pytest.mark.parametrize(("name", "value"), [("LLMOS_THREADS", "0"), ("LLMOS_THREADS", "two"), ("LLMOS_LOG", "loud")])
def test_a_value_that_cannot_be_used_is_refused_by_name(name, value):
    with pytest.raises(UserError, match=f"{name} is '{value}'"):
        environment({name: value})


@pytest.mark.parametrize(("value", "offline"), [("1", True), ("", False), ("0", False), ("no", False), ("yes", True)])
def test_offline_is_a_switch(value, offline):
    assert environment({"LLMOS_OFFLINE": value}).offline is offline


def test_empty_variables_count_as_unset():
    empty = dict.fromkeys(("LLMOS_CC", "LLMOS_TARGET", "LLMOS_THREADS", "LLMOS_LOG", "LLMOS_TEST_DATA"), "")
    found = environment(empty)
    assert (found.cc, found.target, found.threads, found.log, found.test_data) == (None, None, None, "warning", None)
