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
    assert all(lookup(other).hub_id for other in recommended)
    if "opt" not in FAMILIES or "gemma2" not in FAMILIES:
        assert "does not support yet" in notice
        assert " and ".join(sorted(FAMILIES)) in notice


def test_every_entry_leads_to_exactly_one_place():
    assert all((entry.embedded is None) != (entry.hub_id is None) for entry in CATALOGUE.values())
    assert lookup("GPT2") is CATALOGUE["gpt2"]
