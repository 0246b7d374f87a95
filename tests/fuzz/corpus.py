"""The undamaged files that fuzzing starts from: the smallest that have every part of their format. `write_corpus` writes them.

Each subject is a folder of files that belong together; which of them is damaged and how it is read is in `subjects`.
"""

import io
import itertools
import json
from functools import cache
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from llmos.models import gguf_sources, shapes, sources, spec_from_config
from tests import gguf_files
from tests.published_configs import PUBLISHED
from tests.quantized_files import awq, gptq, ordered, random_matrix
from tests.text.chat_templates import CHATML, GEMMA, LLAMA
from tests.tiny_tokenizer import tokenizer_text

__all__ = ["write_corpus"]

_CONFIG = {
    "model_type": "llama",
    "hidden_size": 32,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "num_hidden_layers": 2,
    "intermediate_size": 64,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "vocab_size": 260,
    "max_position_embeddings": 64,
    "tie_word_embeddings": True,
    "rope_theta": 10000.0,
}
_GENERATION = {"do_sample": True, "temperature": 0.5, "top_p": 0.9, "eos_token_id": [259], "max_new_tokens": 4}
_TOKENS = {
    "bos_token": "<s>",
    "eos_token": {"content": "</s>", "lstrip": False},
    "add_bos_token": True,
    "added_tokens_decoder": {"258": {"content": "<s>", "special": True}, "259": {"content": "</s>", "special": True}},
    "chat_template": CHATML,
    "model_max_length": 1e30,
}
_PIECES = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "chat_template": CHATML,
    "tokenizer_class": "LlamaTokenizer",
    "legacy": False,
}
_SENTENCES = [
    "the quick brown fox jumps over the lazy dog",
    "Äpfel, Öl und ½ of it",
    "aaaa bbbb abab the end",
    "日本語 and 中文",
]


def write_corpus(folder: Path) -> None:
    """Every subject as a folder in `folder`."""
    for subject, files in _subjects().items():
        for name, data in files.items():
            path = folder / subject / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    _write_gguf(folder / "gguf")
    _write_gguf_model(folder / "gguf-model" / "x.gguf")
    _write_bundle(folder / "folder", folder / "bundle" / "x.llm")


def _subjects() -> dict[str, dict[str, bytes]]:
    text = {"tokenizer.json": tokenizer_text().encode(), "tokenizer_config.json": _json(_TOKENS)}
    model = {"config.json": _json(_CONFIG)}
    halves = [dict(part) for part in (list(_tensors().items())[::2], list(_tensors().items())[1::2])]
    shards = {f"model-0000{i + 1}-of-00002.safetensors": save(half) for i, half in enumerate(halves)}
    weight_map = {name: shard for shard, half in zip(shards, halves) for name in half}
    index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    return {
        "folder": model | text | {"generation_config.json": _json(_GENERATION), "model.safetensors": save(_tensors())},
        "shards": model | shards | {"model.safetensors.index.json": _json(index)},
        "loose": model | shards,
        "llama2c": {"x.bin": _llama2c(), "tokenizer.bin": _llama2c_pieces()},
        "gptq": _quantized(
            {"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": False, "sym": True}, gptq_layer
        ),
        "awq": _quantized(
            {"quant_method": "awq", "bits": 4, "group_size": 32, "zero_point": True, "version": "gemm"}, awq_layer
        ),
        "compressed": _quantized(_COMPRESSED, compressed_layer),
        "adapter": _adapter(),
        "probe": {"x": b"undamaged"},
        "configs": {f"{name}.json": _json(config) for name, config in PUBLISHED.items()},
        "templates": {"chatml.jinja": CHATML.encode(), "llama.jinja": LLAMA.encode(), "gemma.jinja": GEMMA.encode()},
        "unigram": {"tokenizer.model": _sentencepiece("unigram"), "tokenizer_config.json": _json(_PIECES)},
        "pieces": {
            "tokenizer.model": _sentencepiece("bpe"),
            "tokenizer_config.json": _json(_PIECES),
            "added_tokens.json": b'{"<y>": 400}',
        },
        "vocabularies": _vocabularies(),
        "tokenizers": _tokenizers(),
        "encoder": _encoder(),
    }


