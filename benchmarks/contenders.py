"""Who takes part: LLMOS and its peers, each with its own formats, the interpreter that has it, and how to install it there."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["PEERS", "WEIGHTS", "Contender", "Runner", "ours", "pythons_from", "words"]

HERE = Path(__file__).resolve().parent
WEIGHTS = ("int4", "int8", "bf16")


@dataclass(frozen=True, kw_only=True)
class Contender:
    """formats: weights -> its own formats with about so many bits, the fastest known; ending: of its files.

    install: what makes an interpreter fit for it; settings: what it is given beyond its defaults, for the page.
    """

    name: str
    script: str
    formats: Mapping[str, tuple[str, ...]]
    ending: str = ""
    install: str = ""
    settings: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)


def ours(root: Path, name: str = "LLMOS") -> Contender:
    """LLMOS as the checkout at `root` has it."""
    return Contender(
        name=name,
        script="speed_llmos.py",
        formats={weights: (weights,) for weights in WEIGHTS},
        ending=".llm",
        settings="a compiled bundle through the engine",
        environment={"PYTHONPATH": str(root / "src")},
    )


_NATIVE = (
    'CMAKE_ARGS="-DGGML_NATIVE=ON -DLLAVA_BUILD=OFF" pip install --no-binary llama-cpp-python llama-cpp-python gguf'
)
PEERS = {
    peer.name: peer
    for peer in (
        Contender(
            name="llama.cpp",
            script="speed_llama_cpp.py",
            # Pure: every matrix at the same bits, as ours; Q4_0 as llama.cpp makes it keeps table and head in 6 or 8 bits.
            formats={"int4": ("Q4_0 pure", "Q4_0"), "int8": ("Q8_0",), "bf16": ("BF16",)},
            ending=".gguf",
            install=_NATIVE,
            settings="no memory map, so that its weights get huge pages",
        ),
        Contender(
            name="OpenVINO",
            script="speed_openvino.py",
            formats={"int4": ("int4",), "int8": ("int8",), "bf16": ("bf16",)},
            install='pip install openvino-genai openvino-tokenizers nncf "optimum~=2.3.0" "transformers<5.6" torch'
            " && pip install --no-deps optimum-intel",
            settings="continuous batching, latency hint; int4 in groups of 128",
        ),
        Contender(
            name="onnxruntime-genai",
            script="speed_onnxruntime.py",
            formats={"int4": ("int4",), "int8": ("int8",)},
            install="pip install onnxruntime-genai onnx onnx_ir transformers torch",
            settings="blocks of 32, accuracy level 4",
        ),
        Contender(
            name="CTranslate2",
            script="speed_ctranslate2.py",
            formats={"int8": ("int8",), "bf16": ("bf16",)},
            install="pip install ctranslate2 transformers torch",
        ),
    )
}


@dataclass(frozen=True, kw_only=True)
class Runner:
    """Starts the scripts of contenders. pythons: interpreter of each peer; prefix: command to start measurements under."""

    pythons: Mapping[str, str]
    prefix: Sequence[str]
    threads: int

    def version(self, contender: Contender) -> dict[str, str]:
        """What it says of itself; {"missing": why} where it cannot run."""
        try:
            done = self._run(contender, ["version"], [])
        except OSError as error:
            return {"missing": str(error), "install": contender.install}
        if done.returncode == 0:
            return json.loads(done.stdout.splitlines()[-1])
        last = (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
        return {"missing": last, "install": contender.install}

    def convert(self, contender: Contender, shape: str, format: str, folder: Path, out: Path) -> Path:
        """The file (or folder) of a shape in a format, made from its checkpoint in `folder` where it is not there yet."""
        if not out.exists():
            print(f"making {out.name}", file=sys.stderr, flush=True)
            part = out.with_name("part." + out.name)
            where = ["--shape", shape, "--folder", str(folder), "--format", format]
            done = self._run(contender, ["convert", str(part), *where], [])
            if done.returncode != 0:
                sys.exit(f"{contender.name} cannot make {out.name}:\n{done.stderr[-2000:]}")
            part.rename(out)
        return out

    def measure(self, contender: Contender, path: Path, format: str, job: str, probe: Path) -> dict[str, Any]:
        """What the script's run of a job reports."""
        flags = ["--format", format, "--job", job, "--threads", str(self.threads), "--probe", str(probe)]
        done = self._run(contender, ["measure", str(path), *flags], self.prefix)
        if done.returncode != 0:
            return {"failed": f"{contender.name} {format} {job}: exit {done.returncode}: {done.stderr.strip()[-500:]}"}
        return json.loads(done.stdout.splitlines()[-1])

    def _run(self, contender: Contender, words: list[str], prefix: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Huge pages are asked for on behalf of every side: the peers do not do it themselves."""
        python = self.pythons.get(contender.name, sys.executable)
        variables = {**os.environ, "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1", "OMP_NUM_THREADS": str(self.threads)}
        command = [*prefix, python, str(HERE / contender.script), *words]
        return subprocess.run(command, capture_output=True, text=True, env=variables | dict(contender.environment))


def pythons_from(texts: Sequence[str]) -> dict[str, str]:
    """NAME=PYTHON of each text, with commas between several."""
    pairs = [pair for text in texts for pair in text.split(",") if pair]
    for pair in pairs:
        name, _, python = pair.partition("=")
        if name not in PEERS or not python:
            sys.exit(f"{pair!r} names no peer's interpreter: write NAME=PYTHON with a name of {', '.join(PEERS)}")
    return dict(pair.split("=", 1) for pair in pairs)


def words(text: str) -> list[str]:
    return shlex.split(text)
