"""The folder that `STASHHOG_HOME` names."""

from pathlib import Path

from stashhog_core.errors import ConfigurationError


def make_home_folder(folder: Path) -> None:
    """Make the home, or a folder in it, with all it lies in.

    Raises:
        ConfigurationError: It cannot be made there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            "The folder for databases, results and logs cannot be made",
            where=str(folder),
            remedy="set STASHHOG_HOME to a folder that you may write to "
            f"({error.strerror})",
        ) from error
