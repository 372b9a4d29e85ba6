#!/usr/bin/env python3
"""Golden rows of the formats mxfp8_v41_il, nvfp4_v41_il, fp8_per_tensor and nvfp4_rope.

usage: gen_rows.py FOLDER     the folder that has this file, or a copy of it

Reads input rows that other vectors have already, and writes pages and what they decode to. All arithmetic is
exact (Fraction), and rounded where docs/formats.md says so: nothing is shared with the library, and no package
is needed.
"""

import math
import os
import struct
import sys
from fractions import Fraction

PAGE_ROWS = 64
E2M1 = [0, 0.5, 1, 1.5, 2, 3, 4, 6]


# --- numbers -----------------------------------------------------------------------------------------------------


def floor_log2(value):
    """The largest e with 2^e <= value, of a positive Fraction."""
    e = value.numerator.bit_length() - value.denominator.bit_length()
    return e if Fraction(2) ** e <= value else e - 1


def round_to(exact, negative, bits, least_exponent, largest):
    """An exact number to the nearest of a floating type, ties to even; saturates. Zeros take `negative`."""
    magnitude = abs(Fraction(exact))
    rounded = Fraction(0)
    if magnitude:
        ulp = Fraction(2) ** (max(floor_log2(magnitude), least_exponent) - bits + 1)
        rounded = min(round(magnitude / ulp) * ulp, largest)
    return math.copysign(float(rounded), -1.0 if (exact < 0 if rounded and exact else negative) else 1.0)


def is_negative(value):
    return math.copysign(1.0, value) < 0


FL32_LARGEST = Fraction(2**24 - 1) * Fraction(2) ** 104
BF16_LARGEST = Fraction(255) * Fraction(2) ** 120


def fl32(exact, negative=False):
    return round_to(exact, negative, 24, -126, FL32_LARGEST)


def bf16(exact, negative=False):
    return round_to(exact, negative, 8, -126, BF16_LARGEST)


def e4m3(exact, negative=False):
    return round_to(exact, negative, 4, -6, Fraction(448))


def e2m1(exact, negative=False):
    return round_to(exact, negative, 2, 0, Fraction(6))


def product(a, b):
    return fl32(Fraction(a) * Fraction(b), is_negative(a) != is_negative(b))


def difference(a, b):
    return fl32(Fraction(a) - Fraction(b), is_negative(a - b))


def bf16_bits(value):
    return struct.unpack("<I", struct.pack("<f", value))[0] >> 16


def e4m3_byte(value):
    sign = 128 if is_negative(value) else 0
    magnitude = abs(Fraction(value))
    if magnitude < Fraction(2) ** -6:
        return sign | int(magnitude * 2**9)
    e = floor_log2(magnitude)
    return sign | ((e + 7) << 3) | int(magnitude / Fraction(2) ** e * 8 - 8)


def e2m1_code(value):
    return (8 if is_negative(value) else 0) | E2M1.index(abs(value))


# --- rows --------------------------------------------------------------------------------------------------------


def sanitized(bits):
    """The value of a bf16; NaN becomes +0, infinities the largest finite value of their sign."""
    if bits & 0x7F80 == 0x7F80:
        bits = 0 if bits & 0x7F else bits - 1
    return struct.unpack("<f", struct.pack("<I", bits << 16))[0]


def rotated(row, table):
    """The last 64 channels in pairs: 32 cosines, then 32 sines."""
    row = list(row)
    for pair in range(32):
        even, odd = row[448 + 2 * pair], row[449 + 2 * pair]
        cosine, sine = table[pair], table[32 + pair]
        new_even = difference(product(even, cosine), product(odd, sine))
        new_odd = difference(product(even, sine), -product(odd, cosine))
        row[448 + 2 * pair] = bf16(Fraction(new_even), is_negative(new_even))
        row[449 + 2 * pair] = bf16(Fraction(new_odd), is_negative(new_odd))
    return row


def pack(codes):
    return bytes(codes[i] | codes[i + 1] << 4 for i in range(0, len(codes), 2))


def mxfp8_v41_il(row, _):
    """512 e4m3, then 16 UE8M0: the smallest power of two not below max(amax / 448, 1e-4)."""
    codes, scales, decoded = [], [], []
    for begin in range(0, 512, 32):
        group = row[begin : begin + 32]
        least = max(fl32(Fraction(max(map(abs, group))) / 448), fl32(Fraction("0.0001")))
        e = floor_log2(Fraction(least))
        e = min(e if Fraction(2) ** e == Fraction(least) else e + 1, 119)
        power = Fraction(2) ** e
        scales.append(e + 127)
        for x in group:
            value = e4m3(Fraction(x) / power, is_negative(x))
            codes.append(e4m3_byte(value))
            decoded.append(bf16(Fraction(value) * power, is_negative(value)))
    return bytes(codes), bytes(scales), decoded


def nvfp4_groups(row, g):
    codes, scales, decoded = [], [], []
    for begin in range(0, len(row), 16):
        group = row[begin : begin + 16]
        wanted = fl32(Fraction(fl32(Fraction(max(map(abs, group))) / 6)) / Fraction(g))
        scale = e4m3(min(max(Fraction(wanted), Fraction(2) ** -9), Fraction(448)))
        divisor = product(scale, g)
        scales.append(e4m3_byte(scale))
        for x in group:
            value = e2m1(Fraction(fl32(Fraction(x) / Fraction(divisor))), is_negative(x))
            codes.append(e2m1_code(value))
            scaled = product(product(value, scale), g)
            decoded.append(bf16(Fraction(scaled), is_negative(value)))
    return pack(codes), bytes(scales), decoded


