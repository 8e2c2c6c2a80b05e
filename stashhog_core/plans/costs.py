"""What a plan has cost: seconds, looks, tokens and money, by detector."""

from collections.abc import Mapping
from typing import Any

Costs = dict[str, dict[str, Any]]
"""Detector → kind of cost → amount, or the name of a currency."""


def added(earlier: Mapping[str, Mapping[str, Any]], now: Mapping[str, Any]) -> Costs:
    """Return the costs of two tries of one run together."""
    total = {name: dict(of_detector) for name, of_detector in earlier.items()}
    for name, of_detector in now.items():
        before = total.setdefault(name, {})
        for kind, amount in of_detector.items():
            if isinstance(amount, int | float):
                before[kind] = round(before.get(kind, 0) + amount, 6)
            else:
                before[kind] = amount
    return total


def costs_in_words(costs: Mapping[str, Mapping[str, Any]]) -> str:
    """Return such as `text_model 12 requests, 3.1 s, 3,400 + 220 tokens, 0.0041 USD`.

    Tokens are those sent and those answered.
    """
    return "; ".join(
        f"{name} {', '.join(_words(of_detector))}"
        for name, of_detector in sorted(costs.items())
    )


def _words(costs: Mapping[str, Any]) -> list[str]:
    # Where no name was likely, nothing was asked: such a look is no request.
    what = "requests" if "requests" in costs else "looks"
    words = [f"{costs.get(what, 0):,} {what}", f"{costs.get('seconds', 0):,.1f} s"]
    if "tokens_in" in costs:
        words.append(f"{costs['tokens_in']:,} + {costs['tokens_out']:,} tokens")
    if costs.get("money"):
        words.append(f"{costs['money']:,.4f} {costs['currency']}")
    return words
