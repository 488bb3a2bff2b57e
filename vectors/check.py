#!/usr/bin/env python3
"""Checks vectors.json and proofs.json with an implementation of its own: BLAKE3, Ed25519, the groups of BLS12-381, the
encodings, and (in proofs.py) proofs in the tree, from their descriptions.

    python3 vectors/check.py

Reads as documentation, too: what each function builds is the format. Needs nothing but Python 3.9.
"""

import functools
import hashlib
import json
import os
import struct
import sys

# ── BLAKE3 (the paper, §2): one chunk or many, keyed or deriving ─────────────────────────────────────────────────────

IV = [0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19]
PERMUTATION = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8]
CHUNK_START, CHUNK_END, PARENT, ROOT, KEYED, CONTEXT, MATERIAL = 1, 2, 4, 8, 16, 32, 64
MASK = 0xFFFFFFFF


def compress(chaining, block, counter, length, flags):
    v = chaining + IV[:4] + [counter & MASK, counter >> 32, length, flags]
    m = list(struct.unpack("<16I", block.ljust(64, b"\0")))

    def g(a, b, c, d, x, y):
        for word, first, second in ((x, 16, 12), (y, 8, 7)):
            v[a] = (v[a] + v[b] + word) & MASK
            v[d] ^= v[a]
            v[d] = (v[d] >> first | v[d] << (32 - first)) & MASK
            v[c] = (v[c] + v[d]) & MASK
            v[b] ^= v[c]
            v[b] = (v[b] >> second | v[b] << (32 - second)) & MASK

    for _ in range(7):
        for i in range(4):
            g(i, 4 + i, 8 + i, 12 + i, m[2 * i], m[2 * i + 1])
        for i in range(4):
            g(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4, m[8 + 2 * i], m[9 + 2 * i])
        m = [m[i] for i in PERMUTATION]
    return [v[i] ^ v[i + 8] for i in range(8)]


def chunk(data, key, counter, flags, root):
    blocks = [data[i:i + 64] for i in range(0, len(data), 64)] or [b""]
    chaining = key
    for i, block in enumerate(blocks):
        here = flags | (CHUNK_START if i == 0 else 0)
        if i == len(blocks) - 1:
            here |= CHUNK_END | (ROOT if root else 0)
        chaining = compress(chaining, block, counter, len(block), here)
    return chaining


def subtree(data, key, counter, flags, root):
    if len(data) <= 1024:
        return chunk(data, key, counter, flags, root)
    chunks = (len(data) + 1023) // 1024
    left = 1 << (chunks - 1).bit_length() - 1
    halves = subtree(data[:left * 1024], key, counter, flags, False)
    halves = halves + subtree(data[left * 1024:], key, counter + left, flags, False)
    return compress(key, struct.pack("<16I", *halves), 0, 64, flags | PARENT | (ROOT if root else 0))


def blake3(data, key=IV, flags=0):
    return struct.pack("<8I", *subtree(data, key, 0, flags, True))


def words(key):
    return list(struct.unpack("<8I", key))


@functools.cache
def domain_key(name):
    """derive_key(name, "")"""
    return blake3(b"", words(blake3(name.encode(), flags=CONTEXT)), MATERIAL)


def digest(domain, *parts):
    return blake3(b"".join(parts), words(domain_key("violeta v1 " + domain)), KEYED)


# ── Ed25519 (RFC 8032, §5.1): verification ───────────────────────────────────────────────────────────────────────────

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P


def add(one, two):
    (x1, y1, z1, t1), (x2, y2, z2, t2) = one, two
    a, b = (y1 - x1) * (y2 - x2) % P, (y1 + x1) * (y2 + x2) % P
    c, d = 2 * t1 * t2 * D % P, 2 * z1 * z2 % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def times(scalar, point):
    result = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point, scalar = add(point, point), scalar >> 1
    return result


