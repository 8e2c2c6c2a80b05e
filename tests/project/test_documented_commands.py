"""What readers are told to type can be typed: commands, options, targets, deployments.

Read are all documents, and the texts of the product: advice in errors, descriptions.
"""

import re
from functools import cache
from importlib import import_module
from typing import Any

import cyclopts
import prefect.main  # noqa: F401
import pytest
import yaml
from typer.exceptions import TyperException
from typer.main import get_command

from stashhog.cli.app import app
from stashhog.cli.parameters import parameters_of, parse_parameters
from stashhog_core.errors import ConfigurationError
from stashhog_core.sync.local_edits import SceneEdit
from tests.support.documented import (
    DOCUMENTS,
    PLACEHOLDER,
    ROOT,
    Command,
    documented_commands,
)

COMMANDS = documented_commands()
ANY = "7"  # an id, or a text


def of(program: str) -> list[Command]:
    """Return the commands of a program."""
    return [command for command in COMMANDS if command.program == program]


def each(program: str) -> pytest.MarkDecorator:
    """Run a test for each file that shows commands of a program."""
    return pytest.mark.parametrize("where", sorted({c.where for c in of(program)}))


@each("stashhog")
def test_commands_of_stashhog(where: str) -> None:
    """Each command exists, and takes these arguments, options and values."""
    wrong = {
        str(command): fault
        for command in of("stashhog")
        if command.where == where and (fault := fault_of(command))
    }

    assert wrong == {}


@each("make")
def test_targets_of_make(where: str) -> None:
    """Each target of the Makefile that is named exists."""
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = {c.words[0] for c in of("make") if c.where == where}

    assert named - set(targets) == set()


@each("prefect")
def test_commands_of_prefect(where: str) -> None:
    """Each command of Prefect exists in the pinned version, with these options."""
    wrong = {
        str(command): fault
        for command in of("prefect")
        if command.where == where and (fault := fault_of_prefect(command))
    }

    assert wrong == {}


def test_options_that_sentences_name() -> None:
    """An option that stands alone, such as `--json`, is one of some command."""
    ours = options(get_command(app))
    others = {
        "CHANGELOG.md": {"--ignore-requires-python"},  # pip
        "deployments/operating.md": {"--pool", "--scale"},  # prefect, docker compose
    }
    unknown = {
        path.name: named - ours - others.get(path.relative_to(ROOT).as_posix(), set())
        for path in DOCUMENTS
        if (named := set(re.findall(r"`(--[a-z][a-z-]*)[^`\n]*`", path.read_text())))
    }

    assert {name: words for name, words in unknown.items() if words} == {}


def options(command: Any) -> set[str]:
    """Return the options of a command and of those below."""
    own = {name for parameter in command.params for name in parameter.opts}
    inner = getattr(command, "commands", {}).values()
    return {"--help", *own}.union(*map(options, inner))


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ("plans lst", "no command 'lst'"),
        ("scenes --not-generatd", "No such option"),
        ("plans show", "Missing parameter: plan_id"),
        ("plans show seven", "a valid integer"),
        ("plans show 7 8", "unexpected"),
        ("run sync -p forced=true", "no parameter 'forced'"),
        ("run snyc", "no job 'snyc'"),
        ("edits set 7 titel=x", "no field titel"),
        ("--versoin", "no such option: --versoin"),
        ("push sync/snyc", "no deployment sync/snyc"),
    ],
)
def test_wrong_commands_of_stashhog_are_found(words: str, fault: str) -> None:
    """These checks notice what a reader would stumble over."""
    command = Command("README.md", "stashhog", tuple(words.split()), is_whole=True)

    assert fault in (fault_of(command) or "")


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ("deploymint run sync/sync", "no command deploymint"),
        ("deployment run sync/snyc", "no deployment sync/snyc"),
        ("deployment run sync/sync --wach", "Unknown option"),
        ("deployment run sync/sync --param forced=true", "no parameter 'forced'"),
    ],
)
def test_wrong_commands_of_prefect_are_found(words: str, fault: str) -> None:
    """Options and parameters count as well as names."""
    command = Command("README.md", "prefect", tuple(words.split()), is_whole=True)

    assert fault in (fault_of_prefect(command) or "")


def fault_of(command: Command) -> str | None:
    """Return what is wrong with a command of `stashhog`; None: it can be typed."""
    found: Any = get_command(app)
    words = filled_in(command)
    while hasattr(found, "commands") and words and not words[0].startswith("-"):
        name = words.pop(0)
        if name == ANY:
            return None
        if name not in found.commands:
            return f"there is no command {name!r}"
        found = found.commands[name]
    if hasattr(found, "commands") or (not words and not command.is_whole):
        # A sentence names the command or group; `--version` and its like act at once.
        options = {name for parameter in found.params for name in parameter.opts}
        unknown = [word for word in words if word not in {"--help", *options}]
        return f"no such option: {unknown[0]}" if unknown else None
    try:
        given = found.make_context(None, words).params
        return fault_of_names(found.name, given, is_whole=command.is_whole)
    except (TyperException, ConfigurationError) as error:
        is_missing = str(error).startswith("Missing parameter")
        return None if is_missing and not command.is_whole else str(error)


def filled_in(command: Command) -> list[str]:
    """Return the words with a value for each that stands for a value of the reader."""
    return [ANY if PLACEHOLDER.search(word) else word for word in command.words]


def fault_of_names(
    command: str, given: dict[str, Any], *, is_whole: bool
) -> str | None:
    """Return which job, parameter, field or deployment there is not."""
    if command == "run" and not given["parameters"]:
        pairs = given["param"] or []
        if pairs or is_whole:
            parse_parameters(given["job"], pairs)
        else:
            parameters_of(given["job"])
    if command == "push" and given["deployment"] not in deployments():
        return f"there is no deployment {given['deployment']}"
    if command == "set":
        names = {pair.partition("=")[0] for pair in given["fields"]}
        for name in names - SceneEdit.model_fields.keys():
            return f"scenes have no field {name}"
    return None


def fault_of_prefect(command: Command) -> str | None:
    """Return what is wrong with a command of `prefect`; None: it can be typed."""
    group, *words = filled_in(command)
    name = group.replace("-", "_")
    try:
        found = getattr(import_module(f"prefect.cli.{name}"), f"{name}_app")
    except ModuleNotFoundError:
        return f"there is no command {group}"
    try:
        _, bound, _ = found.parse_args(words, print_error=False, exit_on_error=False)
    except cyclopts.MissingArgumentError as error:
        return str(error) if command.is_whole else None
    except cyclopts.CycloptsError as error:
        return str(error)
    if (group, words[:1]) == ("deployment", ["run"]):
        (name,) = bound.args
        if name not in deployments():
            return f"there is no deployment {name}"
        job = name.partition("/")[0]
        try:
            parse_parameters(job, bound.kwargs.get("params", []))
        except ConfigurationError as error:
            return str(error)
    return None


@cache
def deployments() -> set[str]:
    """Return the deployments as Prefect names them."""
    listed = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    return {f"{d['entrypoint'].rpartition('.')[2]}/{d['name']}" for d in listed}
