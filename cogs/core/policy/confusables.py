"""The skeleton of a text (Unicode UTS 39), for comparing look-alikes.

Look-alikes become the Latin letters that they look like. Invisible characters are removed.
"""

import string
import unicodedata
from functools import cache
from typing import Final

import regex
from confusable_homoglyphs.confusables import confusables_data, is_confusable

I_OR_L: Final = "ı"  # in skeletons: an i or an l
S_OR_F: Final = "ʃ"  # in skeletons: an s or an f
IGNORABLE: Final = regex.compile(r"[\p{Default_Ignorable_Code_Point}\p{Cf}\p{Cs}\p{Co}\p{Cn}[\p{Cc}--\s]]+", regex.V1)
MARKS: Final = regex.compile(r"[\p{Me}[[\p{Mn}&&\p{Script=Inherited}]--[\u3099\u309A]]]+", regex.V1)  # が is not か
FOREIGN_MARKS: Final = regex.compile(rf"(?<=[!-~{I_OR_L}{S_OR_F}])\p{{M}}+")
CAPITALS: Final = regex.compile(r"\b(?=(?:l*[A-Z]){2})[A-Zl]+\b")
# Letters that Unicode's list lacks. Generators of "fancy text" write these for a to z, in this order.
ORNAMENTS: Final = (
    "ᏗᏰፈᎴᏋᎦᎶᏂᎥᏠᏦᏝᎷᏁᎧᎮᎤᏒᏕᏖᏬᏉᏇጀᎩፚ",
    "ᎯᏰᏟᎠᏋᎦᎶᎻᎨᎫᏥᎱᎹᏐᎾᎵᎤᏓᏚᎿᏌᏤᏔጰᎽᏃ",
    "αвc∂εƒģнιנκℓмησρqяѕтυνωχγζ",
    "ꍏꌃꉓꀸꍟꎇꁅꃅꀤꀭꀘ꒒ꂵꈤꂦꉣꆰꋪꌗ꓄ꀎꃴꅏꊼꌩꁴ",
    "ǟɮƈɖɛʄɢɦɨʝӄʟʍռօքզʀֆȶʊʋաӼʏʐ",
)
ORNAMENTAL: Final = {
    sign: letter
    for ornaments in ORNAMENTS
    for letter, sign in zip(string.ascii_lowercase, ornaments, strict=True)
    if not (sign.isascii() or "а" <= sign <= "я")  # Russian stays Russian
}
GREEK: Final = dict(zip("ςδΛΣΞΔΩπθΘλξμ", "sdaeeaonooaeu", strict=True))  # also not in the list
# Russian letters that look like Latin ones to those who read no Russian. They count only in words that also have Latin letters.
FAUX_RUSSIAN: Final = str.maketrans("яЯиИйЙпПшШщЩцЦгГьЬъЪэЭєЄзЗдДчЧфФжЖ", "rrnnnnnnwwwwuurrbbbbeeeeeeaayyooxx")
FOREIGN_CAPITALS: Final = regex.compile(r"[[\p{Lu}\p{Lt}]--\p{Latin}]+", regex.V1)
WORDS: Final = regex.compile(r"[^\W\d_]+")
NAMED: Final = regex.compile(r"(?:LATIN (?:SMALL |CAPITAL )?|SYMBOL )LETTER (?:[A-Z]+ )*?([A-Z])(?: WITH .*)?$")


def skeleton(text: str) -> str:
    """Return ``text`` in lower case, with Latin letters for look-alikes.

    Marks and invisible characters are removed. A capital I or a bar becomes `I_OR_L`, a long s becomes `S_OR_F`.
    """
    text = FOREIGN_MARKS.sub("", "".join(map(_as_latin, IGNORABLE.sub("", text))))
    text = CAPITALS.sub(lambda word: word[0].replace("l", I_OR_L).lower(), text)  # an l among capitals may stand for an I
    return unicodedata.normalize("NFC", text.replace("I", I_OR_L).casefold())


def without_faux_russian(text: str) -> str:
    """Return ``text`` with Latin letters for Russian ones, in words that have both."""

    def as_latin(word: "regex.Match[str]") -> str:
        letters: str = word[0]
        return letters.translate(FAUX_RUSSIAN) if any(map(str.isascii, letters)) else letters

    return str(WORDS.sub(as_latin, text))


def with_small_foreign_letters(text: str) -> str:
    """Return ``text`` with small letters for capital ones that are not Latin: Ω looks like another letter than ω."""
    return str(FOREIGN_CAPITALS.sub(lambda letters: letters[0].lower(), text))


@cache
def _as_latin(character: str) -> str:
    if character == "ſ":
        return S_OR_F
    if character in "ßẞ":
        return "ss"
    plain: str = MARKS.sub("", unicodedata.normalize("NFKD", character))
    if character.isascii() or (plain.isascii() and plain.isalnum()):
        return plain
    if character not in _confusables() and plain in GREEK:
        return GREEK[plain]
    for form in (character, plain, character.upper()):  # В looks like B, в does not
        if form in _confusables():
            return _confusables()[form]
        if prototype := _prototype(form):
            return prototype
        if len(form) == 1 and (named := NAMED.search(unicodedata.name(form, ""))):
            return str(named[1]).lower()
    return ORNAMENTAL.get(character) or ORNAMENTAL.get(character.upper()) or plain


def _prototype(character: str) -> str | None:
    """Return what Unicode says ``character`` looks like, if that is letters with marks: for η an n with a line below."""
    for glyph in confusables_data.get(character, ()):
        plain: str = MARKS.sub("", unicodedata.normalize("NFKD", glyph["c"]))
        if plain.isascii() and plain.isalpha():
            return plain.lower()
    return None


@cache
def _confusables() -> dict[str, str]:
    """Return Unicode's look-alikes of letters and digits, with their originals."""
    return {
        lookalike: I_OR_L if group["character"] == "l" else group["character"].lower()
        for group in is_confusable(string.ascii_letters + string.digits, greedy=True)
        for glyph in group["homoglyphs"]
        if len(lookalike := glyph["c"].strip("\N{LEFT-TO-RIGHT MARK}")) == 1 and not lookalike.isascii()
    }