def point(bytes_):
    y = int.from_bytes(bytes_, "little")
    sign, y = y >> 255, y & (1 << 255) - 1
    xx = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(xx, (P + 3) // 8, P)
    if (x * x - xx) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    assert (x * x - xx) % P == 0, "no point of the curve"
    if x & 1 != sign:
        x = P - x
    return (x, y, 1, x * y % P)


BASE = point((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))


def is_signed(key, purpose, what, signature):
    message = purpose.encode().ljust(32, b"\0") + what
    hashed = hashlib.sha512(signature[:32] + key + message).digest()
    challenge = int.from_bytes(hashed, "little") % ORDER
    scalar = int.from_bytes(signature[32:], "little")
    left, right = times(scalar, BASE), add(point(signature[:32]), times(challenge, point(key)))
    return all((left[i] * right[2] - right[i] * left[2]) % P == 0 for i in (0, 1))


# ── BLS12-381 (draft-irtf-cfrg-pairing-friendly-curves, §4.2.1): points, compressed as Zcash does; no pairing ────────────
#
# Coordinates are pairs (c0, c1) that stand for c0 + c1·i, in G1 with c1 = 0: one addition does for both groups.

Q = int("1a0111ea397fe69a4b1ba7b6434bacd764774b84f38512bf6730d2a0f6b0f6241eabfffeb153ffffb9feffffffffaaab", 16)
SCALARS = int("73eda753299d7d483339d80809a1d80553bda402fffe5bfeffffffff00000001", 16)
G2 = (
    (0x024AA2B2F08F0A91260805272DC51051C6E47AD4FA403B02B4510B647AE3D1770BAC0326A805BBEFD48056C8C121BDB8,
     0x13E02B6052719F607DACD3A088274F65596BD0D09920B61AB5DA61BBDC7F5049334CF11213945D57E5AC7D055D042B7E),
    (0x0CE5D527727D6E118CC9CDC6DA2E351AADFD9BAA8CBDD3A76D429A695160D12C923AC9CC3BACA289E193548608B82801,
     0x0606C4A02EA734CC32ACD2B02BC28B99CB3E287E85A763AF267492AB572E99AB3F370D275CEC1DA1AAA9075FF05F79BE),
)


def minus(a, b):
    return ((a[0] - b[0]) % Q, (a[1] - b[1]) % Q)


def mul(a, b):
    return ((a[0] * b[0] - a[1] * b[1]) % Q, (a[0] * b[1] + a[1] * b[0]) % Q)


def over(a, b):
    norm = pow(b[0] * b[0] + b[1] * b[1], Q - 2, Q)
    return mul(a, (b[0] * norm, -b[1] * norm))


def curve_add(one, two):
    if one is None or two is None:
        return one or two
    (x1, y1), (x2, y2) = one, two
    if x1 == x2 and y1 != y2:
        return None
    slope = over(mul((3, 0), mul(x1, x1)), mul((2, 0), y1)) if one == two else over(minus(y2, y1), minus(x2, x1))
    x = minus(minus(mul(slope, slope), x1), x2)
    return (x, minus(mul(slope, minus(x1, x)), y1))


def curve_times(scalar, point):
    result = None
    while scalar:
        if scalar & 1:
            result = curve_add(result, point)
        point, scalar = curve_add(point, point), scalar >> 1
    return result


def is_larger(y):
    return y[1] > Q // 2 if y[1] else y[0] > Q // 2


def compressed(point, coordinates):
    """The x coordinate, the highest part first; in the topmost bits, that it is compressed, and which y it is."""
    x, y = point
    bytes_ = b"".join(part.to_bytes(48, "big") for part in reversed(x[:coordinates]))
    return bytes([bytes_[0] | 0x80 | (0x20 if is_larger(y) else 0)]) + bytes_[1:]


def g1(bytes_):
    x = int.from_bytes(bytes_, "big") & (1 << 381) - 1
    square = (x**3 + 4) % Q
    y = pow(square, (Q + 1) // 4, Q)
    assert y * y % Q == square, "no point of the curve"
    if is_larger((y, 0)) != bool(bytes_[0] & 0x20):
        y = Q - y
    assert curve_times(SCALARS, ((x, 0), (y, 0))) is None, "not in the group"
    return ((x, 0), (y, 0))


def at_zero(values, add_, times_):
    """The value at 0 of the polynomial with these values at the given places (Lagrange)."""
    result = None
    for i, value in values.items():
        weight = 1
        for j in values:
            if j != i:
                weight = weight * j * pow(j - i, -1, SCALARS) % SCALARS
        result = add_(result, times_(weight, value))
    return result


# ── Encodings: borsh ─────────────────────────────────────────────────────────────────────────────────────────────────


def u8(n):
    return struct.pack("<B", n)


def u16(n):
    return struct.pack("<H", n)


def u32(n):
    return struct.pack("<I", n)


def u64(n):
    return struct.pack("<Q", n)


def raw(text):
    return bytes.fromhex(text)


def some(value):
    return b"\0" if value is None else b"\1" + value


def sequence(values):
    return u32(len(values)) + b"".join(values)


def blob(value):
    return u32(len(value)) + value


def committee(value):
    def member(m):
        share = some(None if m["share_key"] is None else raw(m["share_key"]))
        return u64(m["stake"]) + raw(m["validator_key"]) + share + raw(m["node_key"]) + raw(m["operator_key"])

    group = some(None if value["group_key"] is None else raw(value["group_key"]))
    return u64(value["epoch"]) + sequence([member(m) for m in value["members"]]) + group


def genesis(value):
    p = value["parameters"]
    election = ["coin", "seeded", "round-robin"].index(p["election"])
    parameters = u64(p["wave_length"]) + u32(p["leaders"]) + u8(election) + u64(p["gc_depth"])
    admission = u8(["closed", "open"].index(value["admission"]))
    administrators = sequence([raw(key) for key in value["administrators"]])
    name = blob(value["name"].encode())
    return name + u64(value["time"]) + committee(value["committee"]) + parameters + admission + administrators


def reference(r):
    return u64(r["round"]) + u16(r["author"]) + raw(r["id"])


def header(h):
    payload = raw(h["payload"]["root"]) + u32(h["payload"]["count"]) + u32(h["payload"]["bytes"])
    share = some(None if h["coin_share"] is None else raw(h["coin_share"]))
    parents = sequence([reference(parent) for parent in h["parents"]])
    begin = u64(h["epoch"]) + u64(h["round"]) + u16(h["author"])
    return begin + parents + payload + share + u8(h["end_mark"]) + u64(h["timestamp"])


def item(content):
    return u8(0) + blob(content)


def tree(purpose, leaves):
    """RFC 6962's shape: the left half holds the largest power of two below the count."""
    if not leaves:
        return bytes(32)
    if len(leaves) == 1:
        return digest(purpose + " leaf", leaves[0])
    left = 1 << (len(leaves) - 1).bit_length() - 1
    return digest(purpose + " inner", tree(purpose, leaves[:left]), tree(purpose, leaves[left:]))


def head(h):
    fields = [raw(h["chain"]), u64(h["epoch"]), u64(h["height"]), raw(h["previous"]), u64(h["commit_index"])]
    fields += [raw(h["commit_digest"]), u64(h["time"])]
    roots = ["transactions_root", "results_root", "state_root", "history_root", "committee", "next_committee"]
    return b"".join(fields + [raw(h[root]) for root in roots])


def commit(c):
    vertices = sequence([reference(vertex) for vertex in c["vertices"]])
    begin = u64(c["epoch"]) + u64(c["index"]) + raw(c["previous"]) + reference(c["leader"])
    return begin + vertices + u64(c["time"]) + some(None if c["coin"] is None else raw(c["coin"]))


def leaders(election, stakes, count, coin, seed, round_):
    if election == "round-robin":
        return [(round_ + j) % len(stakes) for j in range(count)]
    of_coin = (u64(0), u64(round_), coin)
    of_seed = (seed, u64(round_))
    seed = digest("leaders", *(of_coin if election == "coin" else of_seed))
    left, drawn = list(enumerate(stakes)), []
    for j in range(count):
        total, attempt = sum(stake for _, stake in left), 0
        while True:
            number = int.from_bytes(digest("leaders", seed, u8(j), u32(attempt))[:8], "little")
            if number < 2**64 // total * total:
                break
            attempt += 1
        unit = number % total
        for place, (index, stake) in enumerate(left):
            if unit < stake:
                break
            unit -= stake
        drawn.append(index)
        del left[place]
    return drawn


# ── The vectors ──────────────────────────────────────────────────────────────────────────────────────────────────────


def main():
    import proofs  # which takes its hashes and encodings from here

    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "vectors.json")
    with open(path, encoding="utf-8") as file:
        vectors = json.load(file)
    checked = 0

    def same(what, made, given):
        nonlocal checked
        if made != given:
            sys.exit(f"{what}: made {made!r}, the file says {given!r}")
        checked += 1

    for name, key in vectors["domain_keys"].items():
        same(name, domain_key(name).hex(), key)

    g = vectors["genesis"]
    value, chain = g["value"], raw(g["chain"])
    keys = [raw(member["validator_key"]) for member in value["committee"]["members"]]
    same("genesis", genesis(value).hex(), g["bytes"])
    same("chain", digest("genesis", raw(g["bytes"])), chain)
    seed = digest("epoch seed", chain, u64(0))
    same("epoch seed", seed.hex(), g["epoch_seed"])
    same("committee", digest("committee", committee(value["committee"])).hex(), g["committee"])
    for author, id_ in enumerate(vectors["round_0"]):
        same(f"vertex of round 0 by {author}", digest("round-0 vertex", seed, u64(0), u16(author)).hex(), id_)

    t = vectors["transaction"]
    put = u8(0) + blob(b"greetings") + blob(b"hello") + blob(b"world")
    operations = sequence([u8(4) + blob(b"greetings"), put])
    body = chain + raw(t["client_key"]) + u64(7) + u64(1_700_000_060_000) + operations
    same("transaction body", body.hex(), t["body"])
    id_, signature = digest("transaction", body), raw(t["signature"])
    same("transaction id", id_.hex(), t["id"])
    same("transaction", (body + signature).hex(), t["bytes"])
    same("client", digest("client", b"ed25519", raw(t["client_key"])).hex(), t["client"])
    same("its signature", is_signed(raw(t["client_key"]), "violeta v1 transaction", id_, signature), True)

    v = vectors["vertex"]
    same("header", header(v["header"]).hex(), v["header_bytes"])
    id_, signature = digest("vertex", chain, raw(v["header_bytes"])), raw(v["signature"])
    same("vertex id", id_.hex(), v["id"])
    items = [item(raw(content)) for content in v["items"]]
    same("payload root", tree("payload", [digest("payload item", i) for i in items]).hex(), v["header"]["payload"]["root"])
    same("payload bytes", len(sequence(items)), v["header"]["payload"]["bytes"])
    vertex = raw(v["header_bytes"]) + signature + sequence(items)
    same("vertex", vertex.hex(), v["bytes"])
    same("its signature", is_signed(keys[2], "violeta v1 vertex", id_, signature), True)

    for e in vectors["leaders"]:
        coin, epoch_seed = raw(e["coin"]), raw(e["epoch_seed"])
        for round_, drawn in enumerate(e["rounds_from_1"], 1):
            made = leaders(e["election"], e["stakes"], e["count"], coin, epoch_seed, round_)
            same(f"leaders of round {round_}, {e['election']}", made, drawn)

    h = vectors["head"]
    same("head", head(h["value"]).hex(), h["bytes"])
    id_ = digest("head", raw(h["bytes"]))
    same("head id", id_.hex(), h["id"])
    attestation = raw(h["attestation_of_2"])
    signature = attestation[42:106]
    same("attestation", attestation, u64(5) + id_ + u16(2) + signature + some(None))
    same("its signature", is_signed(keys[2], "violeta v1 attestation", id_, signature), True)
    certified = raw(h["certified"])
    signed = certified[len(raw(h["bytes"])) + 44:]
    signatures = [(i, signed[66 * n + 2:66 * n + 66]) for n, i in enumerate([0, 1, 3])]
    made = u64(5) + id_ + sequence([u16(i) + signature for i, signature in signatures])
    same("certified head", certified, raw(h["bytes"]) + made)
    for i, signature in signatures:
        same("a certificate's", is_signed(keys[i], "violeta v1 attestation", id_, signature), True)

    newest = u64(1) + u16(2) + raw(v["id"])
    of_asker = u64(0) + u16(1) + raw(vectors["round_0"][1])
    f = {name: raw(frame) for name, frame in vectors["frames"].items()}
    same("hello", f["hello"], blob(b"violeta\n" + f["hello"][12:16] + chain))
    same("welcome", f["welcome"], blob(u8(0)))
    same("other version", f["other_version"], blob(u8(1) + u32(9)))
    same("other chain", f["other_chain"], blob(u8(2) + chain))
    same("refused", f["refused"], blob(u8(3)))
    for name, tags, body in (
        ("vertices", [0, 0], sequence([blob(vertex)])),
        ("frontier", [0, 2], sequence([u64(n) for n in (0, 3, 4, 4)]) + u64(4) + u64(0)),
        ("rejoin_question", [0, 5], bytes([5] * 32)),
        ("rejoin_answer", [0, 6], bytes([5] * 32) + newest + some(of_asker)),
        ("attestation", [1], attestation),
        ("heartbeat", [2], u64(9) + some(attestation) + some(certified)),
    ):
        same(f"frame: {name}", f[name], blob(bytes(tags) + body))

    c = vectors["catch_up"]
    commit_ = commit(c["commit"]["value"])
    same("commit", commit_.hex(), c["commit"]["bytes"])
    same("commit digest", digest("commit", chain, commit_).hex(), c["commit"]["digest"])
    enough = u32(2_000_000)
    of_vertices = u64(5) + u32(1) + u64(9) + enough
    for name, tags, body in (
        ("records_question", [3, 0], u64(4) + some(u64(9)) + enough),
        ("vertices_question", [3, 1], of_vertices),
        ("records", [4, 0], u64(4) + some(None) + enough + some(certified) + sequence([commit_])),
        ("vertices", [4, 1], of_vertices + sequence([blob(vertex)])),
    ):
        same(f"catch-up: {name}", raw(c[name]), blob(bytes(tags) + body))

    b = vectors["threshold"]
    secrets = [int(secret, 16) for secret in b["secrets"]]
    for secret, key in zip(secrets, b["share_keys"]):
        same("share key", compressed(curve_times(secret, G2), 2).hex(), key)
    whole = at_zero(
        {i + 1: secrets[i] for i in range(b["threshold"])},
        lambda one, two: ((one or 0) + two) % SCALARS,
        lambda weight, value: weight * value,
    )
    same("group key", compressed(curve_times(whole, G2), 2).hex(), b["group_key"])
    of_coin = digest("coin", chain, u64(0), u64(6))
    for name, of in (("coin_of_round_6", of_coin), ("seal", digest("seal", digest("head", raw(h["bytes"]))))):
        s = b[name]
        same(f"{name}: digest", of.hex(), s["digest"])
        # Hashing to the curve isn't done again here: what libraries do is RFC 9380's, and has vectors there.
        hashed = g1(raw(s["point"]))
        for secret, share in zip(secrets, s["shares"]):
            same(f"{name}: share", compressed(curve_times(secret, hashed), 1).hex(), share)
        for members in ([0, 1, 2], [0, 1, 3], [1, 2, 3]):
            shares = {i + 1: g1(raw(s["shares"][i])) for i in members}
            same(f"{name}: signature", compressed(at_zero(shares, curve_add, curve_times), 1).hex(), s["signature"])
        same(f"{name}: of the whole", compressed(curve_times(whole, hashed), 1).hex(), s["signature"])
    proofs.check(same)
    print(f"{checked} values checked, all as vectors.json and proofs.json say")


if __name__ == "__main__":
    main()
