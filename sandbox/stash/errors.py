"""What a resolver answers instead of data."""


class ApiError(Exception):
    """A message that goes into the answer's `errors`, with HTTP 200."""


class RequestError(Exception):
    """The document or its variables are refused before anything runs.

    Args:
        errors: The `errors` of the answer.
    """

    def __init__(self, errors: list[dict[str, object]]) -> None:
        super().__init__(errors)
        self.errors = errors
