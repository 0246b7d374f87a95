"""What the files of sentence-transformers say is understood, refused by name, or reported as damaged."""

import json

import pytest

from llmos.api.embed import choose_embedding
from llmos.api.embedding_settings import EmbeddingSettings, read_embedding_settings
from llmos.core.errors import FormatError, UserError
from llmos.models import spec_from_config

BERT = spec_from_config({"model_type": "bert", "num_hidden_layers": 1})
OURS = "sentence_transformers.models."


def write(folder, **documents):
    names = {"modules": "modules.json", "pooling": "1_Pooling/config.json", "lengths": "sentence_bert_config.json"}
    names |= {"prompts": "config_sentence_transformers.json", "tokenizer": "tokenizer_config.json"}
    for name, document in documents.items():
        path = folder / names[name]
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(document))
    return folder


def modules(*kinds: str, path: str = "1_Pooling") -> list[dict]:
    return [{"idx": i, "name": str(i), "path": path if i else "", "type": kind} for i, kind in enumerate(kinds)]


MEAN = {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}
USUAL = modules(OURS + "Transformer", OURS + "Pooling")


def test_a_folder_without_modules_says_nothing(tmp_path):
    assert read_embedding_settings(tmp_path) is None


def test_older_and_newer_files_say_the_same(tmp_path):
    older = write(tmp_path, modules=USUAL, pooling=MEAN, lengths={"max_seq_length": 99, "do_lower_case": False})
    found = read_embedding_settings(older)
    newer = [
        "sentence_transformers.base.modules.transformer.Transformer",
        "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
    ]
    newer = write(
        tmp_path,
        modules=modules(*newer),
        pooling={"embedding_dimension": 8, "pooling_mode": "mean", "include_prompt": True},
        lengths={"transformer_task": "feature-extraction"},
        tokenizer={"model_max_length": 99},
    )
    assert read_embedding_settings(newer) == found == EmbeddingSettings(pooling="mean", normalize=False, max_tokens=99)


def test_an_enormous_length_of_a_tokenizer_is_none(tmp_path):
    write(tmp_path, modules=USUAL, pooling=MEAN, tokenizer={"model_max_length": int(1e30)})
    assert read_embedding_settings(tmp_path).max_tokens is None


@pytest.mark.parametrize(
    ("documents", "named"),
    [
        ({"modules": modules(OURS + "Transformer", OURS + "Pooling", OURS + "Dense")}, "a module Dense"),
        ({"modules": modules("custom_st.Transformer", OURS + "Pooling")}, "the module custom_st.Transformer"),
        ({"modules": modules(OURS + "Asym", OURS + "Pooling")}, "a module Asym"),
        ({"pooling": {"pooling_mode_max_tokens": True}}, "pooling by"),
        ({"pooling": {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}}, "pooling by"),
        ({"pooling": {"pooling_mode": "weightedmean"}}, "weightedmean"),
        ({"pooling": {"pooling_mode": 5}}, "pooling by 5"),
    ],
)
def test_what_is_not_done_is_refused_by_name_when_a_vector_is_wanted(documents, named, tmp_path):
    stated = read_embedding_settings(write(tmp_path, **{"modules": USUAL, "pooling": MEAN} | documents))
    nothing = dict.fromkeys(("pooling", "normalize", "prompt", "prompt_name", "max_tokens")) | {"truncate": "error"}
    with pytest.raises(UserError, match=named):
        choose_embedding(BERT, stated, 512, **nothing)
    assert choose_embedding(BERT, stated, 512, **nothing | {"pooling": "mean"}).pooling == "mean"


def test_a_prompt_that_does_not_count_is_refused_and_none_is_not(tmp_path):
    write(tmp_path, modules=USUAL, pooling=MEAN | {"include_prompt": False}, prompts={"prompts": {"q": "find: "}})
    stated = read_embedding_settings(tmp_path)
    nothing = dict.fromkeys(("pooling", "normalize", "prompt", "prompt_name", "max_tokens")) | {"truncate": "error"}
    assert choose_embedding(BERT, stated, 512, **nothing).prompt == ""
    with pytest.raises(UserError, match="leaves its prompt out of the pooling"):
        choose_embedding(BERT, stated, 512, **nothing | {"prompt_name": "q"})


@pytest.mark.parametrize(
    ("documents", "named"),
    [
        ({"modules": {}}, "holds dict, not list"),
        ({"modules": [7]}, "type and path"),
        ({"modules": [{"type": OURS + "Pooling", "path": "../elsewhere"}]}, "not inside"),
        ({"modules": [{"type": OURS + "Pooling", "path": "/etc"}]}, "not inside"),
        ({"pooling": []}, "holds list, not dict"),
        ({"lengths": {"max_seq_length": 0}}, "max_tokens"),
        ({"lengths": {"max_seq_length": "many"}}, "max_tokens"),
        ({"lengths": {"do_lower_case": "yes"}}, "lower_case"),
        ({"prompts": {"prompts": ["query: "]}}, "prompts"),
        ({"prompts": {"prompts": {"query": 3}}}, "prompts"),
        ({"prompts": {"default_prompt_name": "query"}}, "'query' is none of its prompts"),
    ],
)
def test_damaged_files_are_refused_with_what_is_wrong(documents, named, tmp_path):
    write(tmp_path, **{"modules": USUAL, "pooling": MEAN} | documents)
    with pytest.raises(FormatError, match=named):
        read_embedding_settings(tmp_path)


def test_the_form_of_a_bundle_is_plain_data_and_is_checked():
    stated = EmbeddingSettings(pooling="last", normalize=True, prompts={"q": "x"}, default_prompt="q", refused=("y",))
    raw = json.loads(json.dumps(stated.to_dict()))
    assert EmbeddingSettings.from_dict(raw, "here") == stated
    for change in (
        {"pooling": "max"},
        {"normalize": 1},
        {"max_tokens": True},
        {"refused": [1]},
        {"more": 1},
        {"prompts": 1},
    ):
        with pytest.raises(FormatError, match=next(iter(change))):
            EmbeddingSettings.from_dict(raw | change, "here")
    with pytest.raises(FormatError, match="must be an object"):
        EmbeddingSettings.from_dict([], "here")