def _encoder() -> dict[str, bytes]:
    """An encoder with the files of sentence-transformers beside it."""
    config = {
        "model_type": "bert",
        "hidden_size": 16,
        "num_attention_heads": 2,
        "num_hidden_layers": 1,
        "intermediate_size": 24,
    }
    config |= {"vocab_size": 21, "max_position_embeddings": 32, "type_vocab_size": 2, "hidden_act": "gelu"}
    spec, rng = spec_from_config(config), np.random.default_rng(2)
    tensors = {s.name: rng.normal(0.1, 0.3, shapes(spec)[n]).astype(np.float32) for n, s in sources(spec).items()}
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    modules = [
        {"idx": i, "path": path, "type": f"sentence_transformers.models.{kind}"} for i, (path, kind) in enumerate(kinds)
    ]
    return {
        "config.json": _json(config),
        "model.safetensors": save(tensors),
        "modules.json": _json(modules),
        "1_Pooling/config.json": _json({"word_embedding_dimension": 16, "pooling_mode_mean_tokens": True}),
        "sentence_bert_config.json": _json({"max_seq_length": 16, "do_lower_case": False}),
        "config_sentence_transformers.json": _json({"prompts": {"query": "q: "}, "default_prompt_name": None}),
        "vocab.txt": _WORDS,
        "tokenizer_config.json": _json({"tokenizer_class": "BertTokenizer", "do_lower_case": True}),
    }


_WORDS = "\n".join(
    ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "a", "##b", "fox", "##es", *"abcdefgh,."]
).encode()


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


@cache
def _tensors() -> dict[str, np.ndarray]:
    spec, rng = spec_from_config(_CONFIG), np.random.default_rng(0)
    return {s.name: rng.normal(0.1, 0.3, shapes(spec)[n]).astype(np.float32) for n, s in sources(spec).items()}


