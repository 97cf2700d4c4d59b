"""Bytes and rulesets that the tests feed in, with their origin."""
