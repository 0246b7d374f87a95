"""Loading through images: the same model from a checkpoint, from what was packed before and from a mapped file."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import llm
from llmos.api import compile as compiling
from llmos.api import compile_model, image_key, place
from llmos.api import images as stored
from llmos.api import prepare as preparing
from llmos.api.image_key import code_files
from llmos.api.images import stored_images
from llmos.api.limits import check_memory, chosen_memory
from llmos.api.model import Model
from llmos.api.notice import ModelNotice
from llmos.api.opening import open_source
from llmos.api.options import choose_options
from llmos.api.prepare import demand, prepare
from llmos.artifact import bundle as bundles
from llmos.compiler import build_graph
from llmos.core.env import environment
from llmos.core.errors import ResourceError, UserError
from llmos.models import shapes, sources, spec_from_config
from tests.tiny_programs import CONFIG

pytestmark = pytest.mark.toolchain
IDS = [3, 5, 8, 13]
Q_ROWS = shapes(spec_from_config(CONFIG))["layer.0.q"][0]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache without images, with the code that others have compiled, in which images of every size are kept."""
    folder, code = tmp_path / "cache", environment().cache / "code"
    folder.mkdir()
    code.mkdir(parents=True, exist_ok=True)
    (folder / "code").symlink_to(code)
    monkeypatch.setenv("LLMOS_CACHE", str(folder))
    monkeypatch.setattr(place, "KEPT_FROM_BYTES", 0)
    return folder / "weights"


@pytest.fixture
def folder(tmp_path):
    return write_checkpoint(tmp_path / "model", seed=0)


def write_checkpoint(path, seed, config=CONFIG):
    spec, rng = spec_from_config(config), np.random.default_rng(seed)
    path.mkdir(exist_ok=True)
    tensors = {s.name: rng.normal(0.1, 0.3, shapes(spec)[n]).astype(np.float32) for n, s in sources(spec).items()}
    save_file(tensors, path / "model.safetensors")
    (path / "config.json").write_text(json.dumps(config))
    return path


def write_adapter(path):
    rng, tensors = np.random.default_rng(5), {}
    for i in range(CONFIG["num_hidden_layers"]):
        name, width = f"base_model.model.model.layers.{i}.self_attn.q_proj", CONFIG["hidden_size"]
        tensors[f"{name}.lora_A.weight"] = rng.normal(0, 0.5, (2, width)).astype(np.float32)
        tensors[f"{name}.lora_B.weight"] = rng.normal(0, 0.5, (Q_ROWS, 2)).astype(np.float32)
    path.mkdir()
    save_file(tensors, path / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": ["q_proj"]}
    (path / "adapter_config.json").write_text(json.dumps(config))
    return path


def answer(path, **settings):
    """What a model says, in tokens and in the scores of a prompt."""
    with llm.load_model(str(path), context=64, **{"weights": "int8"} | settings) as model:
        return model.generate_tokens(IDS, max_tokens=8, temperature=0), model.score(IDS)


@pytest.fixture
def nothing_is_packed(monkeypatch):
    """From now on packing fails."""

    def arm():
        def refuse(*_):
            raise AssertionError("packed again")

        monkeypatch.setattr(stored, "write_weights", refuse)
        monkeypatch.setattr("llmos.api.source.fill_weights", refuse)

    return arm


def test_a_checkpoint_is_packed_once_and_every_way_gives_the_same_answers(
    cache, folder, tmp_path, nothing_is_packed, monkeypatch
):
    monkeypatch.setenv("LLMOS_IMAGES", "off")
    expected = answer(folder)
    assert not cache.exists()
    monkeypatch.delenv("LLMOS_IMAGES")
    compile_model(folder, tmp_path / "x.llm", weights="int8", verified=False)
    assert answer(folder) == expected
    assert [image.suffix for image in cache.iterdir()] == [".image"]
    nothing_is_packed()
    assert answer(folder) == expected
    assert answer(folder, memory="mapped") == expected
    for memory in ("mapped", "fast", "mapped"):
        assert answer(tmp_path / "x.llm", memory=memory, weights=None) == expected
    assert answer(folder, threads=1) == expected


def test_info_tells_how_weights_are_held(cache, folder, monkeypatch):
    for memory in ("fast", "mapped"):
        monkeypatch.setenv("LLMOS_MEMORY", memory)
        with llm.load_model(str(folder)) as model:
            assert model.info()["memory"] == memory


@pytest.mark.parametrize("memory", ["fast", "mapped"])
def test_weights_that_have_changed_are_never_taken_from_an_image(cache, folder, memory):
    first = answer(folder, memory=memory)
    file = folder / "model.safetensors"
    before = file.stat()
    write_checkpoint(folder, seed=1)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_size == before.st_size
    changed = answer(folder, memory=memory)
    assert changed != first
    tensors = load_file(file)
    tensors["model.norm.weight"][0] += 1
    with file.open("r+b") as opened:  # in place, one number
        data = file.read_bytes()
        save_file(tensors, folder / "other")
        other = (folder / "other").read_bytes()
        assert len(other) == len(data)
        opened.write(other)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert answer(folder, memory=memory) != changed


def test_formats_and_settings_beside_the_weights_have_images_of_their_own(cache, folder):
    answers = {weights: answer(folder, weights=weights)[1] for weights in ("int8", "int4", "bf16")}
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 0.5}))
    answers["eps"] = answer(folder)[1]
    assert len(list(cache.glob("*.image"))) == 4
    assert len({json.dumps(scores) for scores in answers.values()}) == 4


