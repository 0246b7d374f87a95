"""Whether the same bits are as good: the trained model in our formats and in llama.cpp's, both against float32.

Each side as it runs by default (keys and values in bf16 here, in float16 there; activations rounded as each does). Bits are those
of all weights as stored, tables and scales with them, over the number of weights.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from contenders import HERE, PEERS, Runner
from shapes import read_folder

__all__ = ["same_bits"]

OURS = ("float32", "bf16", "int8", "uint4", "int4")
THEIRS = ("BF16", "Q8_0", "Q4_K_M", "Q4_1", "Q4_0", "Q4_0 pure")


def same_bits(runner: Runner, data: Path | None) -> dict[str, Any]:
    """Rows of both sides, or what is missing. data: the test suite's data folder."""
    if data is None:
        return {"missing": "held-out text: LLMOS_TEST_DATA must name the test suite's data folder"}
    from trained import MODEL, windows

    import llmos

    folder = Path(llmos.__file__).parent / "embedded" / MODEL
    n_weights = sum(bits.size for _, bits in read_folder(folder))
    ids = windows(data)
    return {
        "model": MODEL,
        "tokens": int(ids.size),
        "weights": n_weights,
        "rows": list(_rows(runner, folder, ids, n_weights)),
    }


def _rows(runner: Runner, folder: Path, ids: np.ndarray, n_weights: int) -> Iterator[dict[str, Any]]:
    from trained import divergence, logits

    reference, _ = logits(OURS[0], ids)
    for format in OURS[1:]:
        got, n_bytes = logits(format, ids)
        yield {"side": "LLMOS", "format": format, "bits": 8 * n_bytes / n_weights} | divergence(got, reference, ids)
    peer = PEERS["llama.cpp"]
    told = runner.version(peer)
    if "missing" in told:
        print(f"{peer.name} is not compared: {told['missing']}; {told['install']}", file=sys.stderr, flush=True)
        return
    with tempfile.TemporaryDirectory() as name:
        for format in THEIRS:
            path = runner.convert(peer, "mini", format, folder, Path(name) / f"{format}.gguf")
            got = _theirs(runner, path, ids)
            bits = 8 * path.stat().st_size / n_weights
            yield {"side": peer.name, "format": format, "bits": bits} | divergence(got, reference, ids)


def _theirs(runner: Runner, path: Path, ids: np.ndarray) -> np.ndarray:
    given, out = path.with_name("ids.npy"), path.with_name("logits.npy")
    np.save(given, ids)
    python = runner.pythons.get("llama.cpp", sys.executable)
    subprocess.run([python, str(HERE / "logits_llama_cpp.py"), str(path), str(given), str(out)], check=True)
    return np.load(out).astype(np.float64)
