"""Where a Hugging Face folder keeps its chat templates: one, or several by name.

The files chat_template.jinja and additional_chat_templates/NAME.jinja come first, as in transformers; then the field of
tokenizer_config.json, a text or a list of named texts; then chat_template.json, which processors write.
"""

import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmos.core.errors import FormatError
from llmos.text.model_files import is_text, is_texts_by_name, read_json, read_text

__all__ = ["template_files", "templates_of"]

_FILE, _FOLDER, _OF_PROCESSORS = "chat_template.jinja", "additional_chat_templates", "chat_template.json"


def template_files(folder: Path) -> list[Path]:
    """The files that hold templates and nothing else."""
    alone = [folder / name for name in (_FILE, _OF_PROCESSORS)]
    return [*filter(Path.exists, alone), *sorted((folder / _FOLDER).glob("*.jinja"))]


def templates_of(folder: Path, settings: Mapping[str, Any]) -> dict[str, str]:
    """Templates by name; `default` is the one that is taken where none is named. settings: of tokenizer_config.json."""
    files = {path.stem: read_text(path) for path in sorted((folder / _FOLDER).glob("*.jinja"))}
    if (folder / _FILE).exists():
        files["default"] = read_text(folder / _FILE)
    stated = files or _named(settings.get("chat_template"), folder / "tokenizer_config.json")
    path = folder / _OF_PROCESSORS
    return stated or _named(read_json(path).get("chat_template"), path)


def _named(given: Any, path: Path) -> dict[str, str]:
    if given is None:
        return {}
    if is_text(given):
        return {"default": given}
    if isinstance(given, list):
        given = {entry.get("name"): entry.get("template") for entry in given if isinstance(entry, dict)}
        given = {name: template for name, template in given.items() if template is not None}
    if not is_texts_by_name(given):
        raise FormatError(path, f"chat_template must be text or a list of named texts, not {reprlib.repr(given)}")
    return given