@pytest.mark.parametrize("where", ["head", "weights", "end", "empty"])
@pytest.mark.parametrize("memory", ["fast", "mapped"])
def test_a_damaged_image_is_noticed_and_made_again(cache, folder, where, memory):
    expected = answer(folder)
    (image,) = cache.iterdir()
    whole = image.read_bytes()
    damaged = bytearray(whole)
    damaged[{"head": 70, "weights": 4096 + 500, "end": -1, "empty": 0}[where]] ^= 1
    image.write_bytes(bytes(damaged) if where != "empty" else b"")
    assert answer(folder, memory=memory) == expected
    assert image.read_bytes() == whole


def test_a_damaged_bundle_is_refused_although_it_was_whole_before(cache, folder, tmp_path):
    bundle = tmp_path / "x.llm"
    compile_model(str(folder), bundle, weights="int8", verified=False)
    answer(bundle, weights=None)
    answer(bundle, weights=None)
    data = bytearray(bundle.read_bytes())
    at = open_source(str(bundle)).bundle.packed().offset
    data[at + 5000] ^= 1
    bundle.write_bytes(data)
    for memory in ("fast", "mapped"):
        with pytest.raises(llm.FormatError, match="damaged"):
            answer(bundle, weights=None, memory=memory)


def test_the_least_used_images_make_room(cache, tmp_path, monkeypatch):
    folders = [write_checkpoint(tmp_path / f"m{i}", seed=i) for i in range(3)]
    answer(folders[0])
    (image,) = stored_images()
    monkeypatch.setenv("LLMOS_IMAGES", str(2 * image.n_bytes + 50_000))
    answer(folders[1])
    os.utime(next(i.path for i in stored_images() if i.model == str(folders[1])), (1, 1))
    answer(folders[0])  # used later than the other
    answer(folders[2])
    assert {image.model for image in stored_images()} == {str(folders[0]), str(folders[2])}


def test_weights_beyond_the_room_are_packed_each_time_and_that_is_told(cache, folder, monkeypatch):
    monkeypatch.setenv("LLMOS_IMAGES", "1KiB")
    with pytest.warns(ModelNotice, match=r"not kept: packed weights take .*LLMOS_IMAGES allows 1.00 KiB"):
        limited = answer(folder)
    monkeypatch.setenv("LLMOS_IMAGES", "off")
    assert answer(folder) == limited
    with pytest.raises(UserError, match="memory='mapped' needs packed weights in a file"):
        answer(folder, memory="mapped")
    assert not list(cache.glob("*"))


def test_a_full_disk_is_told_and_loading_goes_on(cache, folder, monkeypatch):
    monkeypatch.setattr(stored, "_SPARE_BYTES", 1 << 60)
    with pytest.warns(ModelNotice, match="not kept: .*the disk has .* free; the checkpoint is packed at each load"):
        told = answer(folder)
    with pytest.raises(UserError, match="the disk has no room"):
        answer(folder, memory="mapped")
    with pytest.raises(ResourceError, match="the disk has"):
        compile_model(str(folder), folder / "x.llm", verified=False)
    monkeypatch.undo()
    assert answer(folder) == told


def test_a_cache_that_cannot_be_written_is_told_and_loading_goes_on(cache, folder):
    cache.write_text("no folder")
    with pytest.warns(ModelNotice, match="not kept: cannot write"):
        answer(folder)


