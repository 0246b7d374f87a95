"""A chat template is a program in small: whatever it does, the conversation is refused or rendered."""

import pytest

from llmos.core.errors import UserError
from llmos.text import PromptFormat, render_chat


@pytest.mark.parametrize(
    ("template", "named"),
    [
        ("{{ 'a' * 999999999999999999 }}", "more memory than there is"),
        ("{{ messages * 999999999999999999 }}", "more memory than there is"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursion"),
        ("{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}", "recursion"),
    ],
    ids=["text", "list", "recursion", "nesting"],
)
def test_a_template_that_asks_for_too_much_is_refused(template, named):
    format = PromptFormat(tokenizer="{}", chat_template=template)
    with pytest.raises(UserError, match=f"chat template refuses.*{named}"):
        render_chat(format, [{"role": "user", "content": "x"}])