def nvfp4_v41_il(row, g):
    """256 bytes of e2m1, then 32 e4m3, one per 16 channels."""
    return nvfp4_groups(row, g)


def nvfp4_rope(row, g):
    """224 bytes of e2m1 and 64 bf16; 28 e4m3, one per 16 of the first 448 channels, and 4 zeros."""
    codes, scales, decoded = nvfp4_groups(row[:448], g)
    rope = b"".join(struct.pack("<H", bf16_bits(x)) for x in row[448:])
    return codes + rope, scales + bytes(4), decoded + row[448:]


def fp8_per_tensor(row, g):
    """512 e4m3 of x times the reciprocal of the pool's scale, rounded to float32 or its largest value."""
    factor = fl32(1 / Fraction(g))
    codes, decoded = [], []
    for x in row:
        value = e4m3(Fraction(product(x, factor)), is_negative(x))
        codes.append(e4m3_byte(value))
        scaled = product(value, g)
        decoded.append(bf16(Fraction(scaled), is_negative(value)))
    return bytes(codes), b"", decoded


# name: (how a row is made, whether its scales follow its data)
FORMATS = {
    "mxfp8_v41_il": (mxfp8_v41_il, True),
    "nvfp4_v41_il": (nvfp4_v41_il, True),
    "fp8_per_tensor": (fp8_per_tensor, False),
    "nvfp4_rope": (nvfp4_rope, False),
}


def make(name, rows, g):
    """All rows as pages of 64, and what they decode to."""
    encode, is_interleaved = FORMATS[name]
    pages, decoded = [], []
    for begin in range(0, len(rows), PAGE_ROWS):
        encoded = [encode(row, g) for row in rows[begin : begin + PAGE_ROWS]]
        missing = PAGE_ROWS - len(encoded)
        empty = (bytes(len(encoded[0][0])), bytes(len(encoded[0][1])))
        encoded_bytes = [(data, scale) for data, scale, _ in encoded] + [empty] * missing
        if is_interleaved:
            pages.append(b"".join(data + scale for data, scale in encoded_bytes))
        else:
            pages.append(b"".join(d for d, _ in encoded_bytes) + b"".join(s for _, s in encoded_bytes))
        for _, _, values in encoded:
            decoded.append(struct.pack("<512H", *map(bf16_bits, values)))
    return pages, decoded


# --- files -------------------------------------------------------------------------------------------------------


def read_npy(path):
    """Bytes and shape of a C-order array."""
    with open(path, "rb") as file:
        content = file.read()
    header_bytes = struct.unpack("<H", content[8:10])[0]
    header = eval(content[10 : 10 + header_bytes].decode(), {"__builtins__": {}})
    return content[10 + header_bytes :], header["shape"]


def write_npy(path, kind, shape, data):
    header = "{'descr': '%s', 'fortran_order': False, 'shape': %s, }" % (kind, tuple(shape))
    header += " " * (-(len(header) + 11) % 64) + "\n"
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + data)


def read_rows(path):
    data, _ = read_npy(path)
    bits = struct.unpack("<%dH" % (len(data) // 2), data)
    values = [sanitized(b) for b in bits]
    return [values[i : i + 512] for i in range(0, len(values), 512)]


def save(prefix, name, rows, g=1.0):
    pages, decoded = make(name, rows, g)
    write_npy(prefix + "pages.npy", "|u1", (len(pages), len(pages[0])), b"".join(pages))
    write_npy(prefix + "dequant.npy", "<u2", (len(decoded), 512), b"".join(decoded))


def main(folder):
    at = lambda *parts: os.path.join(folder, *parts)
    table, _ = read_npy(at("mxfp8_v41_page64", "table.npy"))
    tables = struct.unpack("<%df" % (len(table) // 4), table)
    kv = read_rows(at("mxfp8_v41_page64", "kv.npy"))
    turned = [rotated(row, tables[64 * i : 64 * i + 64]) for i, row in enumerate(kv)]
    every = read_rows(at("every_bf16", "kv.npy"))
    edges = read_rows(at("scale_edges", "kv.npy"))
    for name in FORMATS:
        save(at(name + "_page64", ""), name, turned)
        save(at("every_bf16", name + "_"), name, every)
        save(at("scale_edges", name + "_"), name, edges)
    for name, scales in {
        "fp8_per_tensor": {"odd_scale": fl32(Fraction("0.0123")), "tiny_scale": 2.0**-140},
        "nvfp4_rope": {"odd_scale": fl32(Fraction("0.0123"))},
        "nvfp4_v41_il": {"odd_scale": fl32(Fraction("0.0123"))},
    }.items():
        for kind, g in scales.items():
            prefix = at(name + "_" + kind, "")
            save(prefix, name, turned[:PAGE_ROWS], g)
            write_npy(prefix + "global_scale.npy", "<f4", (1,), struct.pack("<f", g))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
