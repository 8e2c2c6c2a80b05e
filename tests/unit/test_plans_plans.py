"""What plans have cost."""

from stashhog_core.plans.plans import add_costs, costs_in_words


def test_two_tries_cost_both() -> None:
    """Amounts are added by detector and kind; a name of a currency stays one."""
    first = {"text_model": {"looks": 2, "money": 0.1, "currency": "EUR"}}
    second = {
        "text_model": {"looks": 3, "money": 0.2, "currency": "EUR", "seconds": 1.5},
        "title_cards": {"looks": 1, "seconds": 2.0},
    }

    assert add_costs(first, second) == {
        "text_model": {"looks": 5, "money": 0.3, "currency": "EUR", "seconds": 1.5},
        "title_cards": {"looks": 1, "seconds": 2.0},
    }
    assert first["text_model"]["looks"] == 2


def test_costs_are_said_in_words() -> None:
    """Whoever has no tokens has no price; what was free is not said to cost nothing."""
    costs = {
        "title_cards": {
            "looks": 1200,
            "seconds": 61.25,
            "pictures_seen": 15_000,
            "pictures_asked": 144_000,
        },
        "text_model": {
            "looks": 9,
            "requests": 3,
            "seconds": 2,
            "tokens_in": 3400,
            "tokens_out": 20,
            "money": 0,
            "currency": "USD",
        },
    }

    assert costs_in_words(costs) == (
        "text_model 3 requests, 2.0 s, 3,400 + 20 tokens; "
        "title_cards 1,200 scenes, 61.2 s, 15,000 of 144,000 pictures seen"
    )
    assert costs_in_words({}) == ""
