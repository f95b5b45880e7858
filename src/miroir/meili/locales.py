"""Language codes accepted by `locales` and `localizedAttributes`."""

from __future__ import annotations

_CODES = """
af ak am ar az be bn bg ca cs da de el en eo et fi fr gu he hi hr hu hy id it jv ja kn ka km
ko la lv lt ml mr mk my ne nl nb or pa fa pl pt ro ru si sk sl sn es sr sv ta te tl th tk tr
uk ur uz vi yi zh zu afr aka amh ara aze bel ben bul cat ces dan deu ell eng epo est fin fra
guj heb hin hrv hun hye ind ita jav jpn kan kat khm kor lat lav lit mal mar mkd mya nep nld
nob ori pan pes pol por ron rus sin slk slv sna spa srp swe tam tel tgl tha tuk tur ukr urd
uzb vie yid zho zul cmn
"""

#: Two-letter, then three-letter codes, in the order that JSON errors list them.
LOCALES: tuple[str, ...] = tuple(_CODES.split())

#: The same codes in the order that query string errors list them.
SORTED_LOCALES: tuple[str, ...] = tuple(sorted(LOCALES, key=lambda code: (len(code), code)))

#: Two-letter code -> three-letter code, which is what settings print.
THREE_LETTERS: dict[str, str] = dict(
    zip(
        (code for code in LOCALES if len(code) == 2),
        (code for code in LOCALES if len(code) == 3 and code != "cmn"),
        strict=True,
    )
)
