# SPDX-License-Identifier: LGPL-2.1-or-later
"""Makes the header of a LUKS2 container (LUKS2 On-Disk Format Specification 1.1), which cryptsetup makes only where there is a device mapper.
The passphrase opens a slot of AES-XTS as any other; what lies in the container is mapped by cipher_null, so that debugfs reads and changes a disk
at rest."""
import base64
import hashlib
import json
import os
import struct

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

HEADER_BYTES, BINARY_BYTES, SECTOR, STRIPES, ITERATIONS = 16384, 4096, 512, 4000, 1000


def text(data):
    return base64.b64encode(data).decode()


def split(key):
    """The anti-forensic splitter of LUKS 1, for a key as long as the hash: all stripes are needed to get it back."""
    last, stripes = bytes(len(key)), []

    def xor(a, b):
        return bytes(x ^ y for x, y in zip(a, b))
    for _ in range(STRIPES - 1):
        stripes.append(os.urandom(len(key)))
        last = hashlib.sha256(bytes(4) + xor(last, stripes[-1])).digest()
    return b"".join(stripes) + xor(last, key)


def encrypt(data, key):
    """aes-xts-plain64."""
    sectors = []
    for n in range(0, len(data), SECTOR):
        encryptor = Cipher(algorithms.AES(key), modes.XTS((n // SECTOR).to_bytes(16, "little"))).encryptor()
        sectors.append(encryptor.update(data[n:n + SECTOR]) + encryptor.finalize())
    return b"".join(sectors)


def binary(magic, offset, uuid, salt, area):
    def pack(checksum):
        return (magic + struct.pack(">HQQ48s32s64s40s48sQ184s64s", 2, HEADER_BYTES, 1, b"", b"sha256", salt, uuid.encode(), b"", offset, b"",
                                    checksum)).ljust(BINARY_BYTES, b"\0")
    return pack(hashlib.sha256(pack(b"") + area).digest())


def container(uuid, passphrase, size):
    """The first size bytes of a container; what it holds begins behind them."""
    key, salt, digest_salt = os.urandom(32), os.urandom(32), os.urandom(32)
    slot = encrypt(split(key), hashlib.pbkdf2_hmac("sha256", passphrase.encode(), salt, ITERATIONS, 64))
    slots = 2 * HEADER_BYTES
    area = json.dumps({
        "keyslots": {"0": {
            "type": "luks2", "key_size": len(key), "af": {"type": "luks1", "stripes": STRIPES, "hash": "sha256"},
            "area": {"type": "raw", "offset": str(slots), "size": str(-(-len(slot) // 4096) * 4096), "encryption": "aes-xts-plain64",
                     "key_size": 64},
            "kdf": {"type": "pbkdf2", "hash": "sha256", "iterations": ITERATIONS, "salt": text(salt)}}},
        "tokens": {},
        "segments": {"0": {"type": "crypt", "offset": str(size), "size": "dynamic", "iv_tweak": "0", "encryption": "cipher_null-ecb",
                           "sector_size": SECTOR}},
        "digests": {"0": {
            "type": "pbkdf2", "keyslots": ["0"], "segments": ["0"], "hash": "sha256", "iterations": ITERATIONS, "salt": text(digest_salt),
            "digest": text(hashlib.pbkdf2_hmac("sha256", key, digest_salt, ITERATIONS, 32))}},
        "config": {"json_size": str(HEADER_BYTES - BINARY_BYTES), "keyslots_size": str(size - slots)},
    }).encode().ljust(HEADER_BYTES - BINARY_BYTES, b"\0")
    headers = b"".join(binary(magic, at, uuid, os.urandom(64), area) + area
                       for magic, at in ((b"LUKS\xba\xbe", 0), (b"SKUL\xba\xbe", HEADER_BYTES)))
    return (headers + slot).ljust(size, b"\0")
