"""The names that people type: what is said about those that are not what they say."""

import re

import pytest

from llmos.models import CATALOGUE, FAMILIES, lookup


@pytest.mark.parametrize("name", ["gpt-3", "lamda", "bard"])
def test_a_notice_recommends_only_what_can_be_loaded(name: str):
    notice = lookup(name).notice
    assert "never published" in notice
    recommended = re.findall(r"load_model\('([^']+)'\)", notice)
    assert recommended
    families = {"olmo2": "allenai/OLMo-2", "gemma2": "google/gemma-2"}
    for other in recommended:
        known = lookup(other)
        assert known is not None or any(f in FAMILIES and other.startswith(start) for f, start in families.items())


def test_every_entry_leads_to_exactly_one_place():
    assert all((entry.embedded is None) != (entry.hub_id is None) for entry in CATALOGUE.values())
    assert lookup("GPT2") is CATALOGUE["gpt2"]
