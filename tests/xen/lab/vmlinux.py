#!/usr/bin/env python3
"""vmlinux.py BZIMAGE ELF: takes the kernel's ELF file out of a Debian bzImage (x86 boot protocol, payload in xz).

Fails with what it found instead when the payload is none of those."""

import lzma
import struct
import sys

source, target = sys.argv[1:]
image = open(source, "rb").read()
if image[0x202:0x206] != b"HdrS":
    sys.exit(f"vmlinux.py: {source} is no bzImage")
setup = (image[0x1F1] + 1) * 512
offset, length = struct.unpack_from("<II", image, 0x248)
payload = image[setup + offset:setup + offset + length]
if payload[:6] != b"\xfd7zXZ\0":
    sys.exit(f"vmlinux.py: the payload of {source} is not xz: it begins with {payload[:6].hex()}")
elf = lzma.LZMADecompressor(format=lzma.FORMAT_XZ).decompress(payload)
if elf[:4] != b"\x7fELF":
    sys.exit(f"vmlinux.py: the payload of {source} holds no ELF file")
open(target, "wb").write(elf)
