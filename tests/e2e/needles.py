"""Looking for thousands of secrets at once in memory, a core dump or a log: whole ones and what is left of them.

Each is cut into fragments of 16 bytes, as what frees a piece of memory overwrites its beginning and no more. Wherever
one lies, one of its first four words of 4 bytes is at an address that 4 divides: of these memory is searched.
"""

import base64
import re
import subprocess
from pathlib import Path

FRAGMENT = 16
LEAST = 12  # bytes: what is shorter occurs by chance, or does not identify anything
BLOCK = 64 << 10


def fragments(data):
    cut = [data[at:at + FRAGMENT] for at in range(0, len(data), FRAGMENT)]
    assert len(cut[0]) >= LEAST, f"too short to be looked for: {data!r}"
    return [f for f in cut if len(f) >= LEAST]


class Needles:
    """What is looked for; each has a name, of whatever kind the caller likes."""

    def __init__(self):
        self.by_word = {}
        self.text = {}  # {lower case text: names}

    def add(self, name, data):
        for f in fragments(data):
            for at in range(4):
                self.by_word.setdefault(int.from_bytes(f[at:at + 4], "little"), []).append((f, name))
        self.text.setdefault(data[:FRAGMENT].hex(), set()).add(name)
        self.text.setdefault(base64.b64encode(data[:FRAGMENT - 1]).decode().lower()[:16], set()).add(name)

    def add_repeated(self, name, period):
        """Data that repeats these bytes, however it is cut."""
        for at in range(len(period)):
            self.add(name, (period[at:] + period * 2)[:FRAGMENT])

    def found(self, pieces):
        """Names of those that occur in the pieces, which may come from a generator."""
        seen, words = set(), set(self.by_word)
        for piece in pieces:
            for at in range(0, len(piece), BLOCK):
                block = piece[at:at + BLOCK + FRAGMENT]
                if block.count(0) == len(block):
                    continue
                for word in words.intersection(memoryview(block)[:len(block) // 4 * 4].cast("I")):
                    seen |= {name for fragment, name in self.by_word[word] if fragment in block}
        return seen

    def written(self, text):
        """Names of those that a text has, as they are, in hex, or in base64."""
        lower = text.lower()
        return self.found([text.encode()]) | set().union(*(names for t, names in self.text.items() if t in lower))


def private_numbers(key_file):
    """{name: bytes}: the secret numbers of a private key, most significant byte first."""
    text = subprocess.run(["openssl", "pkey", "-in", key_file, "-noout", "-text"], capture_output=True, text=True, check=True).stdout
    numbers = {}
    for name in ("priv", "privateExponent", "prime1", "prime2", "exponent1", "exponent2", "coefficient"):
        if found := re.search(rf"(?m)^{name}:.*\n((?:    .*\n)+)", text):
            numbers[name] = bytes.fromhex(re.sub(r"[\s:]", "", found.group(1))).lstrip(b"\0")
    assert len(numbers) in (1, 6), text
    return numbers


def pem_of(text, der, number):
    """The pieces of lines of this PEM that hold nothing but the number: what is public is in certificates as well."""
    at = der.index(number)
    first, end = -(-at // 3) * 4, (at + len(number)) // 3 * 4
    lines = [text[max(first, line):min(end, line + 64)] for line in range(first // 64 * 64, end, 64)]
    return [line for line in lines if len(line) >= LEAST]


def private_key_forms(key_file):
    """[(form, bytes)]: a private key in each way that software writes it.

    The numbers in order of bytes are those of its DER (SEC 1, PKCS #1, PKCS #8) as well.
    """
    text = b"".join(line for line in Path(key_file).read_bytes().splitlines() if not line.startswith(b"-"))
    forms = []
    for name, number in private_numbers(key_file).items():
        whole = number.rjust((len(number) + 7) // 8 * 8, b"\0")
        limbs = [whole[at:at + 8][::-1] for at in range(0, len(whole), 8)]
        forms += [(f"{name}, big endian", number), (f"{name}, little endian", number[::-1]),
                  (f"{name}, words from the top", b"".join(limbs))]
        forms += [(f"{name}, PEM", line) for line in pem_of(text, base64.b64decode(text), number)]
    return forms