@pytest.mark.parametrize("reads", ["read_packed", "read_packed, always"])
def test_a_damaged_image_that_cannot_be_made_again_is_told_and_loading_goes_on(cache, folder, monkeypatch, reads):
    expected = answer(folder)
    (image,) = cache.iterdir()
    damaged = bytearray(image.read_bytes())
    damaged[-500] ^= 1
    image.write_bytes(damaged)
    if reads == "read_packed":
        monkeypatch.setattr(stored, "_SPARE_BYTES", 1 << 60)
    else:  # every image is damaged before it is read

        def damage(packed, *arguments, **settings):
            with packed.path.open("r+b") as file:
                file.seek(packed.offset)
                file.write(b"damage")
            return read_packed(packed, *arguments, **settings)

        read_packed = place.read_packed
        monkeypatch.setattr(place, "read_packed", damage)
    with pytest.warns(ModelNotice, match=r"not kept: .*; the checkpoint is packed at each load"):
        assert answer(folder) == expected


def test_clearing_the_cache_leaves_what_is_being_written(cache, folder, monkeypatch):
    def cleared(*arguments):
        write_weights(*arguments)
        stored.remove_images()

    expected, write_weights = answer(folder), stored.write_weights
    stored.remove_images()
    assert not list(cache.iterdir())
    monkeypatch.setattr(stored, "write_weights", cleared)
    assert answer(folder) == expected
    assert [image.suffix for image in cache.iterdir()] == [".image"]


def test_clearing_the_cache_while_a_bundle_is_written_disturbs_nobody(cache, folder, tmp_path, monkeypatch):
    def cleared(*arguments):
        assert stored.remove_images() > 0
        return hash_chunks(*arguments)

    expected, hash_chunks = answer(folder), bundles.hash_chunks
    monkeypatch.setattr(bundles, "hash_chunks", cleared)
    compile_model(str(folder), tmp_path / "x.llm", weights="int8", verified=False)
    monkeypatch.undo()
    assert answer(tmp_path / "x.llm", weights=None) == expected


def test_an_image_that_cannot_be_opened_now_stays(cache, folder, monkeypatch):
    def too_many(*arguments, **settings):
        raise UserError("cannot read it: Too many open files")

    expected = answer(folder)
    monkeypatch.setattr(place, "read_packed", too_many)
    with pytest.warns(ModelNotice, match="not kept: cannot read it: Too many open files"):
        assert answer(folder) == expected
    assert [image.suffix for image in cache.iterdir()] == [".image"]


def test_a_part_that_is_finished_while_the_disk_is_asked_is_no_error(cache, folder, monkeypatch):
    real = Path.exists
    monkeypatch.setattr(Path, "exists", lambda path: path.suffix == ".part" or real(path))  # it was there a moment ago
    answer(folder)
    assert [image.suffix for image in cache.iterdir()] == [".image"]


def test_the_key_of_an_image_has_all_code_that_touches_weights():
    hashed = set(code_files())
    assert all(path.exists() for path in hashed)
    api = Path(stored.__file__).parent
    touching = {path for path in api.glob("*.py") if "from llmos.weights" in path.read_text()}
    # One lists files, the other measures kernels: neither decides what comes out.
    assert touching - hashed <= {api / "file_states.py", api / "kernels.py"}
    assert {api / "opening.py", api / "quantization.py", api / "gguf.py", api / "adapters.py"} <= hashed


def test_checksums_of_a_compiled_bundle_are_kept_once_and_the_first_load_has_them(cache, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(image_key, "_WHOLE_BYTES", 10_000)  # a larger file is known by its inode and times
    bundle = tmp_path / "x.llm"
    compile_model(str(folder), bundle, weights="float32")
    (kept,) = cache.glob("*.sums")
    monkeypatch.setattr("llmos.artifact.Bundle.read_weights_into", None)
    monkeypatch.setattr("llmos.artifact.Bundle.check_weights", None)
    fast = answer(bundle, weights=None)
    assert answer(bundle, weights=None, memory="mapped") == fast
    assert list(cache.glob("*.sums")) == [kept]


def test_a_compilation_that_has_an_image_in_the_cache_needs_no_room_for_one(cache, folder, tmp_path, monkeypatch):
    size = compile_model(str(folder), tmp_path / "x.llm", weights="int8", verified=False).n_bytes
    (tmp_path / "x.llm").unlink()
    answer(folder)
    free = shutil.disk_usage(folder).free
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(free, 0, size))
    monkeypatch.setattr(stored, "_SPARE_BYTES", 0)
    compile_model(str(folder), tmp_path / "x.llm", weights="int8", verified=False)
    stored.remove_images()
    with pytest.raises(ResourceError, match="the disk has"):
        compile_model(str(folder), tmp_path / "y.llm", weights="int8", verified=False)


