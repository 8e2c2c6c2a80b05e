"""Forgetting old history, and putting right what dead runs left open."""
