"""Texts that tokenizers find hard: every kind of character, marks, joiners, both directions, long runs; no surrogates."""

from hypothesis import strategies as st

PARTS = [
    *["a", "b", "e", "lo", "the", " the", "ing", "Hello", " ", "  ", "   ", "▁", "\n", "\r\n", "\t", "0", "12", "3.14"],
    *["é", "e\u0301", "\u0300\u0301\u0302", "ﬁ", "Å", "ﾞ", "ｶﾞ", "İ", "ß", "①", "½", "…", "”", "、", "。"],
    *["🦙", "👨‍👩‍👧", "🇩🇪", "👍🏽", "שלום", "مرحبا", "नमस्ते", "ไทย", "\u0e33", "中文", "日本語", "한국", "ᄀ", "ᅡ", "ᆨ"],
    *["\u200b", "\u200d", "\u200f", "\u202e", "\u2028", "\u3000", "\xa0", "\u00ad", "\ufeff", "\ufffd", "\ue000"],
    *["\x00", "\x01", "\x7f", "\x85", "\U0010ffff", "<0x41>", "=====", "-----", "[", "<", "|"],
]

CHARACTERS = st.characters(exclude_categories=["Cs"])

TEXTS = st.one_of(
    st.text(CHARACTERS, max_size=30),
    st.lists(st.sampled_from(PARTS), max_size=25).map("".join),
    st.builds(
        lambda part, n, other, m: part * n + other * m,
        st.sampled_from(PARTS),
        st.integers(1, 60),
        st.sampled_from(PARTS),
        st.integers(0, 40),
    ),
)
