"""Messages of the Python interface, as they read at the command line."""

import re

__all__ = ["in_flags"]

_NAMED = re.compile(
    r"(?<![\w/.'=-])(overflow|weights|kv|memory|context|batch|threads|truncate|pooling)='?(\w+)'?(?: or '(\w+)')?(?![\w/.])"
)  # not within a path
_FIRST = re.compile(
    r"^(max_tokens|temperature|top_p|top_k|min_p|repetition_penalty|seed|context|threads|prompt|speculation)(?= (?:is|must be) )"
)
_LOAD = re.compile(r"\bload_model\('([^']+)'\)")


def in_flags(message: str) -> str:
    """`overflow='drop_oldest'` as `--overflow drop_oldest`, `weights='int8' or 'int4'` as `--weights int8 or int4`, `top_k is` as
    `--top-k is`, `load_model('gpt2')` as `llmos run gpt2`.
    """
    message = _FIRST.sub(lambda found: "--" + found[1].replace("_", "-"), message)
    return _LOAD.sub(r"llmos run \1", _NAMED.sub(_flag, message))


def _flag(found: re.Match[str]) -> str:
    name, value, other = found.groups()
    return f"--{name} {value}" + (f" or {other}" if other else "")