def gptq_layer(i: int, rows: int, columns: int, layer: str) -> dict[str, np.ndarray]:
    made = random_matrix(4, columns // 32, symmetric=True, seed=i, rows=rows, columns=columns)
    return gptq(*made, ordered(columns // 32, columns), 4, layer=layer)


def awq_layer(i: int, rows: int, columns: int, layer: str) -> dict[str, np.ndarray]:
    made = random_matrix(4, columns // 32, symmetric=False, seed=i, rows=rows, columns=columns)
    return awq(*made, layer=layer)


_WEIGHTS = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": 32}
_COMPRESSED = {
    "quant_method": "compressed-tensors",
    "format": "pack-quantized",
    "quantization_status": "compressed",
    "config_groups": {"group_0": {"targets": ["Linear"], "weights": _WEIGHTS}},
    "ignore": ["lm_head"],
}


def compressed_layer(i: int, rows: int, columns: int, layer: str) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(i)
    return {
        f"{layer}.weight_packed": rng.integers(-(2**31), 2**31, (rows, columns // 8)).astype(np.int32),
        f"{layer}.weight_scale": rng.uniform(1e-3, 1e-2, (rows, columns // 32)).astype(np.float16),
        f"{layer}.weight_shape": np.array([rows, columns], np.int64),
    }


def _quantized(settings: dict, layer) -> dict[str, bytes]:
    """A model whose projections are packed by `layer`."""
    out: dict[str, np.ndarray] = {}
    for i, (name, tensor) in enumerate(_tensors().items()):
        if "_proj." in name:
            out |= layer(i, *tensor.shape, name.removesuffix(".weight"))
        else:
            out[name] = tensor.astype(np.float16)
    return {"config.json": _json(_CONFIG | {"quantization_config": settings}), "model.safetensors": save(out)}


def _adapter() -> dict[str, bytes]:
    """A base model and a LoRA adapter of rank 2 over two projections."""
    config = {
        "peft_type": "LORA",
        "r": 2,
        "lora_alpha": 4,
        "target_modules": ["q_proj", "down_proj"],
        "task_type": "CAUSAL_LM",
    }
    config |= {"base_model_name_or_path": "../base", "bias": "none", "fan_in_fan_out": False, "use_dora": False}
    rng, tensors = np.random.default_rng(1), {}
    for name, tensor in _tensors().items():
        if "q_proj" in name or "down_proj" in name:
            stem = "base_model.model." + name.removesuffix(".weight")
            tensors[f"{stem}.lora_A.weight"] = rng.normal(size=(2, tensor.shape[1])).astype(np.float32)
            tensors[f"{stem}.lora_B.weight"] = rng.normal(size=(tensor.shape[0], 2)).astype(np.float32)
    base = {"base/config.json": _json(_CONFIG), "base/model.safetensors": save(_tensors())}
    return base | {"adapter/adapter_config.json": _json(config), "adapter/adapter_model.safetensors": save(tensors)}


def _llama2c() -> bytes:
    dim, hidden, layers, heads, kv_heads, vocab, context = sizes = (16, 24, 2, 2, 1, 300, 32)
    kv = dim // heads * kv_heads
    n = (
        vocab * dim
        + dim
        + layers * (2 * dim + 2 * dim * dim + 2 * kv * dim + 3 * dim * hidden)
        + context * dim // heads
    )
    return np.array(sizes, "<i4").tobytes() + np.random.default_rng(0).normal(size=n).astype("<f4").tobytes()


def _llama2c_pieces() -> bytes:
    texts = [
        "<unk>",
        "<s>",
        "</s>",
        *(f"<0x{i:02X}>" for i in range(256)),
        *(chr(97 + i) for i in range(26)),
        "ab",
        "abc",
    ]
    texts += [f"t{i}" for i in range(300 - len(texts))]
    pieces = (np.float32(-i).tobytes() + np.int32(len(text)).tobytes() + text.encode() for i, text in enumerate(texts))
    return np.int32(8).tobytes() + b"".join(pieces)


def _sentencepiece(kind: str) -> bytes:
    import sentencepiece

    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(_SENTENCES * 4), model_writer=out, model_type=kind, vocab_size=400, byte_fallback=True,
        hard_vocab_limit=False, minloglevel=2, num_threads=1, user_defined_symbols=["[INST]"], control_symbols=["<|x|>"],
    )  # fmt: skip
    return out.getvalue()


def _vocabularies() -> dict[str, bytes]:
    """The layouts without tokenizer.json, each in a folder of its own."""
    import base64

    vocab = json.loads(tokenizer_text())["model"]["vocab"]
    ranks = [*(bytes([i]) for i in range(256)), b"th", b"the", b" a"]
    return {
        "bytes/vocab.json": _json(vocab),
        "bytes/merges.txt": b"#version: 0.2\na b\nab c\n",
        "bytes/tokenizer_config.json": _json({"tokenizer_class": "GPT2Tokenizer", "eos_token": "abc"}),
        "words/vocab.txt": _WORDS,
        "words/tokenizer_config.json": _json({"tokenizer_class": "BertTokenizer", "do_lower_case": True}),
        "ranks/qwen.tiktoken": b"\n".join(base64.b64encode(rank) + b" %d" % i for i, rank in enumerate(ranks)),
        "ranks/tokenizer_config.json": _json({"tokenizer_class": "QWenTokenizer"}),
    }


def _tokenizers() -> dict[str, bytes]:
    """A tokenizer.json of each kind of model, with normalizers, splits, decoders and post-processors of every kind in use."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    words = Tokenizer(
        models.WordPiece({"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "the": 3, "##s": 4, "a": 5}, unk_token="[UNK]")
    )
    words.normalizer = normalizers.BertNormalizer()
    words.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    words.decoder = decoders.WordPiece()
    words.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    pieces = Tokenizer(
        models.Unigram([("<unk>", 0.0), ("▁", -2.0), ("▁the", -1.0), ("a", -3.0), ("b", -4.0)], 0, False)
    )
    pieces.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " "), normalizers.Strip()]
    )
    pieces.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    pieces.decoder = decoders.Metaspace()
    merged = Tokenizer.from_str(tokenizer_text())
    split = Regex(r"(?i:'s|'t)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
    merged.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(split, "isolated"),
            pre_tokenizers.Digits(True),
            pre_tokenizers.ByteLevel(False, use_regex=False),
        ]
    )
    merged.post_processor = processors.ByteLevel(trim_offsets=False)
    kinds = {"words": words, "pieces": pieces, "merged": merged}
    return {f"{name}/tokenizer.json": tokenizer.to_str().encode() for name, tokenizer in kinds.items()}


def _write_gguf(folder: Path) -> None:
    """A model with tensors of every type and a vocabulary of each kind."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    tensors = {f"t.{kind}": gguf_files.random_rows(kind, 2, 256) for kind in gguf_files.KINDS}
    tensors |= {f"p.{kind}": gguf_files.plain(kind, rng.normal(size=(3, 5))) for kind in gguf_files.PLAIN}
    tensors["blk.0.ffn_up_exps.weight"] = gguf_files.plain("F32", rng.normal(size=(2, 3, 4)))
    for name, tokens in _GGUF_VOCABULARIES.items():
        text = {f"tokenizer.ggml.{key}": value for key, value in tokens.items()}
        text |= {
            "tokenizer.chat_template": CHATML,
            "llama.context_length": 64,
            "llama.rope.freq_base": 1e4,
            "general.name": "x",
        }
        gguf_files.write(folder / f"{name}.gguf", "llama", text, tensors)


_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
_GGUF_VOCABULARIES = {
    "merged": {"model": "gpt2", "pre": "llama-bpe", "tokens": ["a", "b", "Ġ", "ab", "1", "<end>", "<user>"], "merges": ["a b"]}
    | {"token_type": [1, 1, 1, 1, 1, 3, 4], "eos_token_id": 5, "bos_token_id": 6, "add_bos_token": True},
    "pieces": {"model": "llama", "tokens": ["<unk>", "<s>", "</s>", *_BYTES, "▁", "a", "b", "▁a"], "token_type": [2, 3, 3, *[6] * 256, 1, 1, 1, 1]}
    | {"scores": [0.0] * 259 + [-5.0, -6.0, -7.0, -2.0], "add_space_prefix": True, "add_eos_token": False},
    "words": {"model": "bert", "tokens": ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "▁the", "s", "▁a"], "token_type": [3, 3, 3, 3, 1, 1, 1]}
    | {"unknown_token_id": 1, "cls_token_id": 2, "seperator_token_id": 3, "padding_token_id": 0},
}  # fmt: skip


def _write_gguf_model(path: Path) -> None:
    """A llama with matrices of several types and a byte-level vocabulary."""
    arch = {
        "context_length": 64,
        "embedding_length": 32,
        "block_count": 2,
        "feed_forward_length": 64,
        "vocab_size": 260,
    }
    attention = {
        "head_count": 2,
        "head_count_kv": 1,
        "key_length": 16,
        "value_length": 16,
        "layer_norm_rms_epsilon": 1e-5,
    }
    metadata = {f"llama.{key}": value for key, value in arch.items()}
    metadata |= {f"llama.attention.{key}": value for key, value in attention.items()}
    metadata |= {"llama.rope.dimension_count": 16, "llama.rope.freq_base": 1e4, "general.sampling.temp": 0.5}
    vocab = json.loads(tokenizer_text())["model"]["vocab"]
    text = {
        "model": "gpt2",
        "pre": "gpt-2",
        "tokens": [*sorted(vocab, key=vocab.get), "<s>", "</s>"],
        "merges": ["a b", "ab c"],
    }
    text |= {"token_type": [1] * 258 + [3, 3], "bos_token_id": 258, "eos_token_id": 259}
    metadata |= {f"tokenizer.ggml.{key}": value for key, value in text.items()}
    spec, rng = spec_from_config(_CONFIG), np.random.default_rng(0)
    kinds, tensors = itertools.cycle(["Q8_0", "Q4_0", "F16", "Q4_1", "Q5_0", "IQ4_NL"]), {}
    for name, source in gguf_sources(spec).items():
        shape = shapes(spec)[name]
        plain = len(shape) == 1 or name == "embed"
        tensors[source.name] = (
            gguf_files.plain("F32", rng.normal(size=shape)) if plain else _gguf_rows(next(kinds), *shape)
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    gguf_files.write(path, "llama", metadata, tensors)


def _gguf_rows(kind: str, rows: int, columns: int) -> gguf_files.Quantised:
    if kind == "F16":
        return gguf_files.plain(kind, np.random.default_rng(0).normal(size=(rows, columns)))
    return gguf_files.random_rows(kind, rows, columns)


def _write_bundle(source: Path, path: Path) -> None:
    """What `compile_model` writes, with weights that numpy packs."""
    from llmos.api.assemble import fill_weights, weights_bytes
    from llmos.api.opening import open_source, open_tokenizer
    from llmos.api.options import choose_options, formats_of
    from llmos.artifact import write_bundle
    from llmos.compiler import build_graph, graph_hash, to_dict

    opened = open_source(str(source))
    options = choose_options(opened, "int8", None)
    graph = build_graph(opened.spec, options)
    weights = memoryview(bytearray(weights_bytes(graph)))
    assert opened.parameters is not None and opened.prompt_format is not None
    fill_weights(graph, opened.parameters, weights)
    tokenizer = open_tokenizer(opened)
    documents = {"spec": opened.config, "graph": to_dict(graph), "prompt_format": opened.prompt_format.to_dict()}
    documents |= {"golden": tokenizer.golden() if tokenizer else [], "lineage": {"verb": "compile"}, "reports": {}}
    facts = {
        "producer": "x",
        "graph": graph_hash(graph),
        "formats": formats_of(options),
        "generation": opened.generation,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bundle(path, documents=documents, facts=facts, weights=weights)
