"""A name that does not exist is answered with the nearest."""

import inspect

import pytest

import llm
from llmos.core.errors import UserError


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: llm.load_model("llmos-mini", contxt=64), "unknown setting 'contxt': did you mean 'context'?"),
        (lambda: llm.plan("llmos-mini", bach=2), "unknown setting 'bach': did you mean 'batch'?"),
        (
            lambda: llm.compile("llmos-mini", "x.llm", wieghts="int8"),
            "unknown setting 'wieghts': did you mean 'weights'?",
        ),
        (lambda: llm.Model.embed(None, "x", poling="cls"), "unknown setting 'poling': did you mean 'pooling'?"),
        (lambda: llm.plan("llmos-mini", zzz=2), "unknown setting 'zzz': known: context, batch, weights"),
    ],
)
def test_a_misspelt_setting_is_answered_with_the_nearest(call, said):
    with pytest.raises(UserError) as caught:
        call()
    assert str(caught.value).startswith(said)


def test_what_help_shows_stays():
    assert "context" in inspect.signature(llm.load_model).parameters
    assert "pooling" in inspect.signature(llm.Model.embed).parameters
    assert "Load a model" in (inspect.getdoc(llm.load_model) or "")


def test_a_notice_points_to_the_line_that_asked():
    with pytest.warns(llm.ModelNotice, match="never published") as told:
        llm.plan("gpt-3", measure=False)
    assert told[0].filename == __file__
