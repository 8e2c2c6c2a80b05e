"""Parameters of every deployment: the form, the API and the terminal agree."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefect.exceptions import ParameterTypeError
from prefect.utilities.schema_tools.validation import is_valid

from flows import flow_of
from stashhog.cli.parameters import parse_parameters
from stashhog_core.errors import ConfigurationError
from stashhog_core.params import JOB_PARAMS, checked_parameters
from tests.support.fuzzing import check_sentence, many, texts, values

pytestmark = pytest.mark.slow

JOBS = sorted(JOB_PARAMS)
FLOWS = {job: flow_of(job) for job in JOBS}


def of_schema(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Return values that a form sends for a parameter."""
    if "anyOf" in schema:
        return st.one_of(*map(of_schema, schema["anyOf"]))
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    kind = schema["type"]
    if kind == "array":
        return st.lists(
            of_schema(schema["items"]),
            min_size=schema.get("minItems", 0),
            max_size=3,
        )
    if kind == "integer":
        above = schema.get("exclusiveMinimum")
        return st.integers(
            min_value=schema.get("minimum", None if above is None else above + 1),
            max_value=schema.get("maximum"),
        )
    if kind == "number":
        return st.floats(
            min_value=schema.get("minimum", schema.get("exclusiveMinimum")),
            max_value=schema.get("maximum", schema.get("exclusiveMaximum")),
            exclude_min="exclusiveMinimum" in schema,
            exclude_max="exclusiveMaximum" in schema,
            allow_nan=False,
            allow_infinity=False,
        )
    if kind == "string":
        if schema.get("format") == "date-time":
            return st.datetimes(timezones=st.just(UTC)).map(datetime.isoformat)
        if "pattern" in schema:
            return st.from_regex(schema["pattern"], fullmatch=True)
        printable = st.characters(codec="utf-8", exclude_characters="\0")
        return st.text(printable, min_size=schema.get("minLength", 0), max_size=20)
    return {"boolean": st.booleans(), "null": st.none()}[kind]


def is_taken(job: str, given_values: dict[str, Any]) -> bool:
    """Tell whether a job takes parameters."""
    return refusal(job, given_values) is None


def refusal(job: str, given_values: dict[str, Any]) -> str | None:
    """Return the sentence by which a job refuses parameters, if it does."""
    try:
        checked_parameters(job, JOB_PARAMS[job], given_values)
    except ConfigurationError as error:
        check_sentence(error)
        return str(error)
    return None


@pytest.mark.parametrize("job", JOBS)
@given(data=st.data())
@many
def test_a_job_takes_what_its_form_sends(job: str, data: st.DataObject) -> None:
    """Each value of the form's schema; only a rule about several of them may refuse."""
    schema = FLOWS[job].parameters.model_dump()
    required = schema.get("required", ())
    fields = {name: of_schema(of) for name, of in schema["properties"].items()}
    sent = data.draw(
        st.fixed_dictionaries(
            {name: fields[name] for name in required},
            optional={name: fields[name] for name in fields.keys() - set(required)},
        )
    )

    assert is_valid(sent, schema)
    refused = refusal(job, sent)
    assert refused is None or " do not fit: " in refused


@pytest.mark.parametrize("job", JOBS)
@given(data=st.data())
@many
def test_anything_is_taken_or_refused_in_a_sentence(
    job: str, data: st.DataObject
) -> None:
    """By the API as by the job; what is taken is taken again as it was understood."""
    flow = FLOWS[job]
    names = st.one_of(st.sampled_from([*flow.parameters.properties, "unknown"]), texts)
    sent = data.draw(st.dictionaries(names, values, max_size=3))

    taken = is_taken(job, sent)
    try:
        flow.validate_parameters(dict(sent))
        passes = True
    except (ParameterTypeError, TypeError):
        passes = False

    assert passes or not taken, sent
    if taken:
        model = JOB_PARAMS[job]
        params = checked_parameters(job, model, sent)
        written = params.model_dump(mode="json", by_alias=True)
        assert checked_parameters(job, model, written) == params
        assert is_valid(written, flow.parameters.model_dump()), written


@pytest.mark.parametrize("job", JOBS)
@given(data=st.data())
@many
def test_the_terminal_takes_what_the_job_takes(job: str, data: st.DataObject) -> None:
    """Whatever somebody types is a parameter that the job takes, or a sentence."""
    names = st.one_of(st.sampled_from([*FLOWS[job].parameters.properties]), texts)
    typed = st.one_of(texts, values.map(json.dumps))
    pairs = data.draw(
        st.lists(st.one_of(st.builds("{}={}".format, names, typed), texts), max_size=3)
    )

    try:
        parsed = parse_parameters(job, pairs)
    except ConfigurationError as error:
        check_sentence(error)
    else:
        assert is_taken(job, parsed), parsed
