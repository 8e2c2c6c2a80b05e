"""Settings: whatever stands in the environment, they are read or refused."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stashhog_core.errors import ConfigurationError
from stashhog_core.settings import (
    PREFIX,
    is_secret,
    load_settings,
    setting_variables,
)
from tests.support.fuzzing import check_sentence, many, texts, values

pytestmark = pytest.mark.slow

VARIABLES = setting_variables()

in_environment = (
    st.one_of(texts, values.map(repr), values.map(str))
    .filter(lambda text: "\0" not in text)
    .map(lambda text: os.fsdecode(text.encode(errors="replace")))
)
"""What an environment can hold."""


@given(data=st.data())
@many
def test_a_setting_is_read_or_refused(data: st.DataObject) -> None:
    """A refused one is named in one sentence, and no secret is shown."""
    unknown = st.from_regex(rf"{PREFIX}[A-Z_]{{1,12}}", fullmatch=True)
    names = st.one_of(st.sampled_from(VARIABLES), unknown)
    given_values = data.draw(st.dictionaries(names, in_environment, max_size=3))

    refused = None
    with pytest.MonkeyPatch.context() as patch:
        for name in VARIABLES:
            patch.delenv(name, raising=False)
        for name, value in given_values.items():
            patch.setenv(name, value)
        try:
            load_settings(given_values, Path(os.devnull))
        except ConfigurationError as error:
            refused = error

    if refused is not None:
        check_sentence(refused)
        assert PREFIX in str(refused)
        assert not any(
            value in str(refused)
            for name, value in given_values.items()
            if is_secret(name) and len(value) > 6
        )