def test_a_file_that_changes_while_it_is_read_leaves_no_image(cache, folder, monkeypatch):
    def write(*arguments):
        write_weights(*arguments)
        write_checkpoint(folder, seed=2)

    write_weights = stored.write_weights
    monkeypatch.setattr(stored, "write_weights", write)
    with pytest.warns(ModelNotice, match="not kept: its files were changed while they were read"):
        answer(folder)
    assert not list(cache.glob("*.image")) and not list(cache.glob(".*.part"))


@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_model_that_is_replaced_after_it_was_opened_leaves_no_image_of_what_was_there(
    cache, folder, tmp_path, monkeypatch, what
):
    def replaced(*arguments, **settings):
        other = write_checkpoint(tmp_path / "other", seed=9)
        if what == "file":
            (other / "model.safetensors").rename(folder / "model.safetensors")
        else:
            folder.rename(tmp_path / "before")
            other.rename(folder)
        return compile_code(*arguments, **settings)

    compile_code = preparing.compile_code
    monkeypatch.setattr(preparing, "compile_code", replaced)
    with pytest.warns(ModelNotice, match="not kept: its files were changed while they were read"):
        before = answer(folder)
    monkeypatch.undo()
    monkeypatch.setenv("LLMOS_CACHE", str(cache.parent))
    monkeypatch.setattr(place, "KEPT_FROM_BYTES", 0)
    after = answer(folder)
    monkeypatch.setenv("LLMOS_IMAGES", "off")
    assert after == answer(folder) != before


def test_an_adapter_that_is_merged_twice_has_an_image_of_its_own(cache, folder, tmp_path, monkeypatch):
    adapter = write_adapter(tmp_path / "adapter")
    answers = [answer(folder, adapter=[str(adapter)] * n) for n in (0, 1, 2)]
    monkeypatch.setenv("LLMOS_IMAGES", "off")
    assert answers == [answer(folder, adapter=[str(adapter)] * n) for n in (0, 1, 2)]
    assert answers[1] != answers[2]


@pytest.mark.parametrize(("memory", "reads"), [("fast", "read_packed"), ("mapped", "map_packed")])
def test_an_image_that_is_removed_before_it_is_read_is_made_again(cache, folder, monkeypatch, memory, reads):
    def removed(packed, *arguments, **settings):
        if not gone:
            gone.append(packed.path)
            packed.path.unlink()
        return real(packed, *arguments, **settings)

    expected, gone, real = answer(folder), [], getattr(place, reads)
    monkeypatch.setattr(place, reads, removed)
    assert answer(folder, memory=memory) == expected
    assert gone == [*cache.glob("*.image")]


def test_a_file_from_the_future_is_a_file(cache, folder, tmp_path):
    os.utime(folder / "model.safetensors", (4e9, 4e9))
    compile_model(str(folder), tmp_path / "x.llm", weights="int8", verified=False)
    assert answer(tmp_path / "x.llm", weights=None) == answer(folder)
    assert len(list(cache.glob("*.image"))) == 1


def test_a_damaged_image_that_a_killed_compilation_left_is_made_again(cache, folder, tmp_path, monkeypatch):
    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(compiling, "write_bundle", killed)
        patch.setattr("pathlib.Path.unlink", lambda *_, **__: None)
        with pytest.raises(KeyboardInterrupt):
            compile_model(str(folder), tmp_path / "x.llm", weights="int8", verified=False)
    (left,) = tmp_path.glob(".*.image")
    with left.open("r+b") as file:
        file.seek(-1000, 2)
        file.write(bytes(500))
    compile_model(str(folder), tmp_path / "x.llm", weights="int8", verified=False)
    compile_model(str(folder), tmp_path / "y.llm", weights="int8", verified=False)
    assert (tmp_path / "x.llm").read_bytes() == (tmp_path / "y.llm").read_bytes()


def test_auto_maps_what_fits_only_so_and_says_it(cache, folder):
    source = open_source(str(folder))
    options = choose_options(source, "float32", None)
    wanted = demand(source, build_graph(source.spec, options), context=64, threads=2, given=("float32", None))
    needed, mapped = wanted.needed(), chosen_memory(wanted, "mapped", 0).needed()
    assert mapped < needed
    assert not chosen_memory(wanted, "auto", needed).mapped
    assert chosen_memory(wanted, "auto", needed - 1).mapped
    assert not chosen_memory(wanted, "auto", mapped - 1).mapped
    assert check_memory(chosen_memory(wanted, "auto", needed), needed, "auto") == ()
    (told,) = check_memory(chosen_memory(wanted, "auto", mapped), mapped, "auto")
    assert "mapped from their file" in told
    with pytest.raises(ResourceError, match="is free"):
        check_memory(chosen_memory(wanted, "fast", mapped), mapped, "fast")
    prepared = prepare(str(folder), weights="float32", context=64, batch=1, free_bytes=mapped)
    assert any("mapped from their file" in notice for notice in prepared.notices)
    with Model(prepared, threads=1) as model:
        assert model.info()["memory"] == "mapped"


