"""Flow parameters from the core's models: flat, described, checked in one place."""

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

from pydantic.fields import FieldInfo

from stashhog_core.params import Params, checked_parameters


def parameters_of(
    model: type[Params],
) -> Callable[[Callable[[Params], Any]], Callable[..., Any]]:
    """Give a flow the fields of `model` as its parameters, by their wire names.

    Prefect makes its form, and checks new runs, from the signature and the docstring;
    a parameter that is a model would show as one nested box, and `--param name=value`
    could not reach into it.
    """

    def decorate(function: Callable[[Params], Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def flat(**values: Any) -> Any:
            return function(checked_parameters(function.__name__, model, values))

        parameters = [
            inspect.Parameter(
                field.alias or name,
                inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty
                if field.is_required()
                else field.default,
                annotation=_annotation(field),
            )
            for name, field in model.model_fields.items()
        ]
        # Without this, `inspect` would go on to the wrapped function.
        del flat.__wrapped__
        flat.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        flat.__annotations__ = {p.name: p.annotation for p in parameters}
        described = (
            f"    {field.alias or name}: {field.description}"
            for name, field in model.model_fields.items()
        )
        flat.__doc__ = "\n".join(
            [inspect.cleandoc(function.__doc__ or ""), "", "Args:", *described]
        )
        return flat

    return decorate


def _annotation(field: FieldInfo) -> Any:
    if not field.metadata:
        return field.annotation
    return Annotated[(field.annotation, *field.metadata)]
