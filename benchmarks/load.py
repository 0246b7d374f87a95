"""`python benchmarks/load.py`: how long loading takes to the first token, how much memory, and how long compiling.

B (the shape of TinyLlama-1.1B, random weights) in int4, packed before, its image in the cache of the system: in an interpreter that
runs already, and in a fresh process. Memory is the resident size above that of a process that has imported everything and opened
the tokenizer. A (the shape of Qwen2.5-0.5B) is compiled with a warm toolchain, anew and from the cache. With --only large a checkpoint of
7B shape is written, compiled to int4 in a process of its own, whose peak is told, and removed. One JSON document on stdout.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from shapes import A, B, tensors, write_folder

HERE = Path(__file__).resolve()
LARGE = B | {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32}
LARGE |= {"num_key_value_heads": 32, "head_dim": 128}
RANDOM_BYTES = 1 << 30
PROMPT = [5, 6, 7]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--folder", type=Path, help="keep models and cache here [a temporary folder]")
    parser.add_argument(
        "--only", nargs="+", choices=["loading", "compiling", "large"], default=["loading", "compiling"]
    )
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(CHILDREN[options.child](options)), flush=True)
        return
    with tempfile.TemporaryDirectory() as temporary:
        options.folder = options.folder or Path(temporary)
        measures = {"loading": loading, "compiling": compiling, "large": large}
        print(json.dumps({part: measures[part](options) for part in options.only}, indent=2))


def loading(options: argparse.Namespace) -> dict[str, Any]:
    made(options.folder / "B", B)
    child("load-fast", options, repeats=1)  # compiles and packs
    report: dict[str, Any] = {}
    for mode in ("fast", "mapped"):
        inside = child(f"load-{mode}", options)
        fresh = [child(f"once-{mode}", options)["process_s"] for _ in range(options.repeats)]
        report[mode] = inside | {"fresh_process_s": spread(fresh)} | child(f"memory-{mode}", options)
    return report


def compiling(options: argparse.Namespace) -> dict[str, Any]:
    """Medians of three: A anew, found in the cache, and with four times the layers anew."""
    times: dict[str, list[float]] = {"new_s": [], "cached_s": [], "deep_s": []}
    with tempfile.TemporaryDirectory() as cache:
        child("compile", options, cache)  # the toolchain has a cache of its own
        for _ in range(3):
            shutil.rmtree(Path(cache) / "code")
            for name, verb in (("new_s", "compile"), ("cached_s", "compile"), ("deep_s", "compile-deep")):
                times[name].append(child(verb, options, cache)["s"])
    return {name: median(seconds) for name, seconds in times.items()}


def large(options: argparse.Namespace) -> dict[str, Any]:
    """The peak of packing is the resident size of the process, mapped pages of the checkpoint included."""
    folder, bundle = options.folder / "large", options.folder / "large.llm"
    write_large(folder)
    try:
        return child("large", options) | {"checkpoint_bytes": sum(f.stat().st_size for f in folder.iterdir())}
    finally:
        shutil.rmtree(folder)
        bundle.unlink(missing_ok=True)


def made(folder: Path, config: dict[str, Any]) -> None:
    if not (folder / "config.json").exists():
        write_folder(folder, config)


def write_large(folder: Path, shard_bytes: int = 4 << 30) -> None:
    """bfloat16 shards with an index, of one random block repeated; all but RANDOM_BYTES of each are holes, which read as zeros, to
    spare the disk.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    block = (rng.standard_normal(8 << 20, np.float32) * 0.02).view(np.uint32) >> 16
    data = block.astype(np.uint16).tobytes()
    names, shards, size = list(tensors(LARGE).items()), [[]], 0
    for name, shape in names:
        n_bytes = 2 * int(np.prod(shape))
        if size + n_bytes > shard_bytes:
            shards, size = [*shards, []], 0
        shards[-1].append((name, shape, n_bytes))
        size += n_bytes
    files = [f"model-{i:05}-of-{len(shards):05}.safetensors" for i in range(1, len(shards) + 1)]
    for file, shard in zip(files, shards, strict=True):
        header, at = {}, 0
        for name, shape, n_bytes in shard:
            header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, at + n_bytes]}
            at += n_bytes
        text = json.dumps(header).encode()
        with (folder / file).open("wb") as out:
            out.write(len(text).to_bytes(8, "little") + text)
            for _ in range(min(at, RANDOM_BYTES) // len(data)):
                out.write(data)
            out.truncate(8 + len(text) + at)
    index = {name: file for file, shard in zip(files, shards, strict=True) for name, _, _ in shard}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    (folder / "config.json").write_text(json.dumps(LARGE))


def child(
    what: str, options: argparse.Namespace, cache: str | None = None, repeats: int | None = None
) -> dict[str, Any]:
    """What a process of its own says, and how long it took to say it (process_s)."""
    command = [sys.executable, str(HERE), "--child", what, "--folder", str(options.folder)]
    command += ["--repeats", str(repeats or options.repeats)]
    variables = os.environ | {"LLMOS_CACHE": cache or os.environ.get("LLMOS_CACHE") or str(options.folder / "cache")}
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=variables, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        took = time.perf_counter() - began
        process.communicate()
    if process.returncode:
        sys.exit(f"{what} failed")
    return json.loads(line) | {"process_s": took}


def load(options: argparse.Namespace, mode: str) -> Any:
    import llm

    return llm.load_model(options.folder / "B", weights="int4", context=1024, batch=1, memory=mode)


def load_repeatedly(options: argparse.Namespace, mode: str) -> dict[str, Any]:
    load(options, mode).close()
    loaded, first = [], []
    for _ in range(options.repeats):
        began = time.perf_counter()
        model = load(options, mode)
        loaded.append(time.perf_counter() - began)
        model.generate_tokens(PROMPT, max_tokens=1, temperature=0)
        first.append(time.perf_counter() - began)
        model.close()
    return {"loaded_s": spread(loaded), "first_token_s": spread(first)}


def load_once(options: argparse.Namespace, mode: str) -> dict[str, Any]:
    load(options, mode).generate_tokens(PROMPT, max_tokens=1, temperature=0)
    return {}


def memory_of(options: argparse.Namespace, mode: str) -> dict[str, Any]:
    """Bytes above a process that has imported everything and opened the tokenizer: own pages, and those of mapped files."""
    import llm  # noqa: F401
    import llmos.api.model  # noqa: F401
    from llmos.api.opening import open_source, open_tokenizer

    tokenizer = open_tokenizer(open_source(str(options.folder / "B")))
    own, mapped = anonymous_and_mapped()
    model = load(options, mode)
    model.generate_tokens(PROMPT, max_tokens=1, temperature=0)
    own_after, mapped_after = anonymous_and_mapped()
    weights, kv = model.info()["weights_bytes"], model._executor.n_pages * model._executor.page_bytes
    del tokenizer
    above = own_after - own
    return {
        "weights_bytes": weights,
        "kv_bytes": kv,
        "own_bytes_above": above,
        "mapped_bytes_above": mapped_after - mapped,
        "above_weights_and_kv": above - (weights if mode == "fast" else 0) - kv,
    }


def compile_code_of(depth: int) -> dict[str, Any]:
    """From the config to the library, as loading does it. depth: times the layers of A."""
    from llmos.compiler import Options, build_graph, chosen_target, compile_code
    from llmos.models import spec_from_config
    from llmos.native import include_dir, sources_hash

    spec = spec_from_config(A | {"num_hidden_layers": depth * A["num_hidden_layers"]})
    target = chosen_target()
    began = time.perf_counter()
    graph = build_graph(spec, Options(weights="int4", kv="bf16"))
    compile_code(graph, target, include=include_dir(), kernels_hash=sources_hash())
    return {"s": time.perf_counter() - began}


def compile_large(options: argparse.Namespace) -> dict[str, Any]:
    from llmos.api import compile_model

    began = time.perf_counter()
    compile_model(str(options.folder / "large"), options.folder / "large.llm", weights="int4", verified=False)
    peak = int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024
    return {"s": time.perf_counter() - began, "peak_bytes": peak}


def anonymous_and_mapped() -> tuple[int, int]:
    text = Path("/proc/self/status").read_text()
    fields = {name: int(re.search(rf"{name}:\s+(\d+) kB", text)[1]) * 1024 for name in ("RssAnon", "RssFile")}
    return fields["RssAnon"], fields["RssFile"]


def spread(values: list[float]) -> dict[str, float]:
    return {"median": median(values), "min": min(values), "max": max(values)}


CHILDREN = {
    "load-fast": lambda options: load_repeatedly(options, "fast"),
    "load-mapped": lambda options: load_repeatedly(options, "mapped"),
    "once-fast": lambda options: load_once(options, "fast"),
    "once-mapped": lambda options: load_once(options, "mapped"),
    "memory-fast": lambda options: memory_of(options, "fast"),
    "memory-mapped": lambda options: memory_of(options, "mapped"),
    "compile": lambda options: compile_code_of(1),
    "compile-deep": lambda options: compile_code_of(4),
    "large": compile_large,
}

if __name__ == "__main__":
    main()
