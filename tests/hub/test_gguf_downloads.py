"""Repositories of GGUF files: one model is taken, of several the one that is named, and what there is is told with its size."""

import pytest

from llmos.core.errors import UserError
from llmos.hub import is_hub_id
from llmos.hub.gguf_choice import choose_gguf, gguf_models
from tests.hub.test_resolve import child
from tests.hub_server import serve

SEVERAL = ("tiny-Q4_K_M.gguf", "tiny-Q4_K_S.gguf", "tiny-Q8_0.gguf", "F16/tiny-F16-00001-of-00002.gguf") + (
    "F16/tiny-F16-00002-of-00002.gguf",
    "mmproj-tiny-F16.gguf",
    "imatrix.gguf",
)

LISTED = "F16 (2.29 MiB), Q4_K_M (1.14 MiB), Q4_K_S (1.14 MiB), Q8_0 (1.14 MiB)"
RESOLVE = """
from llmos.hub import resolve
from llmos.core.errors import LlmosError
for name in NAMES:
    try:
        found = resolve(name)
        print(found.kind, found.display, str(found.path).partition("/snapshots/")[2].partition("/")[2] or ".", found.notice)
    except LlmosError as error:
        print(type(error).__name__, error)
"""


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory):
    folders = {name: tmp_path_factory.mktemp(name) for name in ("several", "one", "both")}
    for file in SEVERAL:
        (folders["several"] / file).parent.mkdir(exist_ok=True)
        (folders["several"] / file).write_bytes(b"GGUF" * 300_000)
    for file in ("only.gguf", "mmproj.gguf", "config.json", "README.md"):
        (folders["one"] / file).write_bytes(b"GGUF")
    for file in ("model.safetensors", "config.json", "x-q8_0.gguf", "x-q4_0.gguf"):
        (folders["both"] / file).write_bytes(b"{}")
    with serve({f"some/{name}": folder for name, folder in folders.items()}) as address:
        yield address


def resolved(names, tmp_path, endpoint, **more) -> list[str]:
    """What each name leads to, by one process."""
    done = child(RESOLVE.replace("NAMES", repr(list(names))), tmp_path, endpoint, **more)
    assert done.stderr == ""
    return done.stdout.splitlines()


FOUND = {
    "some/one": "gguf some/one only.gguf None",
    "some/several:q4_k_m": "gguf some/several:q4_k_m tiny-Q4_K_M.gguf None",
    "some/several@main:tiny-Q8_0.gguf": "gguf some/several@main:tiny-Q8_0.gguf tiny-Q8_0.gguf None",
    "some/several:F16": "gguf some/several:F16 F16/tiny-F16-00001-of-00002.gguf None",
    "some/both": "folder some/both . None",
    "some/both:Q8_0": "gguf some/both:Q8_0 x-q8_0.gguf None",
    "some/several": f"UserError some/several holds 4 GGUF models; name one, as some/several:F16: {LISTED}",
    "some/several:Q2_K": f"UserError some/several holds no GGUF model of the tag 'Q2_K'; there are {LISTED}",
}


def test_a_name_leads_to_one_model_and_nothing_else_is_downloaded(tmp_path, endpoint):
    assert resolved(FOUND, tmp_path, endpoint) == list(FOUND.values())
    there = {path.name for path in (tmp_path / "hf").rglob("snapshots/*/**/*") if path.is_file()}
    of_several = {"tiny-Q4_K_M.gguf", "tiny-Q8_0.gguf", "tiny-F16-00001-of-00002.gguf", "tiny-F16-00002-of-00002.gguf"}
    assert there == of_several | {"only.gguf", "model.safetensors", "config.json", "x-q8_0.gguf"}


def test_what_was_downloaded_is_found_without_a_network(tmp_path, endpoint):
    resolved(["some/several:Q8_0", "some/both"], tmp_path, endpoint)
    names = ["some/several:Q8_0", "some/several", "some/several:F16", "some/both:Q8_0"]
    tagged, untagged, other, unfetched = resolved(names, tmp_path, endpoint, LLMOS_OFFLINE="1")
    assert tagged == "gguf some/several:Q8_0 tiny-Q8_0.gguf None"
    assert untagged == "gguf some/several tiny-Q8_0.gguf None"
    assert "holds no GGUF model of the tag 'F16'; there are Q8_0 (1.14 MiB)" in other
    assert "some/both is not on this machine" in unfetched
    (silent,) = resolved(names[:1], tmp_path, "http://127.0.0.1:9")
    assert "tiny-Q8_0.gguf" in silent and "taken as it was downloaded before" in silent


def tags(*files: str) -> list[str]:
    return [model.tag for model in gguf_models(dict.fromkeys(files, 1))]


@pytest.mark.parametrize(
    ("stem", "tag"),
    [
        ("Llama-3.2-1B-Instruct-Q4_K_M", "Q4_K_M"),
        ("llama-7b.IQ2_XXS", "IQ2_XXS"),
        ("Qwen3-0.6B-UD-Q4_K_XL", "UD-Q4_K_XL"),
        ("ggml-model-q4_0", "q4_0"),
        ("gpt-oss-20b-mxfp4", "mxfp4"),
        ("model-imatrix-Q4_0", "Q4_0"),
        ("x-TQ1_0", "TQ1_0"),
        ("x-fp16", "fp16"),
        ("Q8_0", "Q8_0"),
        ("Phi-3-mini-4k-instruct-q4", "q4"),
        ("stories260K", "stories260K"),
    ],
)
def test_the_tag_is_what_a_name_says_of_its_numbers(stem, tag):
    assert tags(f"{stem}.gguf") == [tag]


def test_models_of_one_tag_are_told_apart_by_their_names():
    assert tags("a-1b-Q4_0.gguf", "a-3b-Q4_0.gguf", "a-3b-Q8_0.gguf") == ["a-1b-Q4_0", "a-3b-Q4_0", "Q8_0"]


def test_a_model_that_lacks_parts_is_none():
    assert tags("a-Q4_0-00001-of-00002.gguf") == []


def test_a_tag_of_several_names_is_refused():
    models = gguf_models(dict.fromkeys(["a-1b-Q4_0.gguf", "a-3b-Q4_0.gguf"], 1))
    with pytest.raises(UserError, match=r"a/b holds 2 GGUF models of the tag 'Q4_0'; there are a-1b-Q4_0 \(1 B\)"):
        choose_gguf("a/b", models, "Q4_0")
    assert choose_gguf("a/b", models, "3b").files == ("a-3b-Q4_0.gguf",)


def test_a_tag_makes_a_name_one_of_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "some").mkdir()
    assert is_hub_id("some/several:Q8_0") and not is_hub_id("some/several")
    assert is_hub_id("some/several:x.gguf") and not is_hub_id("other/x.gguf")
