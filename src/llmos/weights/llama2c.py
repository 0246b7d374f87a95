"""llama2.c checkpoints: the legacy layout (version 0) and version 1 (magic `ak42`), float32.

Source: https://github.com/karpathy/llama2.c, export.py. Tensors appear under their Hugging Face names; rows of q and k are
permuted from interleaved pairs to halves, so that everything above sees an ordinary Llama.
"""

import math
import struct
from pathlib import Path

import numpy as np

from llmos.core.errors import FormatError, UserError
from llmos.core.files import open_regular
from llmos.weights.mapping import map_file, release_pages
from llmos.weights.pickles import is_pickle, pickle_refusal
from llmos.weights.tensor import Tensor

__all__ = ["Llama2cFile"]

_MAGIC = 0x616B3432
_LIMIT = 1 << 24


class Llama2cFile:
    """A llama2.c checkpoint. config: its sizes as a Hugging Face Llama config."""

    def __init__(self, path: Path):
        self.path = path
        try:
            with open_regular(path) as file:
                self._map = map_file(file)
        except (OSError, ValueError) as error:
            raise UserError(f"cannot read {path}: {error}") from error
        self._raw = raw = np.frombuffer(self._map, np.uint8)
        head = bytes(raw[:256])
        if is_pickle(head):
            raise pickle_refusal(path, [path.name])
        if len(head) < 28:
            raise FormatError(path, f"is no llama2.c checkpoint: only {len(raw)} bytes")
        self._version_1 = struct.unpack_from("<I", head)[0] == _MAGIC
        if self._version_1:
            self._start = 256
            if len(head) < 256 or struct.unpack_from("<i", head, 4)[0] != 1:
                raise FormatError(path, "is a llama2.c file of a version other than 0 and 1", offset=4)
            sizes, self._tied = struct.unpack_from("<7i", head, 8), bool(head[36])
        else:
            self._start = 28
            sizes = struct.unpack_from("<7i", head)
            self._tied = sizes[5] > 0
            sizes = (*sizes[:5], abs(sizes[5]), sizes[6])
        self._sizes = self._check(sizes)
        self._offsets = self._place()

    @property
    def config(self) -> dict:
        dim, hidden, layers, heads, kv_heads, vocab, context = self._sizes
        return {
            "model_type": "llama",
            "hidden_size": dim,
            "intermediate_size": hidden,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": kv_heads,
            "vocab_size": vocab,
            "max_position_embeddings": context,
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "hidden_act": "silu",
            "tie_word_embeddings": self._tied,
        }

    def files(self) -> list[Path]:
        return [self.path]

    def names(self) -> list[str]:
        return list(self._offsets)

    def tensor(self, name: str) -> Tensor:
        offset, shape = self._offsets[name]
        data = self._raw[offset : offset + 4 * math.prod(shape)].view("<f4").reshape(shape)
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            heads = self._sizes[3] if name.endswith("q_proj.weight") else self._sizes[4]
            data = data.reshape(heads, -1, 2, shape[1]).swapaxes(1, 2).reshape(shape)
        return Tensor("float32", data, f"{self.path}: tensor {name!r}")

    def release(self) -> None:
        release_pages(self._map)

    def _check(self, sizes: tuple[int, ...]) -> tuple[int, ...]:
        dim, _, _, heads, kv_heads, *_ = sizes
        if min(sizes) <= 0 or max(sizes) > _LIMIT or dim % (2 * heads) or heads % kv_heads:
            raise FormatError(
                self.path,
                "is neither safetensors nor a llama2.c checkpoint: the first bytes are no model sizes (wrong magic number)",
                offset=0,
            )
        return sizes

    def _place(self) -> dict[str, tuple[int, tuple[int, ...]]]:
        """Byte offset and shape of every tensor. The sum is taken before any name is made: a header may claim 16M layers."""
        layers = self._sizes[2]
        order = [(name, shape, layers if "{i}" in name else 1) for name, shape in self._order()]
        need = self._start + sum(4 * copies * math.prod(shape) for _, shape, copies in order)
        if need != len(self._raw):
            raise FormatError(
                self.path,
                f"sizes in the header need {need} bytes, the file has {len(self._raw)}: cut off or not llama2.c",
                offset=0,
            )
        offsets, at = {}, self._start
        for name, shape, copies in order:
            for i in range(copies):
                if name:
                    offsets[f"{name.replace('{i}', str(i))}.weight"] = (at, shape)
                at += 4 * math.prod(shape)
        return offsets

    def _order(self) -> list[tuple[str, tuple[int, ...]]]:
        """Names and shapes as they follow each other in the file; a name with {i} stands for all layers."""
        dim, hidden, _, heads, kv_heads, vocab, context = self._sizes
        kv, layer = dim // heads * kv_heads, "model.layers.{i}."
        norms = [(layer + "input_layernorm", (dim,)), (layer + "post_attention_layernorm", (dim,))]
        matrices = [
            (layer + "self_attn.q_proj", (dim, dim)),
            (layer + "self_attn.k_proj", (kv, dim)),
            (layer + "self_attn.v_proj", (kv, dim)),
            (layer + "self_attn.o_proj", (dim, dim)),
        ]
        mlp = [
            (layer + "mlp.gate_proj", (hidden, dim)),
            (layer + "mlp.down_proj", (dim, hidden)),
            (layer + "mlp.up_proj", (hidden, dim)),
        ]
        embed, final, head = ("model.embed_tokens", (vocab, dim)), ("model.norm", (dim,)), ("lm_head", (vocab, dim))
        tables = ("", (context, dim // heads))  # cos and sin, in version 0
        if self._version_1:
            order = [*norms, final, embed, *matrices, *mlp]
        else:
            order = [embed, norms[0], *matrices, norms[1], *mlp, final, tables]
        return order if self._tied else [*order, head]
