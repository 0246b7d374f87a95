"""The code that the compiler writes, kept: `python -m tests.compiler.generated_code` writes it anew where a change is meant.

One model whole, so that a change is seen line by line, and hashes of every other family and format.
"""

import hashlib
import json
from pathlib import Path

from llmos.compiler import Options, build_graph
from llmos.compiler.emit import emit
from llmos.models import spec_from_config
from tests.graph_configs import CONFIGS, LLAMA
from tests.runtime.test_sources import CONFIG as T5

WHOLE = Path(__file__).with_name("generated_llama_int8.cc")
HASHES = Path(__file__).with_name("generated_code.json")
FORMATS = (("float32", "float32"), ("bf16", "bf16"), ("float16", "float16"), ("int8", "int8"), ("int4", "bf16"))
MORE = {
    "t5": T5,
    "llama, gated": LLAMA
    | {"intermediate_size": 64},  # whole groups of rows: gate, up and activation are one operation
}
EVERY = ("llama", "llama, gated")  # in all formats


def whole() -> str:
    """The code of the model that is kept as it is."""
    return emit(build_graph(spec_from_config(CONFIGS["llama"]), Options(weights="int8", kv="bf16")))


def hashes() -> dict[str, str]:
    """Of every family the code in one format, of llama in all of them, with both kinds of MLP."""
    found = {}
    for i, (name, config) in enumerate({**CONFIGS, **MORE}.items()):
        for weights, kv in (*FORMATS, ("uint4", "float16")) if name in EVERY else [FORMATS[i % len(FORMATS)]]:
            code = emit(build_graph(spec_from_config(config), Options(weights=weights, kv=kv)))
            found[f"{name} {weights}/{kv}"] = hashlib.sha256(code.encode()).hexdigest()[:16]
    return found


if __name__ == "__main__":
    WHOLE.write_text(whole(), encoding="utf-8")
    HASHES.write_text(json.dumps(hashes(), indent=1) + "\n", encoding="utf-8")
