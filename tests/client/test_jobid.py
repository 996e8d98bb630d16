"""Job ids: the encodings as Flux was seen to write them, all of them read back, and what is none."""

import copy
import json
import locale
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jqsched.job import JobID

ENCODINGS = ("dec", "f58", "f58plain", "hex", "dothex", "kvs", "words", "emoji")
CAPTURED = {
    "dec": "14025752576",
    "hex": "0x344000000",
    "dothex": "0000.0003.4400.0000",
    "kvs": "job.0000.0003.4400.0000",
    "f58": "ƒNNQebH",
    "f58plain": "fNNQebH",
    "words": "genius-basket-marina--actor-academy-academy",
    "emoji": "💯🍲🏮🔞",
}
EMOJI_OF_FLUX = {
    0: "😃",
    1: "😄",
    1234: "😁👌",
    65535: "💁📚",
    12342435: "😠🙇📍",
    2034152287593: "😪🏭🐭🍑👨",
    21900760568561664: "🎆🍧🎆🐾🕓😃",
    18446743892750589633: "🚹💗🔥😜💟🎱💃",
    2**64 - 1: "🚹💗💧👗😷📷📚",
}
IDS = st.integers(0, 2**64 - 1) | st.integers(0, 2**16) | st.integers(2**64 - 2**16, 2**64 - 1)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_an_id_is_written_and_read_as_flux_does(encoding):
    assert getattr(JobID(14025752576), encoding) == JobID(14025752576).encode(encoding) == CAPTURED[encoding]
    assert JobID(CAPTURED[encoding]) == 14025752576


@given(IDS, st.sampled_from(ENCODINGS), st.sampled_from(("", " ", "\t\n")))
def test_what_is_written_is_read_back(number, encoding, blank):
    id_ = JobID(blank + JobID(number).encode(encoding) + blank)
    assert id_ == number
    assert type(id_) is JobID


@pytest.mark.parametrize(("number", "emoji"), EMOJI_OF_FLUX.items())
def test_emoji_are_those_of_flux(number, emoji):
    assert JobID(number).emoji == emoji
    assert JobID(emoji) == number


def test_zero():
    assert JobID(0).f58 == "ƒ1"
    assert [int(JobID(text)) for text in ("0", "0x0", "ƒ1", "f1", "0.0.0.0", "😃")] == [0] * 6


def test_letters_are_read_in_upper_and_lower_case_where_that_says_nothing():
    assert JobID("0xABcd") == JobID("0000.0000.0000.abCD") == 0xABCD
    assert JobID("GENIUS-Basket-marina--actor-ACADEMY-academy") == 14025752576


def test_as_a_string_an_id_is_its_number():
    """Ours are small; Flux writes `ƒ…` here."""
    id_ = JobID("ƒNNQebH")
    assert (str(id_), f"{id_}", f"{id_:>12}", format(id_, "d")) == (*["14025752576"] * 2, " 14025752576", "14025752576")
    assert repr(JobID(16)) == "JobID(16)"
    assert json.dumps([JobID(16)]) == "[16]"


def test_an_id_is_an_int():
    assert JobID("17") == 17
    assert {JobID("17"): "x"}[17] == "x"
    assert JobID("17") + 1 == 18
    assert sorted([JobID(3), 1, JobID(2)]) == [1, 2, 3]


def test_the_text_it_was_made_of_is_kept():
    assert JobID("ƒNNQebH").orig == JobID(JobID("ƒNNQebH")).orig == "ƒNNQebH"
    assert JobID(16).orig == "16"
    assert JobID(-1).orig == "-1"
    for again in (copy.copy(JobID("0x10")), pickle.loads(pickle.dumps(JobID("0x10")))):
        assert (again, again.orig) == (16, "0x10")


BAD = [
    "", " ", "-1", "f", "ƒ", "f0", "ƒ0", "fƒ1", "1.5", "1.2.3", "1.2.3.4.5", "job.1", "1.2.3.10000", "1..2.3", "0x",
    "0xg", "1 2", "x", "\u0661", str(2**64), "0x10000000000000000", "9" * 5000, "0x" + "f" * 5000, "f" + "z" * 11,
    "f" + "1" * 13, "actor-actor", "genius-basket-marina--actor-academy-noone", "amen-amen-amen--amen-amen-amen",
    "🚹💗💧👗😷📷🔖", "😃😃😃😃😃😃😃😃", "💯x", "💯🫠", "\ud800", "None",
]  # fmt: skip


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_id_is_said(text):
    with pytest.raises(ValueError) as caught:
        JobID(text)
    assert str(caught.value) == f"{text} is not a valid Flux jobid"


@pytest.mark.parametrize("value", [None, 1.5, b"17", ["17"]])
def test_only_numbers_and_texts_are_ids(value):
    with pytest.raises(ValueError, match="is not a valid Flux jobid"):
        JobID(value)


@given(st.text() | st.from_regex(r"[0-9a-fx.ƒ-]{1,30}"))
def test_any_other_text_is_an_id_or_is_refused(text):
    try:
        number = JobID(text)
    except ValueError:
        return
    assert 0 <= number < 2**64


@pytest.mark.parametrize("number", [-1, 2**64])
def test_a_number_that_is_no_id_can_be_carried_but_not_written(number):
    id_ = JobID(number)
    assert id_ == number
    assert f"{id_:d}" == f"{number}"
    for write in (str, repr, *(lambda id_, way=way: id_.encode(way) for way in ENCODINGS)):
        with pytest.raises(OverflowError):
            write(id_)


def test_an_encoding_that_is_none_is_refused():
    with pytest.raises(ValueError, match="f59 is no encoding of job ids; there are dec, f58, "):
        JobID(1).encode("f59")


def test_where_the_locale_has_no_such_letter_f_stands_for_it():
    before = locale.setlocale(locale.LC_CTYPE)
    try:
        locale.setlocale(locale.LC_CTYPE, "C")
        plain = JobID(14025752576).f58
        locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
        assert (plain, JobID(14025752576).f58) == ("fNNQebH", "ƒNNQebH")
    finally:
        locale.setlocale(locale.LC_CTYPE, before)
