import pytest

from cogs.core.storage.short_ids import COUNT, LENGTH, PLACES, read_beginning, read_short_id, short_id_of


def test_each_number_has_a_short_id_of_its_own():
    numbers = [*range(1000), *range(0, COUNT, COUNT // 1000), COUNT - 1]
    short_ids = {short_id_of(number) for number in numbers}
    assert len(short_ids) == len(set(numbers))
    assert all(len(short_id) == LENGTH and read_short_id(short_id) == short_id for short_id in short_ids)


def test_short_ids_begin_with_a_letter_and_hold_no_vowel():
    assert len(PLACES) == LENGTH and PLACES[0].isalpha()
    assert set("".join(PLACES)).isdisjoint("aeioulAEIOUL")


@pytest.mark.parametrize("typed", ["k7f012", " K7F012 ", "#k7f012", "k7foi2", "K7FOL2"])
def test_look_alikes_and_capitals_are_read(typed):
    assert read_short_id(typed) == "k7f012"


@pytest.mark.parametrize("typed", ["", "#", "red fox", "k7f01", "k7f0122", "123456", "7kf012", "k7f-12", "ｋ7f012", "k7f01٢"])
def test_what_is_no_short_id_is_none(typed):
    assert read_short_id(typed) is None


def test_beginning_is_read():
    assert [read_beginning(typed) for typed in ("#K7", "f", "a", "")] == ["k7", "f", None, None]