def test_another_mode_is_refused(cache, folder):
    with pytest.raises(UserError, match="memory is 'huge'; allowed: auto, fast, mapped"):
        llm.load_model(str(folder), memory="huge")


def test_a_killed_compilation_leaves_parts_that_the_next_one_goes_on_with(cache, tmp_path, monkeypatch):
    large = CONFIG | {
        "vocab_size": 40_000,
        "num_hidden_layers": 3,
        "intermediate_size": 20_000,
    }  # pieces of 4 million values
    folder, bundle = write_checkpoint(tmp_path / "large", seed=0, config=large), tmp_path / "x.llm"
    code = textwrap.dedent(f"""
        import os, signal
        from llmos.api import compile_model
        def killed(line):
            if line.startswith("packing weights") and int(line.split()[2]) >= 40:
                os.kill(os.getpid(), signal.SIGKILL)
        compile_model({str(folder)!r}, {str(bundle)!r}, weights="int4", verified=False, progress=killed)
    """)
    done = subprocess.run([sys.executable, "-c", code])
    assert done.returncode == -signal.SIGKILL
    assert not bundle.exists() and {p.suffix for p in tmp_path.glob(".*.*")} == {".part", ".journal"}

    made = []
    real = stored.native_packer

    def counted(library):
        pack = real(library)
        return lambda rows, out, kind: made.append(out.nbytes) or pack(rows, out, kind)

    monkeypatch.setattr(stored, "native_packer", counted)
    compile_model(str(folder), bundle, weights="int4", verified=False)
    resumed = sum(made)
    assert not list(tmp_path.glob(".*.*"))
    made.clear()
    compile_model(str(folder), tmp_path / "y.llm", weights="int4", verified=False)
    assert 0 < resumed < 0.8 * sum(made)
    assert bundle.read_bytes() == (tmp_path / "y.llm").read_bytes()


def test_two_processes_that_load_at_once_pack_once(cache, folder):
    code = textwrap.dedent(f"""
        import llm
        from llmos.api import place
        place.KEPT_FROM_BYTES = 0
        with llm.load_model({str(folder)!r}, weights="int8", context=64) as model:
            print(model.generate_tokens({IDS}, max_tokens=8, temperature=0))
    """)
    runs = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = {run.communicate()[0] for run in runs}
    assert all(run.returncode == 0 for run in runs)
    assert said == {f"{answer(folder)[0]}\n"}
    assert len(list(cache.iterdir())) == 1


def test_two_compilations_into_one_folder_do_not_meet(cache, tmp_path):
    large = CONFIG | {"vocab_size": 30_000, "intermediate_size": 10_000}
    folder = write_checkpoint(tmp_path / "large", seed=0, config=large)
    code = (
        "import sys; from llmos.api import compile_model; compile_model(*sys.argv[1:], weights='int8', verified=False)"
    )
    outputs = [tmp_path / "x.llm", tmp_path / "y.llm"]
    running = [subprocess.Popen([sys.executable, "-c", code, str(folder), str(output)]) for output in outputs]
    assert [process.wait() for process in running] == [0, 0]
    assert outputs[0].read_bytes() == outputs[1].read_bytes()
    assert not list(tmp_path.glob(".*.*"))


def test_a_bundle_in_the_folder_of_its_model_changes_no_image(cache, folder):
    answer(folder)
    (image,) = cache.glob("*.image")
    compile_model(str(folder), folder / "x.llm", weights="float32")
    assert (folder / "x.report.json").exists()
    answer(folder)
    assert list(cache.glob("*.image")) == [image]


def test_a_compilation_needs_room_for_its_bundle_beside_the_one_that_it_replaces(cache, folder, monkeypatch):
    size = compile_model(str(folder), folder / "x.llm", verified=False).n_bytes
    free = shutil.disk_usage(folder).free
    monkeypatch.setattr(stored, "_SPARE_BYTES", free - size)
    with pytest.raises(ResourceError, match="the disk has"):
        compile_model(str(folder), folder / "x.llm", verified=False)
    assert (folder / "x.llm").stat().st_size == size
