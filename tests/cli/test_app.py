"""What becomes of errors, seen without a process."""

import click
import pytest

from llmos.cli import app
from llmos.core.errors import FormatError, LlmosError, ResourceError, UserError


def exit_code(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> int:
    @click.command()
    def broken() -> None:
        raise error

    monkeypatch.setattr(app, "cli", broken)
    with pytest.raises(SystemExit) as stop:
        app.main([])
    return stop.value.code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UserError("seen"), 2),
        (FormatError("a.llm", "seen", offset=7), 2),
        (ResourceError("seen"), 3),
        (LlmosError("seen"), 1),
        (MemoryError(), 3),
        (KeyboardInterrupt(), 130),
        (ZeroDivisionError("seen"), 1),
    ],
)
def test_every_error_has_its_exit_code_and_no_traceback(error, code, monkeypatch, capsys):
    assert exit_code(monkeypatch, error) == code
    text = capsys.readouterr().err
    assert "Traceback" not in text
    assert "seen" in text or not str(error)


def test_a_defect_shows_its_traceback_to_those_who_ask(monkeypatch, capsys):
    monkeypatch.setenv("LLMOS_LOG", "debug")
    assert exit_code(monkeypatch, ZeroDivisionError("seen")) == 1
    assert "Traceback" in capsys.readouterr().err


def test_every_verb_in_the_list_exists_and_is_called_so():
    context = click.Context(app.cli)
    for name in app.cli.list_commands(context):
        command = app.cli.get_command(context, name)
        assert command is not None
        assert command.name == name


def test_the_version_is_the_package_s(capsys):
    import llmos

    with pytest.raises(SystemExit) as stop:
        app.main(["--version"])
    assert stop.value.code == 0
    assert llmos.__version__ in capsys.readouterr().out
