"""One block of a graph as a C++ function: a call of a kernel template for each node."""

from collections.abc import Iterator

from llmos.compiler.emit_experts import experts
from llmos.compiler.formats import ACTIVATIONS
from llmos.compiler.graph import Block, Graph, Node
from llmos.compiler.kernel_names import ACT, CTYPE, FORMAT, KV, LINEAR, QUANTIZE, flag, rows_of
from llmos.compiler.passes.plan_memory import row_bytes

__all__ = ["BlockWriter", "keeps_best"]


def keeps_best(graph: Graph) -> bool:
    """Whether the scores are what a product gives, so that it may keep the largest instead of writing rows (best.h)."""
    return bool(graph.facts["head"]) and graph.epilogue.result.op == "linear"


class BlockWriter:
    """One block as a C++ function. first_time: the number of its first node among those whose time is noted, None: it is not."""

    def __init__(self, graph: Graph, name: str, block: Block, title: str = "", first_time: int | None = None):
        self.graph, self.name, self.block, self.title, self.first_time = graph, name, block, title, first_time
        self.places = graph.buffers["places"][name]
        self.params = list(block.shapes)
        self.nodes = {node.out: node for node in block.nodes}

    def text(self) -> str:
        title = {"prologue": "Prologue", "epilogue": "Epilogue"}.get(
            self.name, "Layer" + self.name.removeprefix("kind")
        )
        lines = (line for i, node in enumerate(self.block.nodes) for line in (*self.statement(node), *self.note(i)))
        body = "\n".join("  " + line for line in lines)
        signature = f"static void {self.title}{title}(Team& team, const Call& c, const uint64_t* o, uint64_t kv, uint64_t cross)"
        unused = "  (void)o, (void)kv, (void)cross;\n"
        return f"{signature} {{\n{unused}{body}\n}}\n"

    def statement(self, node: Node) -> list[str]:
        return [
            f"// {node.out} = {node.op}({', '.join([*node.inputs, *node.params])})",
            getattr(self, f"_{node.op}")(node),
        ]

    def note(self, i: int) -> list[str]:
        """What notes the time that node i took, in timed code."""
        return [] if self.first_time is None else [f"times.Ended({self.first_time + i});"]

    def buffer(self, value: str) -> str:
        """Pointer to the rows of a value."""
        node = self.nodes.get(value)
        rows, dtype = (node.rows, node.dtype) if node else ("T", "float32")
        region = "c.token_rows" if rows == "T" else "c.output_rows"
        return f"{region}<{CTYPE[dtype]}>({self.places[value]})"

    def stride(self, value: str) -> int:
        """Floats from row to row of a float32 value."""
        width = self.nodes[value].width if value in self.nodes else self.graph.facts["width"]
        return row_bytes("float32", width) // 4

    def count(self, node: Node) -> str:
        return "c.n_tokens" if node.rows == "T" else "c.n_outputs"

    def param(self, node: Node, i: int) -> str:
        return f"c.weights(o[{self.params.index(node.params[i])}])"

    def vector(self, node: Node, i: int) -> str:
        return f"c.floats(o[{self.params.index(node.params[i])}])"

    def rows_in_out(self, node: Node, value: str) -> tuple[str, str]:
        return f"{self.buffer(value)}, {self.stride(value)}", f"{self.buffer(node.out)}, {self.stride(node.out)}"

    def rows_into(self, node: Node, value: str) -> tuple[str, str]:
        """Rows of a float32 value, and those that take the node's result, in its format."""
        apart = row_bytes(node.dtype, node.width)
        made = rows_of(node.dtype, self.buffer(node.out), apart // 4 if node.dtype == "float32" else apart)
        return f"{self.buffer(value)}, {self.stride(value)}", made

    def _embed(self, n: Node) -> str:
        vocab = self.block.shapes[n.params[0]][0]
        scale = float(n.attrs.get("scale", 1.0))
        return (
            f"Embed<{vocab}, {n.width}, {FORMAT[n.attrs['format']]}>(team, {self.param(n, 0)}, c.step.token_ids, "
            f"{self.buffer(n.out)}, {self.stride(n.out)}, {self.count(n)}, {scale!r}f);"
        )

    def _position(self, n: Node) -> str:
        return (
            f"PlainRows<{n.width}>(team, {self.vector(n, 0)}, c.step.positions, "
            f"{self.buffer(n.out)}, {self.stride(n.out)}, {self.count(n)});"
        )

    def _add(self, n: Node) -> str:
        a, y = self.rows_in_out(n, n.inputs[0])
        b = f"{self.buffer(n.inputs[1])}, {self.stride(n.inputs[1])}"
        return f"Add<{n.width}>(team, {a}, {b}, {y}, {self.count(n)});"

    def _add_first_row(self, n: Node) -> str:
        x, y = self.rows_in_out(n, n.inputs[0])
        return f"AddRow<{n.width}>(team, {x}, {self.vector(n, 0)}, {y}, {self.count(n)});"

    def _hidden(self, n: Node) -> str:
        assert self.places[n.out] == self.places[n.inputs[0]], "hidden rows are given out where they are"
        given = f"GiveHidden<{n.width}>(team, c, {self.buffer(n.out)}, {self.stride(n.out)});"
        return given if n is self.block.result else given + "\n  if (!WantsScores(c.step)) return;"

    def _mul(self, n: Node) -> str:
        a, y = self.rows_in_out(n, n.inputs[0])
        b = f"{self.buffer(n.inputs[1])}, {self.stride(n.inputs[1])}"
        return f"Mul<{n.width}>(team, {a}, {b}, {y}, {self.count(n)});"

    def _scale(self, n: Node) -> str:
        x, y = self.rows_in_out(n, n.inputs[0])
        return f"Scale<{n.width}>(team, {x}, {float(n.attrs['by'])!r}f, {y}, {self.count(n)});"

    def _rms_norm(self, n: Node) -> str:
        x, y = self.rows_into(n, n.inputs[0])
        return f"RmsNorm<{n.width}>(team, {x}, {self.vector(n, 0)}, {n.attrs['eps']!r}f, {y}, {self.count(n)});"

    def _layer_norm(self, n: Node) -> str:
        x, y = self.rows_into(n, n.inputs[0])
        bias = len(n.params) == 2
        vectors = f"{self.vector(n, 0)}, {self.vector(n, 1) if bias else 'nullptr'}"
        return f"LayerNorm<{n.width}, {flag(bias)}>(team, {x}, {vectors}, {n.attrs['eps']!r}f, {y}, {self.count(n)});"

    def _softcap(self, n: Node) -> str:
        x, y = self.rows_in_out(n, n.inputs[0])
        return f"Softcap<{n.width}>(team, {x}, {float(n.attrs['cap'])!r}f, {y}, {self.count(n)});"

    def _quantize(self, n: Node) -> str:
        source, kind = n.inputs[0], QUANTIZE[n.dtype]
        return (
            f"{kind}<{n.width}>(team, {self.buffer(source)}, {self.stride(source)}, {self.buffer(n.out)}, "
            f"{row_bytes(n.dtype, n.width)}, {self.count(n)});"
        )

    def _linear(self, n: Node) -> str:
        if self.name == "epilogue" and keeps_best(self.graph) and n is self.block.result:
            return self._output_head(n)
        add = n.inputs[1] if len(n.inputs) == 2 else None
        source, format = n.inputs[0], n.attrs["format"]
        row = row_bytes(ACTIVATIONS[format], n.attrs["in"])
        bias = self.vector(n, 1) if len(n.params) == 2 else "nullptr"
        added = f"{self.buffer(add)}, {self.stride(add)}" if add else "nullptr, 0"
        flags = f"{flag(len(n.params) == 2)}, {flag(add is not None)}"
        return (
            f"{LINEAR[format]}<{n.width}, {n.attrs['in']}, {flags}>(team, {self.param(n, 0)}, {self.buffer(source)}, {row}, "
            f"{bias}, {added}, {self.buffer(n.out)}, {self.stride(n.out)}, {self.count(n)});"
        )

    _add_linear = _linear

    def _gated_linear(self, n: Node) -> str:
        source, format = n.inputs[0], n.attrs["format"]
        row = row_bytes(ACTIVATIONS[format], n.attrs["in"])
        _, made = self.rows_into(n, source)
        return (
            f"GatedLinear<{FORMAT[format]}, {n.width}, {n.attrs['in']}, {ACT[n.attrs['kind']]}>(team, {self.param(n, 0)}, "
            f"{self.buffer(source)}, {row}, {made}, {self.count(n)});"
        )

    def _output_head(self, n: Node) -> str:
        source, format = n.inputs[0], n.attrs["format"]
        row = row_bytes(ACTIVATIONS[format], n.attrs["in"])
        biased = len(n.params) == 2
        return (
            f"OutputHead<{FORMAT[format]}, {n.width}, {n.attrs['in']}, {flag(biased)}>(team, c, {self.param(n, 0)}, "
            f"{self.buffer(source)}, {row}, {self.vector(n, 1) if biased else 'nullptr'}, {self.buffer(n.out)}, {self.stride(n.out)});"
        )

    def _append_attend(self, n: Node) -> str:
        a, source = n.attrs, n.inputs[0]
        shape = f"{a['heads']}, {a['kv_heads']}, {a['head_dim']}, {KV[self.graph.facts['kv']]}"
        turned = "0, 0" if a["rope"] is None else f"{a['rotated']}, {a['table']}"
        rows = f"{self.buffer(source)}, {self.stride(source)}"
        out = f"{self.buffer(n.out)}, {self.stride(n.out)}"
        scores = self._scores(n)
        calls = [
            *self._head_norms(n),
            f"RopeAppend<{shape}, {turned}>(team, {rows}, c, kPageBytes, kv);",
            f"Attention<{shape}, {flag(a['causal'])}>(team, {rows}, c, kPageBytes, kv, {scores}, {out});",
        ]
        return "\n  ".join(calls)

    def _scores(self, n: Node) -> str:
        a = n.attrs
        cap, window, relative = float(a["softcap"] or 0), min(a.get("window") or 0, 2**31 - 1), a.get("relative")
        biases = ""
        if relative:
            table = f"k{self.title}Buckets{self.name.removeprefix('kind')}"
            biases = f", {self.vector(n, len(n.params) - 1)}, {table}, {relative['max_distance']}, {a['heads']}"
        return f"Scores{{{a['scale']!r}f, {cap!r}f, {window}{biases}}}"

    def _append_cross(self, n: Node) -> str:
        a, source = n.attrs, n.inputs[0]
        assert self.places[n.out] == self.places.get(n.inputs[1], 0), "what is given back stays where it is"
        shape = f"{a['kv_heads']}, {a['head_dim']}, {KV[self.graph.facts['kv']]}"
        return f"AppendCross<{shape}>(team, {self.buffer(source)}, {self.stride(source)}, c, kPageBytes, cross);"

    def _cross_attend(self, n: Node) -> str:
        a, source = n.attrs, n.inputs[0]
        shape = f"{a['heads']}, {a['kv_heads']}, {a['head_dim']}, {KV[self.graph.facts['kv']]}"
        rows, out = (f"{self.buffer(value)}, {self.stride(value)}" for value in (source, n.out))
        return f"CrossAttention<{shape}>(team, {rows}, c, kPageBytes, cross, {self._scores(n)}, {out});"

    def _head_norms(self, n: Node) -> Iterator[str]:
        """The norms of queries and keys, in place, where the model has them."""
        a = n.attrs
        if a["norm"] is None:
            return
        first = 0
        for i, heads in enumerate((a["heads"], a["kv_heads"])):
            pieces, size = (1, heads * a["head_dim"]) if a["norm"]["over"] == "width" else (heads, a["head_dim"])
            step = size if a["norm"]["over"] == "own" else 0
            yield (
                f"HeadNorms<{flag(a['norm']['op'] == 'rms_norm')}, {pieces}, {size}, {step}>(team, {self.buffer(n.inputs[0])} + {first}, "
                f"{self.stride(n.inputs[0])}, {self.vector(n, i)}, {a['norm']['eps']!r}f, {self.count(n)});"
            )
            first += heads * a["head_dim"]

    def _experts(self, n: Node) -> str:
        return "\n  ".join(experts(self, n))

    def _act(self, n: Node) -> str:
        x, y = self.rows_into(n, n.inputs[0])
        return f"Activate<{ACT[n.attrs['kind']]}, {n.width}>(team, {x}, {y}, {self.count(n)});"

    def _gated_act(self, n: Node) -> str:
        x, y = self.rows_into(n, n.inputs[0])
        return f"GatedActivate<{ACT[n.attrs['kind']]}, {n.width}>(team, {x}, {y}, {self.count(n)});"

    def _select_outputs(self, n: Node) -> str:
        x, y = self.rows_in_out(n, n.inputs[0])
        return f"GatherRows<{n.width}>(team, {x}, c.step.output_rows, {y}, {self.count(n)});"
